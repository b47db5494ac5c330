// Which limits hold, and how far each is used.

import { html } from "../../html.js";
import { Facts } from "../../parts/facts.js";
import { limitsOf, otherLimits } from "./limits.js";

export function Retention({ instance, segments }) {
  const ends = { oldest: segments?.next === null ? segments.segments.at(-1) : undefined, live: segments?.segments[0] };
  return html`
    <ul class="limits">
      ${limitsOf(instance, ends, Date.now() * 1000).map((limit) => html`<${Limit} key=${limit.name} ...${limit} />`)}
    </ul>
    <div class="columns">${otherLimits(instance).map((fact) => html`<${Facts} key=${fact[0]} facts=${[fact]} />`)}</div>
  `;
}

function Limit({ name, used, most, words, then }) {
  const share = Math.min(1, used / most);
  return html`
    <li>
      <div class="limit-words"><span>${name}</span><span class="quiet">${words}</span></div>
      <div class="meter" role="meter" aria-label=${name} aria-valuemin="0" aria-valuemax=${most} aria-valuenow=${Math.min(used, most)} aria-valuetext=${words}>
        <div style=${{ width: `${(share * 100).toFixed(1)}%` }}></div>
      </div>
      <div class="why">${then}</div>
    </li>
  `;
}
