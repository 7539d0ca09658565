"""Two requests at the same time, in every order of their steps: nobody gets lost, and nobody gets
in, whichever is faster. Here the pairs that meet in one row; `make orders` walks them all."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .cast import ROOT
from .two_requests import Pair, Walk, standing

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def walk() -> Iterator[Walk]:
    with standing() as made:
        yield made


@pytest.mark.parametrize(
    "pair",
    [
        ("a reply with the word", "a reply with the word"),
        ("a reply with the word", "a sign-up"),
        ("STOP", "a sign-up"),
        ("a sign-up", "a sign-up"),
        ("a sign-up", "a sign-up of another for the name"),
        ("a sign-up", "withdraw"),
        ("a sign-up", "invite again"),
        ("a sign-up", "invite for the name"),
        ("a sign-up of one who was removed", "forget"),
        ("a member invites", "remove"),
        ("remove", "finish on a device"),
        ("remove", "sign in by passkey"),
        ("remove", "exchange a code"),
        ("remove", "refresh"),
        ("remove", "make an app password"),
        ("remove", "put into a circle"),
        ("leave", "add a passkey"),
        ("sign out everywhere", "make an app password"),
        ("end the other devices", "finish on a device"),
        ("sign out", "a row of the outbox"),
        ("invite for the name", "a receipt"),
        ("exchange a code", "exchange a code"),
        ("an own word", "the same word of another"),
    ],
    ids=" | ".join,
)
def test_nothing_is_broken_in_any_order(walk: Walk, pair: Pair) -> None:
    found = walk.walk(pair)
    assert found.schedules > 1
    assert not found.broken


def test_two_texts_of_one_that_is_left(walk: Walk) -> None:
    found = walk.walk(("invite again", "an own word"), is_tight=True)
    assert found.schedules > 1
    assert not found.broken


# Faults as people make them: what a file says and what it would say, the pair that shows it, and as
# what.
PLANTED = {
    "the lease on a name is lost": (
        "app.py",
        {"(name, now() + LEASE_LIFETIME,": "(None, now() + LEASE_LIFETIME,"},
        ("a sign-up", "a sign-up of another for the name"),
        "judy's PIN is used up for nothing",
    ),
    "a check stands outside of the transaction": (
        "features/app_passwords.py",
        {
            "    with acting() as db:\n        sent_forms.refuse_if_made": (
                "    with transaction() as db:\n        sent_forms.refuse_if_made"
            )
        },
        ("make an app password", "sign out everywhere"),
        "something of Grace's outlived signing out everywhere",
    ),
    "it isn't asked whether a member was removed": (
        "foundation/web/sessions.py",
        {'"authors.removed_at IS NULL AND (': '"('},
        ("put into a circle", "remove"),
        "circle_members of somebody who is out",
    ),
    "a code is claimed late": (
        "features/openid/provider.py",
        {
            "        with transaction() as db:\n            sql = "
            '"UPDATE openid_codes SET used_at = ? WHERE digest = ? AND used_at IS NULL"\n'
            "            is_ours = db.execute(sql, (now(), code)).rowcount > 0\n": (
                "        is_ours = self.request.authorization_code.row['used_at'] is None\n"
                "        with transaction() as db:\n"
                '            sql = "UPDATE openid_codes SET used_at = ? WHERE digest = ?"\n'
                "            db.execute(sql, (now(), code))\n"
            )
        },
        ("exchange a code", "exchange a code"),
        "exchange a code, twice",
    ),
    "a text is counted after it was sent": (
        "app.py",
        {
            'journal.record("text_sent", invite_id=invite_id, parts=parts)': "pass",
            "    with transaction():\n        store_message_ids(invite_id, message_ids)\n": (
                "    with transaction():\n        store_message_ids(invite_id, message_ids)\n"
                '        journal.record("text_sent", invite_id=invite_id, parts=1)\n'
            ),
        },
        ("an own word", "invite again"),
        "a text beyond the budget",
    ),
    "a receipt is asked about in two steps": (
        "app.py",
        {
            "or note_delivery(*found):": "or note_delivery(*found) or not is_text_on_the_way():",
            "            return not is_text_on_the_way()\n": "            return False\n",
        },
        ("invite for the name", "a receipt"),
        "a receipt that was taken, and not noted",
    ),
    "an invite that was withdrawn lets in": (
        "app.py",
        {
            '    journal line come."""\n': (
                '    journal line come."""\n'
                "    sql = 'SELECT * FROM whitelist WHERE id = ?'\n"
                "    found = fetch_row(sql, (counted.invite_id,))\n"
            ),
            '        if invite is None:\n            raise Mistake("form", "invite-withdrawn")\n': (
                "        invite = invite or found\n"
            ),
        },
        ("a sign-up", "withdraw"),
        "an invite that lets in after it was closed",
    ),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_found(tmp_path: Path, fault: str) -> None:
    name, changes, pair, told = PLANTED[fault]
    copy = tmp_path / "program"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "node_modules"))
    text = (copy / name).read_text()
    for before, after in changes.items():
        assert text.count(before) == 1
        text = text.replace(before, after)
    (copy / name).write_text(text)

    tight = ["--tight"] * (fault == "a text is counted after it was sent")
    words = [sys.executable, "-m", "tests.two_requests", *tight, *pair]
    done = subprocess.run(words, cwd=copy, capture_output=True, text=True, timeout=300)

    assert done.returncode == 1, done.stderr
    assert re.match(r"\d+ ", done.stdout)
    assert told in done.stdout
    print(f"{fault}: order {done.stdout}")
