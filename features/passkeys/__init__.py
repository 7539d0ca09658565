"""Passkeys: a member's phone or computer signs in with its own screen lock, without a text and
without another device.

The browser makes a key pair and keeps the private one. To sign in it signs a *challenge* of ours.
The challenges are not stored: each holds its purpose and time, and an HMAC that ties it to the
browser that asked. `webauthn` checks what comes back; it has to be told both times that the screen
lock is required. The library is imported where it is used, because it is large."""

from features.passkeys import using  # noqa: F401 - its routes
from features.passkeys.ceremony import where_to_confirm, where_to_prove
from features.passkeys.challenges import prune_challenges
from features.passkeys.own import WAYS_IN, check_host, drop_passkeys, end_passkeys
from features.passkeys.room import bp
from foundation.web.additions import Addition
from foundation.web.feature import Feature

feature = Feature(
    bp,
    sentences={
        "news-passkey": "The passkey {name} was added.",
        "not-mine-passkey": "Remove the passkey {name}?",
        "passkey-refused": "That didn't work with this passkey. Try again, or sign in another way.",
        "passkey-counter": "This passkey may have been copied, so it wasn't accepted. Sign in"
        " another way, and remove it.",
        "passkey-new": "This passkey is so new that it proves nothing yet. Use an older one, or try"
        " again tomorrow.",
        "passkey-first": "Confirm with your passkey first.",
        "passkey-signed-out": "You're signed out. Sign in first.",
        "passkey-name": "Type a name of 1 to 40 letters.",
        "done-passkey-added": "The passkey is added. Next time, sign in with it.",
        "done-passkey-removed": "The passkey is removed here. Delete it in your device, too.",
        "done-passkey-renamed": "Passkey renamed.",
    },
    events={
        "passkey_added": "{actor} added a passkey",
        "passkey_removed": "{actor} removed a passkey",
        "passkey_used": "{actor} signed in with a passkey",
        "passkey_counter": "A passkey of {actor} was refused: its counter went back, so it may have"
        " been copied",
    },
    slots={
        "account": "passkeys/_list.html",
        "logout": "passkeys/_stays.html",
        "door": "passkeys/_door.html",
        "sign_out_everywhere": "passkeys/_sign_out.html",
        "welcome": "passkeys/_welcome.html",
    },
    additions={"passkey": Addition("passkeys", end_passkeys, ended="passkey_removed")},
    ways_in=WAYS_IN,
    prune=prune_challenges,
    ended=drop_passkeys,
    where_to_confirm=where_to_confirm,
    where_to_prove=where_to_prove,
    check=check_host,
    not_in_backups=("used_challenges",),
)
