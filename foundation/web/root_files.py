"""What anybody may ask for at the root: icons, the manifest of the installable start page, whether
the database answers, who texts, and what search engines and security researchers look for."""

import sqlite3

from flask import Blueprint, Response, current_app, jsonify, render_template, send_from_directory
from flask.typing import ResponseReturnValue

from foundation.storage.database import get_db
from foundation.words.clock import DAY, now, say_iso

root_files = Blueprint("root_files", __name__)
SECURITY_TXT_LIFETIME = 30 * DAY


def is_public(path: str) -> bool:
    """Whether the answer is the same for everybody: it opens, renews and sets no session."""
    return path.startswith("/static/") or path in PUBLIC


PUBLIC = {
    "/favicon.ico",
    "/icon-192.png",
    "/icon-512.png",
    "/apple-touch-icon.png",
    "/apple-touch-icon-precomposed.png",
    "/manifest.webmanifest",
    "/robots.txt",
    "/.well-known/security.txt",
}


@root_files.get("/favicon.ico")
@root_files.get("/icon-192.png")
def favicon() -> ResponseReturnValue:
    return send_icon(192)


@root_files.get("/icon-512.png")
def large_icon() -> ResponseReturnValue:
    return send_icon(512)


@root_files.get("/apple-touch-icon.png")
@root_files.get("/apple-touch-icon-precomposed.png")
def apple_icon() -> ResponseReturnValue:
    return send_icon(180)


def send_icon(size: int) -> ResponseReturnValue:
    return send_from_directory(str(current_app.static_folder), f"icon-{size}.png")


@root_files.get("/texts")
def about_texts() -> ResponseReturnValue:
    """What the registries of senders ask for, such as 10DLC in the USA."""
    return render_template("texts.html")


@root_files.get("/manifest.webmanifest")
def manifest() -> ResponseReturnValue:
    """`minimal-ui`, so that there is a way back from the group's programs."""
    icons = [(192, "any"), (512, "any"), (512, "maskable")]
    response = jsonify(
        id="/",
        name=current_app.config["GROUP_NAME"],
        start_url="/",
        scope="/",
        display="minimal-ui",
        background_color="#f6f4ef",
        theme_color="#f6f4ef",
        icons=[
            {"src": f"/icon-{n}.png", "sizes": f"{n}x{n}", "type": "image/png", "purpose": purpose}
            for n, purpose in icons
        ],
    )
    response.mimetype = "application/manifest+json"
    return response


@root_files.get("/robots.txt")
def robots() -> ResponseReturnValue:
    return Response("User-agent: *\nDisallow: /\n", mimetype="text/plain")


@root_files.get("/.well-known/security.txt")
def security() -> ResponseReturnValue:
    """RFC 9116. It has to name a contact and to expire."""
    contact = current_app.config["SECURITY_CONTACT"] or current_app.config["BASE_URL"]
    lines = [f"Contact: {contact}", f"Expires: {say_iso(now() + SECURITY_TXT_LIFETIME)}"]
    canonical = f"{current_app.config['BASE_URL']}/.well-known/security.txt"
    lines += ["Preferred-Languages: en", f"Canonical: {canonical}"]
    return Response("\n".join(lines) + "\n", mimetype="text/plain")


PLAIN = {"Content-Type": "text/plain; charset=utf-8"}


@root_files.get("/healthz")
def healthz() -> ResponseReturnValue:
    try:
        get_db().execute("SELECT 1 FROM parts").fetchone()
    except sqlite3.Error:
        return "The database does not answer.\n", 503, PLAIN
    return "ok\n", PLAIN
