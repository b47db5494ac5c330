// Follows an instance: server-sent events, read by `fetch`, because `EventSource` tells neither why it was refused nor that
// nothing comes any more, and because thousands of events a second want to be taken in batches.

import { ask, connection, url } from "./api.js";

/** The node says something every 15 s. */
const SILENCE_MILLIS = 40_000;

const MAX_WAIT_MILLIS = 5_000;

/** Takes server-sent events apart, however they were cut into pieces. */
export class EventReader {
  #rest = "";

  /** The events that are complete with this piece: `{event, id, data}`. */
  read(piece) {
    const blocks = (this.#rest + piece).split("\n\n");
    this.#rest = blocks.pop();
    const events = [];
    for (const block of blocks) {
      const found = { event: "message", id: null, data: "" };
      for (const line of block.split("\n")) {
        if (line.startsWith("data: ")) found.data += line.slice(6);
        else if (line.startsWith("id: ")) found.id = line.slice(4);
        else if (line.startsWith("event: ")) found.event = line.slice(7);
      }
      if (found.data !== "") events.push(found);
    }
    return events;
  }
}

/**
 * Follows an instance from right behind `cursor`, over lost connections and restarts of the node: each entry once, in order.
 *
 * `take(entries)` gets them in batches. `resume()` is asked where to go on when the page is visible again, as much may have come
 * meanwhile: the cursor, or null if somebody else sees to it. `fail(error)` is told why it will never come to anything.
 * Returns the function that ends it. While the page is hidden there is no connection.
 */
export function follow(instance, parameters, cursor, { take, resume, fail }) {
  let over = false;
  let running = null;
  let wake = () => {};

  const once = async (signal) => {
    const headers = { "Last-Event-ID": String(cursor) };
    const answer = await ask("GET", url(`instances/${encodeURIComponent(instance)}/stream`, parameters), { headers, signal });
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    const events = new EventReader();
    for (;;) {
      const { done, value } = await inTime(reader);
      if (done) return;
      const found = events.read(value);
      const entries = [];
      for (const { event, id, data } of found) {
        if (event === "error") throw new Error(JSON.parse(data));
        if (event !== "message") continue;
        entries.push(JSON.parse(data));
        cursor = id;
      }
      if (entries.length > 0) take(entries);
    }
  };

  const run = async () => {
    let wait = 0;
    while (!over) {
      if (document.hidden) {
        await new Promise((resolve) => (wake = resolve));
        if (over) return;
        cursor = await resume(cursor);
        if (cursor === null) return;
        continue;
      }
      running = new AbortController();
      const began = Date.now();
      try {
        await once(running.signal);
        if (!running.signal.aborted) connection.set("lost");
      } catch (error) {
        if (over) return;
        if (error.status >= 400 && error.status < 500 && error.status !== 429 && error.status !== 408) return fail(error);
        if (!running.signal.aborted) connection.set("lost");
      }
      running.abort();
      if (over || document.hidden) continue;
      if (Date.now() - began > MAX_WAIT_MILLIS) wait = 0;
      wait = Math.min(MAX_WAIT_MILLIS, Math.max(250, 2 * wait));
      await new Promise((resolve) => {
        wake = resolve;
        setTimeout(resolve, wait * (0.5 + Math.random()));
      });
    }
  };

  const seen = () => {
    if (document.hidden) running?.abort();
    else wake();
  };
  document.addEventListener("visibilitychange", seen);
  run().catch(fail);
  return () => {
    over = true;
    document.removeEventListener("visibilitychange", seen);
    running?.abort();
    wake();
  };
}

/** What comes next; an error if nothing does although the node says something now and then. */
async function inTime(reader) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => {
      reader.cancel().catch(() => {});
      reject(new Error("nothing comes any more"));
    }, SILENCE_MILLIS);
  });
  try {
    return await Promise.race([reader.read(), late]);
  } finally {
    clearTimeout(timer);
  }
}
