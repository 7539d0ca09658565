"""Another device: somebody who is signed in adds a new phone or browser, without a text.

The device that is signed in makes an *offer* and shows its code, as letters and as a QR picture.
The new device gives the code back, and shows two digits. These are typed on the first device, by
somebody who can see both. So a stranger who learns the code gets nothing, unless they also talk the
member into typing digits that they dictate. Then the new device is signed in.
"""

import hmac
import secrets
import sqlite3
from collections.abc import Collection

import segno
from flask import Blueprint, current_app, redirect, render_template, request
from flask.typing import ResponseReturnValue

from app import require_member, sign_in_as
from foundation.storage.database import fetch_row, get_db, transaction
from foundation.storage.digests import digest_session, keyed_digest
from foundation.storage.journal import record_sparingly
from foundation.typed.codes import is_code, read_code, spell
from foundation.typed.mistakes import Mistake, read_digits
from foundation.web.feature import Feature, Why, find_confirmation
from foundation.web.forms import Form
from foundation.web.guards import read_next, with_next
from foundation.web.notices import notify
from foundation.web.sessions import (
    IS_MEMBER,
    Member,
    acting,
    adopt_session,
    current_member,
    name_device,
    session_table,
    this_digest,
)
from foundation.web.visitor import create_visitor, derive_visitor, find_visitor
from foundation.words.clock import MINUTE, now

bp = Blueprint("another_device", __name__)

OFFER_LIFETIME = 5 * MINUTE
RECEIPT_LIFETIME = 10 * MINUTE  # in which a lost answer is given again
CODE_LENGTH = 8


def code_of(offer_id: str) -> str:
    """Derived, so that the database does not hold it."""
    return spell(keyed_digest("offer code", offer_id), CODE_LENGTH)


def number_of(offer: sqlite3.Row) -> str:
    """The two digits that the new device shows, and that are typed on the first."""
    digest = keyed_digest("offer number", offer["id"], offer["visitor_digest"])
    return f"{int(digest, 16) % 100:02d}"


def digest_of_code(code: str) -> str:
    return keyed_digest("offer code digest", code)


def digest_of_visitor(visitor: str) -> str:
    return keyed_digest("offer visitor", visitor)


def state_of(offer: sqlite3.Row) -> str:
    """Where it stands: waiting, bound (the new device gave the code), confirmed (its number was
    typed), added, or refused."""
    if offer["refused"]:
        return "refused"
    if offer["added_at"]:
        return "added"
    if offer["confirmed_at"]:
        return "confirmed"
    return "bound" if offer["visitor_digest"] else "waiting"


# On the device that is signed in ------------------------------------------------------------------


@bp.get("/devices/add")
def add_device() -> ResponseReturnValue:
    require_member()
    offer = find_own_offer()
    if offer is None:
        return render_template("another_device/start.html", next=read_next())
    return show_offer(offer, Form("number"))


def show_offer(offer: sqlite3.Row, form: Form, status: int = 200) -> ResponseReturnValue:
    code = code_of(offer["id"])
    link = f"{current_app.config['BASE_URL']}/join/{code}"
    picture = segno.make(link, error="m", micro=False).svg_inline(
        scale=6, border=4, dark="#000", light="#fff", svgclass="qr", lineclass=None, title=link
    )
    page = render_template(
        "another_device/offer.html",
        form=form,
        offer=offer,
        state=state_of(offer),
        code=code,
        picture=picture,
        seconds_left=offer["expires_at"] - now(),
        next=read_next(),
    )
    return page, status


@bp.post("/devices/add")
def make_offer() -> ResponseReturnValue:
    member, here = require_member(), with_next("/devices/add", read_next())
    if place := find_confirmation(member):
        return redirect(with_next(place, here), 303)
    offer_id = secrets.token_hex(16)
    with acting() as db:
        prune_offers()
        sql = "DELETE FROM offers WHERE session_digest = ? AND added_at IS NULL"
        db.execute(sql, (this_digest(),))  # one a session
        db.execute(
            "INSERT INTO offers (id, code_digest, session_digest, expires_at) VALUES (?, ?, ?, ?)",
            (offer_id, digest_of_code(code_of(offer_id)), this_digest(), now() + OFFER_LIFETIME),
        )
        record_sparingly("device_offered", member.username)
    return redirect(here, 303)


def find_own_offer() -> sqlite3.Row | None:
    return fetch_row(
        "SELECT * FROM offers WHERE session_digest = ? AND expires_at > ?"
        " ORDER BY added_at IS NULL DESC, expires_at DESC",
        (this_digest(), now()),
    )


@bp.post("/devices/add/confirm")
def confirm_device() -> ResponseReturnValue:
    """The number of the new device was typed here. The first wrong one ends the offer."""
    member = require_member()
    form = Form("number")
    number = "" if "refuse" in request.form else form.read("number", parse_number)
    offer = find_own_offer()
    if offer and state_of(offer) == "bound":
        if form.mistakes:
            return show_offer(offer, form, 422)
        settle_offer(offer["id"], number, member)
    return redirect(with_next("/devices/add", read_next()), 303)


