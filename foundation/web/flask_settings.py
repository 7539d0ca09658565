"""What our settings mean to Flask and Flask-Session, and the layers around Flask."""

from urllib.parse import urlsplit

from flask import Flask

from foundation.running import running
from foundation.typed.hosts import is_loopback
from foundation.typed.phones import example_phone
from foundation.web.forward_auth import ForwardAuth
from foundation.web.responses import SecurityHeaders
from foundation.words.clock import DAY

MAX_BODY = 16 * 1024  # bytes; no form and no webhook of ours comes near it


def configure_flask(app: Flask) -> None:
    url, domain = urlsplit(app.config["BASE_URL"]), app.config["COOKIE_DOMAIN"]
    host, https = url.hostname or "", url.scheme == "https"
    app.config.update(
        TRUSTED_HOSTS=[host, "localhost", "127.0.0.1"] if is_loopback(host) else [host],
        MAX_CONTENT_LENGTH=MAX_BODY,
        PROPAGATE_EXCEPTIONS=False,  # visitors see the error page, in debug mode too
        PERMANENT_SESSION_LIFETIME=app.config["SESSION_MAX_DAYS"] * DAY,
        SESSION_REFRESH_EACH_REQUEST=False,  # True brings ended sessions back, and writes on reads
        SESSION_COOKIE_NAME=f"__{'Secure' if domain else 'Host'}-session" if https else "session",
        SESSION_COOKIE_DOMAIN=domain,
        SESSION_COOKIE_PATH="/",
        SESSION_COOKIE_SECURE=https,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        EXAMPLE_PHONE=example_phone(app.config["DEFAULT_REGION"]),
        VISITOR_COOKIE_NAME="__Host-visitor" if https else "visitor",
        LANGUAGE_COOKIE_NAME="__Host-language" if https else "language",
        NOTICE_COOKIE_NAME="__Host-notice" if https else "notice",
    )


def wrap_wsgi(app: Flask) -> None:
    """Layers around Flask. The last one added runs first: /auth needs no host."""
    app.wsgi_app = SecurityHeaders(app)  # type: ignore[method-assign]
    features = running(app).features
    callers = [feature.find_caller for feature in features if feature.find_caller]
    judges = [feature.may_pass for feature in features if feature.may_pass]
    groups = [feature.find_groups for feature in features if feature.find_groups]
    app.wsgi_app = ForwardAuth(app, callers, judges, groups)  # type: ignore[method-assign]
