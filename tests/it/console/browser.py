"""A browser that looks at the console, and a watch on what no page of it may do.

The programs beside this one are run by tests/it/console.rs, which says where the node is; what they can't do themselves (kill
the node, call an Erlang node) they ask of it with `step`. Nothing waits for a fixed time: conditions have a deadline.
"""

import contextlib
import json
import os
import pathlib
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

import axe_playwright_python
from playwright.sync_api import expect, sync_playwright

PATIENCE_SECONDS = 30
expect.set_options(timeout=PATIENCE_SECONDS * 1000)

DESKTOP = {"viewport": {"width": 1280, "height": 800}}
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}

AXE = pathlib.Path(axe_playwright_python.__file__).with_name("axe.min.js").read_text(encoding="utf-8")


def step(name):
    """Has the test that runs this program do something; what it answers."""
    print(f"step {name}", flush=True)
    answer = sys.stdin.readline()
    assert answer.endswith("\n"), f"nobody answers {name}"
    return answer.rstrip("\n")


def until(page, what, condition, patience=PATIENCE_SECONDS):
    """What `condition` comes to when it is something; meanwhile the browser goes on telling what happens in it."""
    deadline = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"{what}: did not happen within {patience} s: {page.locator('body').aria_snapshot()[:3000]}"
        page.wait_for_timeout(20)


class Node:
    """The API of a node, as any client uses it."""

    def __init__(self, url, token=None):
        self.url = url.rstrip("/")
        self.token = token

    def ask(self, method, path, body=None, content_type="application/json", **parameters):
        query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
        request = urllib.request.Request(f"{self.url}/api/v1/{path}{query}", method=method, data=body)
        request.add_header("Content-Type", content_type)
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
                return json.loads(answer.read() or "null")
        except urllib.error.HTTPError as refused:
            raise ValueError(f"{method} {path}: {refused.code}: {refused.read().decode()}") from None

    def get(self, path, **parameters):
        return self.ask("GET", path, **parameters)

    def append(self, *terms, instance="error_logger"):
        """Appends events that are written as Erlang terms; the microseconds of the first and the last."""
        body = "".join(f"{term}.\n" for term in terms).encode()
        answer = self.ask("POST", f"instances/{instance}/entries", body, "text/x-erlang; charset=utf-8")
        return answer["first_micros"], answer["last_micros"]


class Watch:
    """Everything that happened in a browser and should not have."""

    def __init__(self, origin):
        self.origin = origin
        self.unexpected = []
        self._expected = []
        self.requests = []
        self.streams = set()
        self.open = set()

    def observe(self, context):
        context.on("console", lambda message: self._note(f"console {message.type}: {message.text} {message.location}"))
        context.on("weberror", lambda error: self._note(f"error: {error.error}"))
        context.on("dialog", self._dialog)
        context.on("request", self._request)
        context.on("requestfailed", self._failed)
        context.on("requestfinished", self._ended)

    @contextlib.contextmanager
    def expecting(self, *texts):
        """Whatever has one of these texts may happen meanwhile: a refused request, say, which browsers tell of themselves."""
        self._expected.append(texts)
        try:
            yield
        finally:
            self._expected.remove(texts)

    def wait_for_answers(self, page):
        """Waits until nothing but streams is asked for, in several looks: an answer may lead to another question."""
        looks = []
        until(page, "all answers", lambda: looks.append(bool(self.open)) or looks[-5:] == [False] * 5)

    def check(self):
        assert not self.unexpected, "\n".join(self.unexpected)

    def _note(self, text):
        if not any(part in text for texts in self._expected for part in texts):
            self.unexpected.append(text)

    def _dialog(self, dialog):
        self._note(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _request(self, request):
        self.requests.append(request.url)
        (self.streams if "/stream?" in request.url else self.open).add(request)
        if not request.url.startswith((f"{self.origin}/", "data:")):
            self._note(f"request of somebody else: {request.url}")

    def _ended(self, request):
        self.streams.discard(request)
        self.open.discard(request)

    def _failed(self, request):
        self._ended(request)
        # Streams are ended by who reads them, and requests of pages that are left.
        if request.failure != "net::ERR_ABORTED":
            self._note(f"request failed: {request.url} {request.failure}")


class Browser:
    """Chromium. Each page is watched until the end, when nothing may have been noted."""

    def __init__(self, chromium, url):
        self._chromium = chromium
        self.url = url.rstrip("/") + "/"
        self.watch = Watch("/".join(url.split("/")[:3]))

    def context(self, color_scheme="dark", **size):
        """What a person has: a window's size, cookies."""
        context = self._chromium.new_context(color_scheme=color_scheme, timezone_id="UTC", locale="en", **(size or DESKTOP))
        context.set_default_timeout(PATIENCE_SECONDS * 1000)
        self.watch.observe(context)
        return context

    def open(self, context=None, /, **parameters):
        """A page of the console; the parameters are those of its address."""
        page = (context or self.context()).new_page()
        self.go(page, **parameters)
        return page

    def go(self, page, /, **parameters):
        page.goto(self.address(**parameters))

    def address(self, **parameters):
        return self.url + (f"?{urllib.parse.urlencode(parameters)}" if parameters else "")


@contextlib.contextmanager
def browser(url):
    with sync_playwright() as playwright:
        # Within containers, where tests run as root, chromium has no sandbox; it sees nothing but our own pages.
        chromium = playwright.chromium.launch(executable_path=os.environ["CHROMIUM"], args=["--no-sandbox"])
        try:
            one = Browser(chromium, url)
            try:
                yield one
            except BaseException:
                print("noted until then:", *one.watch.unexpected, sep="\n", file=sys.stderr)
                raise
            one.watch.check()
        finally:
            chromium.close()


def is_connected(page):
    """Waits until the page says that it is."""
    expect(page.locator(".connection")).to_have_text("connected")


def check_accessible(page, what):
    """axe-core finds nothing serious."""
    if not page.evaluate("typeof axe === 'object'"):
        page.evaluate(AXE)
    found = page.evaluate("axe.run({resultTypes: ['violations']})")
    serious = [violation for violation in found["violations"] if violation["impact"] in ("serious", "critical")]
    told = [
        f"{what}: {violation['id']}: {violation['help']}\n" + "".join(
            f"    {node['html'][:200]}\n    {' '.join(node['failureSummary'].split())}\n" for node in violation["nodes"][:3])
        for violation in serious
    ]
    assert not serious, "\n".join(told)


# What may be wider than the screen scrolls within itself, and says so by its class.
SIDEWAYS = """() => {
    const wide = [];
    const width = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth > width) wide.push("the page itself");
    for (const element of document.querySelectorAll("body *")) {
        if (element.closest(".scroll, nav, .unseen, .skip, dialog:not([open])")) continue;
        const box = element.getBoundingClientRect();
        if (box.width > 0 && (box.right > width + 1 || box.left < -1)) wide.push(element.outerHTML.slice(0, 150));
        const flow = getComputedStyle(element).overflowX;
        if ((flow === "auto" || flow === "scroll") && element.scrollWidth > element.clientWidth + 1) wide.push(`scrolls: ${element.outerHTML.slice(0, 150)}`);
    }
    return wide.slice(0, 5);
}"""


def check_narrow(page, what):
    """Nothing but tables in boxes of their own is wider than the screen."""
    wide = page.evaluate(SIDEWAYS)
    assert not wide, f"{what}: wider than the screen: {wide}"
