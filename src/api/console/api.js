// The node's HTTP API, as docs/http.md has it; and how it is to be reached.

import { useCallback, useEffect, useRef, useState } from "./html.js";
import { Store } from "./store.js";

/** How the node is to be reached: `connecting`, `connected`, `lost` (trying again), `refused` (a token is needed). */
export const connection = new Store("connecting");

/** Who we are to the node: `{name, role, is_session}`; null as long as nobody knows. */
export const caller = new Store(null);

/** Whether we may do what needs this role. */
export function may(role) {
  const roles = ["read", "write", "admin"];
  return caller.value !== null && roles.indexOf(caller.value.role) >= roles.indexOf(role);
}

/** Why the node did not do what it was asked. `status` is 0 if it could not be reached. */
export class ApiError extends Error {
  constructor(status, { code = "unreachable", message = "the node cannot be reached", where = null } = {}) {
    super(message);
    Object.assign(this, { status, code, where });
  }
}

/** The address of something of the API; parameters that are empty are left out. */
export function url(path, parameters = {}) {
  const to = new URL(`api/v1/${path}`, document.baseURI);
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== undefined && value !== null && value !== "") to.searchParams.set(name, value);
  }
  return to;
}

/** Asks, and says in `connection` how that went. The answer has come, its body has not. */
export async function ask(method, to, { body, headers = {}, signal } = {}) {
  let answer;
  try {
    if (body !== undefined) headers = { ...headers, "Content-Type": "application/json" };
    body = body === undefined ? undefined : JSON.stringify(body);
    answer = await fetch(to, { method, body, headers, signal, cache: "no-store", credentials: "same-origin" });
  } catch (error) {
    if (signal?.aborted) throw error;
    connection.set("lost");
    throw new ApiError(0);
  }
  if (answer.ok) {
    connection.set("connected");
    return answer;
  }
  const said = await answer.json().catch(() => null);
  // A proxy answers for a node that is gone.
  if (said?.error === undefined) {
    connection.set("lost");
    throw new ApiError(answer.status, { message: `HTTP status ${answer.status}` });
  }
  connection.set(answer.status === 401 ? "refused" : "connected");
  throw new ApiError(answer.status, said.error);
}

/** What the API answers, as JSON; null where it has nothing to say. */
export async function call(method, path, parameters, options) {
  const answer = await ask(method, url(path, parameters), options);
  if (answer.status === 204 || answer.status === 202) return null;
  return answer.json();
}

export const get = (path, parameters, options) => call("GET", path, parameters, options);

/**
 * Asks for something again and again while the page is visible: `{data, error, again}`.
 *
 * `load(signal)` is called anew at once when `key` changes; `data` is kept meanwhile only if `key` is the same.
 */
export function usePolled(load, key, everyMillis = 5000) {
  const [state, setState] = useState({ key: null, data: null, error: null });
  const current = useRef(load);
  const [round, setRound] = useState(0);
  current.current = load;
  useEffect(() => {
    const gone = new AbortController();
    let timer;
    let busy = false;
    const run = async () => {
      if (document.hidden || busy) return;
      clearTimeout(timer);
      busy = true;
      try {
        const data = await current.current(gone.signal);
        if (!gone.signal.aborted) setState({ key, data, error: null });
      } catch (error) {
        if (gone.signal.aborted) return;
        setState((last) => ({ key, data: last.key === key ? last.data : null, error }));
      }
      busy = false;
      if (everyMillis !== null) timer = setTimeout(run, everyMillis);
    };
    run();
    document.addEventListener("visibilitychange", run);
    return () => {
      gone.abort();
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", run);
    };
  }, [key, everyMillis, round]);
  const again = useCallback(() => setRound((round) => round + 1), []);
  return state.key === key ? { ...state, again } : { data: null, error: null, again };
}

/** Finds out who we are. */
export async function identify() {
  caller.set(await get("session"));
}

/** Trades a token for a session of this browser. */
export async function logIn(token) {
  // Nothing else can be sent in a header, so it is none.
  if (!/^[!-~]+$/.test(token)) throw new ApiError(401, { message: "a token is one word of letters and digits" });
  await call("POST", "session", {}, { headers: { Authorization: `Bearer ${token}` } });
  await identify();
}

/** Ends this browser's session. */
export async function logOut() {
  await call("DELETE", "session");
  caller.set(null);
  connection.set("refused");
}
