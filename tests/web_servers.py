"""The real nginx, Caddy and Traefik with the files of deploy/, their visitors, and the wiki."""

import json
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from hashlib import sha256
from http.client import HTTPConnection, HTTPMessage
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Event
from typing import Any, ClassVar, NamedTuple
from urllib.parse import urlencode, urlsplit

import yaml

from foundation.web.site_blocks import WEB_SERVERS, write_site

from .cast import ROOT, find_port, require_executable, wait_for

GROUP, WIKI = "https://group.example.org", "https://wiki.example.org"
Headers = list[tuple[str, str]]


def read_body(asked: BaseHTTPRequestHandler) -> bytes:
    """Also one that comes in chunks."""
    if asked.headers.get("Transfer-Encoding") != "chunked":
        return asked.rfile.read(int(asked.headers.get("Content-Length") or 0))
    body = b""
    while size := int(asked.rfile.readline(), 16):
        body += asked.rfile.read(size)
        asked.rfile.readline()
    asked.rfile.readline()
    return body


class Wiki(BaseHTTPRequestHandler):
    """The guarded program. It answers with all that it was told."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    asked: ClassVar[list[dict[str, Any]]] = []
    first_seen: ClassVar[Event] = Event()

    def do_GET(self) -> None:
        if self.headers.get("Upgrade") == "websocket" and "Sec-WebSocket-Key" in self.headers:
            self.echo()
        elif self.path == "/events":
            self.send_events()
        else:
            self.answer(read_body(self))

    do_POST = do_PUT = do_PROPFIND = do_REPORT = do_MKCOL = do_DELETE = do_LOCK = do_GET

    def answer(self, body: bytes) -> None:
        asked = {
            "method": self.command,
            "path": self.path,
            "headers": self.headers.items(),
            "body": body.decode()
            if len(body) < 10_000
            else f"{len(body)} {sha256(body).hexdigest()}",
        }
        self.asked.append(asked)
        answer = json.dumps(asked).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def echo(self) -> None:
        """What comes after the handshake, once."""
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.end_headers()
        self.wfile.write(self.rfile.read(len(b"a frame")))
        self.close_connection = True

    def send_events(self) -> None:
        """One at once, and the next when the first was seen."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b"data: first\n\n")
        self.wfile.flush()
        if self.first_seen.wait(20):
            self.wfile.write(b"data: second\n\n")
        self.close_connection = True

    def log_message(self, *args: object) -> None:
        pass


class Answer(NamedTuple):
    status: int
    headers: HTTPMessage
    body: str

    def told(self, *names: str) -> Headers:
        """Of the headers that reached the wiki, those that a program may take for `names`: to
        some, all signs are one."""
        seen = json.loads(self.body)["headers"]
        plain = [(re.sub("[^a-z0-9]", "-", name.lower()), value) for name, value in seen]
        return [(name, value) for name, value in plain if name in names]


class Proxy(NamedTuple):
    name: str
    port: int
    logs: list[Path]
    folder: Path

    def certificates(self) -> list[Path]:
        """What makes its certificates good."""
        return [*self.folder.glob("*.crt"), *self.folder.glob("caddy/**/root.crt")]


# Made once: reading the system's certificates takes longer than a request.
TRUSTING = ssl.create_default_context()
TRUSTING.check_hostname, TRUSTING.verify_mode = False, ssl.CERT_NONE


