// The kinds of things, and a row of buttons to choose among them.
import { add, h } from "./dom.js";
import { icon } from "./icons.js";

/** What a kind is called, one and many. */
export const KINDS = {
  image: ["Picture", "Pictures"],
  video: ["Video", "Videos"],
  audio: ["Recording", "Recordings"],
  text: ["Text", "Texts"],
};

/**
 * Buttons that each turn a kind on and off, none of them on meaning all; `onChange` gets the kinds that are on.
 * With `single` one at most is on. The element has `set(kinds)`.
 */
export function kindButtons(kinds, onChange, { single = false, label = "Kinds" } = {}) {
  const chosen = new Set();
  const buttons = new Map();
  const element = h("div", { class: "row kinds", role: "group", "aria-label": label });

  function press(kind) {
    const on = !chosen.has(kind);
    if (single) chosen.clear();
    if (on) chosen.add(kind);
    else chosen.delete(kind);
    tell();
    onChange([...chosen]);
  }
  function tell() {
    for (const [kind, button] of buttons) button.setAttribute("aria-pressed", String(chosen.has(kind)));
  }
  for (const kind of kinds) {
    buttons.set(kind, h("button", { type: "button", onclick: () => press(kind) }, icon(kind), KINDS[kind][1]));
  }
  element.set = (wanted) => {
    chosen.clear();
    for (const kind of wanted) if (buttons.has(kind)) chosen.add(kind);
    tell();
  };
  element.set([]);
  return add(element, [...buttons.values()]);
}
