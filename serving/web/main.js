// The shell: the bar, the views, the key and the theme.
import { address } from "./api.js";
import "./conversation.js";
import { fill, h } from "./dom.js";
import "./drop.js";
import { icon } from "./icons.js";
import { apiKey, onKeyChange } from "./key.js";
import { askForKey } from "./key_dialog.js";
import { announce, complain } from "./notices.js";
import { currentRoute, go, onRoute, routeTo } from "./router.js";
import { nextTheme, theme } from "./theme.js";
import { VIEWS } from "./views.js";

const main = document.getElementById("main");
const links = new Map();
const made = new Map(); // name to a promise of a view
let shown = null;
let wanted = 0;

async function show(route) {
  const view = VIEWS.find((one) => one.name === route.view);
  if (!view) return go(routeTo(VIEWS[0].name), { replace: true });
  const turn = ++wanted;
  mark(view);
  try {
    const found = await viewOf(view);
    if (turn !== wanted) return null; // someone went on meanwhile
    if (shown !== found) {
      shown?.hide?.();
      fill(main, found.element);
      window.scrollTo(0, 0);
      announce(view.title);
    }
    const first = shown === null;
    const lost = document.activeElement === document.body; // what had the focus is gone
    shown = found;
    await found.show?.(route);
    if (!first && lost) main.focus({ preventScroll: true });
  } catch (error) {
    complain(error);
  }
  return null;
}

function viewOf(view) {
  if (!made.has(view.name)) {
    const making = view.load().then(async (module) => {
      await Promise.all((module.styles ?? []).map(styled));
      return module.create();
    });
    made.set(view.name, making);
    making.catch(() => made.delete(view.name));
  }
  return made.get(view.name);
}

function styled(name) {
  return new Promise((resolve, reject) => {
    const failed = () => reject(new Error("A part of the page could not be loaded. Please load it anew."));
    const link = h("link", { rel: "stylesheet", href: address(`assets/${name}`).href, onload: resolve, onerror: failed });
    document.head.append(link);
  });
}

function mark(view) {
  document.title = `${view.title} · Manymodal`;
  for (const [name, link] of links) {
    if (name === view.name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function themeButton() {
  const button = h("button", { type: "button", class: "plain round", onclick: () => tell(nextTheme()) });
  function tell(chosen) {
    button.setAttribute("aria-label", `Theme: ${chosen}`);
    button.title = `Theme: ${chosen}`;
    fill(button, icon(chosen));
  }
  tell(theme());
  return button;
}

function keyButton() {
  const button = h("button", { type: "button", class: "plain round", onclick: () => askForKey(reason()) }, icon("key"));
  const reason = () =>
    apiKey() === null
      ? "No key is in use. A server on this machine needs none until the first one is made."
      : "A key is in use. Another one takes its place.";
  function tell() {
    const words = apiKey() === null ? "API key: none" : "API key: in use";
    button.setAttribute("aria-label", words);
    button.title = words;
    button.classList.toggle("in-use", apiKey() !== null);
  }
  onKeyChange(tell);
  tell();
  return button;
}

for (const view of VIEWS) {
  const link = h("a", { href: routeTo(view.name) }, icon(view.name), h("span", {}, view.title));
  links.set(view.name, link);
}
fill(document.getElementById("views"), [...links.values()]);
fill(document.getElementById("tools"), keyButton(), themeButton());
document.getElementById("skip").addEventListener("click", () => main.focus());
onRoute(show);
show(currentRoute());
