"""Forms for strangers, at little cost: a page is rendered once for each set of mistakes, with gaps
for what was typed. So a flood of guesses slows nothing else down."""

import copy
import re

from flask import render_template
from markupsafe import escape

from foundation.running import running
from foundation.web.forms import Form
from foundation.web.notices import has_notice
from foundation.web.sessions import current_member
from foundation.words.languages import current_language

MAX_KEPT_FORMS = 200  # of 5 to 10 kB; nine languages have more, and people need few of them
GAP = re.compile("\x1a([a-z_]+)\x1a")  # a control character, which HTML doesn't escape


def render_kept_form(template: str, form: Form, **facts: object) -> str:
    """The page of a form. It's kept as an outline if it depends on nothing but the settings, the
    language, the form's mistakes and what was typed; `facts` are whatever else the template needs.
    The template may show what was typed, but not test it: a gap is never empty."""
    mistakes = form.mistakes.values()
    is_special = any(facts.values()) or any(
        one.wait or one.instead or one.about for one in mistakes
    )
    if is_special or has_notice() or current_member():
        return render_template(template, form=form, **facts)
    outlines = running().kept_forms
    key = (template, current_language(), *sorted((one.field, one.sentence) for one in mistakes))
    outline = outlines.get(key)
    if outline is None:
        if len(outlines) >= MAX_KEPT_FORMS:
            outlines.clear()
        gaps = copy.copy(form)
        gaps.values = {field: f"\x1a{field}\x1a" for field in form.values}
        outline = outlines[key] = GAP.split(render_template(template, form=gaps, **facts))
    texts = outline.copy()  # not looked up again: another thread may have cleared them
    texts[1::2] = [str(escape(form.values[field])) for field in texts[1::2]]
    return "".join(texts)
