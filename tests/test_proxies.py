"""The real nginx, Caddy and Traefik, with the files of deploy/, guard a program that says what it
was asked."""

import fcntl
import json
import os
import re
import socket
import ssl
import subprocess
import time
from collections.abc import Container, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from hashlib import sha256
from html import unescape
from http.server import ThreadingHTTPServer
from itertools import product
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import yaml

from foundation.web.guards import with_next
from simulator.server import serving
from simulator.vonage import Vonage
from wsgi import create_app

from .cast import (
    ADA,
    GRACE,
    MALLORY,
    ROOT,
    SIGNATURE_SECRET,
    Browser,
    Group,
    Served,
    base_settings,
    find_port,
    in_background,
    require_executable,
    shown,
    wait_for,
)
from .registering import GROUPS, PROGRAMS, register
from .web_servers import (
    GROUP,
    TRUSTING,
    WIKI,
    Another,
    Answer,
    Headers,
    Proxy,
    Visitor,
    Wiki,
    start_caddy,
    start_nginx,
    start_traefik,
)

PAGE = f"{WIKI}/page?a=1&b=%2F"


class Guarded:
    """The program in front of which the proxies ask, and its one database."""

    def __init__(self, served: Served, group: Group) -> None:
        self.served, self.group, self.token = served, group, group.token()

    def invite(self, proxy: Proxy, phone: str, username: str | None = None) -> str:
        """Invite, text back through the proxy, return the PIN."""
        known = self.group.rows("SELECT 1 FROM authors WHERE username = ?", username)
        self.group.rows("DELETE FROM journal")  # no pause between two invites of one number
        self.group.invite(phone, username if known or username == "ada" else None)
        text = urlencode(self.group.vonage.inbound(phone, "sunflower"))
        webhook = f"{GROUP}/answer/{self.token}"
        assert Visitor(proxy).ask(webhook, [], "POST", text).status == 204
        return self.group.vonage.pin_of(phone)

    def visitor(self, proxy: Proxy, phone: str, username: str) -> Visitor:
        """Signed in."""
        visitor = Visitor(proxy)
        assert visitor.sign_up(phone, username, self.invite(proxy, phone, username)).status == 303
        return visitor


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    vonage, port = Vonage(signature_secret=SIGNATURE_SECRET), find_port()
    more = {"BASE_URL": GROUP, "COOKIE_DOMAIN": "example.org"}
    with pytest.MonkeyPatch.context() as patch, serving(vonage, folder) as server:
        patch.setenv("REQUESTS_CA_BUNDLE", str(server.certificate))
        settings = base_settings(vonage, server, folder / "group.db") | more
        served = Served(settings, vonage, folder / "server.log", f"http://127.0.0.1:{port}")
        served.workers = 2
        group = Group(create_app(settings), vonage)
        assert group.command("program", "add", "wiki", "The wiki", WIKI).exit_code == 0
        for name in ("photos", "files", "empty"):
            group.command("program", "add", "--chosen", name, name, f"https://{name}.example.org")
        served.start()
        yield Guarded(served, group)
        served.stop()


@pytest.fixture(scope="module")
def wiki() -> Iterator[int]:
    """Its port."""
    with in_background(ThreadingHTTPServer(("127.0.0.1", 0), Wiki)) as port:
        yield port


@pytest.fixture(scope="module")
def proxies(
    guarded: Guarded, wiki: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Proxy]]:
    folder = tmp_path_factory.mktemp("proxies")
    addresses = {
        "127.0.0.1:8000": guarded.served.url.removeprefix("http://"),
        "127.0.0.1:8080": f"127.0.0.1:{wiki}",
    }
    others = [
        Another(name, f"{name}.example.org", addresses["127.0.0.1:8080"])
        for name in ("photos", "files", "empty")
    ]
    with ExitStack() as stack:
        yield {
            proxy.name: proxy
            for start in (start_nginx, start_caddy, start_traefik)
            if (proxy := start(stack, folder, addresses, others))
        }


@pytest.fixture(params=["nginx", "caddy", "traefik"])
def proxy(request: pytest.FixtureRequest) -> Proxy:
    require_executable(request.param)
    found: Proxy = request.getfixturevalue("proxies")[request.param]
    Wiki.asked.clear()
    return found


def leads_to_sign_up(answer: Answer, came_for: str | None) -> bool:
    location = answer.headers.get("Location") or ""
    query = parse_qs(urlsplit(location).query)
    is_there = answer.status == 303 and location.split("?")[0] == f"{GROUP}/signup"
    return is_there and query == ({"next": [came_for]} if came_for else {}) and not Wiki.asked


