"""measure.py PROGRAM [MINUTES]: what the console costs its reader's browser. Prints a table; asserts nothing.

How much is loaded until the first entry is shown, and how long that takes; then, for so many minutes each, with 5,000 and with 1,000
events coming every second: the longest task (while it runs the page answers nobody), how much of a core the page takes, and what its
heap holds after a collection. At last, whether 100,000 entries scroll smoothly.
"""

import multiprocessing
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

from browser import Node, browser, expect, is_connected, until

program = str(pathlib.Path(sys.argv[1]).resolve())
minutes = float(sys.argv[2]) if len(sys.argv) > 2 else 10
HISTORY = 100_000
BATCHES_A_SECOND = 10

# Runs before the page does: when the first entry was painted, after how many requests, and how long its tasks were.
WATCH = """() => {
    window.seen = { first: null, requests: null, tasks: [] };
    new PerformanceObserver((list) => {
        for (const { startTime, duration } of list.getEntries()) window.seen.tasks.push([startTime, duration]);
    }).observe({ type: "longtask", buffered: true });
    const look = () => {
        if (document.querySelector("[data-rows] [data-at]") === null) return requestAnimationFrame(look);
        window.seen.first = performance.now();
        window.seen.requests = performance.getEntriesByType("resource").length + 1;
    };
    requestAnimationFrame(look);
}"""

# Scrolls through all that is held, a frame at a time, and says how long the frames took.
SCROLL = """async () => {
    const list = document.querySelector("[data-rows]");
    const frames = [];
    let last = await new Promise(requestAnimationFrame);
    for (let step = 0; step < 300; step += 1) {
        list.scrollTop = list.scrollHeight * (1 - step / 300);
        const now = await new Promise(requestAnimationFrame);
        frames.push(now - last);
        last = now;
    }
    return frames;
}"""


def texts(number):
    """What nodes report, in about the mix of a cluster in trouble."""
    node = f"shop{number % 7}@10.0.0.{number % 7}"
    pid = f"{{'$pid','{node}',{50 + number},0,17}}"
    log = lambda level, text: f"{{log,'{node}',{level},{{\"{text}\",[{number}]}},#{{pid => {pid},mfa => {{shop_cart,handle_call,3}},file => \"shop_cart.erl\",line => {number % 90}}}}}"
    stack = "".join(f"{{shop_cart,step{frame},{frame % 4},[{{file,\"src/shop_cart.erl\"}},{{line,{20 + frame}}}]}}," for frame in range(6))
    crash = (
        f"{{error_report,{pid},{{{pid},crash_report,[[{{initial_call,{{shop_cart,init,['Argument__1']}}}},{{pid,{pid}}},{{registered_name,shop_cart}},"
        f"{{error_info,{{error,{{badmatch,{{error,{{no_stock,{number}}}}}}},[{stack}{{proc_lib,init_p_do_apply,3,[]}}]}}}},{{ancestors,[shop_sup]}},"
        f"{{message_queue_len,0}},{{messages,[]}},{{links,[]}},{{dictionary,[]}},{{trap_exit,false}},{{status,running}},{{heap_size,610}},{{stack_size,28}},{{reductions,{number}}}],[]]}}}}")
    match number % 10:
        case 0:
            return crash
        case 1:
            return log("error", "order ~p: the bank does not answer")
        case 2 | 3:
            return log("warning", "order ~p took longer than is usual for orders of its kind")
        case _:
            return log("notice", "order ~p was taken, packed and handed over")


def bodies(node):
    """Batches of such events as term_to_binary/1 makes them: the node has encoded them, so that sending costs next to nothing."""
    first, last = node.append(*(texts(number) for number in range(500)))
    request = urllib.request.Request(f"{node.url}/api/v1/instances/error_logger/entries?from={first}&to={last}")
    request.add_header("Accept", "application/x-erlang-etf")
    records = urllib.request.urlopen(request).read()
    terms, at = [], 0
    while at < len(records):
        size = int.from_bytes(records[at:at + 4], "big")
        # Behind the size and the mark there is a pair of timestamp and event; its bytes are a small tuple of two.
        terms.append(event_of(records[at + 8:at + 8 + size]))
        at += 8 + size
    return terms


def event_of(record):
    """The bytes of the event in `{Timestamp, Event}`: a tuple of three small or large integers, then the event."""
    assert record[:3] == b"\x83h\x02" and record[3:5] == b"h\x03", record[:20]
    at = 5
    for _ in range(3):
        at += {97: 2, 98: 5}[record[at]]
    return b"\x83" + record[at:]


def load(url, terms, rate):
    """So many events a second, until somebody ends it."""
    node = Node(url)
    count = rate // BATCHES_A_SECOND
    due = time.monotonic()
    number = 0
    while True:
        body = b"".join(terms[(number + nth) % len(terms)] for nth in range(count))
        number += count
        node.ask("POST", "instances/error_logger/entries", body, "application/x-erlang-etf")
        due += 1 / BATCHES_A_SECOND
        time.sleep(max(0, due - time.monotonic()))


