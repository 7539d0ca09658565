"""The Containerfile and compose.yaml: built from a Debian of our own, and the journey in it.

Where no container engine runs, buildah does it in a chroot. What compose.yaml adds is read, and
that the root may be read-only is seen from what was written."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

import pytest
import yaml

from simulator.server import Server
from simulator.vonage import Vonage

from .cast import ADA, ROOT, find_port, require_executable, wait_for
from .web_servers import GROUP, Proxy, Visitor, adapt, is_open, running

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
USER = 10001  # as the Containerfile says
CERTIFICATES = "/etc/ssl/certs"


class Buildah:
    """With a store of its own."""

    def __init__(self, store: Path) -> None:
        program = require_executable("buildah")
        self.words = [program, "--root", f"{store}/root", "--runroot", f"{store}/run"]
        self.words += ["--storage-driver", "vfs"]

    def __call__(self, *words: str) -> str:
        done = subprocess.run(
            [*self.words, *words], cwd=ROOT, capture_output=True, text=True, timeout=500
        )
        assert done.returncode == 0, f"{words[0]}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout.strip()


class Container(NamedTuple):
    buildah: Buildah
    name: str
    words: list[str]  # of buildah, that run something in it
    data: Path
    port: int

    def run(self, *command: str) -> str:
        return self.buildah(*self.words, self.name, "--", *command)

    @contextmanager
    def serving(self, command: list[str], log: Path) -> Iterator[None]:
        words = [*self.buildah.words, *self.words, self.name, "--", *command]
        with log.open("ab") as output:
            process = subprocess.Popen(
                words, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        wait_for(lambda: is_open(self.port) or process.poll() is not None, seconds=30)
        assert process.poll() is None, log.read_text()
        yield
        os.killpg(process.pid, signal.SIGTERM)  # buildah itself passes nothing on
        process.wait(timeout=30)


@pytest.fixture(scope="module")
def buildah(tmp_path_factory: pytest.TempPathFactory) -> Buildah:
    if os.getuid() != 0:
        pytest.skip("needs root")
    return Buildah(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def image(buildah: Buildah, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Built as docs/running.md says, but from a Debian that debootstrap makes: no registry of
    images is asked."""
    folder = tmp_path_factory.mktemp("debian")
    debian = [require_executable("debootstrap"), "--variant=minbase", "--include=ca-certificates"]
    subprocess.run([*debian, "bookworm", folder], check=True, capture_output=True, timeout=500)
    base = buildah("from", "scratch")
    buildah("add", "--quiet", base, str(folder), "/")
    buildah("commit", "--quiet", base, "debian-for-test")
    settings = folder / "pip.conf"  # this machine's way to the packages
    settings.write_text(f"[global]\ncert = {CERTIFICATES}/ca-certificates.crt\n")
    buildah(
        *("build", "--isolation", "chroot", "--format", "docker", "--network", "host"),
        *("--build-arg", "BASE=localhost/debian-for-test", "--file", "Containerfile"),
        *("--volume", f"{CERTIFICATES}:{CERTIFICATES}:ro"),
        *("--volume", f"{settings}:/etc/pip.conf:ro", "--tag", "trusted-group", "."),
    )
    return "localhost/trusted-group"


@pytest.fixture(scope="module")
def built(buildah: Buildah, image: str) -> dict[str, Any]:
    """What the image says of itself."""
    described: dict[str, Any] = json.loads(buildah("inspect", "--type", "image", image))
    config: dict[str, Any] = described["Docker"]["config"]
    return config


@pytest.fixture
def container(
    buildah: Buildah, image: str, settings: dict[str, str], vonage_server: Server, tmp_path: Path
) -> Container:
    data, certificate = tmp_path / "data", vonage_server.certificate
    data.mkdir(mode=0o700)
    os.chown(data, USER, USER)
    trusted = tmp_path / "certificates"
    trusted.mkdir()
    (trusted / "vonage.pem").write_bytes(certificate.read_bytes())
    port = find_port()
    own = settings | {"BASE_URL": GROUP, "REQUESTS_CA_BUNDLE": "/certificates/vonage.pem"}
    own |= COMPOSE["services"]["group"]["environment"] | {"FLASK_SERVE_PORT": str(port)}
    words = ["run", "--isolation", "chroot", "--volume", f"{data}:/data"]
    words += ["--volume", f"{trusted}:/certificates:ro"]
    words += [word for name, value in own.items() for word in ("--env", f"{name}={value}")]
    return Container(buildah, buildah("from", image), words, data, port)


