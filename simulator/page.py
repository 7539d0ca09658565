"""The phones, as a page at plain http: threads of texts, and a box to reply."""

import threading
import time

from flask import Flask, redirect, render_template, request
from flask.typing import ResponseReturnValue

from .vonage import Vonage


def create_page(vonage: Vonage, webhook: str, app_url: str) -> Flask:
    page = Flask(__name__)

    @page.get("/")
    def phones() -> ResponseReturnValue:
        threads: dict[str, list[object]] = {}
        for text in list(vonage.texts):
            threads.setdefault(text.phone, []).append(text)
        sent = [request for request in list(vonage.requests) if request.call][-20:]
        return render_template("phones.html", threads=threads, sent=sent, app_url=app_url)

    @page.post("/reply")
    def reply() -> ResponseReturnValue:
        phone, text = request.form.get("phone", ""), request.form.get("text", "").strip()
        if text and any(known.phone == phone for known in list(vonage.texts)):
            delivery = threading.Thread(
                target=vonage.reply, args=(webhook, phone, text), daemon=True
            )
            delivery.start()
            delivery.join(timeout=2)
        return redirect(f"/#phone-{phone}", 303)

    page.template_filter("clock")(lambda at: time.strftime("%H:%M:%S", time.localtime(at)))
    return page