def metrics(devtools):
    return {metric["name"]: metric["value"] for metric in devtools.send("Performance.getMetrics")["metrics"]}


def heap(devtools):
    devtools.send("HeapProfiler.collectGarbage")
    return metrics(devtools)["JSHeapUsedSize"] / (1 << 20)


def first_look(at):
    """Bytes over the network, requests and seconds until the first entry is painted; the median of five browsers that have nothing yet."""
    looks = []
    for _ in range(5):
        context = at.context()
        context.add_init_script(f"({WATCH})()")
        page = context.new_page()
        devtools = context.new_cdp_session(page)
        received = []
        devtools.send("Network.enable")
        devtools.on("Network.loadingFinished", lambda told: received.append(told["encodedDataLength"]))
        page.goto(at.url)
        until(page, "the first entry", lambda: page.evaluate("seen.first !== null"))
        weight = page.evaluate("performance.getEntriesByType('resource').filter(({ name }) => name.includes('/console/')).reduce((sum, { encodedBodySize }) => sum + encodedBodySize, 0)")
        weight += page.evaluate("performance.getEntriesByType('navigation')[0].encodedBodySize")
        looks.append((page.evaluate("seen.first"), page.evaluate("seen.requests"), weight, sum(received)))
        context.close()
    first, requests, weight, all_bytes = (statistics.median(values) for values in zip(*looks))
    print(f"page weight, compressed          {weight / 1024:.0f} KiB (with heads and what it asked: {all_bytes / 1024:.0f} KiB)")
    print(f"requests until the first entry   {requests:.0f}")
    print(f"first entry painted after        {first:.0f} ms (median of 5, {HISTORY:,} entries in the log)", flush=True)


def under_load(at, terms, rate):
    context = at.context()
    context.add_init_script(f"({WATCH})()")
    page = context.new_page()
    devtools = context.new_cdp_session(page)
    devtools.send("Performance.enable")
    loader = multiprocessing.get_context("spawn").Process(target=load, args=(at.url, terms, rate), daemon=True)
    page.goto(at.url)
    is_connected(page)
    loader.start()
    print(f"\n{rate:,} events/s\nminute    heap   tasks > 50 ms   longest task   of a core   entries held", flush=True)
    try:
        begin = time.monotonic()
        minute = 0.0
        while minute < minutes:
            step = min(1.0, minutes - minute)
            page.evaluate("seen.tasks.length = 0")
            before, then = metrics(devtools)["TaskDuration"], time.monotonic()
            # This is what is measured: a minute of it.
            page.wait_for_timeout(max(0, begin + (minute + step) * 60 - time.monotonic()) * 1000)
            minute += step
            busy = (metrics(devtools)["TaskDuration"] - before) / (time.monotonic() - then)
            tasks = [duration for _, duration in page.evaluate("seen.tasks")]
            held = page.locator(".live-state").inner_text()
            print(f"{minute:6.1f} {heap(devtools):5.1f} MiB {len(tasks):12} {max(tasks, default=0):12.0f} ms {100 * busy:9.0f} %   {held}", flush=True)
        expect(page.locator(".connection")).to_have_text("connected")
    finally:
        loader.terminate()
        loader.join()
    return page


def scrolling(page):
    held = page.locator(".live-state").inner_text()
    frames = sorted(page.evaluate(SCROLL))
    print(f"\nscrolled through {held.rpartition('· ')[2]}: frames of {statistics.median(frames):.0f} ms, "
          f"99 of 100 within {frames[len(frames) * 99 // 100]:.0f} ms, longest {frames[-1]:.0f} ms", flush=True)


def main():
    with tempfile.TemporaryDirectory() as directory:
        said = pathlib.Path(directory, "said")
        node_process = subprocess.Popen(
            [program, "run", "--name", "logmachine@127.0.0.1", "--data-dir", f"{directory}/data", "--instance", "error_logger", "--http", "127.0.0.1:0"],
            cwd=directory, env={"HOME": directory, "ERL_EPMD_PORT": "24871"}, stdout=subprocess.DEVNULL, stderr=said.open("w"))
        try:
            while " HTTP at " not in said.read_text():
                assert node_process.poll() is None, said.read_text()
                time.sleep(0.02)
            url = said.read_text().partition(" HTTP at ")[2].split()[0]
            terms = bodies(Node(url))
            for _ in range(HISTORY // len(terms)):
                Node(url).ask("POST", "instances/error_logger/entries", b"".join(terms), "application/x-erlang-etf")
            with browser(url) as at:
                first_look(at)
                page = under_load(at, terms, 5000)
                scrolling(page)
                page.context.close()
                under_load(at, terms, 1000)
        finally:
            node_process.terminate()
            node_process.wait()


if __name__ == "__main__":
    main()
