"""`make orders`: a group in which much is going on, and each two things that people do in it at the
same time, in every order of their steps (orders.py). Says what was not as it must be afterwards."""

import argparse
import json
import os
import secrets
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pytest
import time_machine
from werkzeug.test import TestResponse

import app as journey
from app import do_each_minute
from foundation.storage.digests import digest_phone, digest_session
from foundation.storage.outbox import claim_receivers
from foundation.web.housekeeping import tell
from simulator.server import make_certificate, serving
from simulator.vonage import Vonage
from wsgi import create_app

from .app_passwords import make as make_app_password
from .authenticator import Passkey, decode
from .cast import (
    ADA,
    CODE,
    GRACE,
    MALLORY,
    SIGNATURE_SECRET,
    Browser,
    Group,
    base_settings,
    listening_with,
    member_id,
)
from .circles import make_circle, put_into
from .new_devices import add, confirm, give, number, offer
from .openid_client import VERIFIER, Program
from .orders import Kept, Stage, all_schedules
from .own_words import invite as invite_without_number
from .passkeys import add as add_passkey
from .passkeys import options, use
from .registering import register
from .sign_outs import Listener

IVY, HENRY, JUDY, KEVIN, LEO, OLGA, PAUL = (f"1202555010{n}" for n in range(2, 9))

Pair = tuple[str, str]


class Request(NamedTuple):
    """One that can be sent again and again, each time by a browser with those cookies."""

    path: str
    cookies: dict[str, str]
    form: dict[str, str] | None = None
    json: Any = None
    auth: tuple[str, str] | None = None


