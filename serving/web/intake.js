// Files on their way into the library: sent with their progress, then made searchable.
import { fill, h } from "./dom.js";
import { counted, percent, size } from "./formats.js";
import { icon } from "./icons.js";
import { announce } from "./notices.js";
import { routeTo } from "./router.js";
import { makeSearchable } from "./shelf.js";
import { upload } from "./upload.js";

const AT_ONCE = 2;

/**
 * A list of what comes in: `{ element, take(files), isBusyWith(id) }`. `onStored(medium)` is called when one is kept,
 * `onSearchable(id)` when it can be found, `onEnd()` when nothing more is done for one.
 */
export function intake({ onStored, onSearchable, onEnd }) {
  const list = h("ul", { class: "stack" });
  const clear = h("button", { type: "button", class: "plain", hidden: true, onclick: clearDone }, "Clear the list");
  const element = h(
    "section",
    { class: "card stack intake", "aria-label": "Coming in", hidden: true },
    h("div", { class: "row spread" }, h("h2", {}, "Coming in"), clear),
    list,
  );
  const waiting = [];
  const busy = new Set();
  let working = 0;

  function take(files) {
    for (const file of files) {
      const entry = row(file);
      list.append(entry.element);
      waiting.push(entry);
    }
    element.hidden = list.childElementCount === 0;
    go();
  }

  function go() {
    while (working < AT_ONCE && waiting.length) {
      working += 1;
      bring(waiting.shift()).finally(() => {
        working -= 1;
        clear.hidden = !list.querySelector(".done");
        go();
      });
    }
  }

  async function bring(entry) {
    const { file, tell, signal } = entry;
    let medium = null;
    try {
      signal.throwIfAborted();
      tell("Sending", 0);
      medium = await upload(file, { signal, onProgress: (share) => tell("Sending", share) });
      busy.add(medium.id);
      onStored(medium);
      tell("Being looked at and listened to", null);
      await makeSearchable({ id: medium.id, filename: medium.filename ?? file.name }, { signal });
      const alike = medium.near_duplicates?.length ?? 0;
      entry.end("good", alike ? `Can be found now; it looks the same as ${counted(alike, "other")}` : "Can be found now", medium);
      onSearchable(medium.id);
    } catch (error) {
      if (error.name === "AbortError") entry.end("warn", medium ? "Stopped: it is kept, but it cannot be found" : "Stopped", medium);
      else if (medium) entry.end("warn", `Kept, but it cannot be found: ${error.message}`, medium);
      else entry.end("bad", error.message, null);
    } finally {
      if (medium) busy.delete(medium.id);
      onEnd();
    }
  }

  function clearDone() {
    for (const done of list.querySelectorAll(".done")) done.remove();
    clear.hidden = true;
    element.hidden = list.childElementCount === 0;
  }

  return { element, take, isBusyWith: (id) => busy.has(id) };
}

function row(file) {
  const name = file.name || "A pasted picture";
  const stopped = new AbortController();
  const bar = h("progress", { max: 1, value: 0, "aria-label": `${name}: progress` });
  const words = h("span", { class: "small quiet number" }, "Waiting");
  const stop = h("button", { type: "button", class: "plain round", "aria-label": `Stop ${name}`, onclick: () => stopped.abort() }, icon("close"));
  const element = h(
    "li",
    { class: "intake-row" },
    h("span", { class: "intake-name" }, name),
    h("span", { class: "small quiet number" }, size(file.size)),
    words,
    stop,
    bar,
  );
  return {
    file,
    element,
    signal: stopped.signal,
    /** `share` of the way; `null` when it is not known how long it takes. */
    tell(doing, share) {
      words.textContent = share === null ? `${doing} …` : `${doing} ${percent(share)}`;
      if (share === null) bar.removeAttribute("value");
      else bar.value = share;
    },
    end(tone, sentence, medium) {
      element.classList.add("done");
      bar.remove();
      stop.remove();
      words.className = `chip ${tone} intake-end`;
      fill(words, icon(tone === "good" ? "check" : "warning"), sentence);
      const which = h("span", { class: "unseen" }, ` ${name}`);
      if (medium) element.append(h("a", { class: "small", href: routeTo("library", [medium.id]) }, "Open", which));
      announce(`${name}: ${sentence}`);
    },
  };
}
