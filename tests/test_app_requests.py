"""What well-known programs ask when somebody signs in, as their source has it (app_requests.json),
played against us with the settings that docs/programs.md gives."""

import json
from typing import Any
from urllib.parse import urlencode

import pytest

from .cast import ROOT, Browser, Group
from .openid_client import CHALLENGE, VERIFIER, Program, told
from .registering import register

REQUESTS: list[dict[str, Any]] = json.loads((ROOT / "tests" / "app_requests.json").read_text())
# It asks for an answer by a form, and would take one by the address, too; no setting changes that.
REFUSED = {"Kavita"}
EMAILS = {"none": None, "unverified": False, "verified": True}


def ask(program: Program, asked: dict[str, Any], back: str) -> str:
    fields = {
        "response_type": "code",
        "client_id": program.id,
        "redirect_uri": back,
        "state": "a-state",
        **asked["more"],
    }
    if asked["scope"]:
        fields["scope"] = asked["scope"]
    if asked["nonce"]:
        fields["nonce"] = "a-nonce"
    if asked["pkce"]:
        fields |= {"code_challenge": CHALLENGE, "code_challenge_method": "S256"}
    return urlencode(fields)


def exchange(program: Program, asked: dict[str, Any], back: str, code: str) -> dict[str, Any]:
    fields = {"grant_type": "authorization_code", "code": code, "redirect_uri": back}
    if asked["pkce"]:
        fields["code_verifier"] = VERIFIER
    by_form = {"client_id": program.id, "client_secret": program.secret}
    is_basic = asked["auth"] == "basic"
    answer = program.group.app.test_client(use_cookies=False).post(
        "/openid/token",
        data=fields if is_basic else fields | by_form,
        auth=(program.id, program.secret) if is_basic else None,
    )
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.get_json()
    return found


@pytest.mark.parametrize("asked", REQUESTS, ids=lambda asked: asked["name"])
def test_it_lets_its_members_in(group: Group, ada: Browser, asked: dict[str, Any]) -> None:
    register(ada, "photos")
    (back, *_), lines = asked["redirects"], "\n".join(asked["redirects"])
    how = {"email": asked["email"], "pkce": "" if asked["pkce"] else "no"}
    program = Program(group, ada, back=lines, logout=asked["logout"], **how)
    answer = ada.get(f"/openid/authorize?{ask(program, asked, back)}")
    facts = told(answer, back)
    if asked["name"] in REFUSED:
        assert facts["error"] == "invalid_request"
        return
    tokens = exchange(program, asked, back, facts["code"])
    claims = program.userinfo(tokens).get_json()
    assert claims["preferred_username"] == "ada"
    assert claims["groups"] == ["members", "admins"]
    if "openid" in asked["scope"]:
        told_at_once = program.read_id(tokens)
        assert claims.items() <= told_at_once.items()
        assert told_at_once.get("nonce") == ("a-nonce" if asked["nonce"] else None)
    if "email" in asked["scope"].split():
        assert claims.get("email_verified") is EMAILS[asked["email"]]
    assert ("refresh_token" in tokens) == ("offline_access" in asked["scope"])
    assert asked["email"] == "none" or "email" in asked["scope"] or asked["name"] == "HedgeDoc"


def test_there_are_enough_of_them() -> None:
    assert len(REQUESTS) >= 35
    assert len([one for one in REQUESTS if one["name"] not in REFUSED]) >= 34


@pytest.mark.parametrize("asked", REQUESTS, ids=lambda asked: asked["name"])
def test_the_table_says_how(asked: dict[str, Any]) -> None:
    rows = (ROOT / "docs" / "programs.md").read_text().splitlines()
    (row,) = [row for row in rows if row.startswith(f"| {asked['name']} |")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    for address in asked["redirects"]:
        assert f"`{address.removeprefix('https://app.example.org')}`" in cells[1]
    assert cells[2].startswith(
        {"none": "no", "unverified": "made up", "verified": "verified"}[asked["email"]]
    )
    assert ("can't do PKCE" in cells[3]) == (not asked["pkce"])
    assert asked["logout"].removeprefix("https://app.example.org") in cells[5]
