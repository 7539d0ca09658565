"""OpenID Connect: programs sign their members in here. Authorization code only, for programs that
keep a secret. Authlib speaks the protocol; what it asks (who is this, may they, is that code good)
is answered here. Needs the feature `programs`."""

from features.openid import end_session, endpoints  # noqa: F401 - routes
from features.openid.endpoints import find_title_by_client
from features.openid.keys import drop_keys_of_old_secret
from features.openid.logouts import (
    note_changed_groups,
    note_ended_sessions,
    note_lost_access,
    note_undelivered,
    prune_openid,
    write_logout,
)
from features.openid.people import find_claimed_circles
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
        "openid-addresses": "Write at most 10 addresses, one a line, and at least one where members"
        " return to once they are signed in.",
        "openid-scheme": "{name}: an app's own scheme needs a dot, as in app.immich:///oauth.",
        "openid-claim": "Write a short name that the standards don't use, such as role, and one"
        " line for what it says.",
        "done-openid-try": "It's being told now. Reload the page in a moment.",
        # Why an app was refused. Apps get these in English, so they have neither quotation marks
        # nor letters beyond ASCII.
        "openid-pkce": "This app must send PKCE (S256). Turn it on in the app, or an admin ticks"
        " 'It can't do PKCE' on its page here.",
        "openid-stopped": "This app used to send PKCE or a nonce, and no longer does. If that is"
        " right, an admin can allow it on its page here.",
        "openid-secret": "Wrong client secret.",
        "openid-no-secret": "The app sent no client secret.",
        "openid-redirect": "The app wants to return to an address that isn't one of its redirect"
        " URIs here.",
        "openid-response-type": "The app asks for a response_type other than code.",
        "openid-grant": "The code or the refresh token is wrong, too old, or was used before, or"
        " the PKCE verifier doesn't fit.",
        "openid-request": "The app asked in a way that we don't know.",
        "openid-sign-in": "The member has to sign in.",
        "openid-press": "The member has to press a button.",
        "openid-mode": "The app asks for a response_mode other than query.",
        "openid-not-theirs": "This member may not use the app.",
        "openid-no-proof": "The app wants a fresh sign-in, and this member has no passkey that"
        " could prove it.",
    },
    events={
        "openid_set_up": "{actor} set up OpenID Connect for {subject}",
        "openid_new_secret": "{actor} made a new client secret for {subject}",
        "openid_refused": "{subject} asked in a way that we refused. Its page says why",
        "openid_logout_failed": "We couldn't tell {subject} about a sign-out",
    },
    slots={"program": "openid/_program.html", "program_news": "openid/_news.html"},
    find_title=find_title_by_client,
    prune=prune_openid,
    ended=note_ended_sessions,
    access_lost=note_lost_access,
    groups_changed=note_changed_groups,
    find_claimed_circles=find_claimed_circles,
    write_message=write_logout,
    undelivered=note_undelivered,
    key_changed=drop_keys_of_old_secret,
    not_in_backups=("openid_codes", "openid_tokens", "openid_sessions"),
)
