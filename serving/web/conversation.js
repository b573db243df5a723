// What was said, kept with the tab: it survives a reload and ends with the tab, with the key, or with `clear`.
import { onKeyChange } from "./key.js";

const NAME = "manymodal.conversation";
const EMPTY = { turns: [], options: {} };

// It is of who had the key, and goes with it, whatever view is shown.
onKeyChange((gone) => {
  if (gone && sessionStorage.getItem(NAME) !== null) new Conversation().clear();
});

/**
 * The conversation: `turns` of `{ role: "user", text, media: [{ id, kind, filename }] }` and
 * `{ role: "assistant", text, media: [what was used], ... }`; `options`: `{ model, system, temperature, max_tokens }`.
 */
export class Conversation {
  constructor() {
    Object.assign(this, structuredClone(EMPTY), kept());
  }

  /** Keep it as it is now. */
  keep() {
    try {
      sessionStorage.setItem(NAME, JSON.stringify({ turns: this.turns, options: this.options }));
    } catch {
      // A tab's store is full at 5 MB: the conversation goes on, and is not there after a reload.
    }
  }

  /** Forget what was said; options stay. */
  clear() {
    this.turns = [];
    this.keep();
  }

  /** The body of the next request. */
  request() {
    const { model, system, temperature, max_tokens } = this.options;
    const messages = this.turns.filter((turn) => turn.role === "user" || turn.text).map(message);
    if (system) messages.unshift({ role: "system", content: system });
    return {
      model: model ?? "default",
      messages,
      ...(Number.isFinite(temperature) ? { temperature } : {}),
      ...(Number.isFinite(max_tokens) ? { max_completion_tokens: max_tokens } : {}),
      stream: true,
      stream_options: { include_usage: true, include_obfuscation: false },
    };
  }

  /** What a medium of the conversation was called when it came in. */
  filename(id) {
    for (const turn of this.turns) {
      const found = turn.role === "user" && turn.media.find((medium) => medium.id === id);
      if (found) return found.filename;
    }
    return null;
  }
}

function message(turn) {
  if (turn.role === "assistant") return { role: "assistant", content: turn.text };
  if (!turn.media.length) return { role: "user", content: turn.text };
  const parts = turn.media.map(({ id, kind }) => ({ type: `${kind}_url`, [`${kind}_url`]: { url: id } }));
  return { role: "user", content: turn.text ? [...parts, { type: "text", text: turn.text }] : parts };
}

function kept() {
  try {
    const found = JSON.parse(sessionStorage.getItem(NAME));
    if (!Array.isArray(found?.turns)) return {};
    for (const turn of found.turns.filter((one) => "waiting" in one)) {
      delete turn.waiting; // the page went away in the middle of this answer
      turn.stopped = true;
    }
    return found;
  } catch {
    return {};
  }
}
