// Moments of a video or a recording, as buttons that play from there.
import { h } from "./dom.js";
import { clock, percent } from "./formats.js";
import { icon } from "./icons.js";
import { thumb } from "./thumb.js";

/** How near two moments of a hit may lie and still be one, in seconds. */
const TOGETHER_SECONDS = 0.5;

/**
 * The moments of a search's hit, best first: `{ seconds, score, text, said }`, `said` for what was heard. What was seen
 * and heard at one time is one moment.
 */
export function momentsOf(hit) {
  const parts = new Map((hit.matches ?? []).map((part) => [part.part_index, part]));
  const seen = (hit.matched_frames ?? []).map((number, place) => {
    const { score = null, text = "" } = parts.get(number) ?? {};
    return { seconds: hit.matched_frame_times[place], score, text, said: false };
  });
  const heard = (hit.matched_segments ?? []).map(({ start_seconds: seconds, text, score }) => ({ seconds, text, score, said: true }));
  const found = [];
  for (const moment of [...heard, ...seen].sort((one, other) => (other.score ?? 0) - (one.score ?? 0))) {
    const same = found.find((one) => Math.abs(one.seconds - moment.seconds) < TOGETHER_SECONDS);
    if (!same) found.push(moment);
    else if (!same.text) same.text = moment.text;
  }
  return found;
}

/** A list of buttons for moments of `{ id, kind }`; `play(seconds)` is called. `scores`: whether they are shown. */
export function momentList({ id, kind }, moments, play, { scores = false, label = "Moments" } = {}) {
  return h(
    "ul",
    { class: "moments", "aria-label": label },
    moments.map(({ seconds, text, score, said }) => {
      const words = said ? `“${text}”` : text;
      return h(
        "li",
        {},
        h(
          "button",
          { type: "button", class: "moment", "aria-label": `Play from ${clock(seconds)}${words ? `: ${words}` : ""}`, onclick: () => play(seconds) },
          kind === "video" ? thumb({ id, kind }, { at: seconds, side: 128 }) : h("span", { class: "chip accent" }, icon("play"), clock(seconds)),
          words && h("span", { class: "moment-text small" }, words),
          scores && typeof score === "number" && h("span", { class: "small quiet number" }, percent(score)),
        ),
      );
    }),
  );
}
