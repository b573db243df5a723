// Markdown as elements. `marked` reads it; of its tokens elements are made one by one, so nothing a model writes
// becomes markup: tags are shown as text, pictures are links (loading one would tell its server), links lead to the
// web or to mail only.
import { copy } from "./clipboard.js";
import { add, h, safeAddress } from "./dom.js";
import { icon } from "./icons.js";
import { Marked } from "./vendor/marked.js";

const reader = new Marked({ gfm: true, breaks: true });
const shown = new WeakMap(); // element to the sources of its blocks

/**
 * Show `text` in `element`. What was shown before and has not changed stays as it is, so that a text that is being
 * written can be selected and is not laid out anew with each word.
 */
export function showMarkdown(element, text) {
  const tokens = reader.lexer(text).filter((token) => token.type !== "space" && token.type !== "def");
  const before = shown.get(element) ?? [];
  tokens.forEach((token, index) => {
    if (before[index] === token.raw) return;
    const made = block(token);
    const old = element.children[index];
    if (old) old.replaceWith(made);
    else element.append(made);
  });
  while (element.children.length > tokens.length) element.lastElementChild.remove();
  shown.set(element, tokens.map((token) => token.raw));
}

const BLOCKS = {
  heading: (token) => h(`h${Math.min(6, token.depth + 2)}`, {}, inline(token.tokens)), // below the page's own
  paragraph: (token) => h("p", {}, inline(token.tokens)),
  text: (token) => h("p", {}, inline(token.tokens ?? [token])),
  hr: () => h("hr"),
  blockquote: (token) => h("blockquote", {}, token.tokens.filter(isBlock).map(block)),
  code: codeBlock,
  list: (token) =>
    h(token.ordered ? "ol" : "ul", token.ordered && token.start !== 1 ? { start: token.start } : {}, token.items.map(item)),
  table,
  html: (token) => h("p", {}, token.text),
};

function block(token) {
  return (BLOCKS[token.type] ?? BLOCKS.html)(token);
}

function isBlock(token) {
  return token.type !== "space" && token.type !== "def";
}

function item(token) {
  const element = h("li");
  if (token.task) element.append(h("input", { type: "checkbox", disabled: true, checked: token.checked, "aria-label": "done" }), " ");
  for (const inner of token.tokens) {
    if (inner.type === "checkbox" || !isBlock(inner)) continue;
    if (inner.type === "text" && !token.loose) add(element, inline(inner.tokens ?? [inner]));
    else element.append(block(inner));
  }
  return element;
}

function codeBlock(token) {
  const button = h(
    "button",
    { type: "button", class: "plain round", "aria-label": "Copy the code", title: "Copy", onclick: () => copy(token.text) },
    icon("copy"),
  );
  return h("div", { class: "code" }, h("pre", { tabindex: "0", "aria-label": "Code" }, h("code", {}, token.text)), button);
}

function table(token) {
  const cells = (row, tag) =>
    row.map((cell) => h(tag, cell.align ? { style: { "text-align": cell.align } } : {}, inline(cell.tokens)));
  return h(
    "div",
    { class: "scrolling", tabindex: "0", role: "group", "aria-label": "Table" },
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, cells(token.header, "th"))),
      h("tbody", {}, token.rows.map((row) => h("tr", {}, cells(row, "td")))),
    ),
  );
}

const SPANS = {
  strong: (token) => h("strong", {}, inline(token.tokens)),
  em: (token) => h("em", {}, inline(token.tokens)),
  del: (token) => h("del", {}, inline(token.tokens)),
  codespan: (token) => h("code", {}, token.text),
  br: () => h("br"),
  link: (token) => link(token.href, inline(token.tokens)),
  image: (token) => link(token.href, [token.text || "picture"]),
  html: (token) => token.raw,
  checkbox: () => "",
};

function inline(tokens) {
  return tokens.map((token) => {
    const make = SPANS[token.type];
    if (make) return make(token);
    return token.tokens ? inline(token.tokens) : plain(token.text ?? token.raw);
  });
}

function link(href, words) {
  const address = safeAddress(href);
  if (address === null) return words;
  return h("a", { href: address, target: "_blank", rel: "noopener noreferrer nofollow" }, words);
}

const ENTITIES = { amp: "&", lt: "<", gt: ">", quot: '"', "#39": "'", nbsp: "\u00a0" };

function plain(text) {
  return text.replace(/&(amp|lt|gt|quot|#39|nbsp);/g, (_, name) => ENTITIES[name]);
}
