// A value that several parts of the page show.

import { useEffect, useReducer } from "./html.js";

export class Store {
  #listeners = new Set();

  constructor(value) {
    this.value = value;
  }

  set(value) {
    if (Object.is(value, this.value)) return;
    this.value = value;
    for (const listener of [...this.#listeners]) listener(value);
  }

  /** Calls `listener` at each change; what comes back ends that. */
  listen(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

/** The value of a store; who uses it is drawn again when it changes. */
export function useStore(store) {
  const [, redraw] = useReducer((count) => count + 1, 0);
  useEffect(() => {
    const drawn = store.value;
    const end = store.listen(redraw);
    // It may have changed between being drawn and being listened to.
    if (!Object.is(drawn, store.value)) redraw();
    return end;
  }, [store]);
  return store.value;
}
