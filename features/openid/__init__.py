"""OpenID Connect: programs sign their members in here. Authorization code only, for programs that
keep a secret. Authlib speaks the protocol; what it asks (who is this, may they, is that code good)
is answered here. Needs the feature `programs`."""

from features.openid import end_session, endpoints, keys  # noqa: F401 - routes and a command
from features.openid.endpoints import find_title_by_client
from features.openid.logouts import (
    note_ended_sessions,
    note_lost_access,
    note_undelivered,
    prune_openid,
    write_logout,
)
from features.openid.room import bp
from features.openid.setting_up import admin_bp
from foundation.web.feature import Feature

bp.register_blueprint(admin_bp)
feature = Feature(
    bp,
    sentences={
        "openid-long": "That address is too long. Go back to the app and try again.",
        "openid-unknown": "Something is wrong with how that app is set up, so we can't sign you in"
        " to it. Please tell an admin: its client id and redirect address must match the ones on"
        " its page.",
        "openid-logout": "Write the whole address, such as https://photos.example.org/logout, or"
        " leave it empty.",
        "openid-redirects": "Write 1 to 10 whole addresses, one a line, such as"
        " https://photos.example.org/callback.",
    },
    events={
        "openid_set_up": "{actor} set up OpenID Connect for {subject}",
        "openid_logout_failed": "We couldn't tell {subject} about a sign-out",
    },
    slots={"program": "openid/_program.html"},
    find_title=find_title_by_client,
    prune=prune_openid,
    ended=note_ended_sessions,
    access_lost=note_lost_access,
    write_message=write_logout,
    undelivered=note_undelivered,
    not_in_backups=("openid_codes", "openid_tokens", "openid_sessions"),
)
