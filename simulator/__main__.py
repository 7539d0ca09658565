"""`make demo`: the simulator, the program on a temporary database, with Ada invited, and a wiki
that it guards. `make demo PORT=9000` takes that port and the next two; each can be named:
`python -m simulator 9000 9001 9002` (the program's, the phones', the wiki's)."""

import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import requests
from flask import Flask
from werkzeug.serving import make_server

from foundation.typed.settings import SETTINGS

from .page import create_page
from .server import serving
from .vonage import Vonage
from .wiki import Visits, create_wiki

ROOT = Path(__file__).parent.parent
ADA, GRACE, MALLORY = "12025550100", "12025550101", "12025550166"
INVITE_CODE = "sunflower"


def find_port(wish: int) -> int:
    """`wish`, or another one if that is taken."""
    for port in (wish, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise SystemExit("There is no free port on this machine.")


def demo_settings(vonage: Vonage, host: str, certificate: Path, app_url: str) -> dict[str, str]:
    folder = certificate.parent
    unset = dict.fromkeys(SETTINGS, "")  # no real setting gets in, from .env or elsewhere
    return (
        os.environ
        | unset
        | {
            "SECRET_KEY": secrets.token_hex(32),
            "BASE_URL": app_url,
            "INVITE_CODE": INVITE_CODE,
            "ADMINS": "ada",
            "MEMBER_INVITES": "2",
            "VONAGE_API_KEY": vonage.api_key,
            "VONAGE_API_SECRET": vonage.api_secret,
            "VONAGE_NUMBER": vonage.number,
            "VONAGE_SIGNATURE_SECRET": vonage.signature_secret or "",
            "VONAGE_API_HOST": host,
            "VONAGE_REST_HOST": host,
            "REQUESTS_CA_BUNDLE": str(certificate),
            "DATABASE": str(folder / "group.db"),
        }
    )


def start_app(port: int, settings: dict[str, str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "granian", "--interface", "wsgi", "--factory"]
    command += ["--workers", "1", "--blocking-threads", "8", "--port", str(port)]
    command += ["--log-level", "error", "wsgi:create_app"]
    # In its own process group: Ctrl-C reaches us first, and we stop it properly.
    return subprocess.Popen(command, cwd=ROOT, env=settings, start_new_session=True)


def wait_until_up(app: subprocess.Popen[bytes], url: str) -> None:
    for _ in range(200):
        if app.poll() is not None:
            raise SystemExit("The program did not start; its message is above.")
        try:
            if requests.get(f"{url}/healthz", timeout=1).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.1)
    raise SystemExit("The program did not answer within 20 seconds.")


def stop(app: subprocess.Popen[bytes]) -> None:
    """Stop the program, whatever happens: a second Ctrl-C must not leave it running."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    app.terminate()
    try:
        app.wait(timeout=10)
    except subprocess.TimeoutExpired:
        os.killpg(app.pid, signal.SIGKILL)


def flask(command: list[str], settings: dict[str, str]) -> None:
    subprocess.run([sys.executable, "-m", "flask", *command], cwd=ROOT, env=settings, check=True)


def serve_in_background(port: int, app: Flask) -> None:
    server = make_server("127.0.0.1", port, app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def find_ports(wishes: list[int]) -> list[int]:
    """The program's, the phones', the wiki's."""
    first = wishes[0] if wishes else 8000
    return [find_port(wish) for wish in [*wishes, *range(first, first + 3)[len(wishes) :]]]


def say_where_to_click(app_url: str, phones_url: str, wiki_url: str) -> None:
    print(f"""
  The phones   {phones_url}
  The group    {app_url}
  The wiki     {wiki_url}

  Now: open the phones, and reply "{INVITE_CODE}" from Ada's (+{ADA}).
  The PIN arrives there; enter it at {app_url}/signup with the username ada.
  Then invite Grace's phone, +{GRACE}, and sign in with it in a private window.
  Our wiki is open to both of them, and to nobody else: remove Grace, and her next click is refused.
  A second private window is another device: add it at {app_url}/account. Passkeys work, too.

  Nobody invited Mallory's phone: see what a reply from it does. On the page with the phones
  you can also delay or lose texts, reply without the word, and forge webhooks.

  Press Ctrl-C to stop.
""")


def main() -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    vonage = Vonage(signature_secret=secrets.token_hex(16))
    vonage.sends_receipts = True
    ports = find_ports([int(word) for word in sys.argv[1:]])
    app_url, phones_url, wiki_url = (f"http://localhost:{port}" for port in ports)
    cast = {ADA: "Ada", GRACE: "Grace", MALLORY: "Mallory"}
    visits = Visits()
    page = create_page(vonage, f"{app_url}/answer", app_url, INVITE_CODE, cast, visits)
    serve_in_background(ports[1], page)
    serve_in_background(ports[2], create_wiki(f"{app_url}/auth?redirect=1&program=wiki", visits))
    with tempfile.TemporaryDirectory() as folder, serving(vonage, Path(folder)) as server:
        settings = demo_settings(vonage, server.host, server.certificate, app_url)
        flask(["init-db"], settings)
        app = start_app(ports[0], settings)
        try:
            wait_until_up(app, app_url)
            flask(["invite", f"+{ADA}", "--username", "ada"], settings)
            flask(["program", "add", "wiki", "Our wiki", wiki_url], settings)
            say_where_to_click(app_url, phones_url, wiki_url)
            app.wait()
        except KeyboardInterrupt:
            print("\nThe demo is over. Nothing was kept.")
        finally:
            stop(app)


if __name__ == "__main__":
    main()
