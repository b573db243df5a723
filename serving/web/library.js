// What is kept: everything that was uploaded, one medium by itself, and all of it as a map.
import { fill, h } from "./dom.js";
import { detail } from "./library_detail.js";
import { grid } from "./library_grid.js";
import { collectionMap } from "./map.js";
import { icon } from "./icons.js";
import { apiKey, onKeyChange } from "./key.js";
import { complain } from "./notices.js";
import { currentRoute, routeTo } from "./router.js";

export const styles = ["kinds.css", "library.css", "moments.css", "map.css", "evidence.css"];

const TABS = [
  { name: "", title: "Media", sign: "library" },
  { name: "map", title: "Map", sign: "map" },
];

export function create() {
  const tabs = new Map();
  const nav = h("nav", { class: "row tabs", "aria-label": "Library" }, TABS.map(({ name, title, sign }) => {
    const link = h("a", { href: routeTo("library", name ? [name] : []) }, icon(sign), title);
    tabs.set(name, link);
    return link;
  }));
  const place = h("div", { class: "stack" });
  const head = h("div", { class: "row spread" }, h("h1", { id: "library-title" }, "Library"), nav);
  const element = h("section", { class: "view stack library", "aria-labelledby": "library-title" }, head, place);

  let parts = null;
  let shown = null;
  onKeyChange(() => {
    shown?.hide?.(); // what the key of before may see is not left standing
    shown = parts = null;
    fill(place);
    if (element.isConnected && apiKey() !== null) view.show(currentRoute()).catch(complain);
  });

  function put(part) {
    if (shown !== part) {
      shown?.hide?.();
      fill(place, part.element);
      shown = part;
    }
  }

  const view = {
    element,
    async show({ path: [name = ""], query }) {
      parts ??= { grid: grid(), map: collectionMap() };
      for (const [tab, link] of tabs) {
        if (tab === name) link.setAttribute("aria-current", "page");
        else link.removeAttribute("aria-current");
      }
      if (name === "map") {
        put(parts.map);
        await parts.map.show(query.get("in"));
      } else if (name) {
        const one = detail(name, { start: Number(query.get("t")) || 0, onGone: () => parts?.grid.forget(name) });
        put(one);
        window.scrollTo(0, 0);
        await one.show();
      } else {
        put(parts.grid);
        await parts.grid.show();
      }
    },
    hide: () => shown?.hide?.(),
  };
  return view;
}