def settle_offer(offer_id: str, number: str, member: Member) -> None:
    """Confirm a bound offer by its number, or end it; "" is for "not me"."""
    with acting() as db:
        offer = fetch_row("SELECT * FROM offers WHERE id = ?", (offer_id,))
        if offer is None or state_of(offer) != "bound":
            return  # another press was faster
        if hmac.compare_digest(number, number_of(offer)):
            db.execute("UPDATE offers SET confirmed_at = ? WHERE id = ?", (now(), offer_id))
        else:
            refuse_offer(offer_id, "offer-wrong-number" if number else "offer-not-me", member)


def refuse_offer(offer_id: str, why: str, member: Member) -> None:
    get_db().execute("UPDATE offers SET refused = ? WHERE id = ?", (why, offer_id))
    record_sparingly("device_refused", member.username, detail=why)


def parse_number(text: str) -> str:
    """Two digits of any script. Raises Mistake."""
    digits = read_digits(text)
    if len(digits) != 2 or "?" in digits:
        raise Mistake("number", "number-unreadable")
    return digits


# On the new device --------------------------------------------------------------------------------


@bp.get("/join")
@bp.get("/join/<code>")
def join(code: str = "") -> ResponseReturnValue:
    """Opening the link spends nothing: messengers and scanners open links, too."""
    if find_visitor() is None:
        create_visitor()
    form = Form("code")
    form.values["code"] = read_code(code)[:CODE_LENGTH]
    return show_join(form, is_scanned=bool(code))


def show_join(form: Form, status: int = 200, is_scanned: bool = False) -> ResponseReturnValue:
    page = render_template(
        "another_device/join.html", form=form, is_scanned=is_scanned, next=read_next()
    )
    return page, status


@bp.post("/join")
def give_code() -> ResponseReturnValue:
    form, visitor = Form("code"), find_visitor()
    code = form.read("code", parse_code)
    if visitor is None:
        create_visitor()
        form.refuse(Mistake("form", "no-cookie-here"))
    if visitor and not form.mistakes:
        try:
            bind_offer(code, visitor)
        except Mistake as mistake:
            form.refuse(mistake)
    if form.mistakes:
        return show_join(form, 422)
    return redirect(with_next("/join/wait", read_next()), 303)


def parse_code(text: str) -> str:
    """As it is shown, "ABCD-EFGH", or however it is typed. Raises Mistake."""
    code = read_code(text)
    if not is_code(code, CODE_LENGTH):
        raise Mistake("code", "code-wrong" if code else "code-missing")
    return code


def bind_offer(code: str, visitor: str) -> None:
    """Tie the offer to this browser, by a new visitor cookie: somebody who used it before may know
    the old one. A second browser ends it. Raises Mistake, and for a code that is not good before a
    lock is taken."""
    offer_id = require_offer(code)["id"]
    old, new = (digest_of_visitor(one) for one in (visitor, derive_visitor(visitor, offer_id)))
    with transaction() as db:
        offer = find_offer("offers.id = ?2", offer_id)
        refusal = why_not_bound(offer, old, new)
        if offer and refusal == "offer-two-devices":
            refuse_offer(offer_id, refusal, Member(offer["author_id"], offer["username"]))
        elif offer and not refusal and state_of(offer) == "waiting":
            db.execute(
                "UPDATE offers SET visitor_digest = ?, device = ? WHERE id = ?",
                (new, name_device(request.user_agent.string), offer_id),
            )
    if refusal:
        raise Mistake("code", refusal)
    if offer and offer["visitor_digest"] != old:  # or the form was sent again, by the new cookie
        create_visitor(visitor, offer_id)


def why_not_bound(offer: sqlite3.Row | None, old: str, new: str) -> str | None:
    """`old`, `new`: digests of this browser's visitor cookies."""
    if offer and offer["visitor_digest"] in (None, old, new):
        return None
    return (
        "offer-two-devices" if offer and state_of(offer) in ("bound", "confirmed") else "code-wrong"
    )


def require_offer(code: str) -> sqlite3.Row:
    offer = find_offer("code_digest = ?2", digest_of_code(code))
    if offer is None:
        raise Mistake("code", "code-wrong")
    if offer["session_digest"] == this_digest():
        raise Mistake("code", "code-of-this-device")
    return offer


def find_offer(which: str, value: str) -> sqlite3.Row | None:
    """An offer that isn't over, with the member who made it. Asked again at every step: the device
    may have been signed out, its member removed, a guest's last day may have ended."""
    return fetch_row(
        "SELECT offers.*, author_id, username FROM offers"
        " JOIN sessions ON id_digest = session_digest AND sessions.expires_at > ?1"
        " JOIN authors ON authors.id = author_id"
        f" WHERE {which} AND offers.expires_at > ?1 AND {IS_MEMBER}"
        " ORDER BY added_at IS NULL DESC, offers.expires_at DESC",
        (now(), value),
    )


def find_offer_of(visitor: str) -> sqlite3.Row | None:
    """The one whose code this browser gave."""
    return find_offer("visitor_digest = ?2", digest_of_visitor(visitor))


