// The keyboard. Whoever shows something says which keys it takes; the latest one to say so is asked first.

import { useEffect, useRef } from "./html.js";

const takers = [];

/** What every key does, for the page that lists them: `[keys, meaning]`. */
export const KEYS = [
  ["/", "search"],
  ["j  k", "next, previous"],
  ["o  Enter", "open what is selected"],
  ["x", "select a fault, to decide about it"],
  ["Esc", "close, or leave the search"],
  [".", "live: newest entries, as they come"],
  ["p", "pause, go on"],
  ["g then l f e a n i c", "go to Live, Faults, Explain, Alerts, Nodes, Instances, Charts"],
  ["t", "change between dark and light"],
  ["?", "these keys"],
];

/** Takes keys while it is shown: `{j: () => ..., Escape: () => ...}`. A function that returns `false` leaves the key to others. */
export function useKeys(actions) {
  const current = useRef(actions);
  current.current = actions;
  useEffect(() => {
    const taker = (key) => {
      const action = current.current[key];
      return action !== undefined && action() !== false;
    };
    takers.push(taker);
    return () => takers.splice(takers.indexOf(taker), 1);
  }, []);
}

function onKey(event) {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  const writes = event.target.closest?.("input, textarea, select, [contenteditable]");
  if (writes && event.key !== "Escape") return;
  // Enter presses what has the focus.
  if (event.key === "Enter" && event.target.closest?.("a, button, summary")) return;
  if (writes) writes.blur();
  for (const taker of [...takers].reverse()) {
    if (!taker(event.key)) continue;
    event.preventDefault();
    return;
  }
}

globalThis.addEventListener?.("keydown", onKey);

/** The focus goes to the field that the page searches with. */
export function focusSearch() {
  const field = document.querySelector("[data-search]");
  field?.focus();
  field?.select();
  return field !== null;
}
