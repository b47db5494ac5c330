// This node and those it is connected with: what runs there, how far our handlers have come, how much they send; who went and why.

import { get, usePolled } from "../api.js";
import { html } from "../html.js";
import { ago, bytes, count, rate, span } from "../format.js";
import { Link } from "../location.js";
import { Facts } from "../parts/facts.js";
import { Handlers } from "../parts/handlers.js";
import { useItems } from "../parts/items.js";
import { Moment } from "../parts/moment.js";
import { Problem } from "../parts/problem.js";
import { Scroll } from "../parts/scroll.js";
import { brief } from "../parts/text.js";
import { now, record } from "../rates.js";
import { goneNodes, useHistory } from "./nodes/history.js";

/** How many comings and goings are shown. */
const SHOWN = 50;

async function load(signal) {
  const [node, { instances }] = await Promise.all([get("node", {}, { signal }), get("instances", {}, { signal })]);
  const at = Date.now();
  const samples = record("node", at, node.counters);
  const peers = node.peers.map((peer) => ({ ...peer, samples: record(`peer ${peer.name}`, at, peer.counters) }));
  const handlers = instances.flatMap(({ name, handlers }) => handlers.map((handler) => ({ ...handler, instance: name })));
  return { node, peers, handlers, instances, samples };
}

export function Nodes() {
  const { data, error, again } = usePolled(load, "nodes");
  const { history, error: unread } = useHistory();
  useItems();
  const peers = data?.peers ?? [];
  const gone = data !== null && history !== null ? goneNodes(history, peers.map(({ name }) => name)) : [];
  return html`
    <main class="page" id="content">
      <h1>Nodes</h1>
      <${Problem} error=${error} again=${again} />
      ${data !== null && html`
        <${Own} ...${data} />
        <section class="card" aria-labelledby="connected">
          <h2 id="connected">Connected <span class="quiet">${count(peers.length)}</span></h2>
          <${Peers} peers=${peers} handlers=${data.handlers} />
        </section>
      `}
      ${gone.length > 0 && html`
        <section class="card" aria-labelledby="gone">
          <h2 id="gone">Gone</h2>
          <${Gone} gone=${gone} handlers=${data.handlers} uptime=${data.node.uptime_seconds} />
        </section>
      `}
      <section class="card" aria-labelledby="history">
        <h2 id="history">Comings and goings</h2>
        <${Problem} error=${unread} />
        ${history !== null && html`<${History} history=${history} />`}
        <p class="quiet">All of them are in <${Link} to=${{ page: "live", instance: "nodes" }}>the instance nodes<//>.</p>
      </section>
    </main>
  `;
}

const PORT_MAPPER = {
  registered: html`<span class="badge up">registered</span>`,
  unreachable: html`<span class="badge down">unreachable</span> it is tried again`,
  name_taken: html`<span class="badge down">name taken</span> another node has registered this name`,
  none: "not used",
};

/** Counters of things that should not happen, and what they are called. */
const TROUBLE = [
  ["handshakes_failed", "handshakes failed"],
  ["packets_malformed", "malformed packets"],
  ["events_malformed", "malformed messages"],
  ["messages_dropped", "messages dropped"],
];

