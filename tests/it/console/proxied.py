"""proxied.py NODE_URL PORT READ_TOKEN: the console behind a proxy that serves it below a path of its own."""

import http.client
import http.server
import sys
import threading

from browser import browser, expect, is_connected

PREFIX = "/ops/logs"
node, port, token = sys.argv[1], int(sys.argv[2]), sys.argv[3]
NODE_HOST = node.removeprefix("http://")


class Proxy(http.server.BaseHTTPRequestHandler):
    """Passes on what is below `PREFIX`, without it."""

    protocol_version = "HTTP/1.1"
    keeps_host = True

    def log_message(self, *_):
        pass

    def pass_on(self):
        if not self.path.startswith(f"{PREFIX}/"):
            self.send_error(404)
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("connection", "content-length")}
        if not self.keeps_host:
            headers["Host"] = NODE_HOST
        connection = http.client.HTTPConnection(NODE_HOST)
        connection.request(self.command, self.path.removeprefix(PREFIX), body, headers)
        answer = connection.getresponse()
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding"):
                self.send_header(name, value)
        # The end of the connection is the end of the answer.
        self.send_header("Connection", "close")
        self.close_connection = True
        self.end_headers()
        try:
            while piece := answer.read1(1 << 16):
                self.wfile.write(piece)
        except OSError:
            pass
        connection.close()

    do_GET = do_POST = do_PATCH = do_DELETE = pass_on


server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Proxy)
threading.Thread(target=server.serve_forever, daemon=True).start()

with browser(f"http://127.0.0.1:{port}{PREFIX}/") as at:
    for keeps_host in (True, False):
        Proxy.keeps_host = keeps_host
        context = at.context()
        with at.watch.expecting("status of 401"):
            page = at.open(context, page="instances")
            page.get_by_label("Token").fill(token)
            page.get_by_role("button", name="Log in").click()
        is_connected(page)
        expect(page.get_by_role("heading", level=1, name="Instances")).to_be_visible()
        # By links and by the keyboard, and loaded again there.
        page.get_by_role("navigation").get_by_role("link", name="Faults").click()
        expect(page).to_have_url(f"{at.url}?page=faults")
        page.reload()
        is_connected(page)
        page.get_by_role("navigation").get_by_role("link", name="Live").click()
        expect(page).to_have_url(at.url)
        is_connected(page)
        # What was asked before may be answered after.
        with at.watch.expecting("status of 401"):
            page.get_by_role("button", name="Log out").click()
            expect(page.get_by_role("heading", name="Log in")).to_be_visible()
            at.watch.wait_for_answers(page)
        context.close()
    outside = [request for request in at.watch.requests if not request.startswith((at.url, "data:"))]
    assert not outside, outside
server.shutdown()
