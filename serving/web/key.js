// The API key: in the tab's memory, or on this device when its owner wants that. It never goes into an address.
const NAME = "manymodal.key";

const listeners = new Set();

/** The key, or `null`. */
export function apiKey() {
  return sessionStorage.getItem(NAME) ?? localStorage.getItem(NAME);
}

/** Keep a key; `remember`: beyond this tab. */
export function keepKey(key, remember) {
  forgetKey(false);
  (remember ? localStorage : sessionStorage).setItem(NAME, key);
  for (const tell of listeners) tell();
}

/** Forget it here and on this device. */
export function forgetKey(telling = true) {
  sessionStorage.removeItem(NAME);
  localStorage.removeItem(NAME);
  if (telling) for (const tell of listeners) tell();
}

/** Call `tell` whenever the key changes. */
export function onKeyChange(tell) {
  listeners.add(tell);
}
