// One turn of the conversation, as it is shown.
import { copy } from "./clipboard.js";
import { add, fill, h } from "./dom.js";
import { evidence } from "./evidence.js";
import { counted, shortId } from "./formats.js";
import { icon } from "./icons.js";
import { showMarkdown } from "./markdown.js";
import { player } from "./player.js";
import { thumb } from "./thumb.js";

const ENDS = {
  length: "The answer reached its longest length.",
  content_filter: "The rest was held back by the moderation policy.",
};

/** What someone asked: the media, then the words. */
export function question(turn) {
  return h(
    "article",
    { class: "turn question", "aria-label": "You" },
    turn.media.length > 0 && h("div", { class: "question-media" }, turn.media.map(given)),
    turn.text && h("p", { class: "question-text" }, turn.text),
  );
}

function given(medium) {
  const name = medium.filename ?? shortId(medium.id);
  if (medium.kind === "audio") return h("div", { class: "question-sound" }, h("span", { class: "small quiet" }, name), player(medium));
  return h("figure", { class: "question-picture" }, thumb(medium, { alt: name, side: 320, showKind: medium.kind === "video" }));
}

/**
 * The answer to it: `element`, and `show(turn, { running, last })`, to be called whenever `turn` has changed. `again` is
 * called when someone wants another answer; `filename` gives what a medium was called.
 */
export function answer({ again, filename }) {
  const model = h("span", { class: "answer-model small quiet" });
  const text = h("div", { class: "prose" });
  const waiting = h("p", { class: "waiting quiet", hidden: true }, h("span", { class: "dots", "aria-hidden": "true" }, "•••"), h("span", {}));
  const notes = h("div", { class: "answer-notes" });
  const used = h("div", { class: "answer-media" });
  const foot = h("div", { class: "answer-foot row small quiet" });
  const element = h("article", { class: "turn answer", "aria-label": "Answer" }, model, waiting, text, notes, used, foot);
  let shownMedia = null;

  function show(turn, { running = false, last = false } = {}) {
    model.textContent = turn.model ?? "";
    waiting.hidden = !running || turn.text !== "";
    waiting.lastElementChild.textContent = turn.waiting ?? "";
    element.setAttribute("aria-busy", String(running));
    showMarkdown(text, turn.text);
    fill(
      notes,
      turn.error && h("p", { class: "chip-line bad", role: "alert" }, icon("warning"), turn.error),
      turn.stopped && h("p", { class: "chip-line" }, icon("stop"), "Stopped."),
      ENDS[turn.finish] && h("p", { class: "chip-line" }, icon("warning"), ENDS[turn.finish]),
      turn.degraded?.length > 0 && h("p", { class: "chip-line" }, icon("warning"), `Answered without: ${turn.degraded.join(", ")}.`),
    );
    if (turn.media !== shownMedia) {
      shownMedia = turn.media;
      fill(used, (turn.media ?? []).map((one) => evidence(one, filename(one.id))));
    }
    fill(foot, !running && tools(turn, last), figures(turn));
  }

  function tools(turn, last) {
    return [
      turn.text && tool("copy", "Copy the answer", () => copy(turn.text)),
      last && tool("again", "Answer anew", again),
    ];
  }

  return { element, show };
}

function tool(name, words, run) {
  return h("button", { type: "button", class: "plain round", "aria-label": words, title: words, onclick: run }, icon(name));
}

function figures(turn) {
  const { usage, first_seconds: first, rate } = turn;
  const words = [];
  if (usage) words.push(`${counted(usage.prompt_tokens, "token")} in, ${usage.completion_tokens} out`);
  if (usage?.media?.cache_hits) words.push(`${usage.media.cache_hits} of ${usage.media.cache_hits + usage.media.cache_misses} from the cache`);
  if (first !== undefined) words.push(`first word after ${first.toFixed(first < 10 ? 2 : 0)} s`);
  if (rate) words.push(`${rate.toFixed(rate < 10 ? 1 : 0)} tokens/s`);
  return add(h("span", { class: "number" }), words.join(" · "));
}