def test_from_the_wiki_over_the_sign_up_page_and_back(guarded: Guarded, proxy: Proxy) -> None:
    visitor = Visitor(proxy)
    assert leads_to_sign_up(visitor.ask(PAGE), PAGE)
    pin = guarded.invite(proxy, GRACE, "grace")

    signed_in = visitor.sign_up(GRACE, "grace", pin, came_for=PAGE)

    assert (signed_in.status, signed_in.headers["Location"]) == (303, with_next("/welcome", PAGE))
    answer = visitor.ask(PAGE)
    assert answer.status == 200
    assert answer.told("remote-user") == [("remote-user", "grace")]
    assert json.loads(answer.body)["path"] == "/page?a=1&b=%2F"


PHONES = {"grace": GRACE, "mallory": MALLORY, "friend": "12025550177"}


def look(people: dict[str, Visitor], out: Container[str] = ()) -> None:
    """Each opens each program, and sees what they should."""
    for (name, visitor), (program, chosen) in product(people.items(), PROGRAMS.items()):
        page = f"https://{program}.example.org/page"
        Wiki.asked.clear()
        answer = visitor.ask(page)
        if name in out:
            assert leads_to_sign_up(answer, page), (name, program)
        elif chosen is None or name in chosen:
            assert answer.told("remote-user") == [("remote-user", name)], program
        else:
            there = f"{GROUP}/programs/{program}"
            assert (answer.status, answer.headers["Location"]) == (303, there)


@pytest.mark.parametrize("who", GROUPS)
def test_groups_times_programs_times_what_happens_to_a_member(
    guarded: Guarded, proxy: Proxy, who: str
) -> None:
    """3 groups of members, 4 programs; each as member, guest, ended and removed."""
    group = guarded.group
    group.rows("DELETE FROM program_members")
    inside = {name: guarded.visitor(proxy, PHONES[name], name) for name in GROUPS[who]}
    for program, chosen in PROGRAMS.items():
        for name in set(chosen or ()) & inside.keys():
            assert group.command("program", "choose", program, name).exit_code == 0

    look(inside)
    last = "UPDATE authors SET ends_at = ? WHERE username = 'friend'"
    if "friend" in inside:  # a guest, until the clock passes the end
        group.rows(last, int(time.time()) + 3600)
        look(inside)
        group.rows(last, int(time.time()) + 2)
        wait_for(lambda: inside["friend"].ask(WIKI).status == 303)
        look(inside, {"friend"})
    assert group.command("remove", "grace").exit_code == 0
    look(inside, {"grace", "friend"})
    group.rows(last, None)


def test_a_form_reaches_the_wiki_whole_or_not_at_all(guarded: Guarded, proxy: Proxy) -> None:
    assert leads_to_sign_up(Visitor(proxy).ask(PAGE, [], "POST", "text=hello"), None)

    answer = guarded.visitor(proxy, GRACE, "grace").ask(PAGE, [], "POST", "text=hello")

    asked = json.loads(answer.body)
    assert (asked["method"], asked["body"]) == ("POST", "text=hello")
    assert answer.told("remote-user") == [("remote-user", "grace")]


# Three circles; whom each app is open to, besides the wiki, which is for all; what each is told of.
CIRCLES = {"family": ("grace",), "chess": ("mallory", "friend"), "garden": ("grace", "friend")}
OPENS = {"photos": ("family",), "files": ("chess", "garden"), "empty": ()}
TELLS = {"wiki": ("family", "chess"), "photos": ("family", "garden"), "files": ("chess",)}
FORGED_GROUPS = [("Remote-Groups", "admins"), ("Remote_Groups", "admins"), ("remote-groups", "x")]


def look_by_circles(people: dict[str, Visitor], out: Container[str] = ()) -> None:
    """Each opens each program, saying that they are an admin, and sees what they should."""
    mine = {name: {one for one, inside in CIRCLES.items() if name in inside} for name in people}
    for (name, visitor), program in product(people.items(), PROGRAMS):
        page = f"https://{program}.example.org/page"
        Wiki.asked.clear()
        answer = visitor.ask(page, FORGED_GROUPS)
        if name in out:
            assert leads_to_sign_up(answer, page), (name, program)
        elif program == "wiki" or mine[name] & {*OPENS[program]}:
            told = {"members", *(mine[name] & {*TELLS.get(program, ())})}
            assert sorted(answer.told("remote-user", "remote-groups")) == [
                ("remote-groups", ",".join(sorted(told))),
                ("remote-user", name),
            ], program
        else:
            assert answer.headers["Location"] == f"{GROUP}/programs/{program}"
            assert Wiki.asked == []


