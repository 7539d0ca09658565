"""What a web server's file needs for one more app: cut out of the files of deploy/, which the tests
run, with that app's names in the places of the wiki's."""

import re
from pathlib import Path
from typing import NamedTuple


class WebServer(NamedTuple):
    """A web server that can guard apps."""

    title: str
    file: str  # of deploy/
    parts: tuple[str, ...]  # patterns of what is the wiki's alone, and where it stands


TO_THE_END = r"(?:.*\n)+\Z"
BELOW = r"(?: {6}.*\n)+"  # in YAML
WEB_SERVERS = {
    "caddy": WebServer("Caddy", "Caddyfile", (r"^wiki\.example\.org \{\n" + TO_THE_END,)),
    "nginx": WebServer(
        "nginx",
        "nginx.conf",
        (r"^server \{\n    listen \S+ ssl;\n    server_name wiki" + TO_THE_END,),
    ),
    "traefik": WebServer(
        "Traefik",
        "traefik.yaml",
        (
            r"^http:\n", r"^  routers:\n", r"^    app-wiki:\n" + BELOW,
            r"^  middlewares:\n", r"^    app-wiki-members:\n" + BELOW,
            r"^  services:\n", r"^    app-wiki:\n" + BELOW + r"\Z",
        ),
    ),
}  # fmt: skip


def write_site(folder: Path, server: WebServer, name: str, names: dict[str, str]) -> str:
    """For the app of that short name. `folder`: deploy/. `names`: what else stands in the places of
    the samples (hosts, our address)."""
    text = (folder / server.file).read_text()
    found = (re.search(part, text, re.M) for part in server.parts)
    block = "".join(part[0] for part in found if part)
    for sample, real in names.items():
        block = block.replace(sample, real)
    return block.replace("program=wiki", f"program={name}").replace("app-wiki", f"app-{name}")
