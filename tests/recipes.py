"""What docs/programs.md says of other programs, done."""

import re
from typing import NamedTuple

from playwright.sync_api import Page

from .cast import GRACE, ROOT, Group

APACHE = """
ServerName localhost
Listen 127.0.0.1:{port}
PidFile {folder}/pid
ErrorLog {folder}/error.log
DocumentRoot {folder}/pages
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authn_core_module {modules}/mod_authn_core.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule authz_user_module {modules}/mod_authz_user.so
LoadModule dir_module {modules}/mod_dir.so
LoadModule auth_openidc_module {modules}/mod_auth_openidc.so
{recipe}
"""
MODULES = "/usr/lib/apache2/modules"


class Client(NamedTuple):
    id: str
    secret: str


def read_recipe(heading: str) -> str:
    """The lines that docs/programs.md gives."""
    text = (ROOT / "docs" / "programs.md").read_text().split(f"\n## {heading}")[1]
    return "\n".join(re.findall(r"^    (.*)$", text.split("\n## ")[0], re.M))


def set_up(local: Group, back: str, **how: str) -> Client:
    """Register a program, as an admin does on its page."""
    ada = local.join("12025550100", "ada", bound=True)
    form = {"name": "club", "title": "The club", "address": back.rsplit("/", 1)[0], "who": "all"}
    assert ada.post("/admin/programs", **form).status_code == 303
    page = ada.post("/admin/programs/club/openid", redirects=back, **how).text
    shown = dict(re.findall(r'id="(client-id|secret)">([^<]+)<', page))
    return Client(shown["client-id"], shown["secret"])


def sign_up(page: Page, pin: str) -> None:
    page.get_by_text("I was invited").click()
    page.get_by_label("Your phone number").fill(f"+{GRACE}")
    page.get_by_label("PIN", exact=True).fill(pin)
    page.get_by_label("Username").fill("grace")
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.get_by_role("link", name="Not now").click()
