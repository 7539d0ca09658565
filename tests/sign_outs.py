"""An app that is told of sign-outs."""

from base64 import urlsafe_b64decode
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import ClassVar
from urllib.parse import parse_qs


class Listener(BaseHTTPRequestHandler):
    """A program's address for sign-outs."""

    heard: ClassVar[list[tuple[str, str]]] = []  # the path, and the logout token
    status: ClassVar[int] = 200
    is_down: ClassVar[Callable[[], bool]] = staticmethod(lambda: False)
    refuses: ClassVar[str] = ""  # something that is in the token

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        is_down, token = type(self).is_down(), parse_qs(body)["logout_token"][0]
        payload = urlsafe_b64decode(token.split(".")[1] + "==").decode().replace(" ", "")
        is_refused = self.refuses != "" and self.refuses in payload
        if not is_down:
            self.heard.append((self.path, token))
        self.send_response(503 if is_down else 400 if is_refused else self.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass
