// One entry, opened: as a report, as Erlang text, as JSON.

import { get, usePolled } from "../../api.js";
import { html, useState } from "../../html.js";
import { Link, address } from "../../location.js";
import { Copy } from "../../parts/copy.js";
import { Problem } from "../../parts/problem.js";
import { ErlangText, Report, Text } from "../../parts/report.js";
import { layOut } from "../../parts/text.js";

const TABS = ["Report", "Erlang", "JSON"];

export function Entry({ instance, at, onClose }) {
  const [tab, setTab] = useState("Report");
  const path = `instances/${encodeURIComponent(instance)}/entries`;
  const one = (format, signal) => get(path, { from: at, to: at, limit: 1, format }, { signal }).then(({ entries }) => entries[0] ?? null);
  const { data: entry, error } = usePolled(async (signal) => ({ found: await one("json", signal) }), `${instance}/${at}`, null);
  const text = usePolled(async (signal) => (tab === "Erlang" ? one("text", signal) : null), `${instance}/${at}/${tab}`, null);
  const found = entry?.found;

  const copied = {
    Report: () => found.view?.detail || found.view?.message || JSON.stringify(found.event),
    Erlang: () => layOut(text.data.event),
    JSON: () => JSON.stringify(found.event, null, 2),
  };
  const node = found?.view?.node;
  const onKeyDown = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: TABS.length - 1 }[event.key];
    if (step === undefined) return;
    const next = TABS[(TABS.indexOf(tab) + step) % TABS.length];
    setTab(next);
    event.currentTarget.querySelector(`[data-tab=${next}]`).focus();
  };
  return html`
    <aside class="entry" data-entry=${at} aria-label="Entry">
      <header class="bar">
        <div role="tablist" aria-label="Form" class="bar grow" onKeyDown=${onKeyDown}>
          ${TABS.map((name) => html`
            <button key=${name} role="tab" data-tab=${name} id=${`tab-${name}`} aria-controls="entry-panel" aria-selected=${tab === name} tabindex=${tab === name ? 0 : -1} onClick=${() => setTab(name)}>${name}</button>
          `)}
        </div>
        <button class="ghost icon" aria-label="Close the entry" onClick=${onClose}>✕</button>
      </header>
      <div class="entry-panel" id="entry-panel" role="tabpanel" aria-labelledby=${`tab-${tab}`} tabindex="0">
        <${Problem} error=${error ?? text.error} />
        ${entry !== null && found === null && html`<p class="empty">This entry is not kept any more.</p>`}
        ${found && html`
          <div class="bar">
            ${(tab !== "Erlang" || text.data !== null) && html`<${Copy} text=${copied[tab]} label=${`Copy ${tab === "Report" ? "text" : tab}`} />`}
            <${Copy} text=${new URL(address({ page: "live", instance, at }), document.baseURI).href} label="Copy link" />
            <${Link} class="button" to=${{ page: "live", instance, at, node: node ?? undefined }} title="Its neighbours in the log, on its node">Around this<//>
          </div>
          ${tab === "Report" && html`<${Report} instance=${instance} entry=${found} />`}
          ${tab === "Erlang" && text.data !== null && html`<${ErlangText} text=${text.data.event} />`}
          ${tab === "JSON" && html`<${Text} text=${JSON.stringify(found.event, null, 2)} />`}
        `}
      </div>
    </aside>
  `;
}
