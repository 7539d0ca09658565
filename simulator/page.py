"""The stage: a page with phones as people know them, what goes over the wire, and tricks to play on
the group."""

import re
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from flask import Blueprint, Flask, abort, current_app, redirect, render_template, request
from flask.typing import ResponseReturnValue
from markupsafe import Markup

from foundation.vonage.client import signature

from .vonage import Text, Vonage
from .wiki import Visits

DAY = 86_400
LATE = 15  # seconds that a delayed text takes
LINES = 30  # of what went over the wire

# Tricks to play on the webhook --------------------------------------------------------------------

Fields = dict[str, str]


def forge_unsigned(vonage: Vonage, phone: str, code: str) -> Fields:
    fields = vonage.inbound(phone, code)
    return {name: fields[name] for name in fields.keys() - {"sig", "timestamp", "nonce"}}


def sign_with_a_guess(vonage: Vonage, phone: str, code: str) -> Fields:
    fields = vonage.inbound(phone, code)
    return fields | {"sig": signature(fields, "a guess", vonage.signature_method)}


def change_the_sender(vonage: Vonage, phone: str, code: str) -> Fields:
    return vonage.inbound("12025550177", code) | {"msisdn": phone}


def repeat_the_last(vonage: Vonage, phone: str, code: str) -> Fields:
    return vonage.last_inbound or abort(404)


def send_from_yesterday(vonage: Vonage, phone: str, code: str) -> Fields:
    at = time.time() - DAY
    written = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at))
    return vonage.inbound(phone, code, timestamp=str(int(at)), **{"message-timestamp": written})


def reply_plainly(vonage: Vonage, phone: str, code: str) -> Fields:
    return vonage.inbound(phone, code)


class Trick(NamedTuple):
    name: str
    label: str
    make: Callable[[Vonage, str, str], Fields]  # the account, a phone, the word
    outcome: str  # what should come of it
    method: str = "POST"


TRICKS = [
    Trick("unsigned", "Forge a reply", forge_unsigned, "401, nothing happens"),
    Trick("guessed", "Sign it with a guess", sign_with_a_guess, "401, nothing happens"),
    Trick("changed", "Change the sender of a real one", change_the_sender, "401, nothing happens"),
    Trick("repeated", "Deliver the last reply again", repeat_the_last, "204, and no second PIN"),
    Trick("old", "Deliver one from yesterday", send_from_yesterday, "204, and no PIN"),
    Trick("get", "Deliver one by GET", reply_plainly, "405, nothing happens", "GET"),
]


# The page ----------------------------------------------------------------------------------------

stage = Blueprint("stage", __name__)


@stage.before_request
def refuse_other_sites() -> None:
    """No other site may play with it."""
    if request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
        abort(403)


LONG = (
    "Thank you for the invite! I have been looking forward to this for such a long time that one"
    " text is not enough to say how much, and so this one comes in two parts. The word? It's "
)


class Props(NamedTuple):
    """What the page shows and plays with."""

    vonage: Vonage
    webhook: str  # where replies go
    app_url: str
    code: str  # the word that friends reply
    names: dict[str, str]  # of the phones on the page, by number
    visits: Visits | None  # at the wiki's door; None: there is no wiki, and so no journey


def create_page(
    vonage: Vonage,
    webhook: str,
    app_url: str,
    code: str = "",
    cast: dict[str, str] | None = None,
    visits: Visits | None = None,
) -> Flask:
    page = Flask(__name__)
    page.config["TRUSTED_HOSTS"] = ["localhost", "127.0.0.1"]
    page.extensions["props"] = Props(vonage, webhook, app_url, code, dict(cast or {}), visits)
    page.register_blueprint(stage)
    page.template_filter("with_copies")(mark_pins)
    page.template_filter("clock")(lambda at: time.strftime("%H:%M:%S", time.localtime(at)))
    return page


def props() -> Props:
    found: Props = current_app.extensions["props"]
    return found


def mark_pins(words: Markup) -> Markup:
    """A PIN is copied by a tap."""
    button = r'<button type="button" class="copy" data-copy="\1">\1</button>'
    return Markup(re.sub(r"\b(\d{6})\b", button, str(words)))


class Step(NamedTuple):
    """Of the journey that the page leads through."""

    words: str
    is_done: bool


