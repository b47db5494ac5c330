"""Streams that read nothing for a while, and then everything. Arguments: CLIENT PORT INSTANCE COUNT

The instance will have {0, Bytes}, {1, Bytes}, ... Says `subscribed`, hears `all` when all have been appended."""

from client import *


def number(entry):
    """Of a tuple of two, of which the first is an integer."""
    etf = entry.event.etf
    assert etf[:3] == b"\x83\x68\x02", etf[:3]
    return etf[4] if etf[3] == 97 else int.from_bytes(etf[4:8], "big")


async def all_of(stream, count):
    next = 0
    while next < count:
        answer = await stream.receive()
        for entry in answer.batch.entries:
            assert number(entry) == next, (number(entry), next)
            next += 1


async def main(Client, port, instance, count):
    clients = [Client(port) for _ in range(3)]
    streams = []
    for client in clients:
        stream = await client.open("Subscribe")
        await stream.send(options(instance, {"from_": "earliest"}))
        assert (await stream.receive()).HasField("started")
        streams.append(stream)
    say("subscribed")
    await hear()
    # Reads are searches: there are sixteen of one caller at once, and each that is not read to its end is one.
    # Connections of their own: what one does not read takes the room of others on the same.
    reads, failure = [], None
    while failure is None:
        clients.append(Client(port))
        stream = await clients[-1].open("Read", pb.ReadRequest(instance=instance))
        try:
            assert await stream.receive() is not None
            reads.append(stream)
        except Failure as error:
            failure = error
        assert len(reads) <= 16
    assert (failure.code, failure.reason) == ("RESOURCE_EXHAUSTED", "too_many_searches"), failure
    assert failure.retry_seconds == 1.0, failure.retry_seconds
    say("held")
    await hear()
    for stream in reads:
        await stream.cancel()
    for stream in streams:
        await all_of(stream, count)
        await stream.cancel()
    for client in clients:
        await client.close()


run(main)
