// Copying text, also where the page came over plain http and the browser offers no clipboard.
import { h } from "./dom.js";
import { notify } from "./notices.js";

/** Copy `text`, and say so. */
export async function copy(text) {
  try {
    if (navigator.clipboard) await navigator.clipboard.writeText(text);
    else copySelected(text);
    notify("Copied.", { kind: "good" });
  } catch {
    notify("The browser did not let the page copy this.", { kind: "bad" });
  }
}

function copySelected(text) {
  const area = h("textarea", { class: "unseen", value: text, "aria-hidden": "true" });
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (!done) throw new Error("not copied");
}
