// Going through what a page lists with the keyboard: `j` and `k` move the focus from one `data-item` to the next, and `o`
// presses what has it, as Enter does by itself.

import { useKeys } from "../keys.js";

const all = () => [...document.querySelectorAll("[data-item]")];

function move(by) {
  const items = all();
  if (items.length === 0) return false;
  const at = items.indexOf(document.activeElement?.closest?.("[data-item]"));
  const next = at === -1 ? (by > 0 ? 0 : items.length - 1) : at + by;
  const item = items[Math.min(items.length - 1, Math.max(0, next))];
  item.focus();
  item.scrollIntoView({ block: "nearest" });
  return true;
}

function open() {
  const item = document.activeElement?.closest?.("[data-item]");
  item?.click();
  return item !== null && item !== undefined;
}

/** Takes the keys for it, while the page is shown. Items are links or buttons. */
export function useItems() {
  useKeys({ j: () => move(1), k: () => move(-1), o: open });
}
