// Every page works without this. A form is sent once, however often its button is pressed.
for (const form of document.querySelectorAll("form[method=post]")) {
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "yes";
    form.setAttribute("aria-busy", "true");
  });
  // A page that the browser brings back from its memory may be sent again.
  window.addEventListener("pageshow", () => {
    delete form.dataset.sent;
    form.removeAttribute("aria-busy");
  });
}

// Begin where an error is; or at what just happened, so that screen readers say it.
document.querySelector("[aria-invalid], .notice")?.focus();

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

// A wait counts down; when it is over, the page says so.
for (const timer of document.querySelectorAll("[data-seconds]")) {
  const end = Date.now() + timer.dataset.seconds * 1000;
  const tick = setInterval(() => {
    const left = Math.max(0, Math.ceil((end - Date.now()) / 1000));
    timer.textContent = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
    if (left > 0) return;
    clearInterval(tick);
    timer.parentElement.textContent = timer.parentElement.dataset.over;
  }, 250);
}

// Copy what an element says. Without script the button isn't there.
const { copied } = document.currentScript.dataset;
for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    button.textContent = copied;
  });
}
