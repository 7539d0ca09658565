"""Ways in, as the pages say them."""

import re

from .authenticator import Passkey

BACKED_UP = 0x18  # BE and BS
LINUX = "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0"


def synced() -> Passkey:
    passkey = Passkey()
    passkey.flags |= BACKED_UP
    return passkey


def words(page: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page.split("<main")[1].split("<footer")[0]).split())