def test_circles_times_programs_times_what_happens_to_a_member(
    guarded: Guarded, proxy: Proxy
) -> None:
    """3 circles, 4 programs, and each member as member, guest, ended and removed."""
    group = guarded.group
    group.rows("DELETE FROM program_members")
    drop_circles(group)
    people = {name: guarded.visitor(proxy, phone, name) for name, phone in PHONES.items()}
    for circle, names in CIRCLES.items():
        group.rows("INSERT INTO circles (name, title) VALUES (?1, ?1)", circle)
        for name in names:
            put_into(group, circle, name)
    for program in PROGRAMS:
        for circle in CIRCLES:
            group.rows(
                "INSERT INTO program_circles SELECT programs.id, circles.id, ?, ?"
                " FROM programs, circles WHERE programs.name = ? AND circles.name = ?",
                circle in OPENS.get(program, ()),
                circle in TELLS.get(program, ()),
                program,
                circle,
            )

    look_by_circles(people)
    last = "UPDATE authors SET ends_at = ? WHERE username = 'friend'"
    group.rows(last, int(time.time()) + 3600)
    look_by_circles(people)
    group.rows(last, int(time.time()) + 2)
    wait_for(lambda: people["friend"].ask(WIKI).status == 303)
    look_by_circles(people, {"friend"})
    assert group.command("remove", "grace").exit_code == 0
    look_by_circles(people, {"grace", "friend"})
    assert group.one("SELECT count(*) FROM circle_members") == 3  # none of Grace
    group.rows(last, None)


def drop_circles(group: Group) -> None:
    for table in ("program_circles", "circle_members", "circles"):
        group.rows(f"DELETE FROM {table}")


def put_into(group: Group, circle: str, name: str) -> None:
    group.rows(
        "INSERT INTO circle_members SELECT circles.id, authors.id FROM circles, authors"
        " WHERE circles.name = ? AND username = ?",
        circle,
        name,
    )


def test_the_names_drop_groups_for_blocks_from_before_there_were_any() -> None:
    """nginx has one file of names for the blocks of all apps. One that says the groups is there,
    too, wins over this."""
    assert 'proxy_set_header Remote-Groups "";' in NAMES_FILE


def test_forty_circles_fit_every_buffer(guarded: Guarded, proxy: Proxy) -> None:
    group, grace = guarded.group, guarded.visitor(proxy, GRACE, "grace")
    drop_circles(group)
    names = [f"circle-{n:02d}-{'x' * 20}" for n in range(40)]
    for name in names:
        assert len(name) == 30
        group.rows("INSERT INTO circles (name, title) VALUES (?1, ?1)", name)
        put_into(group, name, "grace")
    group.rows(
        "INSERT INTO program_circles SELECT programs.id, circles.id, 0, 1 FROM programs, circles"
        " WHERE programs.name = 'wiki'"
    )

    answer = grace.ask(PAGE)

    assert answer.told("remote-groups") == [("remote-groups", ",".join([*names, "members"]))]
    drop_circles(group)


GRACE_ALONE = [("remote-groups", "members"), ("remote-user", "grace")]
FORGED: list[Headers] = [
    [("Remote-User", "ada")],
    [("remote-user", "ada")],
    [("REMOTE-USER", "ada")],
    [("rEMOTE-uSER", "ada")],
    [("Remote_User", "ada")],
    [("REMOTE_USER", "ada")],
    [("remote_user", "ada")],
    [("Remote.User", "ada")],
    [("Remote-User", "ada"), ("Remote-User", "root")],
    [("Remote-User", "ada"), ("Remote_User", "ada"), ("remote-user", "ada")],
    [("Remote-User", "")],
    [("Remote-User", "grace, ada")],
    [("Remote-Groups", "admins"), ("Remote-Name", "Ada"), ("Remote-Email", "ada@example.org")],
    [("X-Forwarded-User", "ada"), ("X_Forwarded_User", "ada"), ("X-Forwarded_User", "ada")],
]
# All that deploy/nginx-names.conf has between hyphens, and so all three have to drop.
NAMES_FILE = (ROOT / "deploy" / "nginx-names.conf").read_text()
NAMED = sorted(set(re.findall(r'proxy_set_header ([A-Za-z-]+) "";', NAMES_FILE)))
FROM_THE_PROXY = ["X-Forwarded-Server", "X-Forwarded-Port"]  # which Traefik tells
LIKE_IT = [name for name in NAMED if name not in FROM_THE_PROXY]
FORGED += [[(name, "ada"), (name.replace("-", "_"), "ada")] for name in LIKE_IT]
WHO = ["remote-user", "remote-groups", "remote-name", "remote-email", "x-forwarded-user"]
WHO += [name.lower() for name in LIKE_IT]


