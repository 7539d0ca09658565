// Every page works without this.

// A form is sent once, however often its button is pressed.
const sendOnce = (form) => {
  form.addEventListener("submit", (event) => {
    const wasSent = form.dataset.sent;
    if (wasSent || form.dataset.busy) event.preventDefault();
    if (wasSent) return;
    form.dataset.sent = "yes";
    form.setAttribute("aria-busy", "true");
    if (form.dataset.busy) sendInPlace(form).catch(() => form.submit());
  });
};
const maySendAgain = (form) => {
  delete form.dataset.sent;
  form.removeAttribute("aria-busy");
};

// The sign-up form stays where it is: what was typed is kept, and only what is wrong with it is taken
// from the answer. A redirect means signed in. Any other answer is shown as without script: the form
// is sent again, which does nothing twice.
const sendInPlace = async (form) => {
  const button = form.querySelector(".actions button");
  const words = button.textContent;
  const slow = setTimeout(() => (button.textContent = form.dataset.busy), 2000);
  const body = new URLSearchParams(new FormData(form));
  const answer = await fetch(form.action, { method: "POST", body, redirect: "manual" });
  if (answer.type === "opaqueredirect") return location.replace(form.dataset.onward);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (!page.getElementById(form.id)) return form.submit();
  clearTimeout(slow);
  button.textContent = words;
  maySendAgain(form);
  takeErrors(form, page);
};

const takeErrors = (form, page) => {
  document.title = page.title;
  document.getElementById("form-error")?.remove();
  const alert = page.getElementById("form-error");
  if (alert) form.before(alert);
  for (const input of form.querySelectorAll(".field input")) takeError(input, page.getElementById(input.id));
  focusFirst(form.parentElement);
};

const takeError = (input, theirs) => {
  clearError(input);
  input.setAttribute("aria-describedby", theirs.getAttribute("aria-describedby"));
  const error = theirs.closest(".field").querySelector(".error");
  if (!error) return;
  input.setAttribute("aria-invalid", "true");
  input.closest(".field").classList.add("wrong");
  input.closest(".field").append(error);
  enliven(error);
};
const clearError = (input) => {
  input.removeAttribute("aria-invalid");
  input.closest(".field").classList.remove("wrong");
  input.closest(".field").querySelector(".error")?.remove();
};

// Begin where an error is; or at what just happened, so that screen readers say it.
const focusFirst = (part) => ["[aria-invalid]", "#form-error", ".notice[tabindex]"].map((one) => part.querySelector(one)).find(Boolean)?.focus();

// What the server makes of a username, see foundation/typed/usernames.py; said when the typing stops.
const tidy = (text) =>
  text
    .normalize("NFKD")
    .replace(/\p{M}/gu, "")
    .toLowerCase()
    .replace(/[^a-z0-9_]+/g, (run) => (/[^-]/.test(run) ? "-" : run))
    .replace(/^[-_]+|[-_]+$/g, "");
const echo = (output) => {
  const input = document.getElementById(output.htmlFor.value);
  const [before, after] = output.dataset.words.split("…");
  let waiting;
  input.addEventListener("input", () => {
    clearTimeout(waiting);
    output.textContent = "";
    waiting = setTimeout(() => {
      const name = tidy(input.value);
      if (!name || name.length > 30 || name === input.value.trim()) return;
      output.append(before, Object.assign(document.createElement("strong"), { textContent: name }), after);
    }, 600);
  });
};

// A name that is free is taken by a press.
const offerName = (place) => {
  const name = place.textContent;
  const button = Object.assign(document.createElement("button"), { type: "button", className: "quiet", textContent: name });
  button.addEventListener("click", () => {
    const input = document.getElementById(place.dataset.fill);
    input.value = name;
    input.dispatchEvent(new Event("input"));
    clearError(input);
    input.form.querySelector(".actions button").focus();
  });
  place.replaceWith(button);
};

// A wait counts down; when it is over, the page says so.
const countDown = (timer) => {
  const end = Date.now() + timer.dataset.seconds * 1000;
  const tick = setInterval(() => {
    const left = Math.max(0, Math.ceil((end - Date.now()) / 1000));
    timer.textContent = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
    if (left > 0) return;
    clearInterval(tick);
    timer.parentElement.textContent = timer.parentElement.dataset.over;
  }, 250);
};

// Copy what an element says. Without script the button isn't there.
const { copied } = document.currentScript.dataset;
const offerCopy = (button) => {
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    button.textContent = copied;
  });
};

// Hand what an element says to another app of the phone, where that is possible; then it isn't copied.
const offerShare = (button) => {
  if (!navigator.share) return;
  button.hidden = false;
  document.querySelector(`[data-copy="${button.dataset.share}"]`)?.remove();
  button.addEventListener("click", () => {
    const text = document.getElementById(button.dataset.share).textContent.trim();
    navigator.share({ text }).catch(() => {});
  });
};

// What is done to the page, and to a part that is put into it later.
const enliven = (part) => {
  for (const form of part.querySelectorAll("form[method=post]")) sendOnce(form);
  for (const output of part.querySelectorAll("output[data-words]")) echo(output);
  for (const place of part.querySelectorAll("[data-fill]")) offerName(place);
  for (const timer of part.querySelectorAll("[data-seconds]")) countDown(timer);
  for (const button of part.querySelectorAll("[data-share]")) offerShare(button);
  for (const button of part.querySelectorAll("[data-copy]")) offerCopy(button);
};
for (const list of document.querySelectorAll("[data-renew]")) list.dataset.last = list.innerHTML;
enliven(document);
focusFirst(document);

// A page that the browser brings back from its memory may be sent again.
window.addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[method=post]")) maySendAgain(form);
});

// What waits for another device looks whether it goes on, and then does.
const waiting = document.querySelector("[data-poll]");
const look = async () => {
  const answer = await fetch(waiting.dataset.poll);
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const state = page.querySelector("[data-poll]")?.dataset.state;
  if (state !== waiting.dataset.state) location.assign(waiting.dataset.poll);
};
if (waiting) setInterval(() => look().catch(() => {}), 2000);
document.querySelector("form[data-now]")?.requestSubmit();

// Lists that change by what friends do renew themselves, unless somebody is looking through them.
const renewed = [...document.querySelectorAll("[data-renew]")];
const isLookedAt = (list) => list.contains(document.activeElement) || list.querySelector("[open]");
const renew = async () => {
  if (document.hidden || renewed.some(isLookedAt)) return;
  const answer = await fetch(location.href);
  if (!answer.ok || answer.redirected || renewed.some(isLookedAt)) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const list of renewed) {
    const theirs = page.getElementById(list.id);
    if (!theirs || theirs.innerHTML === list.dataset.last) continue;
    list.dataset.last = theirs.innerHTML;
    list.innerHTML = theirs.innerHTML;
    enliven(list);
  }
};
if (renewed.length) setInterval(() => renew().catch(() => {}), 5000);

// Who comes back to a tab after this browser was signed out no longer sees what it showed.
const leaveIfOut = async () => {
  const start = await fetch("/");
  if (start.ok && !(await start.text()).includes("data-member")) location.replace("/");
};
if (document.body.dataset.member) {
  document.addEventListener("visibilitychange", () => document.hidden || leaveIfOut().catch(() => {}));
}
