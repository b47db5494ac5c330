// The windows of an analysis: the last ones, and each as it comes.

import { get } from "../../api.js";
import { useEffect, useState } from "../../html.js";
import { follow } from "../../stream.js";
import { readWindow, rowsOf } from "./windows.js";

const read = (entries) => entries.map(readWindow).filter((window) => window !== null);

/** The last windows of an analysis, of one key if there is one, oldest first, and what went wrong: `{windows, error}`. */
export function useWindows(name, key, most) {
  const [state, setState] = useState({ windows: null, error: null });
  useEffect(() => {
    let end = () => {};
    let isOver = false;
    const fail = (error) => isOver || setState((last) => ({ ...last, error }));
    const match = rowsOf(key);
    const start = async () => {
      const { entries } = await get(`instances/${encodeURIComponent(name)}/entries`, { order: "desc", limit: most, match });
      if (isOver) return;
      setState({ windows: read(entries).reverse(), error: null });
      end = follow(name, { match }, entries[0]?.micros ?? 0, {
        take: (entries) => setState(({ windows }) => ({ windows: [...windows, ...read(entries)].slice(-most), error: null })),
        resume: (cursor) => cursor,
        fail,
      });
    };
    setState({ windows: null, error: null });
    start().catch(fail);
    return () => {
      isOver = true;
      end();
    };
  }, [name, key, most]);
  return state;
}
