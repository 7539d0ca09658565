"""How an admin registers apps and chooses who may use them."""

from werkzeug.test import TestResponse

from .cast import Browser

PROGRAMS = {"wiki": None, "photos": ("grace",), "files": ("grace", "friend"), "empty": ()}
GROUPS = {"all": ("grace", "mallory", "friend"), "two": ("grace", "friend"), "one": ("grace",)}


def register(ada: Browser, name: str = "wiki", **changes: str) -> TestResponse:
    form = {"name": name, "title": f"Our {name}", "address": f"https://{name}.example.org/start"}
    return ada.post("/admin/programs", **form | {"who": "all"} | changes)


def choose(ada: Browser, name: str, username: str) -> TestResponse:
    return ada.post(f"/admin/programs/{name}/members", username=username)


def asked(browser: Browser, query: str, **headers: str) -> tuple[int, str | None]:
    """What a proxy is told: the status, and who is asking or where to go."""
    answer = browser.client.get(f"/auth?{query}", headers=headers)
    assert answer.data == b""
    return answer.status_code, answer.headers.get("Remote-User") or answer.location
