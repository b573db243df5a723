// What an answer used of a medium: labels, text with its place, frames and speech with their times, and whether any
// of it had to be made anew.
import { askJson } from "./api.js";
import { add, fill, h, newId } from "./dom.js";
import { clock, counted, duration, percent, shortId } from "./formats.js";
import { icon } from "./icons.js";
import { player } from "./player.js";
import { thumb } from "./thumb.js";
import { transcript } from "./transcript.js";
import { writtenPicture } from "./written_picture.js";

const TASKS = { labels: "labels", ocr: "text", frames: "frames", transcript: "speech", soft: "vision" };

/** The evidence of one entry of an answer's `manymodal.media`; `filename` is what the medium was called. */
export function evidence(used, filename) {
  const name = filename ?? shortId(used.id);
  const panel = h("div", { class: "evidence-panel" });
  const chips = h("div", { class: "chips" });
  const element = h(
    "section",
    { class: "evidence", "aria-label": `What was used of ${name}` },
    h(
      "div",
      { class: "evidence-head" },
      h("span", { class: "evidence-picture" }, thumb({ id: used.id, kind: used.kind }, { side: 128, showKind: used.kind === "video" })),
      h("div", { class: "evidence-facts" }, h("span", { class: "evidence-name", title: used.id }, name), chips),
    ),
    panel,
  );
  const playing = used.kind === "image" ? null : shownPlayer(used, name, panel);
  if (used.kind === "image") add(chips, imageChips(used, name, panel));
  if (used.kind === "audio") playing.show();
  if (used.kind === "video") add(chips, videoChips(used, panel, playing));
  if (used.transcript_segments !== undefined) add(chips, speechChips(used, panel, playing));
  add(chips, (used.left_out ?? []).map((words) => h("span", { class: "chip warn" }, icon("warning"), `left out: ${words}`)));
  if (used.prompt_tokens) add(chips, h("span", { class: "chip" }, counted(used.prompt_tokens, "token")));
  add(chips, Object.entries(used.cache ?? {}).map(cacheChip));
  return element;
}

function cacheChip([task, tier]) {
  const hit = tier === "hit";
  const words = `${TASKS[task] ?? task}: ${hit ? "cached" : "new"}`;
  const title = hit ? "It was known from before." : "It was made for this answer, and is kept.";
  return h("span", { class: `chip ${hit ? "good" : ""}`, title }, hit && icon("check"), words);
}

function imageChips(used, name, panel) {
  const chips = (used.labels ?? []).map(({ text, probability }) => h("span", { class: "chip accent" }, `${text} ${percent(probability)}`));
  if (used.views) chips.push(h("span", { class: "chip" }, counted(used.views, "view")));
  if (used.ocr_lines) {
    const words = `${counted(used.ocr_lines, "line")} of text`;
    chips.push(opener("text", words, panel, () => writtenPicture(used.id, name)));
  } else if (used.ocr_lines === 0) {
    chips.push(h("span", { class: "chip" }, "no text"));
  }
  return chips;
}

function videoChips(used, panel, playing) {
  const frames = used.frames ?? [];
  if (frames.length) {
    const strip = h(
      "ul",
      { class: "frames", "aria-label": "Frames that were looked at" },
      frames.map((frame) => h("li", {}, frameButton(used.id, frame, playing))),
    );
    panel.append(strip);
  }
  const chips = [opener("play", "play", panel, () => playing.element, { first: true, opened: playing })];
  chips.push(h("span", { class: "chip" }, icon("video"), counted(frames.length, "frame")));
  if (used.near_duplicate_frames) chips.push(h("span", { class: "chip" }, `${counted(used.near_duplicate_frames, "repeat")} left out`));
  if (used.scene_changes_seconds) chips.push(h("span", { class: "chip" }, counted(used.scene_changes_seconds.length + 1, "scene")));
  return chips;
}

function frameButton(id, frame, playing) {
  const label = frame.labels?.[0];
  const words = label ? `${label.text} ${percent(label.probability)}` : frame.reason;
  const all = (frame.labels ?? []).map((one) => `${one.text} ${percent(one.probability)}`).join(", ");
  return h(
    "button",
    {
      type: "button", class: "frame", title: [all, frame.said].filter(Boolean).join(" – "),
      "aria-label": `Play from ${clock(frame.time_seconds)}: ${words}`, onclick: () => playing.seek(frame.time_seconds),
    },
    thumb({ id, kind: "video" }, { side: 192, at: frame.time_seconds }),
    h("span", { class: "frame-label small" }, words),
  );
}

function speechChips(used, panel, playing) {
  if (!used.transcript_segments) return [h("span", { class: "chip" }, icon("audio"), `${duration(used.seconds_heard)} heard, no speech`)];
  const words = `${counted(used.transcript_segments, "passage")} in ${duration(used.seconds_heard)}`;
  return [
    opener("text", words, panel, async () => {
      const heard = await askJson("v1/audio/transcribe", { json: { file_id: used.id, include_timestamps: true } });
      return transcript(heard, playing.seek);
    }),
  ];
}

/**
 * A chip that opens a part of the panel, which is made at the first opening. `first`: above all others. `opened` is
 * given a `show()` that opens it.
 */
function opener(name, words, panel, make, { first = false, opened = {} } = {}) {
  const id = newId("part");
  let part = null;
  const chip = h(
    "button", { type: "button", class: "chip", "aria-expanded": "false", "aria-controls": id, onclick: () => show(part === null || part.hidden) },
    icon(name), words,
  );
  async function show(on) {
    chip.setAttribute("aria-expanded", String(on));
    if (part) {
      part.hidden = !on;
      if (!on) opened.element?.pause?.();
      return;
    }
    part = h("div", { class: "evidence-part", id }, h("p", { class: "quiet small" }, "One moment…"));
    if (first) panel.prepend(part);
    else panel.append(part);
    try {
      fill(part, await make());
    } catch (error) {
      fill(part, h("p", { class: "small", role: "alert" }, error.message));
    }
  }
  opened.show = () => (part === null || part.hidden ? show(true) : undefined);
  return chip;
}

/** The player of a medium: made when it is first wanted. */
function shownPlayer(used, filename, panel) {
  let made = null;
  const shown = {
    get element() {
      made ??= player({ id: used.id, kind: used.kind, filename });
      return made;
    },
    show() {
      if (!shown.element.isConnected) panel.prepend(shown.element);
    },
    async seek(seconds) {
      await shown.show();
      await shown.element.seek(seconds);
      shown.element.scrollIntoView({ block: "nearest" });
    },
  };
  return shown;
}
