import { html, render } from "./html.js";
import { applyTheme } from "./preferences.js";
import { Console } from "./shell.js";

applyTheme();
const app = document.getElementById("app");
app.replaceChildren();
render(html`<${Console} />`, app);
