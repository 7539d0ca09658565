"""The journey as a machine with states, walked at random beside a small model of it: whatever
people do in whatever order, the program says what the model says."""

import re
import secrets
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
import time_machine
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from app import withdraw_invite
from foundation.web.sessions import Member
from foundation.words.clock import DAY
from simulator.server import make_certificate, serving
from simulator.vonage import Vonage
from wsgi import create_app

from .cast import CODE, SIGNATURE_SECRET, Browser, Group

PHONES = ["12025550101", "12025550102"]
NAMES = ["grace", "henry"]
phones, names = st.sampled_from(PHONES), st.sampled_from(NAMES)

CERTIFICATES = Path(tempfile.mkdtemp(prefix="trusted-group-"))
make_certificate(CERTIFICATES)


class Invite:
    """What the model remembers of an open invite."""

    def __init__(self, at: float, username: str | None) -> None:
        self.username = username
        self.expires_at = at + 7 * DAY
        self.is_stopped = False
        self.pin_times: list[float] = []
        self.tries = 0
        self.pin: str | None = None  # that runs at Vonage
        self.pin_ends_at = 0.0
        self.wrong = 0


class Device:
    """A browser that signed in."""

    def __init__(self, browser: Browser, username: str) -> None:
        self.browser, self.username = browser, username
        self.last_at = time.time() + 365 * DAY
        self.renew()

    def renew(self) -> None:
        self.seen_at = time.time()
        self.ends_at = min(time.time() + 30 * DAY, self.last_at)

    def renew_if_due(self) -> None:
        if time.time() - self.seen_at >= DAY:
            self.renew()

    def is_in(self) -> bool:
        return self.ends_at > time.time()


