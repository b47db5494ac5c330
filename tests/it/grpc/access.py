"""Who may do what. Arguments: CLIENT PORT CERTIFICATE"""

import os

from client import *

ALLOWED = {"reader": {"Read", "Subscribe", "Info"}, "writer": {"Read", "Subscribe", "Info", "Append", "AppendStream"}}


async def attempt(client, method):
    """How each call ends for somebody."""
    try:
        if method == "Append":
            await client.call(method, append("quotes", "1"))
        elif method == "Info":
            await client.call(method, pb.InfoRequest())
        elif method == "Read":
            await read_all(client, "quotes")
        elif method == "AppendStream":
            stream = await client.open(method)
            await stream.send(append("quotes", "1"))
            assert (await stream.receive()).count == 1
            await stream.cancel()
        else:
            stream = await client.open(method)
            await stream.send(options("quotes"))
            assert (await stream.receive()).HasField("started")
            await stream.cancel()
        return "OK"
    except Failure as failure:
        assert failure.message and failure.reason, failure
        return f"{failure.code} {failure.reason}"


async def main(Client, port, certificate):
    for token in ("reader", "writer", "admin", "nobody", None):
        client = Client(port, token, certificate, "localhost")
        for method in ("Append", "AppendStream", "Read", "Subscribe", "Info"):
            found = await attempt(client, method)
            if token in ("nobody", None):
                expected = "UNAUTHENTICATED unauthorized"
            elif method in ALLOWED.get(token, {method}):
                expected = "OK"
            else:
                expected = "PERMISSION_DENIED forbidden"
            assert found == expected, (token, method, found)
        # What the node writes itself is for who may decide.
        failure = "OK"
        try:
            await client.call("Append", append("faults", "1"))
        except Failure as error:
            failure = error.code
        expected = {"admin": "OK", "nobody": "UNAUTHENTICATED", None: "UNAUTHENTICATED"}.get(token, "PERMISSION_DENIED")
        assert failure == expected, (token, failure)
        await client.close()
    # In the clear there is nobody who answers.
    client = Client(port, "reader", host="localhost")
    failure = await refused(asyncio.wait_for(client.call("Info", pb.InfoRequest()), PATIENCE))
    assert failure.code == "UNAVAILABLE", failure
    await client.close()


run(main)
