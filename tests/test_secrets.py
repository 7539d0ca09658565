"""Phone numbers, PINs, the word and cookies are nowhere: not in the database, nor its
WAL, nor the logs, at any level."""

import base64
import hashlib
import hmac
import logging
import re
from pathlib import Path

import pytest
import time_machine

from foundation.words.clock import HOUR
from simulator.vonage import Answer, answer_with, drop
from wsgi import create_app

from .cast import ADA, CODE, GRACE, MALLORY, Browser, Group, Served


def spellings(secret: str) -> set[bytes]:
    """As it is, and as it might hide."""
    raw = secret.encode()
    found = {raw, raw.hex().encode(), secret[::-1].encode(), secret.encode("utf-16-le")}
    encoded = {base64.b64encode(b"x" * shift + raw)[4:-4] for shift in range(3)}
    found |= {middle for middle in encoded if len(middle) >= 8}
    if len(secret) > 8 and secret.isdigit():
        found |= {secret[-7:].encode(), f"{secret[1:4]} {secret[4:7]}".encode()}
    return found


def find_leaks(text: bytes, secrets: dict[str, str]) -> list[str]:
    return [name for name, secret in secrets.items() if any(s in text for s in spellings(secret))]


def database_bytes(database: str) -> bytes:
    files = sorted(Path(database).parent.glob(f"{Path(database).name}*"))
    assert any(file.name.endswith("-wal") for file in files)
    return b"".join(file.read_bytes() for file in files)