function Own({ node, instances, samples }) {
  const dropped = instances.reduce((sum, instance) => sum + instance.dropped, 0);
  const trouble = TROUBLE.filter(([name]) => node.counters[name] > 0).map(([name, words]) => `${count(node.counters[name])} ${words}`);
  const failed = [["refused", node.http.refused], ["failed", node.http.failed]].filter(([, number]) => number > 0);
  const packets = now(samples, "packets");
  return html`
    <section class="card own" aria-labelledby="own">
      <h2 id="own" class="mono">${node.name}</h2>
      <div class="columns">
        <${Facts} facts=${[
          ["Version", `logmachine ${node.version}`],
          ["Up for", span(node.uptime_seconds)],
          ["Port mapper", PORT_MAPPER[node.port_mapper] ?? node.port_mapper],
        ]} />
        <${Facts} facts=${[
          ["Receives", packets === null ? "…" : `${rate(packets)} packets a second`],
          ["Connections", `${count(node.counters.peers)} now, ${count(node.counters.connections)} since the start`],
          ["Trouble", trouble.length > 0 ? html`<span class="bad">${trouble.join(", ")}</span>` : "none"],
        ]} />
        <${Facts} facts=${[
          ["HTTP", `${count(node.http.requests)} requests${failed.map(([words, number]) => `, ${count(number)} ${words}`).join("")}`],
          ["Streams", `${count(node.http.streams)} open, ${count(node.http.streamed)} entries sent`],
          ["Events dropped", html`<${Link} to=${{ page: "instances" }} class=${dropped > 0 ? "bad" : ""}>${count(dropped)}<//>`],
        ]} />
      </div>
    </section>
  `;
}

function Peers({ peers, handlers }) {
  if (peers.length === 0) {
    return html`<p class="empty">No node is connected. Name some with <code>logmachine run --connect shop@10.0.0.7</code>, or all of this host with <code>--connect local</code>.</p>`;
  }
  return html`
    <${Scroll} label="Connected nodes">
      <table class="many">
        <thead><tr>
          <th scope="col">Node</th><th scope="col">Runs</th><th scope="col">Handlers</th>
          <th scope="col" class="number">Packets/s</th><th scope="col" class="number">Received/s</th><th scope="col" class="number">Sent/s</th>
          <th scope="col" class="number"><span title="Bytes that its socket has not taken yet">Waiting</span></th>
          <th scope="col" class="number"><span title="Times that it was not read from because a recorder was behind">Pauses</span></th>
        </tr></thead>
        <tbody>${peers.map((peer) => html`<${Peer} key=${peer.name} peer=${peer} handlers=${handlers.filter(({ node }) => node === peer.name)} />`)}</tbody>
      </table>
    <//>
  `;
}

function Peer({ peer, handlers }) {
  const { samples, counters } = peer;
  const speed = (name, unit) => {
    const grows = now(samples, name);
    return grows === null ? "…" : unit(grows);
  };
  const size = (number) => bytes(Math.round(number));
  return html`
    <tr>
      <th scope="row">
        <${Link} data-item to=${{ page: "live", node: peer.name }}>${peer.name}<//>
        <div class="quiet">${peer.visible ? "visible" : "hidden"}, ${peer.address}${peer.since !== null && html`<br />up since <${Moment} at=${peer.since} />`}</div>
      </th>
      <td><${Runs} peer=${peer} /></td>
      <td><${Handlers} handlers=${handlers} label=${({ instance, place }) => `${instance}: ${place}`} /></td>
      <td class="number">${speed("received", rate)}</td>
      <td class="number">${speed("received_bytes", size)}</td>
      <td class="number">${speed("sent_bytes", size)}</td>
      <td class="number">${size(counters.queued_bytes)}</td>
      <td class=${`number ${counters.paused > 0 ? "bad" : ""}`}>${count(counters.paused ?? 0)}</td>
    </tr>
  `;
}

function Runs({ peer }) {
  if (peer.since === null) return html`<span class="quiet">being asked…</span>`;
  const { applications } = peer;
  const own = (applications ?? []).filter(({ origin }) => origin === "own");
  const others = (applications ?? []).filter(({ origin }) => origin !== "own");
  return html`
    ${peer.otp_release === null ? html`<span class="quiet">unknown</span>` : html`OTP ${peer.otp_release} <span class="quiet">erts ${peer.erts_version}</span>`}
    ${own.map(({ name, version }) => html`<div key=${name}><strong>${name}</strong> ${version}</div>`)}
    ${others.length > 0 && html`
      <details class="others"><summary>${count(others.length)} of others</summary>
        ${others.map(({ name, version }) => html`<div key=${name}>${name} ${version}</div>`)}
      </details>
    `}
    ${peer.detail !== null && html`<div class="why">${brief(peer.detail)}</div>`}
  `;
}

function Gone({ gone, handlers, uptime }) {
  return html`
    <${Scroll} label="Nodes that are gone">
      <table class="many">
        <thead><tr><th scope="col">Node</th><th scope="col">Since</th><th scope="col">Was up for</th><th scope="col">Why</th></tr></thead>
        <tbody>
          ${gone.map((last) => html`
            <tr key=${last.node}>
              <th scope="row"><${Link} data-item to=${{ page: "live", node: last.node }}>${last.node}<//></th>
              ${last.change === "down"
                ? html`<td><${Moment} at=${last.at} /> <span class="quiet">${ago(last.at)}</span></td>`
                : html`<td>before this node was started, ${span(uptime)} ago</td>`}
              <td>${last.change === "down" && last.since !== null && span((last.at - last.since) / 1e6)}</td>
              <td><${Why} change=${last} />${handlers.filter(({ node }) => node === last.node).map((handler) => html`<div class="why">${handler.instance}: ${brief(handler.reason ?? handler.state)}</div>`)}</td>
            </tr>
          `)}
        </tbody>
      </table>
    <//>
  `;
}

/** What is known about a change, in words. */
function Why({ change: { change, release, reason, detail } }) {
  if (change === "down") {
    return html`${reason !== null && html`<code>${reason}</code> `}${detail !== null && html`<span class="quiet">${brief(detail)}</span>`}`;
  }
  if (change === "changed") return "other applications or versions";
  return release === null ? html`<span class="quiet">it did not tell what it runs</span>` : `OTP ${release}`;
}

const CHANGES = { up: "up", down: "down", changed: "ongoing" };

function History({ history }) {
  if (history.length === 0) return html`<p class="empty">No node came or went yet.</p>`;
  return html`
    <${Scroll} label="Comings and goings">
      <table class="many">
        <thead><tr><th scope="col">When</th><th scope="col">Node</th><th scope="col">What</th><th scope="col">Why, and with what</th></tr></thead>
        <tbody>
          ${history.slice(0, SHOWN).map((it) => html`
            <tr key=${it.at}>
              <td><${Link} data-item to=${{ page: "live", instance: "nodes", at: it.at }}><${Moment} at=${it.at} /><//></td>
              <td>${it.node}</td>
              <td><span class=${`badge ${CHANGES[it.change] ?? ""}`}>${it.change}</span></td>
              <td><${Why} change=${it} /></td>
            </tr>
          `)}
        </tbody>
      </table>
    <//>
  `;
}
