"""Words of a text message that mean something everywhere: to opt out, and to ask for help."""

import itertools
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
    "arrêt", "arrêter", "arrêtez", "désabonner", "désinscrire",
    "baja", "alto", "parar", "cancelar",
    "pare", "sair",
    "basta", "annulla",
    "afmelden", "stoppen",
    "إيقاف", "توقف", "إلغاء", "ستوب",
    "停止", "ストップ", "解除", "配信停止",
}  # fmt: skip
OPT_OUTS = {strip_accents(word) for word in OPT_OUTS}
HELPS = {"help", "info", "hilfe", "aide", "ayuda", "ajuda", "aiuto", "hulp", "مساعدة", "ヘルプ"}
HELPS = {strip_accents(word) for word in HELPS}


def is_opt_out_word(word: str) -> bool:
    return strip_accents(word) in OPT_OUTS


def is_opt_out(words: list[str]) -> bool:
    """As the whole text, or among at most four words ("please stop", "stop it", "opt out")."""
    pairs = (first + second for first, second in itertools.pairwise(words))
    return len(words) <= 4 and any(map(is_opt_out_word, [*words, *pairs]))


def asks_for_help(words: list[str]) -> bool:
    """HELP alone."""
    return len(words) == 1 and strip_accents(words[0]) in HELPS
