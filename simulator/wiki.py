"""The demo's wiki: a program of its own on a port of its own, which knows its readers by `/auth`
alone. It asks at each click, as the web servers of deploy/ do for a real one."""

from dataclasses import dataclass, field

import requests
from flask import Flask, Response, g, redirect, render_template, request
from flask.typing import ResponseReturnValue

MAX_TEXT = 2_000
PASSED_ON = ("Cookie", "Accept", "Sec-Fetch-Mode", "User-Agent")


@dataclass
class Visits:
    """What happened at the wiki's door."""

    readers: set[str] = field(default_factory=set)
    was_somebody_refused: bool = False  # after there was a reader


def create_wiki(auth_url: str, visits: Visits) -> Flask:
    """`auth_url`: such as http://localhost:8000/auth?redirect=1&program=wiki"""
    app = Flask(__name__)
    text = {"words": "", "by": ""}

    @app.before_request
    def ask_who_it_is() -> ResponseReturnValue | None:
        told = {name: request.headers[name] for name in PASSED_ON if name in request.headers}
        told |= {"X-Forwarded-Method": request.method, "X-Forwarded-Uri": request.full_path}
        answer = requests.get(auth_url, headers=told, allow_redirects=False, timeout=10)
        g.member = answer.headers.get("Remote-User", "")
        if answer.status_code == 200 and g.member:
            visits.readers.add(g.member)
            return None
        visits.was_somebody_refused = bool(visits.readers)
        where = answer.headers.get("Location")
        return redirect(where, 303) if where else Response(status=answer.status_code)

    @app.get("/")
    def page() -> str:
        return render_template("wiki.html", member=g.member, **text)

    @app.post("/")
    def save() -> ResponseReturnValue:
        words = " ".join(request.form.get("words", "").split())[:MAX_TEXT]
        text.update(words=words, by=g.member)
        return redirect("/", 303)

    return app