SIGNS = "-_.!#$%&'*+^`|~"  # all that HTTP lets stand in a name; many apps read them as one
FORGED += [
    [(name.replace("-", sign), "ada") for sign in SIGNS] for name in ("Remote-User", *LIKE_IT)
]
FORGED += [[("X-Forwarded_Preferred-Username", "ada")], [("X_Auth-Request_User", "ada")]]


def test_nobody_can_say_that_they_are_somebody_else(guarded: Guarded, proxy: Proxy) -> None:
    grace = guarded.visitor(proxy, GRACE, "grace")

    for forged in FORGED:
        Wiki.asked.clear()
        assert leads_to_sign_up(Visitor(proxy).ask(PAGE, forged), PAGE), forged
        answer = grace.ask(PAGE, forged)
        assert sorted(answer.told(*WHO)) == GRACE_ALONE, forged


@pytest.mark.parametrize("struck", ["Remote-User", "close, remote-user", "REMOTE-USER, Cookie"])
def test_nobody_can_strike_the_name_out(guarded: Guarded, proxy: Proxy, struck: str) -> None:
    """Headers that are listed in `Connection` end at the next hop."""
    answer = guarded.visitor(proxy, GRACE, "grace").ask(PAGE, [("Connection", struck)])

    if proxy.name == "caddy":
        assert (answer.status, Wiki.asked) == (400, [])
    elif proxy.name == "traefik" and "Cookie" in struck:  # before it asks us
        assert leads_to_sign_up(answer, PAGE)
    else:
        assert sorted(answer.told(*WHO)) == GRACE_ALONE


@pytest.mark.parametrize(
    ("cookies", "kept"),
    [
        (["{}"], []),
        (["theme=dark; {}"], ["theme=dark"]),
        (["{}; theme=dark"], ["theme=dark"]),
        (["a=1; {}; b=2"], ["a=1", "b=2"]),
        (["{};b=2"], ["b=2"]),
        (["a=1; __Secure-session =x; b=2; {}"], None),
        (["a=1", "{}", "b=2"], None),
    ],
    ids=str,
)
def test_the_wiki_never_gets_our_cookie(
    guarded: Guarded, proxy: Proxy, cookies: list[str], kept: list[str] | None
) -> None:
    grace = guarded.visitor(proxy, GRACE, "grace")
    value = grace.cookies.pop("__Secure-session")
    ours = f"__Secure-session={value}"
    grace.cookies.clear()

    answer = grace.ask(PAGE, [("Cookie", text.format(ours)) for text in cookies])

    if answer.status == 200:
        sent = ";".join(value for _, value in answer.told("cookie"))
        assert value not in sent
        if kept is not None:
            assert [part.strip() for part in sent.split(";") if part.strip()] == kept
    else:  # what comes from no browser need not be understood
        assert kept is None
        assert Wiki.asked == []


@pytest.mark.parametrize(
    ("header", "kept"),
    [
        ("Basic Z3JhY2U6eA==", []),
        ("\tBasic Z3JhY2U6eA==", []),
        ("bAsIc x", []),
        ("Bearer x", [("authorization", "Bearer x")]),
    ],
)
def test_the_wiki_never_gets_an_app_password(
    guarded: Guarded, proxy: Proxy, header: str, kept: Headers
) -> None:
    answer = guarded.visitor(proxy, GRACE, "grace").ask(PAGE, [("Authorization", header)])
    assert answer.told("authorization") == kept


def test_where_a_visitor_is_comes_from_the_proxy(guarded: Guarded, proxy: Proxy) -> None:
    """And not from the visitor."""
    names = ("X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP", "Forwarded")
    forged = [(name.replace("-", sign), "6.6.6.6") for name in names for sign in "-_"]
    answer = guarded.visitor(proxy, GRACE, "grace").ask(PAGE, forged)
    assert sorted(answer.told(*(name.lower() for name in names))) == [
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-host", "wiki.example.org"),
        ("x-forwarded-proto", "https"),
        ("x-real-ip", "127.0.0.1"),
    ]


