"""Many at once, against the served program with its two workers: what is counted holds."""

import secrets
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import hypothesis.strategies as st
import pytest
import requests
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings

from simulator.vonage import Vonage
from wsgi import create_app

from .cast import CODE, GRACE, MALLORY, Group, Served, shown


@pytest.fixture
def workers() -> int:
    return 2


@pytest.fixture
def settings(settings: dict[str, str]) -> dict[str, str]:
    return settings | {"TEXTS_PER_DAY": "100000"}


def at_once(count: int, act: Any) -> list[Any]:
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(act, range(count)))


def post_form(served: Served, phone: str, username: str, pin: str) -> requests.Response:
    form = {"phone": f"+{phone}", "username": username, "pin": pin}
    with served.browser() as browser:
        return browser.post(f"{served.url}/login", data=form, allow_redirects=False, timeout=30)


def guesses(right: str, count: int) -> list[str]:
    return [pin for number in range(count + 1) if (pin := f"{number:06d}") != right][:count]


def test_a_thousand_guesses_one_after_another(served: Served, local: Group) -> None:
    served.vonage.wrong_pins_allowed = 10**6
    local.invite(GRACE)
    served.text(GRACE)
    right = served.vonage.pin_of(GRACE)

    mallory = served.browser()
    form = {"phone": f"+{GRACE}", "username": "mallory"}
    answers = [
        mallory.post(f"{served.url}/login", data=form | {"pin": pin})
        for pin in guesses(right, 1000)
    ]

    assert {answer.status_code for answer in answers} == {422}
    assert len(served.vonage.calls("check")) == 10
    answer = post_form(served, GRACE, "mallory", right)
    assert answer.status_code == 422
    assert shown("tries-spent") in answer.text
    served.text(GRACE)  # texting again does not reset the count
    assert served.vonage.pin_of(GRACE) == right
    assert post_form(served, GRACE, "mallory", right).status_code == 422
    assert len(served.vonage.calls("check")) == 10
    assert local.rows("SELECT * FROM authors") == []


@pytest.mark.slow
def test_two_hundred_guesses_at_once(served: Served, local: Group) -> None:
    served.vonage.wrong_pins_allowed = 10**6
    local.invite(GRACE)
    served.text(GRACE)
    pins = guesses(served.vonage.pin_of(GRACE), 1200)
    answers = []

    def guess(number: int) -> requests.Response:
        return post_form(served, GRACE, f"mallory{number}", pins.pop())

    for _ in range(6):
        answers += at_once(200, guess)

    # On a slow machine, some wait in vain for their turn to write, and are told to try again.
    statuses = Counter(answer.status_code for answer in answers)
    assert statuses.keys() <= {422, 503}
    assert statuses[422] > 1000
    tries = local.one("SELECT tries FROM whitelist")
    assert 6 <= len(served.vonage.calls("check")) <= tries <= 10
    assert local.rows("SELECT * FROM authors") == []


def test_one_message_delivered_fifty_times_at_once_is_one_pin(served: Served, local: Group) -> None:
    local.invite(GRACE)
    fields = served.vonage.inbound(GRACE, CODE)

    statuses = at_once(50, lambda _: served.vonage.deliver(f"{served.url}/answer", fields))

    assert set(statuses) <= {204, 503}
    assert 204 in statuses
    assert len(served.vonage.calls("start")) == 1
    assert served.vonage.deliver(f"{served.url}/answer", fields) == 204


def text_until_taken(served: Served, phone: str) -> None:
    """As Vonage does it: a call that is answered 503, or not in time, is made again."""
    fields = served.vonage.inbound(phone, CODE)
    served.vonage.deliver_until_taken(f"{served.url}/answer", fields)


def test_two_hundred_texts_of_one_friend_at_once_are_three_pins(
    served: Served, local: Group
) -> None:
    local.invite(GRACE)

    at_once(200, lambda _: text_until_taken(served, GRACE))

    assert len(served.vonage.thread(GRACE)) - 1 <= 3
    assert local.one("SELECT pins_sent FROM whitelist") == 3
    refused = "SELECT count(*) FROM journal WHERE event = 'pin_refused'"
    assert local.one(refused) == 197


def test_the_days_budget_holds_when_all_text_at_once(served: Served, local: Group) -> None:
    phones = [str(int(GRACE) + number) for number in range(60)]
    for phone in phones:
        local.invite(phone)
    served.kill()
    served.settings["TEXTS_PER_DAY"] = "80"
    served.start()

    at_once(200, lambda number: text_until_taken(served, phones[number % 60]))

    assert len(served.vonage.texts) == 80
    counted = "SELECT count(*) FROM journal WHERE event IN ('text_sent', 'pin_sent')"
    assert local.one(counted) == 80
    refused = "SELECT count(*) FROM journal WHERE event = 'pin_refused' AND detail = 'budget-spent'"
    assert local.one(refused) >= 40


