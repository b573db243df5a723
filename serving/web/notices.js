// What the page tells of itself: notices that one sees, and words that only screen readers read.
import { h } from "./dom.js";
import { icon } from "./icons.js";

const SHOWN_SECONDS = 8;
const MOST = 4;

/**
 * Show a sentence for a while. `kind`: `info`, `good` or `bad`; what is bad stays until it is closed.
 * `action`: `{ label, run }`, a button beside it.
 */
export function notify(sentence, { kind = "info", action = null } = {}) {
  const place = document.getElementById("notices");
  const close = () => notice.remove();
  const notice = h(
    "div",
    { class: `notice ${kind}`, role: kind === "bad" ? "alert" : "status" },
    h("p", {}, sentence),
    action && h("button", { type: "button", onclick: () => { close(); action.run(); } }, action.label),
    h("button", { type: "button", class: "plain round", "aria-label": "Close this notice", onclick: close }, icon("close")),
  );
  place.append(notice);
  while (place.children.length > MOST) place.firstElementChild.remove();
  if (kind !== "bad") setTimeout(close, SHOWN_SECONDS * 1000);
  return close;
}

/** An error as a notice, unless it is only that someone stopped. */
export function complain(error) {
  if (error?.name !== "AbortError") notify(error?.message || "Something went wrong.", { kind: "bad" });
}

/** Have a sentence read out, without showing it. */
export function announce(sentence) {
  document.getElementById("announced").textContent = sentence;
}
