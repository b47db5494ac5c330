"""Calls that are not for this listener, and those of another user of this host. Arguments: CLIENT PORT USER"""

import os

from client import *


async def main(Client, port, user):
    client = Client(port)
    await client.call("Info", pb.InfoRequest())
    await client.close()
    if Client is Grpcio:
        client = Client(port, options=[("grpc.default_authority", "evil.example")])
        failure = await refused(client.call("Info", pb.InfoRequest()))
        assert (failure.code, failure.reason) == ("PERMISSION_DENIED", "misdirected"), failure
        await client.close()
    if user:
        os.setgid(user)
        os.setuid(user)
        client = Client(port)
        failure = await refused(client.call("Info", pb.InfoRequest()))
        assert (failure.code, failure.reason) == ("UNAUTHENTICATED", "unauthorized"), failure
        failure = await refused(client.call("Append", append("quotes", "1")))
        assert failure.code == "UNAUTHENTICATED", failure
        failure = await first_failure(client, "Subscribe", options("quotes"))
        assert (failure.code, failure.answers) == ("UNAUTHENTICATED", 0), failure
        await client.close()


run(main)