@pytest.mark.slow
def test_friends_who_choose_one_name_at_one_instant(served: Served, local: Group) -> None:
    """100 rounds: one member each, and every loser signs up with the PIN that they have."""
    for number in range(100):
        race(served, local, f"round-{number}", friends=20 if number % 25 == 0 else 2)

    assert local.one("SELECT count(*) FROM authors") == 4 * 20 + 96 * 2
    assert local.rows("SELECT * FROM whitelist") == []


def race(served: Served, local: Group, name: str, friends: int) -> None:
    phones = [str(int(GRACE) + friend) for friend in range(friends)]
    for phone in phones:
        local.invite(phone)
        assert local.text(phone) == 204
    pins = [served.vonage.pin_of(phone) for phone in phones]
    names = [name, name.upper()]

    answers = at_once(friends, lambda n: post_form(served, phones[n], names[n % 2], pins[n]))

    assert sorted(answer.status_code for answer in answers) == [303] + [422] * (friends - 1)
    for loser in [n for n, answer in enumerate(answers) if answer.status_code == 422]:
        answer = post_form(served, phones[loser], f"{name}-{loser}", pins[loser])
        assert answer.status_code == 303, answer.text


# Forgeries

GENUINE = Vonage(signature_secret="the-accounts-own-secret")
text = st.text(max_size=40)


@st.composite
def forged(draw: st.DrawFn) -> dict[str, Any]:
    """A genuine call, changed in some way that its signature does not cover; or another's."""
    fields: dict[str, Any] = dict(GENUINE.inbound(GRACE, CODE))
    genuine = dict(fields)
    how = draw(st.sampled_from(["value", "type", "drop", "add", "rename", "fold", "sig", "secret"]))
    name = draw(st.sampled_from(sorted(fields)))
    if how == "value":
        fields[name] = draw(text)
    elif how == "type":
        fields[name] = draw(st.none() | st.booleans() | st.floats() | st.lists(text, max_size=2))
    elif how == "drop":
        del fields[name]
    elif how == "add":
        fields[draw(text)] = draw(text)
    elif how == "rename":
        fields[draw(text)] = fields.pop(name)
    elif how == "fold":
        other = draw(st.sampled_from(sorted(fields.keys() - {name})))
        fields[f"{other}={fields.pop(other)}&{name}"] = fields.pop(name)
    elif how == "sig":
        fields["sig"] = draw(text | st.from_regex(r"\A[0-9a-fA-F]{64}\Z"))
    else:
        stranger = Vonage(signature_secret=draw(text), signature_method="sha256")
        fields = dict(stranger.inbound(GRACE, CODE))
    return fields if fields != genuine else {}


@pytest.fixture(scope="module")
def fortress(tmp_path_factory: pytest.TempPathFactory) -> Group:
    settings = {
        "SECRET_KEY": secrets.token_hex(32),
        "BASE_URL": "http://localhost:8000",
        "INVITE_CODE": CODE,
        "ADMINS": "ada",
        "VONAGE_API_KEY": "abcd1234",
        "VONAGE_API_SECRET": "a-secret",
        "VONAGE_NUMBER": GENUINE.number,
        "VONAGE_SIGNATURE_SECRET": GENUINE.signature_secret or "",
        "VONAGE_API_HOST": "localhost:1",
        "DATABASE": str(tmp_path_factory.mktemp("fortress") / "group.db"),
    }
    return Group(create_app(settings), GENUINE)


@pytest.mark.parametrize("as_json", [False, True])
@given(fields=forged())
@hypothesis_settings(
    max_examples=500, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
def test_of_a_thousand_forgeries_none_is_accepted(
    fortress: Group, as_json: bool, fields: dict[str, Any]
) -> None:
    """500 as forms, 500 as JSON: 401 each, and nothing claimed."""
    if not as_json:  # on the wire, a form knows nothing but text
        fields = {name: value for name, value in fields.items() if value is not None}

    before = fortress.rows("SELECT * FROM inbound_messages")
    assert fortress.deliver(fields, as_json=as_json) == 401
    assert fortress.rows("SELECT * FROM inbound_messages") == before


def test_a_genuine_call_would_have_been_accepted(fortress: Group) -> None:
    assert fortress.deliver(GENUINE.inbound(GRACE, "hello")) == 204
    assert fortress.deliver(GENUINE.inbound(MALLORY, CODE), as_json=True) == 204
    stranger = "SELECT count(*) FROM journal WHERE event = 'word_from_stranger'"
    assert fortress.one(stranger) == 1