class Visitor:
    """A browser: it finds every name at the proxy, and keeps cookies. Headers go out as given,
    also odd ones and the same one twice."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.cookies: dict[str, str] = {}

    def ask(
        self, url: str, headers: Headers | None = None, method: str = "GET", body: str = ""
    ) -> Answer:
        address = urlsplit(url)
        host = address.hostname or ""
        connection = HTTPConnection(host)
        connection.sock = self.connect(host)
        path = (address.path or "/") + (f"?{address.query}" if address.query else "")
        connection.putrequest(method, path, skip_accept_encoding=True)
        accept = [("Accept", "text/html,*/*;q=0.8")]
        for name, value in accept + (headers or []) + self.cookie_header() + body_headers(body):
            connection.putheader(name, value)
        connection.endheaders(body.encode() or None)
        response = connection.getresponse()
        answer = Answer(response.status, response.headers, response.read().decode(errors="replace"))
        connection.close()
        for cookie in response.headers.get_all("Set-Cookie", []):
            name, value = cookie.split(";")[0].split("=", 1)
            self.cookies[name] = value
        return answer

    def connect(self, host: str) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self.proxy.port), timeout=20)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as browsers do
        return TRUSTING.wrap_socket(plain, server_hostname=host)

    def send_slowly(self, url: str, chunks: Iterable[bytes], headers: Headers) -> Answer:
        """A body that comes in pieces, without saying how long it is."""
        address = urlsplit(url)
        connection = HTTPConnection(address.hostname or "")
        connection.sock = self.connect(address.hostname or "")
        every = dict(headers + self.cookie_header())
        with closing(connection):
            is_chunked = "Content-Length" not in every
            every |= {"Transfer-Encoding": "chunked"} if is_chunked else {}
            connection.request("PUT", address.path, chunks, every, encode_chunked=is_chunked)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read().decode())

    def cookie_header(self) -> Headers:
        pairs = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return [("Cookie", pairs)] if pairs else []

    def sign_up(self, phone: str, username: str, pin: str, came_for: str = "") -> Answer:
        form = {"phone": f"+{phone}", "username": username, "pin": pin, "next": came_for}
        own = [("Sec-Fetch-Site", "same-origin")]
        self.ask(f"{GROUP}/signup")
        return self.ask(f"{GROUP}/login", own, "POST", urlencode(form))


def body_headers(body: str) -> Headers:
    if not body:
        return []
    form = "application/x-www-form-urlencoded"
    return [("Content-Type", form), ("Content-Length", str(len(body)))]


@contextmanager
def running(
    command: list[str],
    port: int,
    log: Path,
    environment: dict[str, str] | None = None,
    folder: Path | None = None,
) -> Iterator[None]:
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            wait_for(lambda: process.poll() is not None or is_open(port), seconds=60)
            assert process.poll() is None, log.read_text()
            yield
        finally:
            process.terminate()
            process.wait(timeout=20)


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def adapt(file: str, changes: dict[str, str]) -> str:
    """A file of deploy/ with what is different on this machine; all else stays."""
    text = (ROOT / "deploy" / file).read_text()
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    return text


class Another(NamedTuple):
    """Another program behind the same proxy: its block is a copy of the wiki's."""

    name: str
    host: str
    upstream: str
    changes: tuple[tuple[str, str], ...] = ()


def add_programs(text: str, others: Sequence[Another], upstream: str) -> str:
    nginx, caddy = r"server \{\n    listen \S+ ssl;\n    server_name wiki\.", r"\nwiki\.\S+ \{"
    wiki = re.search(rf"(?:{nginx}|{caddy}).*\Z", text, re.S)
    assert wiki
    for other in others:
        block = wiki[0].replace("wiki.example.org", other.host).replace(upstream, other.upstream)
        block = block.replace("program=wiki", f"program={other.name}")
        for old, new in other.changes:
            block = block.replace(old, new)
        text += f"\n{block}"
    return text