def start_caddy(stack: ExitStack, folder: Path, upstream: int) -> Proxy:
    """With the file that compose.yaml mounts."""
    port, log = find_port(), folder / "caddy.log"
    here = f"local_certs\n\tskip_install_trust\n\tadmin off\n\tstorage file_system {folder}/caddy"
    here += f"\n\thttps_port {port}\n\thttp_port {find_port()}"
    changes = {
        "{\n\t# The address": f"{{\n\t{here}\n\t# The address",
        "{$BASE_URL}": GROUP,
        "{$UPSTREAM:group:8000}": f"127.0.0.1:{upstream}",
    }
    mounted = COMPOSE["services"]["caddy"]["volumes"][0].split(":")[0]
    (folder / "Caddyfile").write_text(adapt(Path(mounted).name, changes))
    command = [require_executable("caddy"), "run", "--config", f"{folder}/Caddyfile"]
    stack.enter_context(running([*command, "--adapter", "caddyfile"], port, log))
    return Proxy("caddy", port, [log], folder)


@pytest.mark.slow
def test_the_journey_in_a_container(
    container: Container, built: dict[str, Any], vonage: Vonage, tmp_path: Path
) -> None:
    root = Path(container.buildah("mount", container.name))
    began, log = time.time(), tmp_path / "server.log"
    with ExitStack() as stack:
        stack.enter_context(container.serving(built["Cmd"], log))
        proxy = start_caddy(stack, tmp_path, container.port)
        container.run("flask", "invite", f"+{ADA}", "--username", "ada")
        webhook = urlsplit(container.run("flask", "webhook-url")).path
        text = urlencode(vonage.inbound(ADA, "sunflower"))
        assert Visitor(proxy).ask(f"{GROUP}{webhook}", [], "POST", text).status == 204

        ada = Visitor(proxy)
        assert ada.sign_up(ADA, "ada", vonage.pin_of(ADA)).status == 303
        assert "Hello, ada" in ada.ask(f"{GROUP}/").body
        container.run(*built["Healthcheck"]["Test"][1:])  # which is CMD
        assert container.run("flask", "--version").startswith("Trusted Group ")

    assert built["User"] == str(USER)
    assert {path.stat().st_uid for path in container.data.iterdir()} == {USER}
    assert written_since(began, root) == [], "a read-only root would have refused this"


def written_since(began: float, root: Path) -> list[str]:
    """Files and folders outside of /data and /tmp that changed while the container ran."""
    mounts = {"data", "tmp", "proc", "sys", "dev", "certificates"}
    kept = [folder for folder in root.iterdir() if folder.name not in mounts]
    changed = (path for folder in kept for path in folder.rglob("*") if not path.is_symlink())
    return [str(path.relative_to(root)) for path in changed if path.stat().st_mtime > began]


def test_compose_takes_all_rights_away() -> None:
    for name, service in COMPOSE["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["restart"] == "unless-stopped", name
    assert COMPOSE["services"]["caddy"]["cap_add"] == ["NET_BIND_SERVICE"]
    assert "ports" not in COMPOSE["services"]["group"]


def test_the_image_gets_what_the_program_is() -> None:
    """And no more: nothing of .env, of the database or of the tests."""
    containerfile = (ROOT / "Containerfile").read_text()
    copied = {
        word
        for line in re.findall(r"^COPY (?!--)(.*)", containerfile, re.M)
        for word in line.split()
    }
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"}
    assert copied - {".", "./"} == let_in
    imports = {"app.py", "wsgi.py", "foundation", "features"}
    assert imports | {"schema.sql", "migrations", "static", "templates"} < let_in
    assert "VOLUME" not in containerfile


SLIM = 80  # MB that Debian's own image has; the one that stands in for it here has more


@pytest.mark.slow
def test_it_is_under_300_mb(container: Container) -> None:
    root = Path(container.buildah("mount", container.name))
    added = [root / "srv", *root.glob("usr/lib/python3*")]
    size = sum(
        path.stat().st_size
        for folder in added
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    )
    assert 100 < size / 1e6 < 300 - SLIM
