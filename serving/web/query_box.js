// What is looked for: words, a picture, a recording, a video, or something that was found before; also together.
import { ask, askJson } from "./api.js";
import { fill, h, newId } from "./dom.js";
import { pickFiles } from "./drop.js";
import { icon } from "./icons.js";
import { complain, notify } from "./notices.js";
import { recordButton } from "./recorder.js";
import { thumb } from "./thumb.js";

const MOST_BYTES = 60e6; // of a file that is only searched by: it travels inside the request
const MEDIA = ["image", "audio", "video"];

/**
 * The box. `onSearch()` is called when there is something to look for; `items()` gives the query, `words()` the words.
 * `give(files)` and `showDocument({ id, kind, mediaId, name })` put a medium or a document into it.
 */
export function queryBox({ onSearch }) {
  const field = h("input", {
    type: "search", id: newId("query"), name: "q", placeholder: "Describe what you look for", autocomplete: "off", enterkeyhint: "search",
    "aria-label": "Describe what you look for",
  });
  const given = h("div", { class: "row query-given", hidden: true });
  const microphone = recordButton((file) => heard(file).catch(complain), { label: "Record a sentence to search by" });
  const attach = h(
    "button",
    { type: "button", class: "plain round", "aria-label": "Search by a file", title: "Search by a file", onclick: () => pick() },
    icon("attach"),
  );
  const form = h(
    "form",
    { class: "query", role: "search", onsubmit: (event) => { event.preventDefault(); submit(); } },
    h("div", { class: "query-line" }, icon("search"), field, attach, microphone,
      h("button", { type: "submit", class: "main" }, "Search")),
    given,
  );
  let medium = null; // { kind, content } or { document }

  const pick = () => pickFiles((files) => give(files), { multiple: false });

  function submit() {
    if (field.value.trim() || medium) onSearch();
    else field.focus();
  }

  async function give(files) {
    const [file] = files;
    if (!file) return;
    const kind = file.type.split("/")[0];
    if (!MEDIA.includes(kind)) {
      notify("One can search by a picture, a recording or a video.", { kind: "bad" });
    } else if (file.size > MOST_BYTES) {
      notify("To search by it, a file may have 60 MB. Put larger ones into the library, and look for more like them.", { kind: "bad" });
    } else {
      try {
        const content = await dataUrl(file);
        drop();
        medium = { kind, content };
        show(kind === "image" ? h("img", { src: URL.createObjectURL(file), alt: "" }) : icon(kind), file.name || "A pasted picture");
        onSearch();
      } catch (error) {
        complain(error);
      }
    }
  }

  async function heard(file) {
    const form = new FormData();
    form.append("file", file, file.name || "recording.webm");
    form.append("model", "whisper-1");
    microphone.disabled = true;
    try {
      const { text } = await (await ask("v1/audio/transcriptions", { form })).json();
      if (!text.trim()) {
        notify("No words were heard in the recording.");
        return;
      }
      field.value = text.trim();
      onSearch();
    } finally {
      microphone.disabled = false;
    }
  }

  function show(picture, name) {
    const remove = h(
      "button",
      { type: "button", class: "plain round", "aria-label": `Search without ${name}`, onclick: () => { drop(); field.focus(); } },
      icon("close"),
    );
    fill(given, h("span", { class: "query-medium" }, picture, h("span", {}, name), remove));
    given.hidden = false;
  }

  function drop() {
    const shown = given.querySelector("img");
    if (shown?.src.startsWith("blob:") && !medium?.document) URL.revokeObjectURL(shown.src);
    medium = null;
    given.hidden = true;
    fill(given);
  }

  return {
    element: form,
    give,
    words: () => field.value.trim(),
    document: () => medium?.document ?? null,
    hasMedium: () => medium !== null,
    setWords: (words) => { field.value = words; },
    focus: () => field.focus(),
    drop,
    showDocument({ id, kind, mediaId, name }) {
      drop();
      medium = { document: id };
      show(mediaId ? thumb({ id: mediaId, kind }, { side: 128 }) : icon("text"), `More like ${name}`);
    },
    /** The items of a search's query. */
    items() {
      const items = [];
      if (field.value.trim()) items.push({ type: "text", content: field.value.trim() });
      if (medium?.document) items.push({ type: "document", content: medium.document });
      else if (medium) items.push({ type: medium.kind, content: medium.content });
      return items;
    },
  };
}

function dataUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(reader.result));
    reader.addEventListener("error", () => reject(new Error("The file could not be read.")));
    reader.readAsDataURL(file);
  });
}
