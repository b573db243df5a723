// Light, dark, or as the system is set.
const KEY = "manymodal.theme";
const ORDER = ["system", "light", "dark"];

/** The theme that was chosen: `system`, `light` or `dark`. */
export function theme() {
  const kept = localStorage.getItem(KEY);
  return ORDER.includes(kept) ? kept : "system";
}

/** Choose the next one, and tell which it is. */
export function nextTheme() {
  const chosen = ORDER[(ORDER.indexOf(theme()) + 1) % ORDER.length];
  if (chosen === "system") {
    localStorage.removeItem(KEY);
    delete document.documentElement.dataset.theme;
  } else {
    localStorage.setItem(KEY, chosen);
    document.documentElement.dataset.theme = chosen;
  }
  return chosen;
}
