"""How an admin makes circles."""

from .cast import Browser


def make_circle(ada: Browser, title: str, **more: str) -> str:
    """Its name."""
    answer = ada.post("/admin/circles", title=title, **more)
    assert answer.status_code == 303, answer.text
    return str(answer.location).removeprefix("/admin/circles/")


def put_into(ada: Browser, circle: str, username: str) -> None:
    answer = ada.post(f"/admin/circles/{circle}/members", username=username)
    assert answer.location == f"/admin/circles/{circle}"
