// Something above the page that has to be closed.

import { html, useEffect, useRef } from "../html.js";

/** The browser's own dialog: it keeps the focus inside, and Escape closes it. */
export function Dialog({ title, onClose, children }) {
  const shown = useRef(null);
  useEffect(() => {
    shown.current.showModal();
  }, []);
  const outside = (event) => event.target === shown.current && onClose();
  return html`
    <dialog ref=${shown} onClose=${onClose} onClick=${outside} aria-label=${title}>
      <div class="dialog">
        <header><h2>${title}</h2><button class="ghost icon" aria-label="Close" onClick=${() => shown.current.close()}>✕</button></header>
        ${children}
      </div>
    </dialog>
  `;
}
