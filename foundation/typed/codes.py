"""Codes that people type: letters and digits that nobody mistakes for one another."""

import unicodedata

from foundation.typed.mistakes import drop_invisible

ALPHABET = "23456789BCDFGHJKLMNPQRSTVWXZ"  # no vowels, so no words; and no look-alikes


def spell(digest: str, length: int) -> str:
    """The first letters of a digest, which is in hex."""
    number, letters = int(digest, 16), ""
    for _ in range(length):
        number, letter = divmod(number, len(ALPHABET))
        letters += ALPHABET[letter]
    return letters


def read_code(text: str) -> str:
    """However it is typed: without what is no letter and no digit."""
    kept = unicodedata.normalize("NFKC", drop_invisible(text)).upper()
    return "".join(letter for letter in kept if letter.isalnum())


def is_code(text: str, length: int) -> bool:
    return len(text) == length and set(text) <= set(ALPHABET)