class World:
    """Ada is the admin. Grace has all that a member can have: a circle, a tablet, a passkey, an app
    password, an app that she's signed into, and two devices that are being added. Henry was
    removed, and is invited again; Mallory was removed, and the photos haven't been told yet. Ivy
    and Judy have a PIN each, and want one name. Kevin hasn't replied. One invite has no number."""

    def __init__(self, group: Group, listening: str) -> None:
        self.group = group
        self.ada = group.join(ADA, "ada", bound=True)
        self.grace, self.tablet = group.join(GRACE, "grace"), group.browser()
        for name in ("wiki", "photos"):
            register(self.ada, name)
        self.photos = Program(group, self.ada, "photos", logout=f"{listening}/photos")
        for title in ("Family", "Chess"):
            make_circle(self.ada, title)
        put_into(self.ada, "family", "grace")
        add(self.grace, self.tablet)
        make_app_password(self.grace)
        for phone, name in ((HENRY, "henry"), (MALLORY, "mallory")):
            browser = group.join(phone, name)
            if name == "mallory":
                self.photos.tokens(browser)
                self.photos.tokens(self.add_device(browser))
            self.ada.post(f"/members/{member_id(self.group, name)}/remove")
        self.requests = self.prepare()
        ids = group.rows("SELECT ids FROM outbox ORDER BY id")
        self.sent_before = len(group.vonage.texts)
        self.spent = int(group.one("SELECT sum(parts) FROM journal"))
        self.waiting = [json.loads(row)["sid"] for (row,) in ids]

    def add_device(self, browser: Browser) -> Browser:
        second = self.group.browser()
        add(browser, second)
        return second

    def invite_of(self, phone: str) -> int:
        with self.group.app.app_context():
            digest = digest_phone(phone)
        return int(self.group.one("SELECT id FROM whitelist WHERE phone_digest = ?", digest))

    def by(self, browser: Browser, path: str, **form: str) -> Request:
        found = {name: browser.client.get_cookie(name) for name in ("session", "visitor")}
        return Request(path, {name: one.value for name, one in found.items() if one}, form)

    def texting(self, phone: str, text: str = CODE) -> Request:
        return Request("/answer", {}, self.group.vonage.inbound(phone, text))

    def signing_up(self, phone: str, name: str) -> Request:
        browser = self.group.browser()
        browser.get("/signup")
        form = {"phone": f"+{phone}", "pin": self.group.vonage.pin_of(phone), "username": name}
        return self.by(browser, "/login", **form)

    def to_member(self, act: str, name: str) -> Request:
        return self.by(self.ada, f"/members/{member_id(self.group, name)}/{act}")

    def prepare(self) -> dict[str, Request]:
        """Each kind of request, as one that is about to be sent."""
        group = self.group
        for phone, name in ((IVY, None), (JUDY, None), (HENRY, "henry"), (KEVIN, None)):
            group.invite(phone, name)
            if phone != KEVIN:
                assert group.text(phone) == 204
        word = invite_without_number(self.ada)
        confirming, joining, stranger = group.browser(), group.browser(), group.browser()
        give(confirming, offer(self.grace))
        give(joining, offer(self.tablet))
        confirm(self.tablet, joining)
        stranger.get("/signup")
        passkey = Passkey()
        assert add_passkey(self.grace, passkey).status_code == 200
        assert use(self.grace, passkey, "confirm").status_code == 200
        tokens = self.photos.tokens(self.grace)
        code = {"grant_type": "authorization_code", "code": self.photos.code(self.grace)}
        code |= {"redirect_uri": self.photos.back, "code_verifier": VERIFIER}
        refresh = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
        secret = (self.photos.id, self.photos.secret)
        new_passkey = Passkey().create(options(self.grace, "add"))
        used_passkey = passkey.get(options(stranger, "sign-in"))
        group.pass_a_minute()
        return {
            "a reply with the word": self.texting(IVY),
            "the first reply": self.texting(KEVIN),
            "STOP": self.texting(IVY, "STOP"),
            "a reply without the word": self.texting(KEVIN, "who is this?"),
            "a sign-up": self.signing_up(IVY, "ivy"),
            "a sign-up of another for the name": self.signing_up(JUDY, "ivy"),
            "a sign-up of one who was removed": self.signing_up(HENRY, "henry"),
            "withdraw": self.by(self.ada, f"/invite/{self.invite_of(IVY)}/revoke"),
            "invite again": self.by(self.ada, "/invite", phone=f"+{IVY}"),
            "invite for the name": self.by(self.ada, "/invite", phone=f"+{LEO}", username="ivy"),
            "a member invites": self.by(self.grace, "/invite", phone=f"+{LEO}"),
            "remove": self.to_member("remove", "grace"),
            "leave": self.by(self.grace, "/leave", forget="yes"),
            "sign out everywhere": self.to_member("sign-out", "grace"),
            "sign out": self.by(self.grace, "/logout"),
            "end the other devices": self.by(self.tablet, "/devices/end-others"),
            "confirm a device": self.by(
                self.grace, "/devices/add/confirm", number=number(confirming)
            ),
            "finish on a device": self.by(joining, "/join/finish"),
            "sign in by passkey": self.by(stranger, "/passkeys/sign-in")._replace(
                form=None, json={"credential": used_passkey}
            ),
            "add a passkey": self.by(self.grace, "/passkeys/add")._replace(
                form=None, json={"credential": new_passkey}
            ),
            "exchange a code": Request("/openid/token", {}, code, auth=secret),
            "refresh": Request("/openid/token", {}, refresh, auth=secret),
            "make an app password": self.by(
                self.grace, "/app-passwords", program="wiki", name="git"
            ),
            "take out of a circle": self.by(
                self.ada, f"/admin/circles/family/members/{member_id(self.group, 'grace')}/drop"
            ),
            "put into a circle": self.by(
                self.ada, "/admin/circles/chess/members", username="grace"
            ),
            "an own word": self.texting(OLGA, word),
            "the same word of another": self.texting(PAUL, word),
            "forget": self.to_member("forget", "henry"),
        }

    # What happens

    KINDS_WITHOUT_REQUEST: ClassVar[dict[str, Callable[["World"], TestResponse | None]]] = {
        "a receipt": lambda world: world.send_receipt(),
        "a row of the outbox": lambda world: world.tell_programs(),
        "each minute": lambda world: world.keep_house(),
    }

    def kinds(self) -> list[str]:
        return [*self.requests, *self.KINDS_WITHOUT_REQUEST]

    def act(self, kind: str) -> TestResponse | None:
        if other := self.KINDS_WITHOUT_REQUEST.get(kind):
            return other(self)
        return self.send(self.requests[kind])

    def send(self, request: Request) -> TestResponse:
        browser = Browser(self.group.app)
        for name, value in request.cookies.items():
            browser.client.set_cookie(name, value)
        return browser.client.post(
            request.path, data=request.form, json=request.json, auth=request.auth
        )

    def send_receipt(self) -> TestResponse | None:
        """Of the newest text, once there is one."""
        texts = [text for text in self.group.vonage.texts[self.sent_before :] if text.ids]
        if not texts:
            return None
        fields = self.group.vonage.receipt(texts[-1].id, "delivered", "0")
        return self.send(Request("/delivery", {}, fields))

    def tell_programs(self) -> None:
        with self.group.app.app_context():
            for receiver in claim_receivers():
                tell(self.group.app, receiver)

    def keep_house(self) -> None:
        with self.group.app.app_context():
            do_each_minute()

    # What must be true

    def deliver_again(self, kinds: Pair, answers: list[Any]) -> Iterator[str]:
        """As Vonage does, what was answered with 503."""
        for kind, answer in zip(kinds, answers, strict=True):
            if isinstance(answer, TestResponse) and answer.status_code == 503:
                again = self.act(kind)
                if again is None or again.status_code != 204:
                    yield f"{kind}: 503, and when it came again not 204"

    def find_broken(self, kinds: Pair, answers: list[Any]) -> Iterator[str]:
        """What is not as it must be, in words."""
        yield from find_wrong_answers(kinds, answers)
        with closing(sqlite3.connect(self.group.app.config["DATABASE"])) as db:
            for told, sql in NEVER.items():
                if db.execute(sql).fetchone():
                    yield told
            yield from self.find_lost(kinds, answers, db)
            yield from self.find_outlived(kinds, db)
            yield from self.find_told_twice(db)
            yield from self.find_miscounted(db)
            if "a receipt" in kinds:
                yield from self.find_unheard(answers[kinds.index("a receipt")], db)

    def find_miscounted(self, db: sqlite3.Connection) -> Iterator[str]:
        """The ledger has every text that Vonage sent, and the budget holds."""
        texts = [text for text in self.group.vonage.texts if not text.is_reply]
        sent = sum(max(1, len(text.ids)) for text in texts)
        (counted,) = db.execute("SELECT sum(parts) FROM journal").fetchone()
        if sent > self.group.app.config["TEXTS_PER_DAY"]:
            yield "a text beyond the budget"
        if sent != counted:
            yield f"a ledger that says {counted - sent:+d} texts"

    def find_unheard(self, answer: Any, db: sqlite3.Connection) -> Iterator[str]:
        """A receipt that was taken is noted, if its invite is still there."""
        newest = self.group.vonage.texts[-1].id
        sql = (
            "SELECT 1 FROM whitelist JOIN json_each(message_ids) AS part ON part.key = ?"
            " WHERE delivery IS NULL"
        )
        if (
            answer is not None
            and answer.status_code == 204
            and db.execute(sql, (newest,)).fetchone()
        ):
            yield "a receipt that was taken, and not noted"

    def find_outlived(self, kinds: Pair, db: sqlite3.Connection) -> Iterator[str]:
        """What a sign-out should have ended. A passkey brings its owner back."""
        if "sign in by passkey" in kinds:
            return
        grace = member_id(self.group, "grace") if "leave" not in kinds else 0
        devices = db.execute(
            "SELECT id_digest FROM sessions WHERE author_id = ?", (grace,)
        ).fetchall()
        sql = "SELECT 1 FROM app_passwords WHERE author_id = ?"
        if "sign out everywhere" in kinds and (devices or db.execute(sql, (grace,)).fetchone()):
            yield "something of Grace's outlived signing out everywhere"
        if "end the other devices" in kinds and len(devices) > 1:
            yield "another device of Grace's outlived"

    def find_lost(self, kinds: Pair, answers: list[Any], db: sqlite3.Connection) -> Iterator[str]:
        """Everybody who was invited has an invite or is in, and who is told so has a session."""
        for name, phone in (("ivy", IVY), ("judy", JUDY), ("henry", HENRY), ("kevin", KEVIN)):
            with self.group.app.app_context():
                digest = digest_phone(phone)
            sql = "SELECT count(*) FROM whitelist WHERE phone_digest = ?"
            has_invite = db.execute(sql, (digest,)).fetchone()[0]
            sql = "SELECT author_id FROM pending_verifications WHERE phone_digest = ?"
            is_in = (db.execute(sql, (digest,)).fetchone() or (None,))[0] is not None
            if is_in and has_invite and "invite again" not in kinds:
                yield f"{name} is in, and has an invite"
            if not (is_in or has_invite or takes_invite_of(name, kinds)):
                yield f"{name} has neither an invite nor a member"
            if phone in self.group.vonage.checked and not is_in and not ends_sign_up(name, kinds):
                yield f"{name}'s PIN is used up for nothing"
        for kind, answer in zip(kinds, answers, strict=True):
            if kind.startswith("a sign-up") and answer.status_code == 303:
                cookie = answer.headers["Set-Cookie"].split("session=")[1].split(";")[0]
                with self.group.app.app_context():
                    digest = digest_session(cookie)
                sql = "SELECT 1 FROM sessions WHERE id_digest = ?"
                if not db.execute(sql, (digest,)).fetchone():
                    yield f"{kind} is told of a session that isn't there"

    def find_told_twice(self, db: sqlite3.Connection) -> Iterator[str]:
        """The photos are told of each device once, of the first ones first, and of all."""
        payloads = [decode(token.split(".")[1]) for _, token in Listener.heard]
        heard, waiting = [json.loads(payload)["sid"] for payload in payloads], self.waiting
        if len(set(heard)) < len(heard) or heard[: len(waiting)] != waiting[: len(heard)]:
            yield "told twice, or in another order"
        left = {json.loads(ids)["sid"] for (ids,) in db.execute("SELECT ids FROM outbox")}
        if not set(waiting) <= left.union(heard):
            yield "not told, and no longer in the outbox"


