"""Sentences: what people are told after they did something, and when something goes wrong.

Each says what happened and what to do next. The code knows a sentence by its name only; `say` looks
it up, in the visitor's language, at the moment it is shown. A feature brings its own (see
foundation/web/feature.py).
"""

from flask import current_app

from foundation.running import running
from foundation.words.languages import translate

SENTENCES = {
    "phone-or-self": "Type the number, or send it yourself.",
    "phone-for-name": "Who comes back is invited by number. Type it.",
    "phone-missing": "Type the phone number, with its country code.",
    "phone-unreadable": "We can't read that as a phone number. Type it like {example}, without"
    " letters or an extension.",
    "phone-no-country": "Start with + and the country code, like {example}.",
    "phone-impossible": "There is no such number. Check the digits and the country code.",
    "phone-costly": "Texts to that kind of number cost extra or never arrive. Use a mobile number.",
    "phone-doubtful": "There may be no such mobile number. Check the digits, or invite it anyway.",
    "phone-opted-out": "That number opted out of such texts, or doesn't exist. To try again,"
    " withdraw the old invite first.",
    "phone-stopped": "That number replied STOP. If your friend wants in after all, withdraw the old"
    " invite first.",
    #
    "username-missing": "Choose a username.",
    "username-unreadable": "Use 1 to 30 letters (a to z), digits, - and _. Start and end with a"
    " letter or a digit.",
    "username-reserved": "That name is reserved. Choose another one.",
    "username-number": "A username can't contain six digits in a row, so nobody's number or PIN"
    " ends up here. Choose another one.",
    "username-taken": "That name is taken. Your PIN is still good.",
    "username-given-away": "Somebody else was just invited under that name. Choose another one, and"
    " text the word again to get a new PIN.",
    "username-not-invited": "Your invite is for another username. Leave this empty to get that one."
    " Your PIN is still good.",
    #
    "pin-missing": "Type the 6 digits from the text message.",
    "pin-unreadable": "A PIN has 6 digits. Look at the newest text message.",
    "pin-wrong": "That PIN is wrong or has expired. Text the word again to get a new one.",
    "being-checked": "A PIN for this number is being checked right now. Try again when that's"
    " done.",
    "tries-spent": "There were too many wrong PINs for this invite. Ask the person who invited you"
    " to invite you again.",
    "tries-spent-admin": "Too many wrong PINs. Invite the number again.",
    "pin-unchecked": "We couldn't check your PIN just now. It's still good: wait a moment, then try"
    " again.",
    "pin-used-up": "Your PIN was right, but we couldn't finish. Wait a moment, then text the word"
    " again to get a new PIN.",
    "no-cookie": "Your browser did not keep our cookie, so it couldn't stay signed in. Allow"
    " cookies for this site (or leave the private window), then press the button again. Your PIN is"
    " still good.",
    "invite-withdrawn": "Your invite was withdrawn or has expired. Ask the person who invited you"
    " to invite you again.",
    #
    "who-too-long": "Write 60 characters at most, in one line.",
    "line-number": "We don't keep phone numbers. Write a name instead.",
    "address-whole": "{name} isn't a whole address, such as https://photos.example.org/callback.",
    "address-https": "{name} has to begin with https. Without the s it works only at home, at"
    " addresses such as http://192.168.1.5.",
    "address-local": "{name}: a name that is known only at home. Tick “Names of my own network”"
    " below.",
    "address-signs": "{name}: an address may have no @ before the host, no spaces, accents and"
    " quotation marks, and none of * # < > \\.",
    "address-long": "That address is too long. We take 300 letters.",
    "day-unreadable": "We can't read that day. Write it like 2026-12-31.",
    "day-over": "That day is over (in UTC). Choose today or a later one.",
    "day-for-admin": "Admins can't be guests. Leave the last day empty.",
    "language-unknown": "Choose one of the languages in the list.",
    "invited-already": "That number has an invite already. If it's yours, withdraw it first; if"
    " not, ask an admin.",
    "invites-closed": "You can't invite friends here. Ask an admin to.",
    "invites-by-admin": "Only an admin can do that with an invite.",
    "text-trouble": "The text didn't go out. Tell an admin; they can see why.",
    "invites-all-open": "You've reached your limit of open invites. Withdraw one, or wait until a"
    " friend is in.",
    "invites-of-today": "You've invited three friends within 24 hours. Try again later.",
    "invited-just-now": "That number was texted less than a minute ago.",
    "budget-spent": "The group has sent all the texts it may send in a day (TEXTS_PER_DAY). Try"
    " again later: each text counts for 24 hours.",
    "pins-spent": "All PINs of this invite are used up. Invite the number again.",
    "name-given-away": "After the STOP, somebody else was invited under this name. Withdraw one of"
    " the two.",
    "replied-otherwise": "Replied, but without the word.",
    "replied-another": "Another phone texted it, too. Only the first one is invited.",
    "replied-late": "Their reply came too late (perhaps we were down). Ask them to text again.",
    "replied-stop": "Replied STOP. We won't text this number again unless you withdraw this"
    " invite.",
    "pin-unsent": "We couldn't send the PIN; Vonage didn't answer. It tries again by itself.",
    "pins-too-fast": "This number got three PINs in ten minutes.",
    #
    "vonage-unavailable": "Vonage didn't answer properly, so the text may or may not arrive. Wait a"
    " minute and try again.",
    "vonage-unreached": "Vonage couldn't be reached, so nothing was sent. Check this machine's"
    " connection and try again.",
    "vonage-credentials": "Vonage doesn't accept the key and secret. Check VONAGE_API_KEY and"
    " VONAGE_API_SECRET, and try again.",
    "vonage-credit": "The Vonage account has no credit left. Top it up and try again.",
    "vonage-permission": "The Vonage account isn't allowed to send this. Look at the account in the"
    " Vonage dashboard and try again.",
    "vonage-parameters": "Vonage refused the text. Check VONAGE_NUMBER and the phone number, and"
    " try again.",
    "vonage-sender": "Vonage can't send from VONAGE_NUMBER. In the USA, the number must be"
    " registered first (10DLC).",
    "vonage-trial": "A trial account of Vonage only texts numbers on its list. Add the number"
    " there, or top the account up, and try again.",
    "vonage-number": "Vonage can't text that number. Check it and invite again.",
    #
    "undelivered": "The text couldn't be delivered. Check the number and invite again.",
    "undelivered-number": "The text couldn't be delivered: the number is unreachable. Check it and"
    " invite again.",
    "undelivered-opted-out": "The text couldn't be delivered: that number opted out of such texts,"
    " or doesn't exist. We won't text it again.",
    "undelivered-absent": "The text couldn't be delivered: the phone was off or out of reach."
    " Invite again when it's on.",
    "undelivered-blocked": "The text couldn't be delivered: the phone or its network blocks it. Ask"
    " for another number, or ask Vonage's support.",
    #
    "made-already": "It was made already, and is shown only once. If you missed it, make another"
    " one.",
    #
    "done-withdrawn": "The invite is withdrawn.",
    "done-signed-out": "You're signed out.",
    #
    "error": "That didn't work. Go back and try again.",
    "strange-host": "This isn't the address of this site. Use the one from your text message.",
    "cross-site": "We couldn't tell that this came from our own page, so we ignored it. Go to the"
    " start page and do it there.",
    "error-401": "Only Vonage uses this address.",
    "error-403": "Only admins can open this page.",
    "error-404": "The link may be old. Go to the start page.",
    "error-405": "This address can't be opened directly. Go to the start page.",
    "error-413": "That's too long. A few words are enough.",
    "error-500": "Something broke on our side. You didn't lose anything; try again in a moment.",
    "error-503": "We can't do that right now. Nothing was lost; try again in a moment.",
}

# What an error page is called.
HEADINGS = {
    "error": "That didn't work",  # all others
    "cross-site": "We ignored that",
    "error-401": "For Vonage only",
    "error-403": "For admins only",
    "error-404": "Page not found",
}


def say(sentence: str, username: str = "", language: str | None = None) -> str:
    """The sentence of that name, with `username` where it has {name}; in the visitor's language, if
    none is given. Needs an application context."""
    sentences = running().sentences
    words = sentences[sentence] if sentence in sentences else sentences["error"]
    return (
        translate(words, language)
        .replace("{example}", current_app.config["EXAMPLE_PHONE"])
        .replace("{name}", username)
    )


def is_sentence(name: str | None) -> bool:
    return name in running().sentences
