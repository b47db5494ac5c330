"""hostile.py URL: what events say is text, whatever it says."""

import sys

from browser import PHONE, Node, browser, check_narrow, expect, is_connected, until

url = sys.argv[1]
node = Node(url)

# Each of them would say that it ran.
SCRIPTS = [
    "<script>window.ran = 1</script>",
    "<img src=x onerror='window.ran = 2'>",
    "<svg/onload=alert(3)>",
    "'\"><iframe srcdoc='<script>parent.ran = 4</script>'></iframe>",
    "<a href='javascript:window.ran=5'>press</a>",
    "</pre></textarea><style>body{display:none}</style>",
    "${window.ran = 6} {{constructor.constructor('window.ran = 7')()}}",
]
MARKS = {
    "\\e[31;1mred\\e[0m \\e]0;title\\x{7}\\e[2J": "\\x{1B}[31;1mred",
    "user \\x{202E}txt.exe\\x{202C} left": "user \\x{202E}txt.exe\\x{202C} left",
    "zero\\x{200B}width \\x{FEFF}bom \\x{2066}iso\\x{2069}": "zero\\x{200B}width",
    "nul\\x{0} bell\\x{7} back\\b": "nul\\x{0} bell\\x{7} back\\x{8}",
}


def quoted(text):
    return '"' + text.replace('"', '\\"') + '"'


def log(text):
    return f"{{log,'shop@10.0.0.1',error,{{string,{quoted(text)}}},#{{}}}}"


def report(text):
    """Hostile in every field of a report."""
    bare = text.replace("'", "\\'")
    info = ",".join((
        f"{{initial_call,{{'{bare}','{bare}',['Argument__1']}}}}",
        f"{{registered_name,'{bare}'}}",
        f"{{error_info,{{error,{{badmatch,{quoted(text)}}},[{{'{bare}','{bare}',1,[{{file,{quoted(text)}}},{{line,12}}]}}]}}}}",
        f"{{dictionary,[{{'{bare}',{quoted(text)}}}]}}",
        f"{{ancestors,['{bare}']}}",
    ))
    return f"{{error_report,{{'$pid','{bare}@h',50,0,17}},{{{{'$pid','{bare}@h',93,0,17}},crash_report,[[{info}],[]]}}}}"


def opened(at, page, stamp):
    at.go(page, at=stamp)
    entry = page.locator(f"[data-entry='{stamp}']")
    expect(entry).to_be_visible()
    return entry


def close(page, stamp, text):
    """Closes the entry, which hides its row where there is little room."""
    page.get_by_role("button", name="Close the entry").click()
    expect(page.locator(f"[data-at='{stamp}']")).to_contain_text(text)


def nothing_ran(page):
    assert page.evaluate("window.ran") is None
    assert page.title().endswith("logmachine"), page.title()
    for what in ("iframe", "main script", "main style", "[onerror]", "[onload]", "a[href^='javascript']", "main img"):
        assert page.locator(what).count() == 0, what
    assert page.get_by_role("main").is_visible()


def texts_are_text(at, page):
    stamps = [(node.append(log(text))[0], text) for text in SCRIPTS]
    at.go(page)
    rows = page.locator("[data-rows]")
    for stamp, text in stamps:
        expect(rows.locator(f"[data-at='{stamp}']")).to_contain_text(text)
    nothing_ran(page)
    for stamp, text in stamps:
        entry = opened(at, page, stamp)
        expect(entry).to_contain_text(text)
        for tab in ("Erlang", "JSON"):
            entry.get_by_role("tab", name=tab).click()
            expect(entry.get_by_role("tabpanel")).to_contain_text(text[:20].replace('"', '\\"'))
        nothing_ran(page)
    for marks, shown in MARKS.items():
        stamp, _ = node.append(log(marks))
        entry = opened(at, page, stamp)
        expect(entry).to_contain_text(shown)
        close(page, stamp, shown)
        raw = page.get_by_role("main").inner_text()
        assert not set(raw) & set("\x1b\x00\x07\x08\u202e\u202c\u200b\ufeff\u2066\u2069"), ascii(raw)


def reports_are_text(at, page):
    for text in SCRIPTS[:3]:
        stamp, _ = node.append(report(text))
        entry = opened(at, page, stamp)
        expect(entry).to_contain_text(text[:10])
        nothing_ran(page)
    # On the other pages, too.
    at.go(page, page="faults")
    until(page, "they are faults", lambda: page.get_by_role("row").filter(has_text="<script>").count() > 0)
    nothing_ran(page)
    for fault in node.get("faults")["faults"]:
        at.go(page, page="fault", id=fault["id"])
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        page.locator(".sample summary").first.click()
        expect(page.locator(".report").first).to_be_visible()
        nothing_ran(page)
    at.go(page, page="explain", **{"from": "1h"})
    expect(page.get_by_role("region", name="Explanation")).to_be_visible()
    nothing_ran(page)


def large_ones_are_cut(at, page):
    line = "begin " + "<b>x</b>" * (1 << 17) + " end"
    assert len(line) > 1 << 20
    wide, _ = node.append(log(line))
    deep, _ = node.append("{deep," + "{a,[" * 500 + "bottom" + "]}" * 500 + "}")
    for stamp, text in ((wide, "begin <b>x</b>"), (deep, "deep")):
        entry = opened(at, page, stamp)
        expect(entry).to_contain_text(text)
        for tab in ("Erlang", "JSON", "Report"):
            entry.get_by_role("tab", name=tab).click()
            expect(entry.get_by_role("tabpanel")).to_contain_text(text)
        nothing_ran(page)
        check_narrow(page, text)
        close(page, stamp, text)
    # What is not shown is said, and can be copied.
    entry = opened(at, page, wide)
    for tab in ("Erlang", "JSON"):
        entry.get_by_role("tab", name=tab).click()
        expect(entry).to_contain_text("more characters")
        expect(entry.get_by_role("button", name="Copy all")).to_be_visible()


def addresses_are_text(at, page):
    """What is in the address is as hostile as what is in events."""
    evil = "<img src=x onerror='window.ran = 8'>"
    for parameters in (
        {"grep": evil}, {"node": evil}, {"instance": evil}, {"level": evil}, {"match": evil}, {"at": evil}, {"from": evil}, {"span": evil},
        {"page": evil}, {"page": "fault", "id": evil}, {"page": "faults", "search": evil, "state": evil, "sort": evil, "instance": evil},
        {"page": "explain", "from": evil, "to": evil, "baseline": evil, "instance": evil}, {"page": "alerts", "rule": evil, "alert": evil, "cursor": evil},
        {"page": "instance", "instance": evil}, {"page": "analyses", "name": evil},
    ):
        with at.watch.expecting("status of 400", "status of 404"):
            at.go(page, **parameters)
            at.watch.wait_for_answers(page)
            nothing_ran(page)


with browser(url) as at:
    page = at.open()
    is_connected(page)
    texts_are_text(at, page)
    reports_are_text(at, page)
    large_ones_are_cut(at, page)
    page.close()
    large_ones_are_cut(at, at.open(at.context(**PHONE)))
    addresses_are_text(at, at.open())
