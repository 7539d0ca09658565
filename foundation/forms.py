"""Forms: what a person typed, and what is wrong with it."""

from collections.abc import Callable

from flask import request

from foundation.sentences import say


class Mistake(Exception):
    """Somebody typed what cannot be. `field` is where; `sentence` is what to do about it, by its
    name in templates/_sentences.html; `wait` is in how many seconds the same will do."""

    def __init__(self, field: str, sentence: str, wait: int | None = None) -> None:
        super().__init__(sentence)
        self.field = field
        self.sentence = sentence
        self.wait = wait


class Form:
    """What a person typed, kept as it was, and a sentence beside each field that is wrong."""

    def __init__(self, *fields: str) -> None:
        self.values = {field: request.form.get(field, "") for field in fields}
        self.errors: dict[str, str] = {}
        self.waits: dict[str, int | None] = {}

    def read(self, field: str, parse: Callable[[str], str]) -> str:
        try:
            return parse(self.values[field])
        except Mistake as mistake:
            self.refuse(mistake)
            return ""

    def refuse(self, mistake: Mistake) -> None:
        self.errors[mistake.field] = say(mistake.sentence)
        self.waits[mistake.field] = mistake.wait
