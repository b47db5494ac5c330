// What is around every page: where one can go, who one is, how the node is reached; and the login.

import { ApiError, caller, connection, identify, logIn, logOut } from "./api.js";
import { Component, html, useEffect, useRef, useState } from "./html.js";
import { KEYS, focusSearch, useKeys } from "./keys.js";
import { Link, go, useHere } from "./location.js";
import { theme, zone } from "./preferences.js";
import { useStore } from "./store.js";
import { Dialog } from "./parts/dialog.js";
import { Problem } from "./parts/problem.js";

/** The pages that the header leads to: name in the address, title, key behind `g`. */
const PAGES = [
  ["live", "Live", "l"],
  ["faults", "Faults", "f"],
  ["explain", "Explain", "e"],
  ["alerts", "Alerts", "a"],
  ["nodes", "Nodes", "n"],
  ["instances", "Instances", "i"],
  ["analyses", "Charts", "c"],
];

/** What shows each page. It is fetched when somebody first goes there. */
const MODULES = {
  __proto__: null,
  live: () => import("./pages/live.js").then(({ Live }) => Live),
  faults: () => import("./pages/faults.js").then(({ Faults }) => Faults),
  fault: () => import("./pages/fault.js").then(({ Fault }) => Fault),
  explain: () => import("./pages/explain.js").then(({ Explain }) => Explain),
  alerts: () => import("./pages/alerts.js").then(({ Alerts }) => Alerts),
  nodes: () => import("./pages/nodes.js").then(({ Nodes }) => Nodes),
  instances: () => import("./pages/instances.js").then(({ Instances }) => Instances),
  instance: () => import("./pages/instance.js").then(({ Instance }) => Instance),
  analyses: () => import("./pages/analyses.js").then(({ Analyses }) => Analyses),
};

/** Under which page of the header something is. */
const WITHIN = { fault: "faults", instance: "instances" };

export function Console() {
  const { page } = useHere();
  const who = useStore(caller);
  const state = useStore(connection);
  const [help, setHelp] = useState(false);
  const [failed, setFailed] = useState(null);
  const going = useRef(false);
  // The form stays, with what is written in it, also if the node is not reached.
  const isLogin = useRef(false);
  if (state === "refused") isLogin.current = true;
  else if (who !== null && state === "connected") isLogin.current = false;

  useEffect(() => {
    if (who !== null || state === "refused") return;
    let timer;
    const ask = () => identify().then(
      () => setFailed(null),
      (error) => {
        setFailed(error);
        if (error.status !== 401) timer = setTimeout(ask, 2000);
      },
    );
    ask();
    return () => clearTimeout(timer);
  }, [who, state === "refused"]);

  const goTo = Object.fromEntries(PAGES.map(([page, , key]) => [key, () => {
    if (!going.current) return false;
    going.current = false;
    go({ page });
  }]));
  useKeys({
    ...goTo,
    "?": () => setHelp((shown) => !shown),
    "/": focusSearch,
    t: () => theme.set(isDark() ? "light" : "dark"),
    g: () => {
      going.current = true;
      setTimeout(() => (going.current = false), 1500);
    },
  });

  const { Page, error: missing, again } = usePage(page);
  useEffect(() => {
    const title = PAGES.find(([name]) => name === (WITHIN[page] ?? page))?.[1] ?? "Not found";
    document.title = `${title} · logmachine`;
  }, [page]);

  let content;
  if (isLogin.current) content = html`<${Login} why=${failed} />`;
  else if (who === null) content = html`<main class="page narrow" id="content">${failed ? html`<${Problem} error=${failed} />` : html`<p class="quiet">Connecting…</p>`}</main>`;
  else if (missing) content = html`<main class="page narrow" id="content"><${Problem} error=${missing} again=${again} /></main>`;
  else if (Page === null) content = html`<main class="page narrow" id="content"></main>`;
  else if (Page === undefined) content = html`<main class="page narrow" id="content"><h1>There is no such page</h1><p><${Link} to=${{ page: "live" }}>Live<//></p></main>`;
  else content = html`<${Kept} key=${page}><${Page} /><//>`;

  return html`
    <a class="skip" href="#content">Skip to the content</a>
    <${Header} page=${WITHIN[page] ?? page} onHelp=${() => setHelp(true)} />
    ${content}
    ${help && html`<${Help} onClose=${() => setHelp(false)} />`}
  `;
}

