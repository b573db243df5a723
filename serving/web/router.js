// Where one is: `#/search?q=cats`, `#/library/file-123`. The address alone says what is shown.

/** `{ view, path, query }` of the address: the view's name, what follows it, and parameters. */
export function currentRoute() {
  const [where, query = ""] = location.hash.replace(/^#\/?/, "").split("?", 2);
  const [view, ...path] = where.split("/").map(unescaped);
  return { view, path, query: new URLSearchParams(query) };
}

/** The address of a view: `routeTo("search", [], { q: "cats" })`. */
export function routeTo(view, path = [], query = {}) {
  const kept = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const words = new URLSearchParams(kept).toString();
  return `#/${[view, ...path].map(encodeURIComponent).join("/")}${words ? `?${words}` : ""}`;
}

/** Go there; `replace`: without a step in the browser's history. */
export function go(route, { replace = false } = {}) {
  if (route === location.hash) return;
  if (replace) {
    history.replaceState(null, "", route);
    window.dispatchEvent(new HashChangeEvent("hashchange"));
  } else {
    location.hash = route;
  }
}

/** Write the state of a view into the address, without showing it anew. */
export function noteRoute(route) {
  if (route !== location.hash) history.replaceState(null, "", route);
}

/** Call `tell` with each new route. */
export function onRoute(tell) {
  window.addEventListener("hashchange", () => tell(currentRoute()));
}

function unescaped(word) {
  try {
    return decodeURIComponent(word);
  } catch {
    return word;
  }
}
