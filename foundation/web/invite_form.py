"""The form that invites: what an inviter asks for."""

from typing import NamedTuple

from flask import current_app, request

from foundation.storage.authors import find_author
from foundation.typed.mistakes import Mistake, end_of_day, parse_coming_day, parse_who
from foundation.typed.phones import parse_known_phone, parse_phone
from foundation.typed.usernames import MAIL_NAMES, parse_username
from foundation.vonage import texts
from foundation.vonage.inbound import fold_text
from foundation.web.forms import Form

INVITE_FIELDS = ("phone", "who", "username", "ends_on", "send", "language", "once")
FOR_ADMINS = ("username", "ends_on", "circles")


def make_invite_form() -> Form:
    """`circles` has several values: names, which have no spaces."""
    form = Form(*INVITE_FIELDS)
    form.values["circles"] = " ".join(request.form.getlist("circles"))
    return form


def asks_for_what_admins_do(form: Form) -> bool:
    is_without_number = not is_texted(form) and not form.values["phone"].strip()
    return is_without_number or any(form.values[field] for field in FOR_ADMINS)


class NewInvite(NamedTuple):
    """What an inviter asks for. Members who are no admins leave out name and end."""

    phone: str | None  # None: the first phone that texts the invite's own word
    username: str | None = None
    who: str | None = None
    ends_at: int | None = None  # a guest's last second
    is_texted: bool = True  # False: the inviter sends the words themselves
    language: str | None = None  # of the texts; None: the group's
    circles: tuple[str, ...] = ()  # names


def read_new_invite(form: Form) -> NewInvite:
    last_day = form.read("ends_on", parse_coming_day)
    wanted = NewInvite(
        read_invited_phone(form),
        form.read("username", parse_new_username) or None,
        form.read("who", parse_who) or None,
        end_of_day(last_day) if last_day else None,
        is_texted(form),
        form.read("language", texts.parse_text_language) or None,
        tuple(form.values["circles"].split()),
    )
    if wanted.username and not form.values["phone"].strip():
        form.refuse(Mistake("phone", "phone-for-name"))
    return wanted


def is_texted(form: Form) -> bool:
    """By which of the two buttons; "Invite anyway" does what the one before it did."""
    return (form.values["send"] or request.form.get("as_before")) != "self"


def read_invited_phone(form: Form) -> str | None:
    if not form.values["phone"].strip():
        if is_texted(form):
            form.refuse(Mistake("phone", "phone-or-self"))
        return None
    insists = request.form.get("anyway") == form.values["phone"]
    return form.read("phone", parse_phone if insists else parse_known_phone) or None


def parse_new_username(text: str) -> str:
    """Optional. Refuses the word: somebody mixed up the fields. Raises Mistake."""
    name = parse_username(text) if text.strip() else ""
    is_new_mail_name = name in MAIL_NAMES and find_author(name) is None
    if is_new_mail_name or name == fold_text(current_app.config["INVITE_CODE"]):
        raise Mistake("username", "username-reserved")
    return name
