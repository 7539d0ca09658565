// Without this script everything works, with a reload. With it, what is new appears by itself, and
// what somebody is typing stays.
async function refresh() {
  const page = new DOMParser().parseFromString(await (await fetch("/")).text(), "text/html");
  for (const phone of page.querySelectorAll(".phone")) {
    if (!document.getElementById(phone.id)) document.getElementById("phones").append(document.adoptNode(phone));
  }
  const choice = document.getElementById("trick-phone");
  for (const option of page.getElementById("trick-phone").options) {
    if (![...choice.options].some((old) => old.value === option.value)) choice.append(option.cloneNode(true));
  }
  for (const fresh of page.querySelectorAll("[data-live]")) {
    const here = document.getElementById(fresh.id);
    if (!here || here.innerHTML === fresh.innerHTML) continue;
    const focused = here.contains(document.activeElement) ? document.activeElement.value : null;
    here.innerHTML = fresh.innerHTML;
    if (focused) here.querySelector(`[value="${focused}"]`)?.focus();
    if (here.matches(".thread")) here.scrollTop = here.scrollHeight;
  }
}

document.addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target;
  const fields = new URLSearchParams(new FormData(form, event.submitter));
  form.querySelectorAll("input:not([type=hidden])").forEach((input) => (input.value = ""));
  await fetch(form.action, { method: "POST", body: fields });
  refresh();
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(button.dataset.copy);
  button.classList.add("copied");
  setTimeout(() => button.classList.remove("copied"), 1500);
});

for (const thread of document.querySelectorAll(".thread")) thread.scrollTop = thread.scrollHeight;
setInterval(() => refresh().catch(() => {}), 1000);
