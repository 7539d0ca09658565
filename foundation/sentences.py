"""Sentences: what people are told, by name."""

from flask import get_template_attribute


def say(sentence: str) -> str:
    sentences: dict[str, str] = get_template_attribute("_sentences.html", "sentences")
    return sentences.get(sentence, sentences["error"])
