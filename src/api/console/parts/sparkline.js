// How often something happened lately, as small bars beside its title.

import { html } from "../html.js";

/** `counts`: of equal stretches of time, oldest first. `label`: what it says, for those who do not see it. */
export function Sparkline({ counts, label, width = 120, height = 24 }) {
  const most = Math.max(1, ...counts);
  const each = width / Math.max(1, counts.length);
  return html`
    <svg class="sparkline" viewBox=${`0 0 ${width} ${height}`} width=${width} height=${height} role="img" aria-label=${label} preserveAspectRatio="none">
      ${counts.map((count, at) => {
        const tall = count === 0 ? 0 : Math.max(2, (count / most) * height);
        return tall > 0 && html`<rect key=${at} x=${at * each} y=${height - tall} width=${Math.max(0.5, each - 0.6)} height=${tall} />`;
      })}
    </svg>
  `;
}
