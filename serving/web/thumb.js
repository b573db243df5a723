// A small picture of a medium.
import { h } from "./dom.js";
import { clock } from "./formats.js";
import { icon } from "./icons.js";
import { thumbnailUrl } from "./media_urls.js";
import { whenNear } from "./near.js";

/**
 * A thumbnail of `{ id, kind }`, loaded when it comes near the window. `alt` says what it shows (empty where the text
 * beside it does). `at`: the moment of a video in seconds; `mark`: a small text in its corner, by default that moment.
 * `showKind`: an icon of its kind. Sound and texts are icons.
 */
export function thumb({ id, kind }, { alt = "", side = 256, at = null, mark = null, showKind = false } = {}) {
  const words = mark ?? (at === null ? null : clock(at));
  const element = h(
    "span",
    { class: "thumb", dataset: { kind } },
    h("span", { class: "thumb-picture" }, icon(kind === "document" ? "text" : kind)),
    words && h("span", { class: "thumb-mark" }, words),
  );
  if (kind !== "image" && kind !== "video") {
    if (alt) element.append(h("span", { class: "unseen" }, alt));
    return element;
  }
  if (showKind) element.append(h("span", { class: "thumb-kind" }, icon(kind)));
  whenNear(element, async () => {
    try {
      const picture = h("img", { alt, decoding: "async", src: await thumbnailUrl(id, { side, at }) });
      element.firstElementChild.replaceWith(picture);
    } catch {
      element.title = "There is no picture of it.";
      if (alt) element.append(h("span", { class: "unseen" }, alt));
    }
  });
  return element;
}