/** What shows a page: null until it has come, undefined if there is no such page. */
function usePage(page) {
  const [came, setCame] = useState({ page: null });
  const [round, setRound] = useState(0);
  useEffect(() => {
    let isOver = false;
    const come = (found) => isOver || setCame({ page, ...found });
    MODULES[page]?.().then((Page) => come({ Page }), () => come({ error: new ApiError(0) }));
    return () => (isOver = true);
  }, [page, round]);
  if (MODULES[page] === undefined) return {};
  return came.page === page ? { ...came, again: () => setRound((round) => round + 1) } : { Page: null };
}

/** A page that fails says so, and leaves the others alone. */
class Kept extends Component {
  constructor() {
    super();
    this.state = { error: null };
  }

  static getDerivedStateFromError(error) {
    return { error };
  }

  componentDidCatch(error) {
    console.error(error);
  }

  render({ children }, { error }) {
    if (error === null) return children;
    const again = () => this.setState({ error: null });
    return html`<main class="page narrow" id="content"><h1>This page failed</h1><${Problem} error=${error} again=${again} /></main>`;
  }
}

function Header({ page, onHelp }) {
  const who = useStore(caller);
  const shown = useStore(theme);
  const times = useStore(zone);
  // On a phone there is no room for all of them.
  useEffect(() => document.querySelector(".top nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" }), [page]);
  return html`
    <header class="top">
      <${Link} to=${{ page: "live" }} class="brand" aria-label="logmachine, live page"><span class="mark" aria-hidden="true"></span>logmachine<//>
      <nav aria-label="Pages">
        ${PAGES.map(([name, title]) => html`<${Link} key=${name} to=${{ page: name }} aria-current=${page === name ? "page" : undefined}>${title}<//>`)}
      </nav>
      <div class="tools">
        <${Connection} />
        ${who?.role === "read" && html`<span class="badge" title="The token allows to read, not to decide">read only</span>`}
        <button class="ghost" onClick=${() => zone.set(times === "utc" ? "local" : "utc")} title="How times are shown">${times === "utc" ? "UTC" : "local"}</button>
        <button class="ghost icon" onClick=${() => theme.set(isDark() ? "light" : "dark")} aria-label=${`Change to ${isDark(shown) ? "light" : "dark"}`}>◐</button>
        <button class="ghost icon" onClick=${onHelp} aria-label="Keys">?</button>
        ${who?.is_session && html`<button class="ghost" onClick=${() => logOut()}>Log out</button>`}
      </div>
    </header>
  `;
}

function isDark(chosen = theme.value) {
  return chosen === "auto" ? matchMedia("(prefers-color-scheme: dark)").matches : chosen === "dark";
}

const CONNECTIONS = {
  connecting: "connecting",
  connected: "connected",
  lost: "connection lost, trying again",
  refused: "not logged in",
};

function Connection() {
  const state = useStore(connection);
  return html`<span class=${`connection ${state}`} role="status"><span class="dot" aria-hidden="true"></span><span class="words">${CONNECTIONS[state]}</span></span>`;
}

/** `why`: what the node said to who came without a token. */
function Login({ why }) {
  const [token, setToken] = useState("");
  const [problem, setProblem] = useState(null);
  const submit = async (event) => {
    event.preventDefault();
    try {
      await logIn(token.trim());
    } catch (error) {
      setProblem(error instanceof ApiError && error.status === 401 ? "This token is not accepted." : error.message);
      connection.set("refused");
    }
  };
  return html`
    <main class="page narrow" id="content">
      <form class="card login" onSubmit=${submit}>
        <h1>Log in</h1>
        <p class="quiet">The node asks for a token. Whoever runs it makes one with <code>logmachine token NAME --role read</code>.</p>
        ${why?.status === 401 && html`<p class="quiet">It says: ${why.message}.</p>`}
        <input class="unseen" tabindex="-1" aria-hidden="true" autocomplete="username" value="logmachine" readonly />
        <label for="token">Token</label>
        <input id="token" type="password" autocomplete="current-password" required autofocus value=${token} onInput=${(event) => setToken(event.target.value)} />
        ${problem && html`<p class="problem" role="alert">${problem}</p>`}
        <button class="primary">Log in</button>
      </form>
    </main>
  `;
}

function Help({ onClose }) {
  return html`
    <${Dialog} title="Keys" onClose=${onClose}>
      <table class="keys"><tbody>
        ${KEYS.map(([keys, meaning]) => html`<tr key=${keys}><th scope="row">${keys.split(" ").map((part) => part === "then" || part === "" ? " " : html`<kbd>${part}</kbd> `)}</th><td>${meaning}</td></tr>`)}
      </tbody></table>
    <//>
  `;
}