def find_steps() -> list[Step]:
    """From Ada's first reply to Grace's last click."""
    vonage, visits = props().vonage, props().visits
    phones = {name: phone for phone, name in props().names.items()}
    if visits is None:
        return []
    ada, grace, texts = phones["Ada"], phones["Grace"], list(vonage.texts)
    replied = {text.phone for text in texts if text.is_reply}
    texted = {text.phone for text in texts if not text.is_reply}
    return [
        Step(f"Reply {props().code} from Ada's phone", ada in replied),
        Step("Sign in as ada, with the PIN that arrives there", ada in vonage.checked),
        Step("Invite Grace's phone, on the page Admin", grace in texted),
        Step("Reply from it, and sign in as grace in a private window", grace in vonage.checked),
        Step("Open Our wiki there", bool(visits.readers)),
        Step("Remove grace, and click in her wiki once more", visits.was_somebody_refused),
    ]


def find_results() -> dict[str, int | None]:
    """What the group answered to each trick, most lately, by the trick's label."""
    return {one.why: one.status for one in list(props().vonage.deliveries) if one.why}


def find_threads() -> dict[str, list[Text]]:
    threads: dict[str, list[Text]] = {phone: [] for phone in list(props().names)}
    for text in list(props().vonage.texts):
        threads.setdefault(text.phone, []).append(text)
    return threads


def read_phone() -> str:
    """The phone a form is about. It must be on the page."""
    phone = request.form.get("phone", "")
    return phone if phone in find_threads() else abort(404)


@stage.get("/")
def phones() -> ResponseReturnValue:
    word = props().code
    replies = {word: word, "STOP": "STOP", "Hello?": "Hello?", "A long text": LONG + word}
    known = props()._asdict() | {"threads": find_threads(), "tricks": TRICKS, "replies": replies}
    known |= {"steps": find_steps(), "results": find_results()}
    return render_template("phones.html", **known, wire=read_wire(), now=time.time())


@stage.post("/phones")
def add_phone() -> ResponseReturnValue:
    phone = re.sub(r"[\s()+-]", "", request.form.get("phone", ""))
    if not re.fullmatch(r"[1-9][0-9]{6,14}", phone):
        abort(400, "A number has 7 to 15 digits, starting with the country code.")
    props().names.setdefault(phone, "")
    return redirect(f"/#phone-{phone}", 303)


@stage.post("/reply")
def reply() -> ResponseReturnValue:
    phone, text = read_phone(), request.form.get("text", "").strip()
    if text:
        what = (props().webhook, phone, text)
        sending = threading.Thread(target=props().vonage.reply, args=what, daemon=True)
        sending.start()
        sending.join(timeout=2)
    return redirect(f"/#phone-{phone}", 303)


@stage.post("/network")
def network() -> ResponseReturnValue:
    """How texts reach a phone from now on."""
    vonage, phone, how = props().vonage, read_phone(), request.form.get("how")
    vonage.unreachable.discard(phone)
    vonage.delays.pop(phone, None)
    if how == "lost":
        vonage.unreachable.add(phone)
    elif how == "late":
        vonage.delays[phone] = LATE
    return redirect(f"/#phone-{phone}", 303)


@stage.post("/trick")
def play() -> ResponseReturnValue:
    vonage, phone, name = props().vonage, read_phone(), request.form.get("trick")
    if name == "expire":
        vonage.expire_pins(phone)
        return redirect("/#wire", 303)
    if name == "close":
        vonage.blocked ^= {phone}
        return redirect("/#wire", 303)
    trick = next((trick for trick in TRICKS if trick.name == name), None) or abort(404)
    fields = trick.make(vonage, phone, props().code)
    vonage.deliver(props().webhook, fields, why=trick.label, method=trick.method)
    return redirect("/#wire", 303)


class Wire(NamedTuple):
    """One line of what went over the wire."""

    at: float
    who: str
    what: str
    status: int | None = None


def read_wire() -> list[Wire]:
    """Newest first. The token in a webhook's address is hidden."""
    asked = [
        Wire(one.at, "the group asks Vonage", f"{one.method} {one.path}")
        for one in list(props().vonage.requests)
        if one.call
    ]
    told = [
        Wire(
            one.at,
            one.why or "Vonage calls the group",
            f"{one.method} {hide(one.path)}",
            one.status,
        )
        for one in list(props().vonage.deliveries)
    ]
    return sorted(asked + told, key=lambda line: line.at, reverse=True)[:LINES]


def hide(path: str) -> str:
    return re.sub(r"^(/\w+)/.+", r"\1/...", path)
