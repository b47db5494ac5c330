// A moment, as the reader wants to see it; the exact one, in UTC, as its title.

import { html } from "../html.js";
import { ago, micros as parse, moment, timeOfDay } from "../format.js";
import { zone } from "../preferences.js";
import { useStore } from "../store.js";

/** `at`: microseconds since 1970, or RFC 3339. `as`: `moment`, `time` or `ago`. */
export function Moment({ at, as = "moment" }) {
  const shown = useStore(zone);
  if (at === null || at === undefined) return null;
  const micros = typeof at === "number" ? at : parse(at);
  const iso = `${moment(micros, "utc", { exact: true })} UTC`;
  const text = { moment: () => moment(micros, shown), time: () => timeOfDay(micros, shown), ago: () => ago(micros) }[as]();
  return html`<time datetime=${new Date(micros / 1000).toISOString()} title=${iso}>${text}</time>`;
}