def test_no_body_is_announced_by_another_name(guarded: Guarded, proxy: Proxy) -> None:
    """Or an app could take the next request for a part of this one."""
    forged = [("Transfer_Encoding", "chunked"), ("Content_Length", "5")]
    answer = guarded.visitor(proxy, GRACE, "grace").ask(PAGE, forged)
    assert answer.told("transfer-encoding", "content-length") == []


def test_what_clients_need_gets_through(guarded: Guarded, proxy: Proxy) -> None:
    needed = [("X-Auth-Token", "t"), ("Authorization", "Bearer b"), ("api_access_token", "u")]
    answer = guarded.visitor(proxy, GRACE, "grace").ask(PAGE, needed)
    kept = needed[:2] if proxy.name == "traefik" else needed  # which can't tell it from a forgery
    expected = {(re.sub("_", "-", name.lower()), value) for name, value in kept}
    assert {*answer.told("x-auth-token", "authorization", "api-access-token")} == expected


@pytest.mark.parametrize("gap", [" ", "\t", "  \t "])
def test_our_cookie_is_known_however_it_is_written(
    guarded: Guarded, proxy: Proxy, gap: str
) -> None:
    grace = guarded.visitor(proxy, GRACE, "grace")
    value = grace.cookies.pop("__Secure-session")
    grace.cookies.clear()

    answer = grace.ask(PAGE, [("Cookie", f"a=1; __Secure-session{gap}={value}; b=2")])

    assert value not in answer.body


def test_a_cookie_that_stands_there_twice_goes_twice(guarded: Guarded, proxy: Proxy) -> None:
    grace = guarded.visitor(proxy, GRACE, "grace")
    value = grace.cookies.pop("__Secure-session")
    grace.cookies.clear()

    twice = f"__Secure-session={value}; a=1; __Secure-session={value}; __Secure-session={value}"
    answer = grace.ask(PAGE, [("Cookie", twice)])

    assert answer.status == 200
    assert value not in answer.body


def test_a_removed_member_is_out_at_the_next_picture(guarded: Guarded, proxy: Proxy) -> None:
    ada = guarded.visitor(proxy, ADA, "ada")
    grace = guarded.visitor(proxy, GRACE, "grace")
    assert grace.ask(f"{WIKI}/picture.png").status == 200
    id = guarded.group.one("SELECT id FROM authors WHERE username = 'grace'")

    remove = ada.ask(f"{GROUP}/members/{id}/remove", [("Sec-Fetch-Site", "same-origin")], "POST")

    assert remove.status == 303
    Wiki.asked.clear()
    assert leads_to_sign_up(grace.ask(f"{WIKI}/picture.png"), f"{WIKI}/picture.png")
    assert ada.ask(f"{WIKI}/picture.png").told("remote-user") == [("remote-user", "ada")]


