// Making elements. Text that came from outside becomes text nodes and attributes, never markup: the page's policy
// (`require-trusted-types-for`) makes the browser refuse `innerHTML` altogether.

/**
 * An element: `h("button", { class: "main", onclick: send, "aria-label": "Send" }, icon("send"))`.
 *
 * Functions become listeners, `true` an empty attribute; `null`, `undefined` and `false` are left out, as properties
 * and as children. `dataset` and `style` (custom properties too) are objects. Lists of children are flattened.
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (name === "dataset") Object.assign(element.dataset, value);
    else if (name === "style") for (const [rule, set] of Object.entries(value)) element.style.setProperty(rule, set);
    else if (name === "value" || name === "checked") element[name] = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  add(element, children);
  return element;
}

/** Append children as `h` takes them. */
export function add(element, ...children) {
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
  return element;
}

/** Put `children` in the place of all that is in `element`. */
export function fill(element, ...children) {
  element.replaceChildren();
  return add(element, children);
}

const SVG = "http://www.w3.org/2000/svg";

/** An SVG element; properties are attributes, functions listeners. */
export function svg(tag, properties = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, String(value));
  }
  return add(element, children);
}

/** `address` if a link may lead there (web, mail, this page), else `null`. */
export function safeAddress(address) {
  try {
    const found = new URL(address, document.baseURI);
    return ["http:", "https:", "mailto:"].includes(found.protocol) ? found.href : null;
  } catch {
    return null;
  }
}

let count = 0;

/** An id that no other element of the page has, for `for` and `aria-labelledby`. */
export function newId(word = "e") {
  count += 1;
  return `${word}-${count}`;
}
