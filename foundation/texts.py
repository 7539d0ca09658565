"""What we text: the words, whether a text quotes them, and how soon a number is texted again."""

from flask import current_app, render_template

from foundation.clock import MINUTE, now
from foundation.database import fetch_row, get_db
from foundation.digests import phone_digest
from foundation.inbound import Inbound, plain
from foundation.vonage import count_parts


def write_invite(inviter: str | None) -> str:
    """The invite text. Names the inviter if it still fits into one SMS."""
    word = current_app.config["INVITE_CODE"].upper()
    named, plain_one = (
        render_template("sms/invite.txt", word=word, inviter=name).strip()
        for name in (inviter, None)
    )
    return named if count_parts(named) == 1 else plain_one


def write_hint() -> str:
    return f"Reply with just {current_app.config['INVITE_CODE'].upper()}"


def quotes_us(message: Inbound) -> bool:
    """Whether it contains a text of ours, with the word in it: somebody "loved" that. A quote may
    come in parts, so each of our sentences with the word is looked for, too."""
    word, invite = plain(current_app.config["INVITE_CODE"]), plain(write_invite(None))
    at = invite.index(f" {word} ")
    ours = (current_app.config["BASE_URL"].split("//")[1], plain(write_hint()))
    return any(quote in message.text for quote in (*ours, invite[at - 5 : at + len(word) + 8]))


# A number is texted once a minute, whatever becomes of its invite in the meantime -----------------


def start_cooldown(phone: str) -> None:
    get_db().execute(
        "INSERT OR REPLACE INTO cooldowns VALUES (?, ?)", (phone_digest(phone), now() + MINUTE)
    )


def end_cooldown(phone: str) -> None:
    """Nothing was sent after all."""
    get_db().execute("DELETE FROM cooldowns WHERE phone_digest = ?", (phone_digest(phone),))


def seconds_until_text(phone: str) -> int | None:
    """None: the number was not texted within the last minute."""
    lately = fetch_row(
        "SELECT until FROM cooldowns WHERE phone_digest = ? AND until BETWEEN ? AND ?",
        (phone_digest(phone), now() + 1, now() + MINUTE),
    )
    return lately["until"] - now() if lately else None


def prune_cooldowns() -> None:
    get_db().execute("DELETE FROM cooldowns WHERE until <= ?", (now(),))
