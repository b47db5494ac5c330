"""screenshots.py PROGRAM DIRECTORY [MINUTES]: pictures of the console's pages for docs/, of the demo after so many minutes."""

import base64
import os
import pathlib
import pty
import re
import sys
import time

from browser import PHONE, Node, browser, is_connected, until

program = str(pathlib.Path(sys.argv[1]).resolve())
directory = pathlib.Path(sys.argv[2])
minutes = float(sys.argv[3]) if len(sys.argv) > 3 else 3
DEMO = pathlib.Path(__file__).resolve().parents[3] / "examples/demo/run"
OUTAGE = "timeout calling shelves (count) in demo_shop:count/2"
DESKTOP_SIZE = {"viewport": {"width": 1280, "height": 720}}
QUALITY = 55
PHONE_SIZE = {**PHONE, "device_scale_factor": 1.5}


class Demo:
    """`make demo` in a terminal, where it goes on until Ctrl-C."""

    def __enter__(self):
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.execv(DEMO, [str(DEMO), program])
        said = b""
        while b"Ctrl-C ends the demo" not in said:
            said += os.read(self.terminal, 1 << 16)
        self.url = re.search(rb"console is at (\S+)", said).group(1).decode()
        return self

    def __exit__(self, *_):
        os.write(self.terminal, b"\x03")
        os.waitpid(self.pid, 0)


def places(node):
    """What each picture shows: the parameters of the address, and text that is there once it is drawn."""
    def last(**selection):
        return node.get("instances/error_logger/entries", order="desc", limit=1, **selection)["entries"][0]["micros"]

    rush, over = last(grep="all customers come at once"), last(grep="the rush is over")
    crash = last(kind="crash", grep="seven teapots")
    fault = next(fault for fault in node.get("faults")["faults"] if fault["title"] == OUTAGE)
    alert = next(alert for alert in node.get("alerts")["alerts"] if alert["rule"] == "silent")
    return {
        "live": ({"span": 300}, "the rush is over"),
        "entry": ({"at": crash, "level": "notice"}, "list_to_integer"),
        "faults": ({"page": "faults"}, OUTAGE),
        "fault": ({"page": "fault", "id": fault["id"]}, "front@127.0.0.1"),
        "explain": ({"page": "explain", "instance": "error_logger", "from": rush, "to": over, "baseline": rush - 45_000_000}, OUTAGE),
        "alerts": ({"page": "alerts", "alert": alert["id"]}, "Why it fired"),
        "nodes": ({"page": "nodes"}, "stock@127.0.0.1"),
        "instances": ({"page": "instances"}, "quotes"),
        "instance": ({"page": "instance", "instance": "error_logger"}, "front@127.0.0.1"),
        "charts": ({"page": "analyses", "name": "candles", "key": "teapot"}, "sum(3)"),
    }


#: What these show needs to be looked at for a while.
WATCHED = ("nodes", "instance")

#: Each page in the dark, some in the light, some on a phone.
PICTURES = [(name, "dark", DESKTOP_SIZE) for name in ("live", "entry", "faults", "fault", "explain", "alerts", "nodes", "instance", "charts")]
PICTURES += [(name, "light", DESKTOP_SIZE) for name in ("live", "explain", "instances")]
PICTURES += [("live", "dark", PHONE_SIZE), ("fault", "light", PHONE_SIZE)]


def opened(at, scheme, size, place):
    context = at.context(color_scheme=scheme, **size)
    page = at.open(context, **place[0])
    is_connected(page)
    return page


def take(at, page, file, place):
    found = page.get_by_role("main").get_by_text(place[1])
    until(page, f"{file} shows {place[1]}", lambda: any(one.is_visible() for one in found.all()))
    at.watch.wait_for_answers(page)
    # Fonts and charts are drawn by then.
    page.evaluate("document.fonts.ready.then(() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn))))")
    picture = page.context.new_cdp_session(page).send("Page.captureScreenshot", {"format": "webp", "quality": QUALITY})
    file.write_bytes(base64.b64decode(picture["data"]))
    print(f"{file.name}: {file.stat().st_size / 1024:.0f} KiB", flush=True)
    page.context.close()


def is_just_over(node):
    """Whether the shop's last rush ended a moment ago: then there is most to see."""
    [last] = node.get("instances/error_logger/entries", order="desc", limit=1, grep="the rush is over")["entries"]
    return time.time() - last["micros"] / 1e6 < 2


with Demo() as demo, browser(demo.url) as at:
    node = Node(demo.url)
    directory.mkdir(parents=True, exist_ok=True)
    found = places(node)
    pages = {name: opened(at, "dark", DESKTOP_SIZE, found[name]) for name in WATCHED}
    pages["nodes"].wait_for_timeout(minutes * 60_000)
    until(pages["nodes"], "a rush is over", lambda: is_just_over(node), patience=90)
    found = places(node)
    for name, scheme, size in PICTURES:
        file = directory / f"{name}{'-phone' if size is PHONE_SIZE else ''}{'-light' if scheme == 'light' else ''}.webp"
        take(at, pages.get(name) or opened(at, scheme, size, found[name]), file, found[name])