def find_wrong_answers(kinds: Pair, answers: list[Any]) -> Iterator[str]:
    for kind, answer in zip(kinds, answers, strict=True):
        if isinstance(answer, BaseException):
            yield f"{kind}: {answer!r}"
        elif answer is not None and answer.status_code >= 500 and answer.status_code != 503:
            yield f"{kind}: {answer.status_code}"
    statuses = [answer.status_code for answer in answers if isinstance(answer, TestResponse)]
    if kinds[0] == kinds[1] and kinds[0] in ONCE and statuses == [200, 200]:
        yield f"{kinds[0]}, twice"


ONCE = ("exchange a code", "sign in by passkey", "add a passkey")
NEVER = {
    "two members from one invite": (
        "SELECT invite_id FROM journal WHERE event IN ('joined', 'rejoined', 'signed_in')"
        " GROUP BY invite_id HAVING count(*) > 1"
    ),
    "one name for two": (
        "SELECT 1 FROM journal WHERE event IN ('joined', 'signed_in') AND actor = 'ivy'"
        " GROUP BY actor HAVING count(DISTINCT invite_id) > 1"
    ),
    "a name that was taken from an invite": (
        "SELECT 1 FROM journal AS joined JOIN journal AS invited ON invited.event = 'invited'"
        " AND invited.subject = joined.actor AND invited.id < joined.id"
        " JOIN whitelist ON whitelist.id = invited.invite_id WHERE joined.event = 'joined'"
    ),
    "an invite that lets in after it was closed": (
        "SELECT 1 FROM journal AS closed JOIN journal AS joined USING (invite_id)"
        " WHERE closed.event IN ('revoked', 'stopped') AND joined.id > closed.id"
        " AND joined.event IN ('joined', 'rejoined', 'signed_in')"
    ),
    "two PINs by one own word": (
        "SELECT 1 FROM journal JOIN whitelist ON whitelist.id = invite_id"
        " WHERE event = 'pin_sent' AND word_digest IS NOT NULL"
        " GROUP BY invite_id HAVING count(*) > 1"
    ),
    "a row of the outbox without its receiver": (
        "SELECT 1 FROM outbox WHERE receiver NOT IN (SELECT name FROM receivers)"
    ),
    "an app that knows a device that isn't there": (
        "SELECT 1 FROM openid_sessions WHERE session_digest != ''"
        " AND session_digest NOT IN (SELECT id_digest FROM sessions)"
    ),
    "a member who can't get in": (
        "SELECT username FROM authors WHERE removed_at IS NULL AND username = 'ivy'"
        " AND id NOT IN (SELECT author_id FROM sessions)"
    ),
    "an invite of somebody who is out": (
        "SELECT whitelist.id FROM whitelist JOIN authors ON authors.id = whitelist.invited_by"
        " WHERE removed_at IS NOT NULL"
    ),
} | {
    f"{table} of somebody who is out": (
        f"SELECT author_id FROM {table} JOIN authors ON authors.id = author_id"
        " WHERE removed_at IS NOT NULL"
    )
    for table in (
        "sessions",
        "passkeys",
        "app_passwords",
        "openid_codes",
        "openid_tokens",
        "circle_members",
    )
}


