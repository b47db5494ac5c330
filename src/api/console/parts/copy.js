// A button that copies text.

import { html, useState } from "../html.js";

/** `text`: what is copied, or a function that returns it or a promise of it. */
export function Copy({ text, label = "Copy", ...rest }) {
  const [done, setDone] = useState(null);
  const copy = async () => {
    try {
      const value = typeof text === "function" ? await text() : text;
      await put(value);
      setDone("Copied");
    } catch (error) {
      setDone("Not copied");
    }
    setTimeout(() => setDone(null), 1500);
  };
  // Beside the button: within it nobody would be told.
  return html`<button onClick=${copy} ...${rest}>${done ?? label}</button><span class="unseen" role="status">${done}</span>`;
}

/** The clipboard is there only for pages that came encrypted or from this machine. */
async function put(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const field = document.createElement("textarea");
  field.value = text;
  document.body.append(field);
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  if (!copied) throw new Error("the browser does not copy");
}
