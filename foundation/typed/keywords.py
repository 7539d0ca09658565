"""Words of a text message that mean something everywhere: to opt out, and to ask for help."""

import itertools
import re
import unicodedata


def strip_accents(text: str) -> str:
    """For comparing, together with the hamza of Arabic and the small circle of Japanese."""
    decomposed = unicodedata.normalize("NFD", text.casefold())
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter))


# What carriers act on themselves, or ask senders to.
CARRIER_KEYWORDS = {
    "CANCEL", "HELP", "INFO", "OPTIN", "OPTOUT", "QUIT", "REVOKE", "START", "STOP", "STOPALL",
    "SUBSCRIBE", "UNSTOP", "UNSUBSCRIBE",
}  # fmt: skip

# Also what people write in the languages of our texts, whatever ours say.
OPT_OUTS = {
    "stop", "stopall", "unsubscribe", "cancel", "end", "quit", "revoke", "optout",
    "stopp", "abmelden", "abbestellen",
    "arrêt", "arrêter", "arrêtez", "désabonner", "désabonnez", "désinscrire", "désinscription",
    "baja", "alto", "parar", "cancelar",
    "pare", "sair",
    "basta", "annulla",
    "afmelden", "stoppen",
    "إيقاف", "أوقف", "توقف", "إلغاء", "ستوب",
    "停止", "ストップ", "解除", "配信停止",
}  # fmt: skip
OPT_OUTS = {strip_accents(word) for word in OPT_OUTS}
HELPS = {"help", "info", "hilfe", "aide", "ayuda", "ajuda", "aiuto", "hulp", "مساعدة", "ヘルプ"}
HELPS = {strip_accents(word) for word in HELPS}


# Written without spaces, so a word that begins like that is one.
UNSPACED = tuple(word for word in OPT_OUTS if not word.isascii() and word > "\u3000")


def split_words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text)


def split_plain_words(text: str) -> list[str]:
    """Accents go first: Arabic's vowel marks would split a word."""
    return split_words(strip_accents(text))


def is_opt_out_word(word: str) -> bool:
    plain = strip_accents(word)
    return plain in OPT_OUTS or plain.startswith(UNSPACED)


def is_opt_out(text: str) -> bool:
    """As the whole text, or among at most four words ("please stop", "stop it", "opt out")."""
    words = split_plain_words(text)
    pairs = (first + second for first, second in itertools.pairwise(words))
    return len(words) <= 4 and any(map(is_opt_out_word, [*words, *pairs]))


def begins_with_opt_out(text: str) -> bool:
    first, second = [*split_plain_words(text), "", ""][:2]
    return is_opt_out_word(first) or is_opt_out_word(first + second)


def asks_for_help(text: str) -> bool:
    """HELP alone."""
    words = split_plain_words(text)
    return len(words) == 1 and words[0] in HELPS
