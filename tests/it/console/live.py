"""live.py URL: the log as it comes, and as it was. Kills the node and starts it again by steps."""

import re
import sys
import threading
import urllib.error

from browser import Node, browser, expect, is_connected, step, until

url = sys.argv[1]
node = Node(url)
PAGE = 500


def event(number, level="notice", name="shop"):
    return f"{{log,'{name}@10.0.0.1',{level},{{string,\"number {number}\"}},#{{}}}}"


def stamps(**selection):
    """The timestamps of what is selected, as the API has them."""
    found, cursor = [], None
    while True:
        more = {"cursor": cursor} if cursor else {"from": "earliest"}
        answer = node.get("instances/error_logger/entries", limit=10_000, format="brief", **more, **selection)
        found += [entry["micros"] for entry in answer["entries"]]
        cursor = answer["next"]
        if not answer["entries"]:
            return found


def drawn(page):
    """The rows on the page, in the order in which they are read out: timestamp, text."""
    return page.evaluate("[...document.querySelectorAll('[data-rows] [data-at]')].map((row) => [Number(row.dataset.at), row.innerText])")


def shows(page, what, *texts):
    """Waits until these are the last rows."""
    def is_so():
        last = drawn(page)[-len(texts):]
        return len(last) == len(texts) and all(text in row for text, (_, row) in zip(texts, last))
    until(page, what, is_so)


def in_sight(page):
    """The timestamps of the rows that can be seen."""
    return page.evaluate(
        """() => {
            const { top, bottom } = document.querySelector("[data-rows]").getBoundingClientRect();
            const rows = [...document.querySelectorAll("[data-rows] [data-at]")];
            const isSeen = (box) => box.bottom > top + 2 && box.top < bottom - 2;
            return rows.filter((row) => isSeen(row.getBoundingClientRect())).map((row) => Number(row.dataset.at));
        }""")


def shows_only(page, what, *texts):
    """The same, and that there is no other."""
    shows(page, what, *texts)
    until(page, what, lambda: len(drawn(page)) == len(texts))


def scroll(page, by):
    """Scrolls the list by so many of its heights, and waits until rows are drawn there."""
    page.evaluate(
        """async (by) => {
            const list = document.querySelector("[data-rows]");
            list.scrollTop += by * list.clientHeight;
            const isDrawn = () => {
                const { top, bottom } = list.getBoundingClientRect();
                const boxes = [...list.querySelectorAll("[data-at]")].map((row) => row.getBoundingClientRect());
                return boxes.some((box) => box.top <= top + 1 && box.bottom > top) && boxes.some((box) => box.top < bottom);
            };
            while (!isDrawn()) await new Promise(requestAnimationFrame);
        }""",
        by,
    )


def check_whole(page, expected):
    """Scrolls from the newest entry to the oldest: each is there once, in order, none is missing."""
    scroll(page, 1e6)
    seen = set()

    def look():
        rows = [at for at, _ in drawn(page)]
        first = expected.index(rows[0])
        assert rows == expected[first:first + len(rows)], (rows, expected[first:first + len(rows)])
        seen.update(rows)
        return expected[0] in rows

    until(page, "the newest entry is drawn", lambda: drawn(page) and drawn(page)[-1][0] == expected[-1])
    until(page, "the oldest entry is reached", lambda: look() or scroll(page, -0.8))
    assert seen == set(expected), sorted(set(expected) - seen)