def make_certificate(folder: Path, name: str) -> None:
    """`<name>.crt` and `<name>.key`, for names below example.org."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        + ["-nodes", "-subj", "/CN=example.org", "-addext", "subjectAltName=DNS:*.example.org"]
        + ["-keyout", folder / f"{name}.key", "-out", folder / f"{name}.crt"],
        check=True,
        capture_output=True,
    )


def start_nginx(
    stack: ExitStack, folder: Path, addresses: dict[str, str], others: Sequence[Another] = ()
) -> Proxy | None:
    if not shutil.which("nginx"):
        return None
    port, log = find_port(), folder / "nginx.log"
    make_certificate(folder, "nginx")
    changes = addresses | {"listen 443": f"listen 127.0.0.1:{port}"}
    changes |= {"listen 80": f"listen 127.0.0.1:{find_port()}"}
    for name in ("group", "wiki"):
        live = f"/etc/letsencrypt/live/{name}.example.org"
        changes |= {
            f"{live}/fullchain.pem": f"{folder}/nginx.crt",
            f"{live}/privkey.pem": f"{folder}/nginx.key",
        }
    changes |= {"/etc/nginx/trusted-group-names.conf": f"{ROOT}/deploy/nginx-names.conf"}
    text = add_programs(adapt("nginx.conf", changes), others, addresses["127.0.0.1:8080"])
    (folder / "trusted-group.conf").write_text(text)
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind}; "
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"pid {folder}/pid; error_log {folder}/error.log info; daemon off; events {{}}"
        f" http {{ access_log {folder}/access.log; {temporary}"
        f" include {folder}/trusted-group.conf; }}"
    )
    command = ["nginx", "-c", str(folder / "nginx.conf"), "-e", f"{folder}/error.log"]
    stack.enter_context(running(command, port, log))
    return Proxy("nginx", port, [log, folder / "access.log", folder / "error.log"], folder)


def start_caddy(
    stack: ExitStack, folder: Path, addresses: dict[str, str], others: Sequence[Another] = ()
) -> Proxy | None:
    port, log = find_port(), folder / "caddy.log"
    here = f"local_certs\n\tskip_install_trust\n\tadmin off\n\tstorage file_system {folder}/caddy"
    here += f"\n\thttps_port {port}\n\thttp_port {find_port()}"
    changes = addresses | {"{\n\t# The address": f"{{\n\t{here}\n\t# The address"}
    text = add_programs(adapt("Caddyfile", changes), others, addresses["127.0.0.1:8080"])
    (folder / "Caddyfile").write_text(text)
    caddy = require_executable("caddy")
    command = [caddy, "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]
    stack.enter_context(running(command, port, log))
    return Proxy("caddy", port, [log], folder)


def start_traefik(
    stack: ExitStack, folder: Path, addresses: dict[str, str], others: Sequence[Another] = ()
) -> Proxy:
    port, log = find_port(), folder / "traefik.log"
    make_certificate(folder, "traefik")
    dynamic = yaml.safe_load(adapt("traefik.yaml", addresses))
    (folder / "dynamic").mkdir()
    for other in others:
        names = {"wiki.example.org": other.host, "127.0.0.1:8000": addresses["127.0.0.1:8000"]}
        names |= {"127.0.0.1:8080": other.upstream} | dict(other.changes)
        block = write_site(ROOT / "deploy", WEB_SERVERS["traefik"], other.name, names)
        (folder / "dynamic" / f"{other.name}.yaml").write_text(block)
    certificate = {"certFile": f"{folder}/traefik.crt", "keyFile": f"{folder}/traefik.key"}
    dynamic["tls"] = {"certificates": [certificate]}
    (folder / "dynamic" / "trusted-group.yaml").write_text(json.dumps(dynamic))
    changes = {'":443"': f'"127.0.0.1:{port}"', '":80"': f'"127.0.0.1:{find_port()}"'}
    static = yaml.safe_load(adapt("traefik-static.yaml", changes))
    static["providers"]["file"]["directory"] = f"{folder}/dynamic"
    del static["certificatesResolvers"]
    static["entryPoints"]["websecure"]["http"]["tls"] = {}
    (folder / "traefik-static.yaml").write_text(json.dumps(static))
    traefik = require_executable("traefik")
    command = [traefik, f"--configFile={folder}/traefik-static.yaml"]
    stack.enter_context(running(command, port, log))
    proxy = Proxy("traefik", port, [log], folder)
    wait_for(lambda: is_serving(proxy))
    return proxy


def is_serving(proxy: Proxy) -> bool:
    """Traefik listens before it has read its files."""
    try:
        return Visitor(proxy).ask(f"{GROUP}/healthz").status == 200
    except OSError:
        return False