class Journey(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock: Any = time_machine.travel(1_800_000_000, tick=False)
        self.travelling = self.clock.start()
        self.folder = Path(tempfile.mkdtemp(prefix="trusted-group-"))
        self.vonage = Vonage(signature_secret=SIGNATURE_SECRET)
        self.server = serving(self.vonage, CERTIFICATES)
        host = self.server.__enter__().host
        self.settings = {
            "SECRET_KEY": secrets.token_hex(32),
            "BASE_URL": "http://localhost:8000",
            "INVITE_CODE": CODE,
            "ADMINS": "ada",
            "VONAGE_API_KEY": self.vonage.api_key,
            "VONAGE_API_SECRET": self.vonage.api_secret,
            "VONAGE_NUMBER": self.vonage.number,
            "VONAGE_SIGNATURE_SECRET": SIGNATURE_SECRET,
            "VONAGE_API_HOST": host,
            "VONAGE_REST_HOST": host,
            "DATABASE": str(self.folder / "group.db"),
        }
        self.group = Group(create_app(self.settings), self.vonage)
        self.invites: dict[str, Invite] = {}
        self.texted_at: dict[str, float] = {}  # by number, with or without its invite
        self.members: set[str] = set()
        self.devices: list[Device] = []

    def teardown(self) -> None:
        self.server.__exit__(None, None, None)
        self.clock.stop()
        shutil.rmtree(self.folder)

    def find_invite(self, phone: str) -> Invite | None:
        """Open or stopped."""
        invite = self.invites.get(phone)
        return invite if invite and invite.expires_at > time.time() else None

    def open_invite(self, phone: str) -> Invite | None:
        invite = self.find_invite(phone)
        return None if invite and invite.is_stopped else invite

    def names_of_open_invites(self) -> set[str | None]:
        opened = [self.open_invite(phone) for phone in self.invites]
        return {invite.username for invite in opened if invite}

    def is_running(self, invite: Invite | None) -> bool:
        return bool(invite and invite.pin and invite.pin_ends_at > time.time())

    # What people do

    @rule(phone=phones, username=st.none() | names)
    def invite(self, phone: str, username: str | None) -> None:
        known = self.find_invite(phone)
        is_refused = time.time() - self.texted_at.get(phone, 0) < 60
        is_refused |= known is not None and known.is_stopped
        words = ["invite", f"+{phone}"] + (["--username", username] if username else [])

        result = self.group.command(*words)

        assert (result.exit_code == 1) == is_refused, result.output
        if not is_refused:
            for other, invite in list(self.invites.items()):
                same_name = username is not None and invite.username == username
                if other == phone or (same_name and not invite.is_stopped):
                    del self.invites[other]
            self.invites[phone] = Invite(time.time(), username)
            self.texted_at[phone] = time.time()

    @rule(phone=phones)
    def stop(self, phone: str) -> None:
        assert self.group.text(phone, "STOP") == 204
        if invite := self.open_invite(phone):
            invite.is_stopped, invite.pin = True, None

    @rule(phone=phones)
    def revoke(self, phone: str) -> None:
        """What the button on the admin's page does."""
        found = self.group.rows("SELECT id FROM whitelist WHERE phone_hint = ?", phone[-2:])
        with self.group.app.app_context():
            for (invite_id,) in found:
                assert withdraw_invite(invite_id, Member(1, "ada"))
        self.invites.pop(phone, None)

    @rule(phone=phones)
    def text(self, phone: str) -> None:
        before = len(self.vonage.thread(phone))

        assert self.group.text(phone, CODE) == 204

        invite = self.find_invite(phone)
        lately = [at for at in invite.pin_times if time.time() - at < 600] if invite else []
        is_due = invite and invite.tries < 10 and len(invite.pin_times) < 5 and len(lately) < 3
        if (
            invite
            and invite.is_stopped
            and invite.username in self.names_of_open_invites() - {None}
        ):
            is_due = False
        assert len(self.vonage.thread(phone)) - before == (1 if is_due else 0)
        if invite and is_due:
            invite.is_stopped = False
            invite.pin_times.append(time.time())
            invite.pin, invite.wrong = self.vonage.pin_of(phone), 0
            invite.pin_ends_at = time.time() + 300

    @rule(phone=phones)
    def keep_texting(self, phone: str) -> None:
        for _ in range(3):
            self.text(phone)
            self.time_passes(301)

    @rule(phone=phones, username=names, is_right=st.sampled_from([True, True, False]))
    def sign_up(self, phone: str, username: str, is_right: bool) -> None:
        invite = self.open_invite(phone)
        pins = re.findall(r"code: (\d{6})", "\n".join(self.vonage.thread(phone)))
        pin = pins[-1] if pins and is_right else "000000"
        browser = self.group.browser()

        answer = browser.sign_up(phone, username, pin)

        is_in = answer.status_code == 303
        assert is_in == self.expect_sign_up(invite, username, pin), answer.text
        if is_in:
            del self.invites[phone]
            self.members.add(username)
            self.devices.append(Device(browser, username))

    def expect_sign_up(self, invite: Invite | None, username: str, pin: str) -> bool:
        if invite is None or not self.is_running(invite):
            return False
        if invite.tries >= 10:
            return False
        invite.tries += 1
        if invite.username is not None and invite.username != username:
            return False
        taken = self.members | self.names_of_open_invites()
        if invite.username is None and username in taken:
            return False
        if pin == invite.pin:
            return True
        invite.wrong += 1
        if invite.wrong >= 3:
            invite.pin = None
        return False

    @precondition(lambda self: self.devices)
    @rule(number=st.integers(0, 9))
    def sign_out(self, number: int) -> None:
        device = self.devices.pop(number % len(self.devices))
        answer = device.browser.post("/logout")
        assert answer.location == ("/" if device.is_in() else "/signup")
        assert device.browser.username() is None

    @rule()
    def restart(self) -> None:
        app = create_app(self.settings)
        for device in self.devices:
            device.browser.client.application = app
        self.group.app = app

    @rule(seconds=st.sampled_from([1, 59, 61, 299, 301, 601, 3 * DAY, 8 * DAY, 29 * DAY]))
    def time_passes(self, seconds: int) -> None:
        self.travelling.shift(seconds)

    @precondition(lambda self: self.devices)
    @rule()
    def a_year_of_visits(self) -> None:
        for _ in range(13):
            self.time_passes(29 * DAY)
            self.members_stay_in()

    # What always holds

    @invariant()
    def nobody_is_in_but_who_came_in(self) -> None:
        found = self.group.rows("SELECT username FROM authors")
        assert {name for (name,) in found} == self.members

    @invariant()
    def members_stay_in(self) -> None:
        for device in self.devices:
            expected = device.username if device.is_in() else None
            assert device.browser.username() == expected
            if device.is_in():
                device.renew_if_due()

    @invariant()
    def every_invite_is_what_the_model_says(self) -> None:
        found = self.group.rows(
            "SELECT phone_hint, username, pins_sent, tries FROM whitelist WHERE expires_at > ?",
            time.time(),
        )
        expected = [
            (phone[-2:], invite.username, len(invite.pin_times), invite.tries)
            for phone, invite in self.invites.items()
            if self.find_invite(phone)
        ]
        assert sorted(found, key=str) == sorted(expected, key=str)


@pytest.mark.slow
def test_the_journey_is_as_its_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(CERTIFICATES / "vonage.pem"))
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(
        Journey,
        settings=settings(
            max_examples=500,
            stateful_step_count=20,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
