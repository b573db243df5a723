// All media, newest first, page by page; new ones come in by file picker, drag and drop, or paste.
import { add, fill, h } from "./dom.js";
import { pickFiles, takeFiles } from "./drop.js";
import { counted, moment, shortId, size } from "./formats.js";
import { icon } from "./icons.js";
import { intake } from "./intake.js";
import { kindButtons, KINDS } from "./kinds.js";
import { announce, complain, notify } from "./notices.js";
import { routeTo } from "./router.js";
import { inLibrary, makeSearchable, mediaPage } from "./shelf.js";
import { thumb } from "./thumb.js";

const AT_ONCE = 2; // media that are made searchable at a time

/** The view of all media: `{ element, show(), hide(), forget(id) }`. */
export function grid() {
  const items = new Map(); // id to { medium, element, sign, searchable }
  const list = h("ul", { class: "shelf", "aria-label": "Media" });
  const empty = h("p", { class: "empty", hidden: true },
    "Nothing is here yet. Add pictures, videos or recordings, or drop them anywhere on this page.");
  const more = h("button", { type: "button", hidden: true, onclick: () => load({ next: true }).catch(complain) }, "Show more");
  const all = h("button", { type: "button", hidden: true, onclick: () => makeAllSearchable().catch(complain) });
  const showOnly = ([one = null]) => {
    kind = one;
    load().catch(complain);
  };
  const filter = kindButtons(["image", "video", "audio"], showOnly, { single: true, label: "Show only" });
  const uploads = intake({ onStored: (medium) => put(medium), onSearchable: (id) => mark(id, true), onEnd: tell });
  const pick = () => pickFiles((files) => uploads.take(files));
  const element = h(
    "div",
    { class: "stack" },
    h("div", { class: "row spread" }, filter,
      h("div", { class: "row" }, all, h("button", { type: "button", class: "main", onclick: pick }, icon("add"), "Add media"))),
    uploads.element,
    list,
    empty,
    h("div", { class: "row shelf-more" }, more),
  );
  const fresh = new Map(); // what came in here: a page of the list may have been made before it
  let kind = null;
  let after = null;
  let loading = null;
  let loaded = false;
  takeFiles(element, (files) => uploads.take(files));

  function pasted(event) {
    const files = [...(event.clipboardData?.files ?? [])];
    if (event.defaultPrevented || !files.length) return; // what was pasted within came already
    event.preventDefault();
    uploads.take(files);
  }

  async function load({ next = false } = {}) {
    loading?.abort();
    loading = new AbortController();
    const { signal } = loading;
    if (!next) after = null;
    let page = await mediaPage({ after, kind, signal });
    while (!page.data.length && page.has_more) page = await mediaPage({ after: page.last_id, kind, signal }); // none of this kind among many
    const known = await searchable(page.data, signal);
    if (!next) {
      items.clear();
      fill(list);
    }
    after = page.last_id;
    more.hidden = !page.has_more;
    for (const medium of page.data) {
      if (items.has(medium.id)) continue;
      const item = made(medium, known.has(medium.id));
      items.set(medium.id, item);
      add(list, item.element);
    }
    if (!next) {
      for (const [id, item] of fresh) {
        if (items.has(id) || (kind !== null && item.medium.kind !== kind)) continue;
        items.set(id, item);
        list.prepend(item.element);
      }
    }
    loaded = true;
    tell();
  }

  /** Which of them can be found; a key that may not search sees them all the same. */
  async function searchable(media, signal) {
    try {
      return await inLibrary(media.map(({ id }) => id), { signal });
    } catch (error) {
      if (error.status !== 403) throw error;
      return new Map(media.map(({ id }) => [id, null]));
    }
  }

  function made(medium, isSearchable) {
    const name = medium.filename ?? shortId(medium.id);
    const sign = h("span", { class: "chip warn shelf-mark", hidden: isSearchable }, "not searchable");
    const element = h(
      "li",
      {},
      h(
        "a",
        { class: "shelf-item", href: routeTo("library", [medium.id]) },
        thumb({ id: medium.id, kind: medium.kind }, { side: 256, showKind: medium.kind === "video" }),
        h("span", { class: "shelf-name" }, h("span", { class: "unseen" }, `${KINDS[medium.kind][0]}: `), name),
        h("span", { class: "small quiet shelf-facts" }, `${size(medium.bytes)}, ${moment(medium.created_at)}`),
        sign,
      ),
    );
    return { medium, element, sign, searchable: isSearchable };
  }

  function mark(id, isSearchable) {
    const item = items.get(id) ?? fresh.get(id);
    if (!item) return;
    item.searchable = isSearchable;
    item.sign.hidden = isSearchable;
    tell();
  }

  function put(medium) {
    const item = made(medium, false);
    fresh.set(medium.id, item);
    if (items.has(medium.id) || (kind !== null && medium.kind !== kind)) return;
    items.set(medium.id, item);
    list.prepend(item.element);
    tell();
  }

  function unsearchable() {
    return [...items.values()].filter((item) => !item.searchable && !uploads.isBusyWith(item.medium.id));
  }

  function tell() {
    const left = unsearchable();
    all.hidden = left.length === 0;
    all.textContent = `Make ${counted(left.length, "medium", "media")} searchable`;
    empty.hidden = items.size > 0 || !loaded;
  }

  async function makeAllSearchable() {
    const left = unsearchable();
    let done = 0;
    let refused = null;
    all.disabled = true;
    const work = async () => {
      for (let item = left.shift(); item; item = left.shift()) {
        try {
          await makeSearchable(item.medium);
          mark(item.medium.id, true);
          done += 1;
        } catch (error) {
          refused = error;
        }
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    all.disabled = false;
    announce(`${counted(done, "medium", "media")} can be found now.`);
    if (refused) notify(`Not all can be found: ${refused.message}`, { kind: "bad" });
  }

  return {
    element,
    async show() {
      document.addEventListener("paste", pasted);
      if (!loaded) await load();
    },
    hide: () => document.removeEventListener("paste", pasted),
    forget(id) {
      items.get(id)?.element.remove();
      items.delete(id);
      fresh.delete(id);
      tell();
    },
  };
}
