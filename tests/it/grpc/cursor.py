"""A durable cursor, while the node is killed again and again. Arguments: CLIENT PORT INSTANCE

The instance has the numbers from 0 on. Says `acknowledged` when the node may be killed, hears `again` when it is back."""

from client import *


async def life(Client, port, instance, known, allowed, is_answered):
    """Subscribes, deals with some, acknowledges; which numbers came, which acknowledgements were answered and which sent."""
    client = Client(port)
    stream = await client.open("Subscribe")
    await stream.send(options(instance, {"from_": "earliest"}, format=pb.FORMAT_TEXT, cursor="killed", credit=100, batch=7))
    started = (await stream.receive()).started
    position = started.cursor_micros if started.HasField("cursor_micros") else None
    # What was answered is stored, and nothing is that was not sent.
    assert position in allowed, (position, allowed)
    entries = []
    while len(entries) < 100:
        entries.extend((await stream.receive()).batch.entries)
    begin = 0 if position is None else known[position] + 1
    assert [value(entry) for entry in entries] == list(range(begin, begin + 100)), (begin, entries[0])
    known.update({entry.micros: value(entry) for entry in entries})
    for stamp in (entries[10].micros, entries[40].micros):
        await stream.send(pb.SubscribeRequest(ack=stamp))
    allowed = {position, entries[10].micros, entries[40].micros}
    if is_answered:
        while (await stream.receive()).acknowledged != entries[40].micros:
            pass
        allowed = {entries[40].micros}
    say("acknowledged")
    await hear()
    # The connection is cut: that is told, and takes nothing with it.
    try:
        while await stream.receive() is not None:
            pass
        raise AssertionError("it did not end well")
    except Failure as failure:
        assert failure.code == "UNAVAILABLE", failure
    await client.close()
    return allowed


async def main(Client, port, instance):
    known, allowed = {}, {None}
    for number in range(6):
        allowed = await life(Client, port, instance, known, allowed, is_answered=number % 3 != 2)


run(main)
