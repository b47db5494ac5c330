"""shell.py URL: what is around every page."""

import sys

from browser import browser, expect, is_connected

PAGES = {
    "live": "Live", "faults": "Faults", "explain": "Explain", "alerts": "Alerts", "nodes": "Nodes", "instances": "Instances",
    "analyses": "Charts",
}
KEYS = {"live": "l", "faults": "f", "explain": "e", "alerts": "a", "nodes": "n", "instances": "i", "analyses": "c"}


def is_at(page, name):
    expect(page.get_by_role("navigation").locator("[aria-current=page]")).to_have_text(PAGES[name])
    expect(page).to_have_title(f"{PAGES[name]} · logmachine")


with browser(sys.argv[1]) as at:
    page = at.open()
    is_connected(page)
    is_at(page, "live")
    for name in PAGES:
        # By its address, loaded again, by the keyboard, by its link.
        at.go(page, page=name)
        is_at(page, name)
        page.reload()
        is_at(page, name)
        is_connected(page)
        at.go(page, page="alerts" if name == "nodes" else "nodes")
        is_connected(page)
        page.keyboard.press("g")
        page.keyboard.press(KEYS[name])
        is_at(page, name)
        page.go_back()
        is_at(page, "alerts" if name == "nodes" else "nodes")
        page.get_by_role("navigation").get_by_role("link", name=PAGES[name]).click()
        is_at(page, name)

    at.go(page, page="nothing")
    expect(page.get_by_role("heading", name="There is no such page")).to_be_visible()
    page.get_by_role("main").get_by_role("link", name="Live").click()
    is_at(page, "live")

    keys = page.get_by_role("dialog", name="Keys")
    page.keyboard.press("?")
    expect(keys).to_be_visible()
    page.keyboard.press("Escape")
    expect(keys).to_have_count(0)

    # Colours and times are as the reader left them.
    ground = lambda: page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    dark = ground()
    page.keyboard.press("t")
    light = ground()
    assert dark != light, dark
    page.reload()
    is_connected(page)
    assert ground() == light

    # The first that the tab key leads to is a way past the header.
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