def hide(page, hidden):
    """What the browser says when another tab is looked at."""
    page.evaluate(
        """(hidden) => {
            Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
            Object.defineProperty(document, "visibilityState", { value: hidden ? "hidden" : "visible", configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


class Writer(threading.Thread):
    """Appends numbered events, one after the other, also while the node is killed and started again."""

    def __init__(self, number):
        super().__init__(daemon=True)
        self.number = number
        self.failed = 0
        self.over = threading.Event()

    def run(self):
        while not self.over.wait(0.005):
            try:
                node.append(event(self.number))
                self.number += 1
            except (OSError, urllib.error.URLError):
                self.failed += 1


def entries_arrive(at):
    node.append(*(event(number) for number in range(20)))
    page = at.open()
    is_connected(page)
    shows(page, "what was", "number 18", "number 19")
    for number in range(20, 25):
        node.append(event(number))
        shows(page, "what comes", f"number {number - 1}", f"number {number}")
    return page


def filters_hold(at, page):
    node.append(event(30, "error"), event(31, "debug"), event(32, "warning", "bank"), "{quote,<<\"ACME\">>,12.5}")
    shows(page, "an event without a level", "number 32", "quote")
    page.get_by_label("Level", exact=True).select_option("warning")
    shows_only(page, "warnings and worse", "number 30", "number 32")
    expect(page).to_have_url(at.address(level="warning"))
    node.append(event(33, "info"), event(34, "critical", "bank"))
    shows_only(page, "those that come", "number 30", "number 32", "number 34")
    page.get_by_label("Node", exact=True).fill("bank@*")
    shows_only(page, "of a node", "number 32", "number 34")
    page.reload()
    shows_only(page, "the same again", "number 32", "number 34")
    expect(page.get_by_label("Node", exact=True)).to_have_value("bank@*")
    page.get_by_label("Node", exact=True).fill("")
    page.get_by_label("Level", exact=True).select_option("")
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    expect(page.get_by_label("Search text")).to_be_focused()
    page.keyboard.type("number (3|2)4$")
    shows_only(page, "of a text", "number 24", "number 34")
    with at.watch.expecting("status of 400"):
        page.get_by_label("Search text").fill("number (")
        expect(page.get_by_role("alert")).to_contain_text("grep")
        expect(page.get_by_label("Search text")).to_have_attribute("aria-invalid", "true")
    page.get_by_label("Search text").fill("")

    page.get_by_role("button", name="More").click()
    spec = page.get_by_label("Match specification")
    spec.fill("[{{quote,'$1','$2'},[{'>','$2',12}],['$1']}]")
    until(page, "what the match spec lets pass", lambda: len(drawn(page)) == 1)
    assert "ACME" in drawn(page)[0][1] and "12.5" not in drawn(page)[0][1], drawn(page)
    with at.watch.expecting("status of 400"):
        for wrong in ("[{", "[{'_',[{no_such_guard}],['$_']}]", "number"):
            spec.fill(wrong)
            expect(page.get_by_role("alert")).to_contain_text("match")
            expect(spec).to_have_attribute("aria-invalid", "true")
            refused = page.request.get(f"{at.url}api/v1/instances/error_logger/entries", params={"match": wrong}).json()["error"]["message"]
            expect(page.get_by_role("alert")).to_contain_text(refused)
    spec.fill("")
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page).to_have_url(at.url)


def pause_holds(page):
    shows(page, "all", "number 33", "number 34")
    new = page.locator("[data-new]")
    # Also where there is room for what comes.
    for number, filter in ((40, ""), (50, "number 4")):
        page.get_by_label("Search text").fill(filter)
        until(page, "what is selected", lambda: drawn(page) and all("number 4" in text for _, text in drawn(page)) == bool(filter))
        before = until(page, "rows are in sight", lambda: in_sight(page))
        page.get_by_role("button", name="Pause").click()
        node.append(*(event(f"{number + nth}, not number 4") for nth in range(5)))
        expect(new).to_have_text("5 new")
        assert in_sight(page) == before, (filter, before, in_sight(page))
        new.click()
        shows(page, "what came meanwhile", *(f"number {number + nth}" for nth in range(5)))
        expect(new).to_have_count(0)
    page.get_by_label("Search text").fill("")
    shows(page, "all", "number 53", "number 54")
    # Who reads further up is not disturbed either.
    node.append(*(event(number) for number in range(60, 150)))
    shows(page, "many more", "number 149")
    scroll(page, -1)
    before = in_sight(page)
    node.append(event(150))
    expect(new).to_have_text("1 new")
    assert in_sight(page) == before
    page.keyboard.press(".")
    shows(page, "the newest", "number 150")
    expect(new).to_have_count(0)


def restart_is_seamless(at, page):
    writer = Writer(200)
    writer.start()
    reached = writer.number + 30
    until(page, "what comes is shown", lambda: any(f"number {reached}" in text for _, text in drawn(page)))
    lost = ("net::ERR_", "status of 401")
    with at.watch.expecting(*lost):
        step("kill")
        until(page, "the page says so", lambda: "lost" in page.locator(".connection").inner_text())
        until(page, "the writer cannot write", lambda: writer.failed > 0)
        step("start")
        is_connected(page)
        reached = writer.number
        until(page, "the writer goes on", lambda: writer.number > reached + 30)
        writer.over.set()
        writer.join()
        shows(page, "what was written last", f"number {writer.number - 1}")
    assert writer.failed > 0
    assert page.locator("[data-new]").count() == 0
    check_whole(page, stamps())


def hidden_page_asks_nothing(at, page):
    page.keyboard.press(".")
    shows(page, "the newest", "number")
    assert len(at.watch.streams) == 1, at.watch.streams
    hide(page, True)
    until(page, "its stream is closed", lambda: not at.watch.streams)
    node.append(*(event(number) for number in range(1000, 1020)))
    assert not at.watch.streams
    hide(page, False)
    shows(page, "what came meanwhile", *(f"number {number}" for number in range(1000, 1020)))
    assert len(at.watch.streams) == 1, at.watch.streams
    check_whole(page, stamps())


def all_can_be_scrolled_to(at):
    node.append(*(event(number) for number in range(2000, 2000 + 4 * PAGE)))
    page = at.open()
    shows(page, "the newest", f"number {2000 + 4 * PAGE - 1}")
    check_whole(page, stamps())
    page.close()


def times_are_places(at):
    _, end = node.append(event(5000))
    all_stamps = stamps()
    middle = all_stamps[len(all_stamps) // 2]
    page = at.open()
    shows(page, "the newest", "number 5000")
    jump = page.get_by_label("Jump to a time")
    jump.fill(str(middle))
    jump.press("Enter")
    until(page, "the entry of that moment is the first", lambda: in_sight(page)[:1] == [middle])
    expect(page).to_have_url(at.address(**{"from": middle}))
    jump.fill("tomorrow or so")
    jump.press("Enter")
    expect(jump).to_have_attribute("aria-invalid", "true")
    page.go_back()
    shows(page, "the newest again", "number 5000")
    page.go_forward()
    until(page, "that moment again", lambda: in_sight(page)[:1] == [middle])

    # An entry's address opens it, with its neighbours.
    at.go(page, at=middle)
    entry = page.locator(f"[data-entry='{middle}']")
    expect(entry).to_be_visible()
    until(page, "its neighbours are there", lambda: middle in in_sight(page)[1:-1])
    expect(page.locator(f"[data-at='{middle}']")).to_have_attribute("aria-selected", "true")
    number = node.get("instances/error_logger/entries", **{"from": middle, "limit": 1})["entries"][0]["view"]["message"]
    expect(entry).to_contain_text(number)
    entry.get_by_role("tab", name="Erlang").click()
    expect(entry.get_by_role("tabpanel")).to_contain_text('{string,"number ')
    entry.get_by_role("tab", name="Erlang").press("ArrowRight")
    expect(entry.get_by_role("tab", name="JSON")).to_be_focused()
    expect(entry.get_by_role("tabpanel")).to_contain_text('"$tuple"')
    page.keyboard.press("Escape")
    expect(entry).to_have_count(0)
    page.go_back()
    expect(entry).to_be_visible()
    entry.get_by_role("button", name="Close the entry").click()
    expect(entry).to_have_count(0)

    at.go(page, at=1)
    expect(page.locator("[data-entry='1']")).to_contain_text("not kept")

    # A stretch has nothing but what is in it.
    some = all_stamps[10:15]
    at.go(page, **{"from": some[0], "to": some[-1]})
    until(page, "those of the stretch", lambda: [at for at, _ in drawn(page)] == some)
    node.append(event(5001))
    expect(page.get_by_role("link", name="Explain this")).to_have_attribute("href", f"?page=explain&instance=error_logger&from={some[0]}&to={some[-1]}")
    page.keyboard.press(".")
    shows(page, "the newest", "number 5000", "number 5001")
    page.close()


def counts_choose_a_stretch(at):
    node.append(event(5500, "error"))
    page = at.open()
    shows(page, "the newest", "number 5500")
    counts = page.locator(".histogram .u-over")
    expect(page.locator(".histogram .chart")).to_have_attribute("aria-label", re.compile("^[1-9].* entries, of which [1-9]"))
    box = counts.bounding_box()
    page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 1, box["y"] + 30, steps=5)
    page.mouse.up()
    expect(page).to_have_url(re.compile("from=[0-9]{16}&to=[0-9]{16}"))
    explain = page.get_by_role("link", name="Explain this")
    expect(explain).to_be_visible()
    page.go_back()
    expect(explain).to_have_count(0)
    page.close()


def an_entry_is_copied_and_has_neighbours(at):
    stamp, last = node.append(event(5600), event(5601, name="bank"), event(5602))
    context = at.context()
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = at.open(context, at=stamp)
    entry = page.locator(f"[data-entry='{stamp}']")
    copied = lambda: page.evaluate("navigator.clipboard.readText()")
    entry.get_by_role("button", name="Copy text").click()
    until(page, "the text is copied", lambda: copied() == "number 5600")
    entry.get_by_role("tab", name="Erlang").click()
    entry.get_by_role("button", name="Copy Erlang").click()
    until(page, "the term is copied", lambda: copied() == "{log,'shop@10.0.0.1',notice,{string,\"number 5600\"},#{}}")
    entry.get_by_role("tab", name="JSON").click()
    entry.get_by_role("button", name="Copy JSON").click()
    until(page, "the JSON is copied", lambda: '"$tuple"' in copied())
    entry.get_by_role("button", name="Copy link").click()
    until(page, "the link is copied", lambda: copied() == at.address(instance="error_logger", at=stamp))
    entry.get_by_role("link", name="Around this").click()
    until(page, "its neighbours of its node", lambda: [at for at, _ in drawn(page)][-2:] == [stamp, last])
    expect(page.get_by_label("Node", exact=True)).to_have_value("shop@10.0.0.1")
    context.close()


def the_keyboard_is_enough(at):
    node.append(*(event(number) for number in range(6000, 6003)))
    page = at.open()
    shows(page, "the newest", "number 6002")
    chosen = page.locator("[data-rows] [aria-selected=true]")
    page.keyboard.press("k")
    expect(chosen).to_contain_text("number 6002")
    page.keyboard.press("k")
    page.keyboard.press("k")
    expect(chosen).to_contain_text("number 6000")
    page.keyboard.press("j")
    expect(chosen).to_contain_text("number 6001")
    expect(page.locator("[data-entry]")).to_have_count(0)
    page.keyboard.press("o")
    expect(page.locator("[data-entry]")).to_contain_text("number 6001")
    page.keyboard.press("j")
    expect(page.locator("[data-entry]")).to_contain_text("number 6002")
    page.keyboard.press("Escape")
    expect(page.locator("[data-entry]")).to_have_count(0)
    page.keyboard.press("p")
    node.append(event(6003))
    expect(page.locator("[data-new]")).to_have_text("1 new")
    page.keyboard.press("p")
    shows(page, "the newest", "number 6003")
    page.keyboard.press("/")
    page.keyboard.type("jkop.")
    expect(page.get_by_label("Search text")).to_have_value("jkop.")
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    page.keyboard.press("f")
    expect(page.get_by_role("heading", level=1, name="Faults")).to_be_visible()
    page.close()


with browser(url) as at:
    page = entries_arrive(at)
    filters_hold(at, page)
    pause_holds(page)
    restart_is_seamless(at, page)
    hidden_page_asks_nothing(at, page)
    page.close()
    all_can_be_scrolled_to(at)
    times_are_places(at)
    counts_choose_a_stretch(at)
    an_entry_is_copied_and_has_neighbours(at)
    the_keyboard_is_enough(at)
