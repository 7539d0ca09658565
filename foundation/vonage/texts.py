"""What we text: the words, whether a text quotes them, and how soon a number is texted again."""

from collections.abc import Iterator

from flask import current_app

from foundation.running import running
from foundation.storage.database import fetch_row, get_db
from foundation.storage.digests import digest_phone
from foundation.typed.mistakes import Mistake
from foundation.vonage.client import count_parts
from foundation.vonage.inbound import Inbound, fold_text
from foundation.words.clock import MINUTE, now
from foundation.words.languages import LANGUAGES, translate

# A text has 160 letters of GSM-7, or 70 of any others. So the translations keep to GSM-7 where they
# can, and the Spanish and the Portuguese ones do without accents.
TEXTS = {
    "invite": "You're invited to {group}. Reply {word} to get your PIN (STOP to opt out), then sign"
    " in at {address}",
    "invite by name": "{inviter} invited you to {group}. Reply {word} to get your PIN (STOP to opt"
    " out), then sign in at {address}",
    "warning": "You'll get a text from {number}: it's my invite to {group}.",
    "hint": "Reply with just {word}",
    "help": "{group}: reply {word} to get your PIN, STOP to opt out. Msg & data rates may apply."
    " {about}",
    "help by name": "{group}, invited by {inviter}: reply {word} to get your PIN, STOP to opt out."
    " Msg & data rates may apply. {about}",
    "by oneself": "Join us in {group}: text {word} to {number} from this phone. You get a PIN; sign"
    " in with it at {address} (about our texts: {about})",
}


def parse_text_language(text: str) -> str:
    """Optional. Raises Mistake."""
    if text and text not in LANGUAGES:
        raise Mistake("language", "language-unknown")
    return text


def write_text(
    name: str, language: str | None = None, inviter: str | None = None, word: str | None = None
) -> str:
    """`language`, `word`: the group's, if none is given."""
    config = current_app.config
    return translate(TEXTS[name], language or config["LANGUAGE"]).format(
        inviter=inviter,
        group=config["GROUP_NAME"],
        word=word or config["INVITE_CODE"].upper(),
        number=f"+{config['VONAGE_NUMBER']}",
        address=f"{config['BASE_URL']}/signup",
        about=f"{config['BASE_URL']}/texts",
    )


def write_invite(inviter: str | None, language: str | None = None) -> str:
    return write_by_name("invite", inviter, language)


def write_help(inviter: str | None, language: str | None = None) -> str:
    """The answer to HELP."""
    return write_by_name("help", inviter, language)


def write_by_name(name: str, inviter: str | None, language: str | None) -> str:
    """The text of that name. Names the inviter if that costs no SMS more."""
    shortest = write_text(name, language)
    named = write_text(f"{name} by name", language, inviter) if inviter else shortest
    return named if count_parts(named) <= count_parts(shortest) else shortest


def write_hint(language: str | None = None) -> str:
    return write_text("hint", language)


def write_own_words(language: str | None = None, word: str | None = None) -> str:
    """What an inviter sends a friend by themselves; `word`: the invite's own."""
    return write_text("by oneself", language, word=word)


def write_warning(language: str | None = None) -> str:
    """What an inviter tells a friend beforehand, who would take our text for a scam."""
    return write_text("warning", language)


def quotes_us(message: Inbound) -> bool:
    """Whether it contains a text of ours, with the word in it: somebody "loved" that."""
    if not running().quotes:
        running().quotes = [*find_quotes()]
    return any(quote in message.text for quote in running().quotes)


def find_quotes() -> Iterator[str]:
    """In every language. A quote may come in parts, so what is around the word is enough."""
    word = current_app.config["INVITE_CODE"].upper()
    yield current_app.config["BASE_URL"].split("//")[1]
    for language in LANGUAGES:
        yield fold_text(write_hint(language))
        for name in ("invite", "invite by name"):
            before, _, after = translate(TEXTS[name], language).partition("{word}")
            near = (before.rpartition("}")[2][-12:], after.partition("{")[0][:7])
            yield fold_text(word.join(near))


# A number is texted once a minute, also when its invite is withdrawn meanwhile --------------------


def start_cooldown(phone: str) -> None:
    get_db().execute(
        "INSERT OR REPLACE INTO cooldowns VALUES (?, ?)", (digest_phone(phone), now() + MINUTE)
    )


def end_cooldown(phone: str) -> None:
    """Nothing was sent after all."""
    get_db().execute("DELETE FROM cooldowns WHERE phone_digest = ?", (digest_phone(phone),))


def seconds_until_text(phone: str) -> int | None:
    """None: the number was not texted within the last minute."""
    lately = fetch_row(
        "SELECT until FROM cooldowns WHERE phone_digest = ? AND until BETWEEN ? AND ?",
        (digest_phone(phone), now() + 1, now() + MINUTE),
    )
    return lately["until"] - now() if lately else None


def prune_cooldowns() -> None:
    get_db().execute("DELETE FROM cooldowns WHERE until <= ?", (now(),))
