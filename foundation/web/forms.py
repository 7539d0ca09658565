"""Forms: what a person typed, and what is wrong with it."""

from collections.abc import Callable

from flask import request

from foundation.typed.mistakes import Mistake, drop_control
from foundation.web.logs import warn_sparingly
from foundation.words.sentences import say

# For the log, also where no PIN runs and no code was given out, which leaves no other trace.
GUESSES = {
    "pin-wrong": "Somebody entered a wrong PIN",
    "tries-spent": "Somebody entered a PIN after the tries of its invite were spent",
    "code-wrong": "Somebody entered a wrong code for another device",
}


class Form:
    """What a person typed, unchanged, and what is wrong with it."""

    def __init__(self, *fields: str) -> None:
        self.typed = {field: request.form.get(field, "") for field in fields}
        self.values = {field: drop_control(text) for field, text in self.typed.items()}  # to show
        self.mistakes: dict[str, Mistake] = {}  # by field

    def read(self, field: str, parse: Callable[[str], str]) -> str:
        """The parsed value, or "" and an error beside the field."""
        try:
            return parse(self.typed[field])
        except Mistake as mistake:
            self.refuse(mistake)
            return ""

    def refuse(self, mistake: Mistake) -> None:
        self.mistakes[mistake.field] = mistake
        if mistake.sentence in GUESSES:
            warn_sparingly(GUESSES[mistake.sentence])

    def error(self, field: str) -> str | None:
        """What to tell beside the field."""
        mistake = self.mistakes.get(field)
        return say(mistake.sentence, mistake.about) if mistake else None
