// Where the reader is: all of it is in the address's query, so that every view has a permalink, the back button works, and a
// proxy may serve the console under any path.

import { html } from "./html.js";
import { Store, useStore } from "./store.js";

/** The parameters of the address, as a plain object. `page` is `live` unless it says otherwise. */
export const here = new Store(parse(globalThis.location?.search ?? ""));

globalThis.addEventListener?.("popstate", () => here.set(parse(location.search)));

export function parse(search) {
  return { page: "live", ...Object.fromEntries(new URLSearchParams(search)) };
}

/** The address with these parameters, relative to where the console is; what is empty is left out. */
export function address(parameters) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value === undefined || value === null || value === "") continue;
    if (name === "page" && value === "live") continue;
    query.set(name, value);
  }
  const text = query.toString();
  return text === "" ? "./" : `?${text}`;
}

/** Goes there. `replace`: the place left is not one that the back button leads to. */
export function go(parameters, { replace = false } = {}) {
  const to = address(parameters);
  if (to === address(here.value)) return;
  history[replace ? "replaceState" : "pushState"](null, "", to);
  here.set(parse(new URL(to, document.baseURI).search));
}

/** Changes some parameters of the address; `undefined` takes one out. */
export function change(parameters, options) {
  go({ ...here.value, ...parameters }, options);
}

/** The parameters of the address; who uses them is drawn again when they change. */
export const useHere = () => useStore(here);

/** A link to a place of the console. `to`: its parameters. */
export function Link({ to, children, ...rest }) {
  const follow = (event) => {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    go(to);
  };
  return html`<a href=${address(to)} onClick=${follow} ...${rest}>${children}</a>`;
}
