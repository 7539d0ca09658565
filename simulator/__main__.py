"""`make demo`: the simulator and the program on a temporary database, with Ada invited. To choose
the ports (the program's, the phones'): `python -m simulator 8000 8001`."""

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
from werkzeug.serving import make_server

from foundation.typed.settings import SETTINGS

from .page import create_page
from .server import serving
from .vonage import Vonage

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


def say_where_to_click(app_url: str, phones_url: str) -> None:
    print(f"""
  The phones   {phones_url}
  The group    {app_url}

  Now: open the phones, and reply "{INVITE_CODE}" from Ada's (+{ADA}).
  The PIN arrives there; enter it at {app_url}/signup with the username ada.
  Then invite Grace's phone, +{GRACE}, and sign in with it in a private window.
  A second private window is another device: add it at {app_url}/devices. Passkeys work, too.

  Nobody invited Mallory's phone: see what a reply from it does. On the page with the phones
  you can also delay or lose texts, reply without the word, and forge webhooks.

  Press Ctrl-C to stop.
""")


def main() -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    vonage = Vonage(signature_secret=secrets.token_hex(16))
    vonage.sends_receipts = True
    port, phones_port = map(find_port, [int(word) for word in sys.argv[1:]] or [8000, 8001])
    app_url, phones_url = f"http://localhost:{port}", f"http://localhost:{phones_port}"
    cast = {ADA: "Ada", GRACE: "Grace", MALLORY: "Mallory"}
    page = create_page(vonage, f"{app_url}/answer", app_url, INVITE_CODE, cast)
    phones = make_server("127.0.0.1", phones_port, page, threaded=True)
    threading.Thread(target=phones.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder, serving(vonage, Path(folder)) as server:
        settings = demo_settings(vonage, server.host, server.certificate, app_url)
        flask(["init-db"], settings)
        app = start_app(port, settings)
        try:
            wait_until_up(app, app_url)
            flask(["invite", f"+{ADA}", "--username", "ada"], settings)
            say_where_to_click(app_url, phones_url)
            app.wait()
        except KeyboardInterrupt:
            print("\nThe demo is over. Nothing was kept.")
        finally:
            stop(app)


if __name__ == "__main__":
    main()
