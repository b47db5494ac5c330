"""faults.py URL READ_TOKEN WRITE_TOKEN ADMIN_TOKEN: what people decide about faults, and who may."""

import sys

from browser import Node, browser, expect, is_connected

url, read_token, write_token, admin_token = sys.argv[1:5]
node = Node(url, write_token)


def happens(name, times=1):
    for time in range(times):
        node.append(f"{{log,'shop@10.0.0.1',error,{{\"{name}: ~p\",[{time}]}},#{{mfa => {{{name},find,1}},time => 1}}}}")


def log_in(at, token):
    context = at.context()
    with at.watch.expecting("status of 401"):
        page = at.open(context, page="faults")
        page.get_by_label("Token").fill(token)
        page.get_by_role("button", name="Log in").click()
    is_connected(page)
    return page


def row(page, name):
    return page.get_by_role("row").filter(has_text=f"{name}: ")


def states(page):
    return page.get_by_role("group", name="States")


def resolved_ones_come_back(page):
    happens("stock", 3)
    expect(row(page, "stock")).to_contain_text("new")
    row(page, "stock").get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("stock: ")
    badge = page.get_by_role("main").locator(".badge").first
    expect(badge).to_have_text("new")
    page.get_by_role("button", name="Resolve", exact=True).click()
    expect(badge).to_have_text("resolved")
    expect(page.get_by_role("region", name="History")).to_contain_text("by admin")
    page.reload()
    expect(badge).to_have_text("resolved")
    happens("stock")
    expect(badge).to_have_text("regressed")
    expect(page.get_by_role("region", name="History")).to_contain_text("regressed")
    page.get_by_role("link", name="Faults").last.click()
    expect(row(page, "stock")).to_contain_text("regressed")


def many_are_decided_at_once(page):
    names = ["mail", "bank", "cart"]
    for name in names:
        happens(name)
    for name in names:
        row(page, name).get_by_role("checkbox").check()
    expect(page.get_by_text("3 selected")).to_be_visible()
    page.get_by_role("button", name="Resolve", exact=True).click()
    for name in names:
        expect(row(page, name)).to_contain_text("resolved")
    page.get_by_role("button", name="Mute for 1 h").click()
    for name in names:
        expect(row(page, name)).to_contain_text("muted")
    page.get_by_role("button", name="Back to ongoing").click()
    for name in names:
        expect(row(page, name)).to_contain_text("ongoing")
    page.reload()
    for name in names:
        expect(row(page, name)).to_contain_text("ongoing")


def they_are_found(page):
    page.keyboard.press("/")
    page.keyboard.type("bank")
    expect(row(page, "bank")).to_be_visible()
    expect(row(page, "cart")).to_have_count(0)
    page.reload()
    expect(page.get_by_label("Search")).to_have_value("bank")
    expect(row(page, "cart")).to_have_count(0)
    expect(row(page, "bank")).to_be_visible()
    page.get_by_label("Search").fill("")
    expect(row(page, "cart")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("o")
    expect(page.get_by_text("Facts")).to_be_visible()
    page.go_back()
    states(page).get_by_role("button", name="new").click()
    states(page).get_by_role("button", name="ongoing").click()
    expect(row(page, "stock")).to_be_visible()
    expect(row(page, "bank")).to_have_count(0)


def readers_decide_nothing(at):
    page = log_in(at, read_token)
    expect(page.get_by_text("read only")).to_be_visible()
    expect(row(page, "stock")).to_be_visible()
    nothing = page.get_by_role("checkbox").or_(page.get_by_role("button", name="Resolve", exact=True)).or_(page.get_by_role("button", name="Silence…"))
    expect(nothing).to_have_count(0)
    row(page, "stock").get_by_role("link").click()
    expect(page.get_by_text("Facts")).to_be_visible()
    expect(nothing).to_have_count(0)
    at.go(page, page="alerts")
    expect(page.get_by_role("heading", name="Rules")).to_be_visible()
    expect(nothing).to_have_count(0)


with browser(url) as at:
    page = log_in(at, admin_token)
    resolved_ones_come_back(page)
    many_are_decided_at_once(page)
    they_are_found(page)
    readers_decide_nothing(at)
