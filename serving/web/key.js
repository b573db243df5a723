// The API key: in the tab's memory, or on this device when its owner wants that. It never goes into an address.
const NAME = "manymodal.key";

const listeners = new Set();

/** The key, or `null`. */
export function apiKey() {
  return sessionStorage.getItem(NAME) ?? localStorage.getItem(NAME);
}

/** Keep a key; `remember`: beyond this tab. */
export function keepKey(key, remember) {
  const before = apiKey();
  forgetKey(false);
  (remember ? localStorage : sessionStorage).setItem(NAME, key);
  for (const tell of listeners) tell(before !== null && before !== key);
}

/** Forget it here and on this device. */
export function forgetKey(telling = true) {
  const known = apiKey() !== null;
  sessionStorage.removeItem(NAME);
  localStorage.removeItem(NAME);
  if (telling) for (const tell of listeners) tell(known);
}

// A remembered key is that of every tab that was given none of its own: what one forgets, the others forget, too.
window.addEventListener("storage", ({ storageArea, key, oldValue }) => {
  const ours = storageArea === localStorage && (key === NAME || key === null); // `null`: all of it was cleared
  if (!ours || sessionStorage.getItem(NAME) !== null) return;
  for (const tell of listeners) tell(key === null || oldValue !== null);
});

/** Call `tell(gone)` whenever the key changes; `gone`: one is not in use any more, as it is not when the first comes. */
export function onKeyChange(tell) {
  listeners.add(tell);
}