@bp.get("/join/wait")
def wait() -> ResponseReturnValue:
    visitor = find_visitor()
    if visitor is None:
        return redirect(with_next("/join", read_next()), 303)
    return show_wait(visitor)


def show_wait(visitor: str, status: int = 200) -> ResponseReturnValue:
    offer = find_offer_of(visitor)
    page = render_template(
        "another_device/wait.html",
        offer=offer,
        state=state_of(offer) if offer else "over",
        number=number_of(offer) if offer else None,
        seconds_left=offer["expires_at"] - now() if offer else 0,
        next=read_next(),
    )
    return page, status


@bp.post("/join/wait")
def cancel_joining() -> ResponseReturnValue:
    """On the new device, instead of waiting."""
    visitor = find_visitor()
    if visitor and find_offer_of(visitor):  # before a lock is taken
        with transaction():
            offer = find_offer_of(visitor)
            if offer and state_of(offer) == "bound":
                owner = Member(offer["author_id"], offer["username"])
                refuse_offer(offer["id"], "offer-cancelled", owner)
    next_ = read_next()
    back = next_ if current_member() or not next_ else with_next("/signup", next_)
    return redirect(back or "/", 303)


@bp.route("/join/finish", methods=["GET", "POST"])
def finish_joining() -> ResponseReturnValue:
    visitor, next_ = find_visitor(), read_next()
    if visitor is None or request.method != "POST":
        return redirect(with_next("/join/wait" if visitor else "/join", next_), 303)
    joined = add_this_device(visitor)
    if joined is None:
        return show_wait(visitor, 422)
    owner, session_id = joined
    adopt_session(owner.id, session_id)
    notify("done-device-added", owner.username)
    return redirect(with_next("/welcome", next_), 303)


def add_this_device(visitor: str) -> tuple[Member, str] | None:
    """Sign this browser in by its confirmed offer: the member, and the session's id. The same once
    more, if the answer got lost. None: nothing is confirmed, or it is over."""
    if find_finishable(visitor) is None:
        return None  # before a lock is taken
    with transaction() as db:
        prune_offers()
        offer = find_finishable(visitor)
        if offer is None:
            return None
        # Always the same for this offer and browser, and nobody else can guess it.
        session_id = keyed_digest("session", visitor, offer["id"])
        owner = Member(offer["author_id"], offer["username"])
        if offer["added_at"]:
            is_there = session_table().find(db, digest_session(session_id))
            return (owner, session_id) if is_there else None
        sign_in_as(owner, session_id, "device", "device_added", added_by=offer["session_digest"])
        db.execute(
            "UPDATE offers SET added_at = ?, expires_at = ? WHERE id = ?",
            (now(), now() + RECEIPT_LIFETIME, offer["id"]),
        )
    return owner, session_id


def find_finishable(visitor: str) -> sqlite3.Row | None:
    """This browser's offer, if it may sign in by it. Not the device that offers itself: it would
    end the session that the new one is added from."""
    offer = find_offer_of(visitor)
    if offer is None or offer["session_digest"] == this_digest():
        return None
    return offer if state_of(offer) in ("confirmed", "added") else None


def drop_half_added(author_ids: Collection[int], sessions: Collection[str], why: Why) -> None:
    """After "sign out all others", what is half added doesn't come in. (All else that ends an offer
    ends its session, and so the row.)"""
    if why == "others":
        sql = (
            "DELETE FROM offers WHERE added_at IS NULL AND session_digest IN (SELECT id_digest"
            " FROM sessions WHERE author_id = ?)"
        )
        get_db().executemany(sql, [(author_id,) for author_id in author_ids])


def prune_offers() -> None:
    get_db().execute("DELETE FROM offers WHERE expires_at <= ?", (now(),))


feature = Feature(
    bp,
    sentences={
        "code-missing": "Type the code that your other device shows.",
        "code-wrong": "That code is wrong, or its five minutes are over. Look at your other device"
        " again.",
        "code-of-this-device": "This is the device that shows the code. Open the link on the new"
        " one.",
        "no-cookie-here": "Your browser did not keep our cookie, so it couldn't stay signed in."
        " Allow cookies for this site (or leave the private window), then press the button again.",
        "number-unreadable": "Type the two digits that the new device shows.",
        "offer-two-devices": "Two devices used this code, so neither was added. Was the second one"
        " not yours? Then somebody else saw the code.",
        "offer-wrong-number": "That isn't the number on the new device, so it was not added.",
        "offer-not-me": "You said that it isn't yours, so it was not added.",
        "offer-cancelled": "It was cancelled on the new device, so it was not added.",
        "done-device-added": "This device is added. You're {name}.",
    },
    events={
        "device_offered": "{actor} is adding a device",
        "device_added": "{actor} added a device",
        "device_refused": "A new device of {actor} was refused: {reason}",
    },
    slots={
        "devices": "another_device/_add.html",  # below the list
        "door": "another_device/_door.html",
        "welcome": "another_device/_welcome.html",
    },
    prune=prune_offers,
    ended=drop_half_added,
    not_in_backups=("offers",),
)