def test_the_wiki_may_speak_websocket_and_no_other_protocol(guarded: Guarded, proxy: Proxy) -> None:
    grace = guarded.visitor(proxy, GRACE, "grace")

    asked = grace.ask(PAGE, [("Connection", "Upgrade"), ("Upgrade", "websocket")])
    assert asked.told("upgrade") == [("upgrade", "websocket")]
    assert asked.told("connection")[0][1].lower() == "upgrade"
    assert asked.told("remote-user") == [("remote-user", "grace")]

    h2c: list[Headers] = [
        [("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c")],
        [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Upgrade", "h2c")],
        [("Connection", "Upgrade"), ("Upgrade", "h2c, websocket")],
    ]
    for headers in h2c:
        asked = grace.ask(PAGE, headers)
        if asked.status == 200:
            assert "h2c" not in str(asked.told("upgrade")), headers


def test_the_way_back_to_a_long_address_is_not_lost(guarded: Guarded, proxy: Proxy) -> None:
    for length in (1_900, 5_000):
        long = f"{WIKI}/?" + "&" * length
        assert leads_to_sign_up(Visitor(proxy).ask(long), long if length < 2_000 else None)


@contextmanager
def unreadable(database: str) -> Iterator[None]:
    """As another process holds SQLite's locks of the write-ahead log's index, readers' too."""
    with Path(f"{database}-shm").open("r+b") as index:
        fcntl.lockf(index, fcntl.LOCK_EX, 8, 120)
        try:
            yield
        finally:
            fcntl.lockf(index, fcntl.LOCK_UN, 8, 120)


def test_a_locked_database_closes_the_wiki(guarded: Guarded, proxies: dict[str, Proxy]) -> None:
    """All wait for it at the same time, ten seconds."""
    graces = [guarded.visitor(proxy, GRACE, "grace") for proxy in proxies.values()]
    forged = [("Remote-User", "ada")]

    with unreadable(guarded.group.app.config["DATABASE"]), ThreadPoolExecutor() as pool:
        Wiki.asked.clear()
        answers = [*pool.map(lambda grace: grace.ask(PAGE, forged).status, graces)]
        assert set(answers) <= {500, 503}
        assert Wiki.asked == []

    for grace in graces:
        assert grace.ask(PAGE).told("remote-user") == [("remote-user", "grace")]


def test_without_our_program_the_wiki_is_closed_and_no_log_has_the_secret_address(
    guarded: Guarded, proxy: Proxy
) -> None:
    grace = guarded.visitor(proxy, GRACE, "grace")
    guarded.served.stop()
    try:
        Wiki.asked.clear()
        assert grace.ask(PAGE, [("Remote-User", "ada")]).status in (500, 502)
        assert Wiki.asked == []
        for webhook in ("answer", "delivery"):
            path = f"{GROUP}/{webhook}/{guarded.token}"
            assert Visitor(proxy).ask(path, [], "POST", "text=x").status == 502
    finally:
        guarded.served.start()

    logged = "".join(log.read_text() for log in proxy.logs)
    assert ("/auth?" if proxy.name == "traefik" else "wiki.example.org") in logged
    assert guarded.token not in logged


def test_other_programs_cookies_sign_nobody_out(guarded: Guarded, proxy: Proxy) -> None:
    """granian drops the whole header for a byte beyond ASCII, and ours with it. Traefik can't
    prevent that; its member then looks signed out."""
    visitor = guarded.visitor(proxy, GRACE, "grace")
    own = visitor.cookies.pop("__Secure-session")
    accented = "lastAlbum=K\xe4sekuchen"

    for cookies in (f"{accented}; __Secure-session={own}", f"__Secure-session={own}; {accented}"):
        answer = visitor.ask(PAGE, [("Cookie", cookies)])
        if proxy.name == "traefik":
            assert leads_to_sign_up(answer, PAGE)
            continue
        assert "Hello, grace" in visitor.ask(GROUP, [("Cookie", cookies)]).body
        assert answer.told("remote-user") == [("remote-user", "grace")]
        assert "letters beyond ASCII" not in guarded.served.log.read_text()


def test_a_cookie_of_an_earlier_domain_is_no_hindrance(guarded: Guarded, proxy: Proxy) -> None:
    visitor = guarded.visitor(proxy, GRACE, "grace")
    own, old = visitor.cookies.pop("__Secure-session"), "0" * 64

    for first, last in ((old, own), (own, old)):
        cookies = [("Cookie", f"__Secure-session={first}; a=1; __Secure-session={last}")]
        assert "Hello, grace" in visitor.ask(GROUP, cookies).body
        assert visitor.ask(PAGE, cookies).status == 200


def test_what_was_done_is_said_behind_a_proxy_too(guarded: Guarded, proxy: Proxy) -> None:
    visitor = guarded.visitor(proxy, GRACE, "grace")

    visitor.ask(f"{GROUP}/logout", [("Sec-Fetch-Site", "same-origin")], "POST", "x=1")

    assert shown("done-signed-out") in visitor.ask(GROUP).body
    assert shown("done-signed-out") not in visitor.ask(GROUP).body


def test_a_language_is_chosen_behind_a_proxy_too(guarded: Guarded, proxy: Proxy) -> None:
    visitor = Visitor(proxy)
    chosen = [("Sec-Fetch-Site", "same-origin"), ("Referer", f"{GROUP}/signup")]
    answer = visitor.ask(f"{GROUP}/language", chosen, "POST", "language=de")
    assert answer.headers["Location"] == "/signup"
    assert '<html lang="de">' in visitor.ask(f"{GROUP}/signup").body
    assert '<html lang="en">' in Visitor(proxy).ask(f"{GROUP}/signup").body


@pytest.mark.parametrize("domain", ["", "example.org"])
@pytest.mark.parametrize("file", ["nginx.conf", "Caddyfile", "Caddyfile.container"])
def test_each_of_our_cookies_gets_through(settings: dict[str, str], file: str, domain: str) -> None:
    config = create_app(settings | {"BASE_URL": GROUP, "COOKIE_DOMAIN": domain}).config
    names = {value for name, value in config.items() if name.endswith("_COOKIE_NAME")}
    assert len(names) == 4
    text = (ROOT / "deploy" / file).read_text()
    text += text.replace("(?:Host|Secure)", "Secure") + text.replace("(?:Host|Secure)", "Host")
    assert {name for name in names if name not in text} == set()


def test_static_files_are_compressed_and_pages_are_not(guarded: Guarded, proxy: Proxy) -> None:
    visitor = Visitor(proxy)
    page = visitor.ask(f"{GROUP}/signup", [("Accept-Encoding", "gzip")])
    assert "Content-Encoding" not in page.headers
    linked = re.findall(r'(?:href|src)="(/static/[^"]+(?:css|js)\?[^"]+)"', page.body)

    assert len(linked) == 3
    weight = len(page.body)
    for address in linked:
        answer = visitor.ask(GROUP + address, [("Accept-Encoding", "gzip")])
        assert answer.headers["Content-Encoding"] == "gzip"
        assert "max-age=31536000" in answer.headers["Cache-Control"]
        weight += len(answer.body)
    assert weight < 15_000


def test_half_sent_forms_hold_none_of_our_threads(guarded: Guarded, proxy: Proxy) -> None:
    """Twice as many as there are threads in both workers."""
    head = (
        "POST /login HTTP/1.1\r\nHost: group.example.org\r\nSec-Fetch-Site: same-origin\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\nphone="
    )
    with ExitStack() as stack:
        for _ in range(32):
            plain = socket.create_connection(("127.0.0.1", proxy.port), timeout=20)
            half = TRUSTING.wrap_socket(plain, server_hostname="group.example.org")
            stack.enter_context(half)
            half.sendall(head.encode())

        assert Visitor(proxy).ask(f"{GROUP}/signup").status == 200
        assert Visitor(proxy).ask(f"{GROUP}/healthz").body == "ok\n"


# What apps live on --------------------------------------------------------------------------------

UPLOAD = bytes(range(256)) * 20_000  # 5 MB


def seen_of(body: bytes) -> str:
    return f"{len(body)} {sha256(body).hexdigest()}"


def test_an_upload_arrives_whole(guarded: Guarded, proxy: Proxy) -> None:
    """Of a length that is said before, and of one that isn't."""
    grace = guarded.visitor(proxy, GRACE, "grace")
    for headers in ([("Content-Length", str(len(UPLOAD)))], []):
        pieces = (UPLOAD[at : at + 50_000] for at in range(0, len(UPLOAD), 50_000))
        answer = grace.send_slowly(f"{WIKI}/file", pieces, headers)
        asked = json.loads(answer.body)
        assert (asked["method"], asked["body"]) == ("PUT", seen_of(UPLOAD))
        assert answer.told("remote-user") == [("remote-user", "grace")]


@pytest.mark.slow
def test_so_does_a_slow_one(guarded: Guarded, proxies: dict[str, Proxy]) -> None:
    """40 kB a second, for half a minute and more; through all at the same time."""
    graces = [guarded.visitor(proxy, GRACE, "grace") for proxy in proxies.values()]

    def drip() -> Iterator[bytes]:
        for _ in range(33):
            time.sleep(1)
            yield UPLOAD[:40_000]

    with ThreadPoolExecutor() as pool:
        send = pool.map(lambda grace: grace.send_slowly(f"{WIKI}/file", drip(), []), graces)
        arrived = [json.loads(answer.body)["body"] for answer in send]
    assert arrived == [seen_of(UPLOAD[:40_000] * 33)] * len(proxies)


@pytest.mark.parametrize("method", ["PROPFIND", "REPORT", "MKCOL", "LOCK", "PUT", "DELETE"])
def test_every_verb_gets_through(guarded: Guarded, proxy: Proxy, method: str) -> None:
    answer = guarded.visitor(proxy, GRACE, "grace").ask(PAGE, [], method, "body=1")
    asked = json.loads(answer.body)
    assert (asked["method"], asked["body"]) == (method, "body=1")


def open_raw(visitor: Visitor, path: str, headers: Headers) -> ssl.SSLSocket:
    connection = visitor.connect("wiki.example.org")
    every = [("Host", "wiki.example.org"), *headers, *visitor.cookie_header()]
    head = "".join(f"{name}: {value}\r\n" for name, value in every)
    connection.sendall(f"GET {path} HTTP/1.1\r\n{head}\r\n".encode())
    return connection


def read_until(connection: ssl.SSLSocket, end: bytes) -> bytes:
    got = b""
    while end not in got:
        piece = connection.recv(4096)
        assert piece, got
        got += piece
    return got


def test_a_websocket_speaks_both_ways(guarded: Guarded, proxy: Proxy) -> None:
    upgrade = [("Connection", "Upgrade"), ("Upgrade", "websocket")]
    upgrade += [("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="), ("Sec-WebSocket-Version", "13")]
    with open_raw(guarded.visitor(proxy, GRACE, "grace"), "/socket", upgrade) as connection:
        assert b" 101 " in read_until(connection, b"\r\n\r\n")
        connection.sendall(b"a frame")
        assert read_until(connection, b"a frame") == b"a frame"


def test_events_come_one_by_one(guarded: Guarded, proxy: Proxy) -> None:
    Wiki.first_seen.clear()
    with open_raw(guarded.visitor(proxy, GRACE, "grace"), "/events", []) as connection:
        read_until(connection, b"first\n\n")
        Wiki.first_seen.set()
        read_until(connection, b"second\n\n")


def test_no_stranger_fills_the_memory_of_our_own_site(guarded: Guarded, proxy: Proxy) -> None:
    """A form of ours is small. What is larger is refused, before it's all there."""
    before = find_memory()
    pieces = (b"x" * 100_000 for _ in range(1_000))
    try:
        answer = Visitor(proxy).send_slowly(f"{GROUP}/login", pieces, [])
        assert answer.status in (413, 405)
    except OSError:  # hung up while we sent
        pass
    assert find_memory() - before < 50_000


def find_memory() -> int:
    """In kB, of the web servers that this process started, with their workers. Others' come and go
    while tests run side by side."""
    seen = {}
    for status in Path("/proc").glob("[0-9]*/status"):
        with suppress(OSError):
            seen[int(status.parent.name)] = status.read_text()
    parents = {pid: int(re.findall(r"^PPid:\s+(\d+)", seen[pid], re.M)[0]) for pid in seen}
    ours = {os.getpid()}
    for _ in range(3):
        ours |= {pid for pid, parent in parents.items() if parent in ours}
    return sum(
        int(re.findall(r"^VmRSS:\s+(\d+)", seen[pid], re.M)[0])
        for pid in ours & seen.keys()
        if re.search(r"^Name:\t(nginx|caddy|traefik)$", seen[pid], re.M)
    )


def test_caddys_file_says_what_to_change_for_debians(
    guarded: Guarded, wiki: int, tmp_path: Path
) -> None:
    debians = "/usr/bin/caddy"
    if not Path(debians).exists():
        give_up = pytest.fail if "ALL_TESTS_MUST_RUN" in os.environ else pytest.skip
        give_up("Debian's Caddy is not installed")
    text = (ROOT / "deploy" / "Caddyfile").read_text()
    assert "With 2.6" in text
    text = re.sub(r"\t\ttimeouts \{\n\t\t\tread_timeout.*?\n\t\t\}\n", "", text)
    text = text.replace("\trequest_buffers 64KiB", "\tbuffer_requests")
    text = re.sub(r"\t\texpected_underscore_headers .*\n", "", text)
    (tmp_path / "Caddyfile").write_text(text)
    told = subprocess.run(
        [debians, "adapt", "--config", tmp_path / "Caddyfile", "--adapter", "caddyfile"],
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, told.stderr
    assert '"buffer_requests":true' in told.stdout


# What an app's page gives to copy -----------------------------------------------------------------


@pytest.mark.parametrize("server", ["nginx", "caddy", "traefik"])
def test_a_page_writes_the_block_for_one_more_app(group: Group, ada: Browser, server: str) -> None:
    """The very block that the tests run for other apps, and the real port."""
    group.app.config["BASE_URL"] = "http://localhost:8000"
    register(ada, "photos", address="https://photos.example.net:8443/start")
    page = ada.client.get(
        f"/admin/programs/photos/proxy?server={server}", environ_overrides={"SERVER_PORT": "8123"}
    )
    block = unescape(page.text.split('id="site" tabindex="0">')[1].split("</pre>")[0])
    assert "wiki" not in re.sub("#.*", "", block)
    for part in ("photos.example.net", "program=photos", "127.0.0.1:8123", "127.0.0.1:8080"):
        assert part in block
    names = {"nginx": "nginx.conf", "caddy": "Caddyfile", "traefik": "traefik.yaml"}
    ours = (ROOT / "deploy" / names[server]).read_text()
    back = block.replace("photos.example.net", "wiki.example.org").replace("8123", "8000")
    back = back.replace("localhost:8000", "group.example.org").replace("photos", "wiki")
    if server != "traefik":
        assert ours.endswith(back)
    else:
        http = yaml.safe_load(back)["http"]
        whole = yaml.safe_load(ours)["http"]
        for part, name in (
            ("routers", "app-wiki"),
            ("middlewares", "app-wiki-members"),
            ("services", "app-wiki"),
        ):
            assert http[part] == {name: whole[part][name]}
