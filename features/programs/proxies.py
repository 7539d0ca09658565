"""What a proxy asks before it lets somebody to an app."""

import sqlite3
from wsgiref.types import WSGIEnvironment

from flask import Flask

from features.programs.room import MAY_USE, bare_host
from foundation.running import running
from foundation.web.forward_auth import (
    Verdict,
    is_navigation,
    read_program,
    wants_redirect,
)
from foundation.web.logs import warn_sparingly


def may_pass(app: Flask, environ: WSGIEnvironment, row: sqlite3.Row) -> Verdict | None:
    """`/auth?program=wiki` lets in who may use the wiki. Without a program it's every member, but
    not where the proxy guards a registered program and doesn't say so."""
    db, name = running(app).connections.db, read_program(environ)
    if name is None:
        hosts = environ.get("HTTP_X_FORWARDED_HOST", "").split(",")
        sql = "SELECT 1 FROM programs WHERE host = ?"
        is_guarded = any(h and db.execute(sql, (bare_host(h),)).fetchone() for h in hosts)
        if is_guarded:
            warn_sparingly("A proxy asks for a guarded app and doesn't say which", app)
        return ("403 Forbidden", {}) if is_guarded else None
    if db.execute(MAY_USE, (name, row["author_id"])).fetchone():
        return None
    known = db.execute("SELECT 1 FROM programs WHERE name = ?", (name,)).fetchone()
    which = name if known else "an app that isn't known"
    warn_sparingly(f"{row['username']} was refused: {which}", app)
    if known and wants_redirect(environ) and is_navigation(environ):
        return "303 See Other", {"Location": f"{app.config['BASE_URL']}/programs/{name}"}
    return "403 Forbidden", {}
