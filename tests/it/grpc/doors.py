"""Terms in and out by way of gRPC. Arguments: CLIENT PORT INSTANCE, then what to do

`in FORM FILE`: appends the terms of a file, each `<<Size:32, Term/binary>>`, in that form; `out FORMAT FILE` writes what there is
likewise; `follow FORMAT FILE COUNT` the same by a subscription."""

from client import *

FORMATS = {"etf": pb.FORMAT_ETF, "text": pb.FORMAT_TEXT, "json": pb.FORMAT_JSON}


async def main(Client, port, instance, what, form, file, *count):
    client = Client(port)
    if what == "in":
        left, written = open(file, "rb").read(), []
        while left:
            size = int.from_bytes(left[:4], "big")
            term, left = left[4 : 4 + size], left[4 + size :]
            written.append(pb.Term(**{form: term if form == "etf" else term.decode()}))
        for term in written:
            await client.call("Append", pb.AppendRequest(instance=instance, events=[term]))
        # And once more, each its own request of a stream.
        stream = await client.open("AppendStream")
        for term in written:
            await stream.send(pb.AppendRequest(instance=instance, events=[term]))
        await stream.end()
        for _ in written:
            assert (await stream.receive()).count == 1
        assert await stream.receive() is None
    else:
        if what == "out":
            entries = await read_all(client, instance, FORMATS[form])
        else:
            stream, entries = await client.open("Subscribe"), []
            await stream.send(options(instance, {"from_": "earliest", "limit": count[0]}, format=FORMATS[form]))
            await stream.receive()
            while (answer := await stream.receive()) is not None:
                entries.extend(answer.batch.entries)
        with open(file, "wb") as out:
            for entry in entries:
                term = getattr(entry.event, form)
                term = term if form == "etf" else term.encode()
                out.write(len(term).to_bytes(4, "big") + term)
    await client.close()


run(main)
