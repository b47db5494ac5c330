// What the reader prefers, kept by the browser.

import { Store } from "./store.js";

function kept(name, otherwise) {
  let value = null;
  try {
    value = localStorage.getItem(`logmachine.${name}`);
  } catch {
    // Browsers may keep nothing.
  }
  const store = new Store(value ?? otherwise);
  store.listen((value) => {
    try {
      localStorage.setItem(`logmachine.${name}`, value);
    } catch {
      // It lasts as long as the page.
    }
  });
  return store;
}

/** `auto`, `light` or `dark`. */
export const theme = kept("theme", "auto");

/** How moments are shown: `local` or `utc`. */
export const zone = kept("zone", "local");

export function applyTheme() {
  const show = (value) => {
    if (value === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = value;
  };
  show(theme.value);
  theme.listen(show);
}
