"""Links of invites without a number: /i/<word> shows how to text the invite's own word. It looks
nothing up, so it says the same whether such an invite exists or not."""

import segno
from flask import Blueprint, abort, current_app, render_template
from flask.typing import ResponseReturnValue

from foundation.typed.codes import is_code
from foundation.vonage.own_words import WORD_LENGTH
from foundation.web.feature import Feature

bp = Blueprint("invite_links", __name__)


@bp.get("/i/<word>")
def invite(word: str) -> ResponseReturnValue:
    word = word.upper()
    if not is_code(word, WORD_LENGTH):
        abort(404)
    return render_template("invite_links/invite.html", word=word)


@bp.app_template_global()
def draw_invite_link(word: str) -> str:
    """A QR picture of the link, as SVG."""
    link = f"{current_app.config['BASE_URL']}/i/{word}"
    return str(
        segno.make(link, error="m", micro=False).svg_inline(
            scale=6, border=4, dark="#000", light="#fff", svgclass="qr", lineclass=None, title=link
        )
    )


feature = Feature(bp, slots={"own_word": "invite_links/_picture.html"})
