"""login.py URL READ_TOKEN ADMIN_TOKEN: who has a token gets in, for as long as the session lasts."""

import sys

from browser import browser, expect, is_connected

url, read_token, admin_token = sys.argv[1:4]


def log_in(page, token):
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Log in").click()


def is_asked(page):
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    expect(page.locator(".connection")).to_have_text("not logged in")


with browser(url) as at:
    context = at.context()
    # Browsers tell in the console of each answer that refuses.
    with at.watch.expecting("status of 401"):
        page = at.open(context, page="nodes")
        is_asked(page)
        assert page.evaluate("document.activeElement.id") == "token", "one can write the token at once"
        for wrong in (f"{read_token}x", "a token of two words", "\u0442\u043e\u043a\u0435\u043d"):
            log_in(page, wrong)
            expect(page.get_by_role("alert")).to_have_text("This token is not accepted.")
            assert context.cookies() == []

    log_in(page, read_token)
    is_connected(page)
    expect(page.get_by_role("heading", level=1, name="Nodes")).to_be_visible()
    expect(page.get_by_text("read only")).to_be_visible()
    [cookie] = context.cookies()
    assert cookie["httpOnly"] and cookie["sameSite"] == "Strict", cookie
    assert page.evaluate("document.cookie") == ""
    assert read_token not in page.content() and read_token not in str(page.evaluate("JSON.stringify({...localStorage, ...sessionStorage})"))

    # The session is the browser's: it outlives the page, and is there on others.
    page.reload()
    is_connected(page)
    other = at.open(context, page="faults")
    is_connected(other)

    # It ends for all of them.
    with at.watch.expecting("status of 401"):
        other.get_by_role("button", name="Log out").click()
        is_asked(other)
        assert context.cookies() == []
        page.reload()
        is_asked(page)
        page.go_back()
        assert context.cookies() == []

    # What ended elsewhere is noticed where somebody looks.
    page = at.open(context, page="nodes")
    with at.watch.expecting("status of 401"):
        is_asked(page)
    log_in(page, admin_token)
    is_connected(page)
    expect(page.get_by_text("read only")).to_have_count(0)
    context.request.delete(f"{at.url}api/v1/session", headers={"Origin": at.watch.origin})
    with at.watch.expecting("status of 401"):
        page.get_by_role("link", name="Alerts").click()
        page.reload()
        is_asked(page)