def takes_invite_of(name: str, kinds: Pair) -> bool:
    if name == "ivy":
        return "withdraw" in kinds
    return name == "henry" and "forget" in kinds


def ends_sign_up(name: str, kinds: Pair) -> bool:
    """The invite ends, or its name is given away, while the PIN is being checked."""
    if "invite for the name" in kinds and name in ("ivy", "judy"):
        return True
    if name == "ivy":
        return not {"withdraw", "invite again", "STOP"}.isdisjoint(kinds)
    return name == "henry" and "forget" in kinds


# The walk -----------------------------------------------------------------------------------------

# These send texts: each two of them once more, when the day's budget is enough for one text.
TEXTING = (
    "a reply with the word",
    "the first reply",
    "a reply without the word",
    "invite again",
    "invite for the name",
    "a member invites",
    "an own word",
    "the same word of another",
)


class Walked(NamedTuple):
    schedules: int
    broken: Counter[str]
    first: int  # the schedule that was the first to break something; 0: none did


class Walk(NamedTuple):
    world: World
    stage: Stage
    kept: Kept

    def walk(self, pair: Pair, is_tight: bool = False, until_broken: bool = False) -> Walked:
        count, first, broken = 0, 0, Counter[str]()
        config, world = self.world.group.app.config, self.world
        for schedule in all_schedules():
            self.stage.put_back(self.kept)
            Listener.heard.clear()
            config["TEXTS_PER_DAY"] = world.spent + 1 if is_tight else 100
            one, other = ((lambda kind=kind: world.act(kind)) for kind in pair)
            answers = self.stage.doors.walk((one, other), schedule)
            if answers is None:
                continue
            count += 1
            broken.update(world.deliver_again(pair, answers))
            broken.update(world.find_broken(pair, answers))
            if broken and not first:
                first = count
                if until_broken:
                    break
        return Walked(count, broken, first)


