// What was said, each passage with its time; a click goes there.
import { h } from "./dom.js";
import { clock } from "./formats.js";

/** A list of an answer's `segments` (`{ start, end, text }` in seconds); `seek` is called with the start of one. */
export function transcript({ segments, language }, seek) {
  return h(
    "div",
    { class: "transcript" },
    h("p", { class: "small quiet" }, `Language: ${languageName(language)}`),
    h(
      "ol",
      {},
      segments.map(({ start, text }) =>
        h(
          "li",
          {},
          h("button", { type: "button", class: "plain time number", "aria-label": `Play from ${clock(start)}`, onclick: () => seek(start) }, clock(start)),
          h("span", {}, text),
        ),
      ),
    ),
  );
}

function languageName(code) {
  try {
    return new Intl.DisplayNames(undefined, { type: "language" }).of(code);
  } catch {
    return code;
  }
}
