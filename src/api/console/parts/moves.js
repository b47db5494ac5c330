// Moves the focus through what a page lists.

import { useKeys } from "../keys.js";

/** `j` and `k` go to the next and the previous of what `selector` finds, and `o` presses it. */
export function useMoves(selector) {
  const all = () => [...document.querySelectorAll(`#content ${selector}`)];
  const move = (by) => {
    const found = all();
    const at = found.indexOf(document.activeElement);
    const next = found[at === -1 ? 0 : at + by];
    if (next === undefined) return;
    next.focus();
    next.scrollIntoView({ block: "nearest" });
  };
  useKeys({
    j: () => move(1),
    k: () => move(-1),
    o: () => {
      const here = document.activeElement;
      if (!all().includes(here)) return false;
      here.click();
    },
  });
}
