"""Housekeeping: a thread of the server. It sends what is in the outbox, and does once a minute what
nobody asks for."""

import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from flask import Flask

from foundation.running import running
from foundation.storage import outbox
from foundation.storage.database import transaction
from foundation.web.feature import Feature
from foundation.web.sending import Message, Sender
from foundation.words.clock import DAY, MINUTE, now

PAUSE = 2  # seconds between two looks into the outbox
TURN = 5  # seconds for one receiver at a time; a server that is told to stop waits for it


def start_housekeeping(app: Flask, each_minute: Callable[[], None]) -> None:
    """For servers: a command or a test would leave the thread behind."""
    threading.Thread(
        target=keep_house, args=(app, each_minute), name="housekeeping", daemon=True
    ).start()


def keep_house(app: Flask, each_minute: Callable[[], None]) -> None:
    due_at = 0.0
    while True:
        time.sleep(PAUSE)
        try:
            with app.app_context():
                send_what_is_due(app)
                if time.monotonic() >= due_at:
                    due_at = time.monotonic() + MINUTE
                    each_minute()
        except sqlite3.Error as error:  # the next round may be luckier
            app.logger.error("Housekeeping: the database cannot be used: %s", error)
        except Exception:  # a bug of ours must not end the thread
            app.logger.exception("Housekeeping failed")


# The outbox ---------------------------------------------------------------------------------------


def send_what_is_due(app: Flask) -> None:
    """Tell those receivers that are due, all at the same time, and each in order."""
    with app.app_context():
        receivers = outbox.claim_receivers()
    if receivers:
        with ThreadPoolExecutor(len(receivers)) as pool:
            list(pool.map(partial(tell, app), receivers))


def tell(app: Flask, receiver: str) -> None:
    """One row after the other, until one fails or others should have their turn."""
    ends_at = time.monotonic() + TURN
    with app.app_context(), Sender() as sender:
        while time.monotonic() < ends_at and (row := outbox.find_oldest(receiver)):
            message = write_message(row)
            answer = sender.send(message) if message else "HTTP 204"  # nothing is left to tell
            if not answer.startswith("HTTP 2") and not is_given_up(row, answer):
                outbox.postpone(receiver, answer)
                return
            outbox.settle(row)
        outbox.release(receiver)


def is_refusal(failure: str) -> bool:
    """The same message would be refused again: not so when the receiver is only busy. One that
    didn't answer in time may have taken it."""
    is_busy = failure in ("HTTP 408", "HTTP 425", "HTTP 429")
    return failure in ("ReadTimeout", "no answer") or (failure.startswith("HTTP 4") and not is_busy)


def write_message(row: sqlite3.Row) -> Message | None:
    """By the feature whose receiver it is."""
    feature = find_feature(row["receiver"])
    return feature.write_message(row) if feature and feature.write_message else None


def find_feature(receiver: str) -> Feature | None:
    name = receiver.partition(" ")[0]
    return next((one for one in running().features if one.name == name), None)


def is_given_up(row: sqlite3.Row, failure: str) -> bool:
    """A receiver that doesn't answer is told again for a week; one that finds fault with the
    message (400), for a day, or as often as the feature says."""
    feature = find_feature(row["receiver"])
    if feature and feature.tries_when_refused and is_refusal(failure):
        if outbox.count_refusal(row) < feature.tries_when_refused:
            return False
    elif row["created_at"] > now() - (DAY if failure == "HTTP 400" else outbox.OUTBOX_LIFETIME):
        return False
    if feature and feature.undelivered:
        with transaction():
            feature.undelivered(row["receiver"])
    return True
