// One thing that was found: what it looks like, how well it fits, and its moments, played in place.
import { add, fill, h } from "./dom.js";
import { shortId } from "./formats.js";
import { icon } from "./icons.js";
import { KINDS } from "./kinds.js";
import { momentList, momentsOf } from "./moments.js";
import { player } from "./player.js";
import { routeTo } from "./router.js";
import { thumb } from "./thumb.js";

const MOST_MOMENTS = 6;
const MOST_CHARACTERS = 280;

/** What to call a document or a hit. */
export function nameOf({ id, metadata, text }) {
  return metadata?.filename ?? metadata?.title ?? (text ? `${text.slice(0, 60)}${text.length > 60 ? "…" : ""}` : shortId(id));
}

/** A card of a hit of `collection`; `best` is the score of the first one, against which bars are drawn. */
export function hitCard(hit, { collection, best, kindOfScore }) {
  const { type: kind, media_id: id } = hit;
  const name = nameOf(hit);
  const moments = kind === "video" || kind === "audio" ? momentsOf(hit).slice(0, MOST_MOMENTS) : [];
  const place = h("div", { class: "hit-medium" });
  let playing = null;

  async function play(seconds) {
    if (!playing) {
      playing = player({ id, kind, filename: name }, { start: seconds });
      fill(place, playing);
    }
    await playing.seek(seconds);
  }

  if (id && kind === "image") add(place, h("a", { href: routeTo("library", [id]), "aria-label": name }, thumb({ id, kind }, { side: 384 })));
  else if (id) add(place, playButton());

  function playButton() {
    const first = moments[0]?.seconds ?? 0;
    return h(
      "button",
      { type: "button", class: "plain hit-play", "aria-label": `Play ${name}`, onclick: () => play(first) },
      thumb({ id, kind }, { side: 384, at: kind === "video" ? first : null }),
      h("span", { class: "hit-sign" }, icon("play")),
    );
  }

  const words = hit.text ?? (kind === "text" ? hit.matches?.[0]?.text : null);
  return h(
    "li",
    { class: "card hit" },
    place.childElementCount > 0 && place,
    h(
      "div",
      { class: "hit-body stack" },
      h("div", { class: "row hit-head" },
        h("span", { class: "hit-name" }, icon(kind), h("span", {}, name)),
        scoreMeter(hit.similarity_score, best, kindOfScore),
      ),
      words && h("p", { class: "small hit-text" }, words.length > MOST_CHARACTERS ? `${words.slice(0, MOST_CHARACTERS)}…` : words),
      kind === "image" && found(hit) && h("p", { class: "small quiet" }, found(hit)),
      moments.length > 0 && momentList({ id, kind }, moments, play, { label: `Moments of ${name} that fit` }),
      h("div", { class: "row hit-links small" },
        id && h("a", { href: routeTo("library", [id], { t: moments[0]?.seconds ?? "" }) }, "Details"),
        h("a", { href: routeTo("search", [], { like: hit.id, in: collection }) }, "More like this"),
        id && h("a", { href: routeTo("chat", [], { media: id }) }, "Ask about it"),
      ),
    ),
  );
}

/** What was seen in a picture, in the part that fits. */
function found({ matches }) {
  return (matches?.[0]?.text ?? "").split("\n").filter(Boolean).join(" · ");
}

function scoreMeter(score, best, kindOfScore) {
  const words = kindOfScore === "reciprocal_rank" ? score.toFixed(4) : score.toFixed(2);
  const share = best > 0 ? Math.max(0, Math.min(1, score / best)) : 0;
  return h(
    "span",
    { class: "score number", title: `Score ${words}` },
    h("span", { class: "unseen" }, "Score "),
    words,
    h("span", { class: "score-bar", "aria-hidden": "true" }, h("span", { style: { width: `${share * 100}%` } })),
  );
}

/** "3 pictures, 1 video": how many of each kind. */
export function kindsFound(hits) {
  const counts = new Map();
  for (const { type } of hits) counts.set(type, (counts.get(type) ?? 0) + 1);
  return [...counts].map(([kind, count]) => `${count} ${(KINDS[kind] ?? [kind, kind])[count === 1 ? 0 : 1].toLowerCase()}`).join(", ");
}
