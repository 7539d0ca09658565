// New texts appear by themselves; what is being typed stays. Without this script, reload the page.
async function refresh() {
  const page = new DOMParser().parseFromString(await (await fetch("/")).text(), "text/html");
  const phones = document.getElementById("phones");
  for (const phone of page.querySelectorAll(".phone")) {
    const here = document.getElementById(phone.id);
    if (!here) {
      phones.querySelector(":scope > p")?.remove();
      phones.append(document.adoptNode(phone));
      continue;
    }
    const [old, fresh] = [here, phone].map((one) => one.querySelector(".thread"));
    if (old.innerHTML !== fresh.innerHTML) {
      old.innerHTML = fresh.innerHTML;
      old.scrollTop = old.scrollHeight;
    }
  }
  document.getElementById("sent").innerHTML = page.getElementById("sent").innerHTML;
}

for (const thread of document.querySelectorAll(".thread")) thread.scrollTop = thread.scrollHeight;
setInterval(() => refresh().catch(() => {}), 1000);
