// A form with data-passkey asks the phone before it is sent: its answer travels in the field "passkey".
(() => {
  const page = document;
  const toBytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
  const toText = (buffer) =>
    btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

  function readable({ publicKey }) {
    publicKey.challenge = toBytes(publicKey.challenge);
    if (publicKey.user) publicKey.user.id = toBytes(publicKey.user.id);
    for (const list of ["excludeCredentials", "allowCredentials"]) {
      for (const one of publicKey[list] ?? []) one.id = toBytes(one.id);
    }
    return { publicKey };
  }
  function sendable(made) {
    const response = {};
    for (const part of ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"]) {
      if (made.response[part]) response[part] = toText(made.response[part]);
    }
    return JSON.stringify({ id: made.id, rawId: made.id, type: made.type, response, clientExtensionResults: {} });
  }
  async function ask(form) {
    const options = readable(JSON.parse(form.dataset.passkey)), { credentials } = navigator;
    return options.publicKey.user ? credentials.create(options) : credentials.get(options);
  }
  // What the browser calls it, in words that say what to do.
  const sentences = {
    NotAllowedError: "Nothing was sent: the phone was not asked, or it was cancelled. Try again, or take another way.",
    InvalidStateError: "This phone has a passkey for this account already.",
    SecurityError: "Passkeys work only by https and under a name, not under a number.",
  };

  for (const form of page.querySelectorAll("form[data-passkey]")) {
    if (!window.PublicKeyCredential) continue;
    const button = form.querySelector("button"), said = form.querySelector("[role=alert]");
    form.hidden = false;
    for (const other of page.querySelectorAll(".without-passkeys")) other.hidden = true;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      button.disabled = true;
      said.hidden = true;
      try {
        form.elements.passkey.value = sendable(await ask(form));
        form.submit();
      } catch (error) {
        said.textContent = sentences[error.name] ?? "That did not work here. Try again, or take another way.";
        said.hidden = false;
      }
      button.disabled = false;
    });
  }
})();
