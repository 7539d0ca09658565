// Passkeys. Without script, or in a browser that has none, their buttons aren't there.
const send = async (path, body) => {
  const headers = { "Content-Type": "application/json" };
  const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
  const told = await answer.json();
  if (told.next && !answer.ok) location.assign(told.next);
  if (!answer.ok) throw Object.assign(new Error(told.error), { isTold: true });
  return told;
};

const get = async (purpose) => {
  const options = await send("/passkeys/options", { for: purpose });
  return navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options) });
};

const create = async () => {
  const options = await send("/passkeys/options", { for: "add" });
  return navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options) });
};

const answer = async (purpose, credential, next) => {
  const told = await send(`/passkeys/${purpose}`, { credential: credential.toJSON(), next });
  location.assign(told.next);
};

const next = () => document.querySelector("[data-next]")?.dataset.next ?? document.querySelector("[name=next]")?.value;

const tell = (place, error) => {
  const told = place.querySelector(".error") ?? place.appendChild(document.createElement("span"));
  told.className = "error";
  told.setAttribute("role", "alert");
  told.textContent = error.isTold ? error.message : place.dataset.failed;
};

if (window.PublicKeyCredential?.parseRequestOptionsFromJSON) {
  for (const hint of document.querySelectorAll("[data-with-passkeys]")) hint.hidden = false;
  for (const place of document.querySelectorAll("[data-passkey]")) {
    const purpose = place.dataset.passkey;
    place.hidden = false;
    place.querySelector("button").addEventListener("click", async () => {
      try {
        await answer(purpose, purpose === "add" ? await create() : await get(purpose), next());
      } catch (error) {
        tell(place, error);
      }
    });
  }
}
