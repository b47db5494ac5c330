// Comings and goings of nodes, as the instance `nodes` has them.

import { get } from "../../api.js";
import { useEffect, useState } from "../../html.js";
import { atom, elements, fields, stamp } from "../../parts/term.js";
import { follow } from "../../stream.js";

const INSTANCE = "nodes";

/** How many are shown. */
const KEPT = 200;

/** What is asked for of each event: those of nodes that come name all their modules, which nobody wants to see here. */
const MATCH = "[{{node,down,'_','_'},[],['$_']},"
  + "{{node,'$1','$2',#{since => '$3',otp_release => '$4'}},[],[{{node,'$1','$2',#{since => '$3',otp_release => '$4'}}}]},"
  + "{{node,'$1','$2',#{since => '$3'}},[],[{{node,'$1','$2',#{since => '$3'}}}]}]";

const textOf = (term) => (typeof term === "string" ? term : null);

/** What an entry says: `{at, change, node, since, release, reason, detail}`; null if it is none of these. */
export function readChange({ micros, event }) {
  const [tag, change, node, about] = elements(event);
  if (atom(tag) !== "node" || atom(node) === null) return null;
  const { since, otp_release: release, reason, detail } = fields(about);
  return {
    at: micros,
    change: atom(change),
    node: atom(node),
    since: stamp(since),
    release: textOf(release),
    reason: reason === undefined ? null : atom(reason),
    detail: textOf(detail),
  };
}

/** The nodes that are not connected now, as far as the history goes: of each its last change, the latest first. */
export function goneNodes(history, peers) {
  const known = new Set(peers);
  return history.filter(({ node }) => {
    const isFirst = !known.has(node);
    known.add(node);
    return isFirst;
  });
}

/** The latest comings and goings, the latest first, and each as it comes: `{history, error}`; null until they are there. */
export function useHistory() {
  const [state, setState] = useState({ history: null, error: null });
  useEffect(() => {
    let end = () => {};
    let isOver = false;
    const fail = (error) => isOver || setState((last) => ({ ...last, error }));
    const add = (entries) => {
      const changes = entries.map(readChange).filter((change) => change !== null);
      setState(({ history }) => ({ history: [...changes, ...(history ?? [])].slice(0, KEPT), error: null }));
    };
    const start = async () => {
      const { entries } = await get(`instances/${INSTANCE}/entries`, { order: "desc", limit: KEPT, match: MATCH });
      if (isOver) return;
      add(entries);
      const cursor = entries[0]?.micros ?? 0;
      end = follow(INSTANCE, { match: MATCH }, cursor, {
        take: (latest) => add([...latest].reverse()),
        resume: (cursor) => cursor,
        fail,
      });
    };
    start().catch(fail);
    return () => {
      isOver = true;
      end();
    };
  }, []);
  return state;
}
