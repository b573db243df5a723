// Asking for the API key when the server wants one, and forgetting it.
import { h } from "./dom.js";
import { apiKey, forgetKey, keepKey } from "./key.js";

let asking = null;

/** Ask for a key, and say why. Several who need one share the question. Whether one was given. */
export function askForKey(reason) {
  asking ??= ask(reason).finally(() => { asking = null; });
  return asking;
}

function ask(reason) {
  return new Promise((resolve) => {
    const input = h("input", {
      type: "password", name: "key", autocomplete: "off", spellcheck: "false", required: true, placeholder: "mm_…",
      "aria-describedby": "key-reason",
    });
    const remember = h("input", { type: "checkbox", name: "remember" });
    const known = apiKey() !== null;
    let given = false;
    const dialog = h(
      "dialog",
      { class: "key-dialog", "aria-labelledby": "key-title" },
      h(
        "form",
        { class: "stack", method: "dialog", onsubmit: take },
        h("h2", { id: "key-title" }, "API key"),
        h("p", { id: "key-reason", class: "quiet" }, reason),
        h("label", { class: "field" }, "Key", input),
        h("label", { class: "tick" }, remember, "Remember it on this device"),
        h("p", { class: "small quiet" }, "It is sent to this server only. Otherwise it is forgotten with this tab."),
        h(
          "div",
          { class: "row" },
          h("button", { type: "submit", class: "main" }, "Use this key"),
          known && h("button", { type: "button", onclick: forget }, "Forget the key"),
          h("button", { type: "button", class: "plain", onclick: () => dialog.close() }, "Cancel"),
        ),
      ),
    );

    function take(event) {
      event.preventDefault();
      const key = input.value.trim();
      if (!key) return;
      given = true;
      keepKey(key, remember.checked);
      dialog.close();
    }

    function forget() {
      forgetKey();
      dialog.close();
    }

    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(given);
    });
    document.body.append(dialog);
    dialog.showModal();
    input.focus();
  });
}
