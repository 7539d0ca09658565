"""A feature: an optional part of the program, switched on by one line in wsgi.py.

It lives in `features/<name>.py`, with `templates/<name>/`, its test and, where it needs tables,
`features/<name>.sql`. A view that programs call is marked with `for_machines`.
"""

import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from flask import Blueprint, Flask, abort, has_request_context, redirect, request

from foundation.running import hooks, running
from foundation.storage.authors import say_name
from foundation.storage.journal import EVENTS
from foundation.storage.sent_forms import make_once
from foundation.web.additions import Addition
from foundation.web.forward_auth import FindCaller, MayPass
from foundation.web.friends import count_friends, find_newest_friends
from foundation.web.groups import FindGroups
from foundation.web.guards import with_next
from foundation.web.invite_lists import count_needing
from foundation.web.notices import take_notice
from foundation.web.responses import find_static_files
from foundation.web.sending import Message
from foundation.web.sessions import Member, current_member, is_admin, say_device
from foundation.web.ways_in import (
    find_advice,
    find_guest,
    find_other_ways,
    is_on_computer,
    is_only_admin,
    say_additions,
    say_own_ways,
    say_ways,
)
from foundation.words.sentences import SENTENCES, is_sentence, say
from foundation.words.templates import add_words

ADMIN_PAGES = {"/admin": "Invites"}  # and those of the features
NOTHING: Mapping[str, Any] = MappingProxyType({})
# Why sessions end.
Why = Literal[
    "signed-out",
    "ended",  # from another device
    "others",  # all but the one that says so
    "everywhere",
    "removed",  # the member is, or leaves
    "returned",  # the member comes back by an invite, without what was before
    "replaced",  # by another sign-in on the same browser
    "over",  # after SESSION_MAX_DAYS
    "unused",  # for SESSION_DAYS
]


class Feature(NamedTuple):
    """What a feature adds. Its name is the blueprint's."""

    blueprint: Blueprint  # its routes and commands
    sentences: Mapping[str, str] = NOTHING  # by name, see words/sentences.py
    events: Mapping[str, str] = NOTHING  # words of its journal lines, see journal.py
    admin_pages: Mapping[str, str] = NOTHING  # links on the admins' pages, by address
    slots: Mapping[str, str] = NOTHING  # by place ("account"), a template to show there
    # SQL for ways in of members, see ways_in.py.
    ways_in: str = ""
    # The title of the app that an address leads to; None: it's not one that this feature knows.
    find_title: Callable[[str], str | None] | None = None
    additions: Mapping[str, Addition] = NOTHING  # what can be added to an account, by its kind
    prune: Callable[[], None] | None = None  # delete what has expired, in the caller's transaction
    each_minute: Callable[[], None] | None = None  # what else the server does, the same
    # SECRET_KEY is another one: delete what can't be read any more, in the caller's transaction.
    key_changed: Callable[[], None] | None = None
    # Its part in `end_sessions` of app.py, in the caller's transaction, before the sessions are
    # deleted: the members' ids, the digests of their sessions that end (or none), and why.
    ended: Callable[[Collection[int], Collection[str], Why], None] | None = None
    # An admin has saved a member's page: the member's id, and the admin's name. In the caller's
    # transaction.
    change_member: Callable[[int, str], None] | None = None
    # After members lost the right to use a program: its id and theirs, in the caller's transaction.
    access_lost: Callable[[int, list[int]], None] | None = None
    # After what a program is told of members' groups has changed, the same.
    groups_changed: Callable[[int, list[int]], None] | None = None
    # Circles that programs are told of in their own way: (program's id, circle's id).
    find_claimed_circles: Callable[[], list[tuple[int, int]]] | None = None
    # Somebody signed in by an invite: their id, and the names of the circles that it carries. In
    # the caller's transaction.
    joined: Callable[[int, list[str]], None] | None = None
    # Where a member has to confirm first, before something new can sign in as them or (`is_ending`)
    # a way in is ended; None: nowhere. Takes how many seconds ago is recent enough, too.
    where_to_confirm: Callable[..., str | None] | None = None
    # Where a member proves to a program who sits here; None: they have nothing that does.
    where_to_prove: Callable[[Member], str | None] | None = None
    # Its part in what /auth says, see forward_auth.py.
    find_caller: FindCaller | None = None
    may_pass: MayPass | None = None
    find_groups: FindGroups | None = None  # and in what programs are told
    # The message for a row of the outbox that is for it; None: nothing is left to tell.
    write_message: Callable[[sqlite3.Row], Message | None] | None = None
    undelivered: Callable[[str], None] | None = None  # that receiver wasn't told, and won't be
    # How often a message is tried that its receiver finds fault with (4xx), or may have taken;
    # None: 400 for a day.
    tries_when_refused: int | None = None
    # For `flask doctor`: whether something is well, and that in words.
    check: Callable[[], Iterable[tuple[bool, str]]] | None = None
    not_in_backups: tuple[str, ...] = ()  # tables of its own that backups have without rows

    @property
    def name(self) -> str:
        return self.blueprint.name


