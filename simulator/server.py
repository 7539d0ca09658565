"""Vonage's addresses on loopback: HTTPS, with a certificate made at start."""

import datetime
import ipaddress
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from .vonage import Answer, Connection, Vonage


def make_certificate(folder: Path) -> Path:
    """Write a key and a self-signed certificate for localhost; return the certificate's path."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Vonage simulator")])
    today, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(today - day).not_valid_after(today + 365 * day)
    for extension, is_critical in make_extensions(key.public_key()):
        builder = builder.add_extension(extension, is_critical)
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (folder / "vonage.key").write_bytes(secret)
    (folder / "vonage.pem").write_bytes(certificate)
    return folder / "vonage.pem"


def make_extensions(key: ec.EllipticCurvePublicKey) -> list[tuple[x509.ExtensionType, bool]]:
    """What Python's strict certificate check wants (since 3.13)."""
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    unused: tuple[str, ...] = ("content_commitment", "key_encipherment", "data_encipherment")
    unused += ("key_agreement", "crl_sign", "encipher_only", "decipher_only")
    usage = dict.fromkeys(unused, False)
    return [
        (x509.BasicConstraints(ca=True, path_length=0), True),
        (x509.KeyUsage(digital_signature=True, key_cert_sign=True, **usage), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (x509.SubjectKeyIdentifier.from_public_key(key), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(key), False),
        (x509.SubjectAlternativeName(names), False),
    ]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "Server"

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        vonage = self.server.vonage
        request = vonage.receive(self.command, self.path, headers, body)
        fault = vonage.take_fault(request.call)
        if fault is None:
            self.answer(vonage.act(request))
            return
        self.close_connection = True
        answer = vonage.act(request) if fault.acts else Answer(200, b"{}")
        fault.how(Connection(self.wfile.write, self.answer, self.server.closing.wait), answer)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

    def answer(self, answer: Answer) -> None:
        self.send_response(answer.status)
        if answer.status != 204:
            self.send_header("Content-Type", answer.content_type)
            self.send_header("Content-Length", str(len(answer.body)))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string(time.time() + self.server.vonage.clock_ahead)

    def log_message(self, *_: Any) -> None:
        """Say nothing: what arrived is in `Vonage.requests`."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, vonage: Vonage, folder: Path, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.vonage = vonage
        self.closing = threading.Event()
        self.certificate = folder / "vonage.pem"
        if not self.certificate.exists():
            make_certificate(folder)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, folder / "vonage.key")
        # Handshakes happen in each connection's thread, so a slow caller holds up nobody else.
        self.socket = context.wrap_socket(
            self.socket, server_side=True, do_handshake_on_connect=False
        )

    @property
    def host(self) -> str:
        """The value for VONAGE_API_HOST and VONAGE_REST_HOST."""
        return f"localhost:{self.server_port}"

    def handle_error(self, *_: Any) -> None:
        """Say nothing: callers hang up."""


@contextmanager
def serving(vonage: Vonage, folder: Path, port: int = 0) -> Iterator[Server]:
    """The account, served while the block runs."""
    with Server(vonage, folder, port) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.005,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()
