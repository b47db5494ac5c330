"""Appends to an instance whose recorder is behind: refused, and when to try again. Arguments: CLIENT PORT INSTANCE"""

from client import *


async def main(Client, port, instance):
    client = Client(port)
    for failure in (
        await refused(client.call("Append", append(instance, "1"))),
        await first_failure(client, "AppendStream", append(instance, "1")),
    ):
        found = (failure.code, failure.reason, failure.retry_seconds)
        assert found == ("UNAVAILABLE", "not_recorded", 1.0), found
    await client.close()


run(main)