@contextmanager
def standing() -> Iterator[Walk]:
    """The group, in memory as far as the system has a place for that."""
    memory = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else None
    vonage = Vonage(signature_secret=SIGNATURE_SECRET)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=memory)))
        make_certificate(folder)
        server = stack.enter_context(serving(vonage, folder))
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("REQUESTS_CA_BUNDLE", str(server.certificate))
        patch.setattr(journey, "SECOND_PRESS_PATIENCE", 0)  # the first one goes on when it's let
        stack.enter_context(time_machine.travel(1_800_000_000, tick=False))
        settings = base_settings(vonage, server, folder / "first.db")
        settings |= {"SECRET_KEY": secrets.token_hex(32), "MEMBER_INVITES": "3"}
        app = create_app(settings | {"TEXTS_PER_DAY": "100"})
        world = World(Group(app, vonage), stack.enter_context(listening_with(Listener)))
        stage = Stage(app, vonage, folder)
        stack.callback(stage.doors.close)
        yield Walk(world, stage, stage.keep())


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.two_requests", description=__doc__)
    parser.add_argument("pair", nargs="*", help="two kinds of request; without them, all")
    parser.add_argument("--tight", action="store_true", help="one text is left of the budget")
    asked = parser.parse_args()
    with standing() as walk:
        is_broken = walk_one(walk, asked.pair, asked.tight) if asked.pair else walk_all(walk)
    sys.exit(is_broken)


def walk_one(walk: Walk, pair: list[str], is_tight: bool) -> bool:
    """Until something is broken. Says in which order that was, and what."""
    one, other = pair
    if not {one, other} <= set(walk.world.kinds()):
        raise SystemExit(f"The kinds are: {', '.join(walk.world.kinds())}.")
    found = walk.walk((one, other), is_tight, until_broken=True)
    print(found.first or f"nothing in {found.schedules}", *found.broken)
    return bool(found.broken)


def walk_all(walk: Walk) -> bool:
    pairs = [(pair, False) for pair in combinations_with_replacement(walk.world.kinds(), 2)]
    pairs += [(pair, True) for pair in combinations_with_replacement(TEXTING, 2)]
    schedules, wrong, began = 0, 0, time.monotonic()
    for pair, is_tight in pairs:
        found = walk.walk(pair, is_tight)
        schedules += found.schedules
        wrong += bool(found.broken)
        told = [f"{count} times: {what}" for what, count in found.broken.items()]
        print(f"{pair[0]} | {pair[1]}{' | one text left' * is_tight}:", found.schedules, *told)
    print(
        f"{len(walk.world.kinds())} kinds of request, {len(pairs)} pairs, {schedules:,} orders in"
        f" {time.monotonic() - began:.0f} s: {wrong} pairs broke something."
    )
    return bool(wrong)


if __name__ == "__main__":
    main()
