"""pages.py URL: every page, with the events of the demo's shop after its first rush; for everybody, on every screen."""

import sys

from browser import PHONE, Node, browser, check_accessible, check_narrow, expect, is_connected, until

url = sys.argv[1]
node = Node(url)
OUTAGE = "timeout calling shelves (count) in demo_shop:count/2"


def moment_of(text):
    entries = node.get("instances/error_logger/entries", grep=text, **{"from": "earliest"})["entries"]
    return entries[0]["micros"]


rush = moment_of("all customers come at once")
over = moment_of("the rush is over")
fault = next(fault for fault in node.get("faults")["faults"] if fault["title"] == OUTAGE)
crash = node.get("instances/error_logger/entries", grep="seven teapots", kind="crash", limit=1, **{"from": "earliest"})["entries"][0]["micros"]
# It fires until somebody decides about the fault; others come and go with the days of the shop.
alert = next(alert for alert in node.get("alerts")["alerts"] if alert["rule"] == "new_fault" and OUTAGE in alert["text"])

#: Each page, and what is on it once it is drawn.
PAGES = {
    "live": ({}, "the rush is over"),
    "an entry": ({"at": crash}, "list_to_integer"),
    "a stretch": ({"from": rush, "to": over, "level": "error"}, "{count,teapot},101"),
    "faults": ({"page": "faults"}, OUTAGE),
    "fault": ({"page": "fault", "id": fault["id"]}, "front@127.0.0.1"),
    "explain": ({"page": "explain", "instance": "error_logger", "from": rush, "to": over}, OUTAGE),
    "alerts": ({"page": "alerts"}, f"new: {OUTAGE}"),
    "an alert": ({"page": "alerts", "alert": alert["id"]}, "Why it fired"),
    "nodes": ({"page": "nodes"}, "stock@127.0.0.1"),
    "instances": ({"page": "instances"}, "quotes"),
    "instance": ({"page": "instance", "instance": "error_logger"}, "front@127.0.0.1"),
    "charts": ({"page": "analyses", "name": "candles"}, "sum(3)"),
    "lines": ({"page": "analyses", "name": "reports"}, "n = count"),
    "nothing": ({"page": "nothing"}, "There is no such page"),
}


def is_drawn(page, name):
    is_connected(page)
    shown = page.get_by_role("main").get_by_text(PAGES[name][1], exact=False)
    until(page, f"{name} shows {PAGES[name][1]}", lambda: any(one.is_visible() for one in shown.all()))


def each_is_for_everybody(at, name, context, what):
    page = at.open(context, **PAGES[name][0])
    is_drawn(page, name)
    check_accessible(page, f"{name}, {what}, dark")
    check_narrow(page, f"{name}, {what}")
    page.emulate_media(color_scheme="light")
    check_accessible(page, f"{name}, {what}, light")
    page.close()


def the_outage_is_explained(at):
    page = at.open(**PAGES["explain"][0])
    is_drawn(page, "explain")
    first = page.locator("#finding-1")
    expect(first).to_contain_text(OUTAGE)
    expect(first).to_contain_text("never before")
    expect(page.get_by_role("region", name="Explanation")).to_contain_text("front@127.0.0.1")
    first.get_by_role("link", name=f"Fault {fault['id']}").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(OUTAGE)
    page.go_back()
    is_drawn(page, "explain")
    page.close()

    # From the stretch that was chosen in the log.
    page = at.open(**{"from": rush, "to": over})
    page.get_by_role("link", name="Explain this").click()
    expect(page.locator("#finding-1")).to_contain_text(OUTAGE)
    page.close()


def alerts_are_told(at):
    page = at.open(page="alerts")
    is_drawn(page, "alerts")
    firing = page.get_by_role("region", name="firing")
    line = firing.locator("details", has_text=alert["text"])
    line.locator("summary").click()
    expect(line.get_by_text("Why it fired")).to_be_visible()
    expect(page).to_have_url(at.address(page="alerts", alert=alert["id"]))
    history = page.get_by_role("region", name="History")
    expect(history).to_contain_text("no price of a kettle for 2 s")
    expect(history).to_contain_text("errors within 2 s on front@127.0.0.1")
    # Silenced, and loud again.
    line.get_by_role("button", name="Silence…").click()
    dialog = page.get_by_role("dialog", name="Silence")
    expect(dialog.get_by_label("Rule")).to_have_value("new_fault")
    dialog.get_by_label("Why").fill("we know")
    dialog.get_by_role("button", name="Silence", exact=True).click()
    expect(dialog).to_have_count(0)
    expect(line).to_contain_text("silenced")
    silences = page.get_by_role("region", name="Silences")
    expect(silences).to_contain_text("we know")
    silences.get_by_role("button", name="Lift the silence of new_fault").click()
    expect(silences).not_to_contain_text("we know")
    expect(line).not_to_contain_text("silenced")
    page.close()


def pages_lead_to_each_other(at):
    """Links of the pages lead to places that there are."""
    page = at.open()
    seen, open_ = set(), [at.address(**parameters) for parameters, _ in PAGES.values() if parameters.get("page") != "nothing"]
    kinds = set()
    while open_:
        address = open_.pop()
        if address in seen:
            continue
        seen.add(address)
        page.goto(address)
        is_connected(page)
        until(page, f"{address} is loaded", lambda: not page.get_by_text("Loading…").count())
        assert not page.get_by_role("heading", name="There is no such page").count(), address
        assert not page.get_by_role("alert").count(), (address, page.get_by_role("alert").all_inner_texts())
        for link in page.evaluate("[...document.querySelectorAll('main a[href]')].map((link) => link.href)"):
            # One of each kind: what differs is the instance, the node, the moment.
            query = link.partition("?")[2]
            kind = tuple(sorted(part if part.startswith("page=") else part.partition("=")[0] for part in query.split("&")))
            if kind not in kinds:
                kinds.add(kind)
                open_.append(link)
    page.close()


with browser(url) as at:
    for size, what in (({}, "desktop"), (PHONE, "phone")):
        context = at.context(**size)
        for name in PAGES:
            each_is_for_everybody(at, name, context, what)
        context.close()
    the_outage_is_explained(at)
    alerts_are_told(at)
    pages_lead_to_each_other(at)