def add_features(app: Flask, features: tuple[Feature, ...]) -> None:
    here = running(app)
    here.sentences |= SENTENCES
    here.events |= EVENTS
    for feature in features:
        app.register_blueprint(feature.blueprint)
        here.sentences |= feature.sentences
        here.events |= feature.events


def find_confirmation(member: Member, **how: int) -> str | None:
    """Where that member has to confirm first, see `where_to_confirm`."""
    places = (where_to_confirm(member, **how) for where_to_confirm in hooks("where_to_confirm"))
    return next((place for place in places if place), None)


UNCONFIRMED = "unconfirmed"  # the detail of a line of the journal


def confirm_ending(member: Member, page: str) -> str | None:
    """Before a way in is ended: leads to where the member confirms, and from there to the page that
    asks. Who no longer has what one confirms with goes on without (`?unconfirmed=yes`), and then
    nothing new is added for a day. Returns the detail for the journal."""
    place = find_confirmation(member, is_ending=True)
    if place is None:
        return None
    if not request.args.get(UNCONFIRMED):
        abort(redirect(with_next(place, page), 303))
    return UNCONFIRMED


def find_proof(member: Member) -> str | None:
    """Where that member proves who sits here, see `where_to_prove`."""
    places = (where_to_prove(member) for where_to_prove in hooks("where_to_prove"))
    return next((place for place in places if place), None)


def find_title(address: str | None) -> str | None:
    """Of the app that the address leads to, if it's one."""
    titles = (find(address) for find in hooks("find_title")) if address else ()
    return next((title for title in titles if title), None)


def add_template_context(app: Flask, features: tuple[Feature, ...]) -> None:
    """What every template knows: who is asking, what the features bring, how to look things up."""
    known = collect_for_templates(features) | {"static": find_static_files(app)}

    @app.context_processor
    def describe_visitor() -> dict[str, Any]:
        member = current_member()
        here = request.path if has_request_context() else ""  # commands render texts
        return {"member": member, "is_admin": is_admin(member), "here": here, **known}

    add_words(app)
    app.jinja_env.filters |= {"device": say_device, "name": say_name, "ways": say_ways}
    app.jinja_env.filters |= {"own_ways": say_own_ways, "additions": say_additions}


def collect_for_templates(features: tuple[Feature, ...]) -> dict[str, Any]:
    """What templates know of features, and how they look up what those bring."""
    admin_pages = [*ADMIN_PAGES.items()]
    slots: dict[str, list[str]] = {}
    for feature in features:
        admin_pages += feature.admin_pages.items()
        for place, template in feature.slots.items():
            slots.setdefault(place, []).append(template)
    lookups: dict[str, Any] = {"say": say, "is_sentence": is_sentence, "take_notice": take_notice}
    lookups |= {"with_next": with_next, "make_once": make_once}
    lookups |= {"find_other_ways": find_other_ways, "is_only_admin": is_only_admin}
    lookups |= {"find_advice": find_advice, "find_guest": find_guest}
    lookups |= {"count_friends": count_friends, "find_newest_friends": find_newest_friends}
    lookups |= {"is_on_computer": is_on_computer, "count_needing": count_needing}
    return {"admin_pages": admin_pages, "slots": slots, **lookups}