def test_a_journey_leaves_no_secret_behind(
    group: Group, caplog: pytest.LogCaptureFixture, settings: dict[str, str]
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in list(logging.root.manager.loggerDict):
        caplog.set_level(logging.DEBUG, logger=name)
    ada = group.join(ADA, "ada", bound=True)
    ada.post("/invite", phone=f"+{MALLORY}")
    group.vonage.fail("text", answer_with(Answer.of(500, {})))
    ada.post("/invite", phone=f"+{GRACE}")
    group.vonage.fail("start", drop, acts=True)
    fields = group.vonage.inbound(GRACE, CODE)
    group.deliver(fields)
    group.deliver(fields)
    group.deliver(fields | {"sig": "0"})
    grace = group.browser()
    pin = group.vonage.pin_of(GRACE)
    group.vonage.fail("check", answer_with(Answer.of(503, {})))
    pages = grace.sign_up(GRACE, "grace", pin).text + grace.sign_up(GRACE, "grace", pin).text
    pages += ada.get("/admin").text + grace.get("/").text
    secrets = {
        "Ada's phone": ADA,
        "Grace's phone": GRACE,
        "Mallory's phone": MALLORY,
        "the word": settings["INVITE_CODE"],
        "the secret key": settings["SECRET_KEY"],
        "the API secret": settings["VONAGE_API_SECRET"],
        "the signature secret": settings["VONAGE_SIGNATURE_SECRET"],
        "the webhook's token": group.token(),
        "Ada's cookie": ada.cookie(),
        "Grace's cookie": grace.cookie(),
        "the visitor's mark": grace.cookie("visitor"),
        "Ada's PIN": group.vonage.pin_of(ADA),
        "Grace's PIN": pin,
    }

    assert grace.username() == "grace"
    kept = database_bytes(settings["DATABASE"])
    digests_cut = re.sub(rb"[0-9a-f]{16,}", b"", kept)  # six digits may stand in one by chance
    assert find_leaks(digests_cut, secrets) == []
    assert find_leaks(kept, {n: s for n, s in secrets.items() if not n.endswith("PIN")}) == []
    assert find_leaks(caplog.text.encode(), secrets) == []
    # A form shows what its own visitor typed, and no page shows more than two digits of a number.
    shown = pages.replace(f'value="+{GRACE}"', "").replace("+1 202 555 0100", "an example")
    assert find_leaks(shown.encode(), secrets) == []
    assert len(caplog.records) > 3


def test_the_served_program_logs_no_secret(served: Served) -> None:
    served.settings["GRANIAN_LOG_LEVEL"] = "debug"
    served.settings["GRANIAN_LOG_ACCESS_ENABLED"] = "1"
    served.stop()
    served.start()
    vonage = served.vonage
    served.command("invite", f"+{GRACE}")
    served.text(GRACE)
    pin = vonage.pin_of(GRACE)
    grace = served.browser()
    grace.get(f"{served.url}/signup")
    vonage.fail("check", answer_with(Answer.of(500, {})))
    form = {"phone": f"+{GRACE}", "username": "grace", "pin": pin}
    grace.post(f"{served.url}/login", data=form)
    assert grace.post(f"{served.url}/login", data=form).url == f"{served.url}/welcome"
    log = served.log.read_bytes()

    secrets = {"phone": GRACE, "PIN": pin, "code": CODE, "cookie": grace.cookies["session"]}
    secrets |= {"mark": grace.cookies["visitor"], "key": served.settings["SECRET_KEY"]}
    assert b"POST /login" in log
    assert b"The call to Vonage (check) failed: HTTP 500" in log
    assert find_leaks(log, secrets) == []


def test_a_deleted_invite_leaves_no_digest_in_free_pages(group: Group) -> None:
    for number in range(20):
        group.invite(str(int(GRACE) + number))
    digests = [row[0] for row in group.rows("SELECT phone_digest FROM whitelist")]
    ada = group.join(ADA, "ada", bound=True)
    for number in range(1, 21):
        assert ada.post(f"/invite/{number}/revoke").status_code == 303
    group.pass_a_minute()
    group.rows("PRAGMA wal_checkpoint(TRUNCATE)")

    database = Path(group.app.config["DATABASE"]).read_bytes()

    assert group.rows("SELECT * FROM whitelist") == []
    assert [digest for digest in digests if digest.encode() in database] == []


def test_a_stolen_database_names_no_number_to_who_tries_them_all(
    group: Group, settings: dict[str, str]
) -> None:
    """Somebody has a copy, and knows the program, but not SECRET_KEY: all of 10,000 numbers
    around the right one, by every plain hash, and keyed with every string that stands in the
    database."""
    group.invite(GRACE)
    group.text(GRACE)
    tables = ("whitelist", "pending_verifications", "journal", "inbound_messages")
    found = {
        str(v) for table in tables for row in group.rows(f"SELECT * FROM {table}") for v in row
    }
    candidates = [str(number) for number in range(int(GRACE) - 5000, int(GRACE) + 5000)]
    assert GRACE in candidates

    for phone in candidates:
        for text in (phone, f"+{phone}", f'["{phone}"]'):
            hashes = {hashlib.new(name, text.encode()).hexdigest() for name in ("sha256", "md5")}
            assert not hashes & found
    for key in found | {"", "phone"}:
        derived = hmac.digest(key.encode(), b"phone", "sha256")
        for secret in (key.encode(), derived):
            digest = hmac.digest(secret, f'["{GRACE}"]'.encode(), "sha256").hex()
            assert digest not in found
    derived = hmac.digest(settings["SECRET_KEY"].encode(), b"phone", "sha256")
    digest = hmac.digest(derived, f'["{GRACE}"]'.encode(), "sha256").hex()
    assert digest in found  # with the key, this search would have found it


def test_the_database_is_for_its_owner_only(group: Group, settings: dict[str, str]) -> None:
    group.join(GRACE, "grace")
    files = list(Path(settings["DATABASE"]).parent.glob("group.db*"))

    assert len(files) >= 2
    assert {oct(file.stat().st_mode & 0o777) for file in files} == {"0o600"}


def test_no_log_line_holds_what_stands_in_a_webhooks_address(
    group: Group, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    lines = [f"/answer/{group.token()}", f"/answer?msisdn={GRACE}&text={CODE}", "/answer"]
    for line in lines:
        logging.getLogger("werkzeug").info('"POST %s HTTP/1.1" 204 -', line)
        group.app.logger.error("Exception on %s [POST]", line)

    assert find_leaks(caplog.text.encode(), {"token": group.token(), "phone": GRACE}) == []
    assert CODE not in caplog.text
    assert '"POST /answer/... HTTP/1.1" 204 -' in caplog.text
    assert "Exception on /answer/... [POST]" in caplog.text
    assert '"POST /answer HTTP/1.1" 204 -' in caplog.text


def test_the_doctor_logs_no_token_at_any_level(
    group: Group, served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    local = Group(create_app(served.settings), served.vonage)
    with caplog.at_level("DEBUG"):
        assert local.command("doctor", "--fix").exit_code == 0
        assert local.command("doctor").exit_code == 0
    assert local.token() not in caplog.text
    assert "api_secret" not in caplog.text


def test_a_note_is_in_no_file_once_its_invite_is_gone(group: Group, ada: Browser) -> None:
    """After the next minute's checkpoint, and before: in none after it."""
    database = Path(group.app.config["DATABASE"])
    ada.post("/invite", phone=f"+{GRACE}", who="Grace from the chess club")

    def files_with_it() -> list[str]:
        files = database.parent.glob(f"{database.name}*")
        return [file.name for file in files if b"chess club" in file.read_bytes()]

    assert files_with_it()
    ada.post(f"/invite/{group.one('SELECT id FROM whitelist')}/revoke")
    group.keep_house()
    assert files_with_it() == []


def test_the_journal_forgets_which_message_brought_a_pin(group: Group) -> None:
    """Of a text in parts, its digest is made of the number."""
    with time_machine.travel(1_900_000_000, tick=False) as clock:
        group.invite(GRACE)
        for part in group.vonage.inbound_parts(GRACE, f"{CODE} " + "and more " * 30):
            group.deliver(part)
        sent = "SELECT detail FROM journal WHERE event = 'pin_sent'"
        assert len(group.one(sent)) == 64
        clock.shift(HOUR)
        group.keep_house()
        assert group.rows(sent) == [(None,)]
