// Passkeys. Without script, or in a browser that has none, their buttons aren't there.
//
// What the browser gives and takes is encoded here: older browsers lack the helpers for that, and what
// password managers' extensions make has none.
const send = async (path, body) => {
  const headers = { "Content-Type": "application/json" };
  const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
  const told = await answer.json();
  if (told.next && !answer.ok) location.assign(told.next);
  if (!answer.ok) throw Object.assign(new Error(told.error), { isTold: true });
  return told;
};

const encode = (buffer) => {
  const bytes = new Uint8Array(buffer.buffer ?? buffer, buffer.byteOffset ?? 0, buffer.byteLength);
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
};
const decode = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (letter) => letter.charCodeAt(0));
const decodeIds = (list = []) => list.map((one) => ({ ...one, id: decode(one.id) }));

const ask = async (purpose, next) => {
  const options = await send("/passkeys/options", { for: purpose, next });
  const challenge = decode(options.challenge);
  if (purpose !== "add") {
    const allowCredentials = decodeIds(options.allowCredentials);
    return navigator.credentials.get({ publicKey: { ...options, challenge, allowCredentials } });
  }
  const user = { ...options.user, id: decode(options.user.id) };
  const excludeCredentials = decodeIds(options.excludeCredentials);
  return navigator.credentials.create({ publicKey: { ...options, challenge, user, excludeCredentials } });
};

const FIELDS = ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"];
const write = ({ rawId, response, authenticatorAttachment }) => {
  const given = FIELDS.filter((name) => response[name]).map((name) => [name, encode(response[name])]);
  const transports = response.getTransports?.();
  return { rawId: encode(rawId), response: { ...Object.fromEntries(given), transports }, authenticatorAttachment };
};

// What the server says, and what else to do; or that it can't be reached.
const tell = (place, error) => {
  const told = place.querySelector(".error") ?? place.appendChild(document.createElement("p"));
  told.className = "error";
  told.setAttribute("role", "alert");
  const instead = place.querySelector("template").content.cloneNode(true);
  if (error.isTold) told.replaceChildren(`${error.message} `, ...(place.dataset.passkey === "sign-in" ? [instead] : []));
  else told.replaceChildren(error instanceof DOMException ? instead : place.dataset.trouble);
};

if (window.PublicKeyCredential) {
  for (const hint of document.querySelectorAll("[data-without-passkeys]")) hint.hidden = true;
  for (const place of document.querySelectorAll("[data-passkey]")) {
    const { passkey: purpose, next } = place.dataset;
    place.hidden = false;
    const button = place.querySelector("button");
    button.addEventListener("click", async () => {
      button.disabled = true;
      try {
        const credential = write(await ask(purpose, next));
        location.assign((await send(`/passkeys/${purpose}`, { credential, next })).next);
      } catch (error) {
        tell(place, error);
      }
      button.disabled = false;
    });
  }
}
