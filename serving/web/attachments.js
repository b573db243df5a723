// Media on their way into a question: uploaded at once, shown with their progress, taken when all are there.
import { h } from "./dom.js";
import { percent, shortId } from "./formats.js";
import { icon } from "./icons.js";
import { thumb } from "./thumb.js";
import { upload } from "./upload.js";

/** A list of attachments. `onChange` is called whenever one comes, is ready, fails or goes. */
export class Attachments {
  constructor(onChange) {
    this.element = h("ul", { class: "attachments", "aria-label": "Attached media", hidden: true });
    this.items = [];
    this._onChange = onChange;
  }

  /** Media that are ready: `{ id, kind, filename }`. */
  get ready() {
    return this.items.filter((item) => item.medium).map((item) => item.medium);
  }

  /** Whether something is still on its way. */
  get busy() {
    return this.items.some((item) => !item.medium && !item.failed);
  }

  /** Upload files, each by itself. */
  add(files) {
    for (const file of files) this._begin(file);
  }

  /** Attach a medium that is stored already. */
  addStored(medium) {
    if (this.ready.some((one) => one.id === medium.id)) return;
    const item = this._item(medium.filename ?? shortId(medium.id));
    this._arrived(item, medium);
  }

  /** Give away what is ready, and begin anew. */
  take() {
    const media = this.ready;
    for (const item of this.items) item.stop.abort();
    this.items = [];
    this._show();
    return media;
  }

  async _begin(file) {
    const item = this._item(file.name || "file");
    const picture = file.type.startsWith("image/") ? URL.createObjectURL(file) : null;
    if (picture) item.picture.replaceChildren(h("img", { src: picture, alt: "", onerror: (event) => event.target.remove() }));
    try {
      const medium = await upload(file, {
        signal: item.stop.signal,
        onProgress: (share) => {
          item.progress.value = share;
          item.words.textContent = share < 1 ? percent(share) : "being looked at";
        },
      });
      this._arrived(item, medium);
    } catch (error) {
      if (error.name === "AbortError") return;
      item.failed = true;
      item.element.classList.add("failed");
      item.progress.remove();
      item.words.textContent = error.message;
      item.words.setAttribute("role", "alert");
      this._show();
    } finally {
      if (picture) URL.revokeObjectURL(picture);
    }
  }

  _arrived(item, { id, kind, filename }) {
    item.medium = { id, kind, filename };
    item.progress.remove();
    item.words.textContent = shortId(id);
    item.words.title = id;
    item.words.classList.add("mono");
    item.picture.replaceChildren(thumb({ id, kind }, { side: 128, showKind: kind === "video" }));
    this._show();
  }

  _item(name) {
    const item = { medium: null, failed: false, stop: new AbortController() };
    item.progress = h("progress", { max: 1, value: 0, "aria-label": `Upload of ${name}` });
    item.words = h("span", { class: "small quiet" }, "0 %");
    item.picture = h("span", { class: "attachment-picture" });
    item.element = h(
      "li",
      { class: "attachment" },
      item.picture,
      h("span", { class: "attachment-facts" }, h("span", { class: "attachment-name", title: name }, name), item.words, item.progress),
      h(
        "button",
        { type: "button", class: "plain round", "aria-label": `Remove ${name}`, onclick: () => this._remove(item) },
        icon("close"),
      ),
    );
    this.items.push(item);
    this._show();
    return item;
  }

  _remove(item) {
    item.stop.abort();
    this.items = this.items.filter((other) => other !== item);
    this._show();
  }

  _show() {
    this.element.replaceChildren(...this.items.map((item) => item.element));
    this.element.hidden = this.items.length === 0;
    this._onChange();
  }
}
