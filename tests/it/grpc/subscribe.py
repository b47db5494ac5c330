"""Subscriptions: options, batches, credit, ends, acknowledgements. Arguments: CLIENT PORT INSTANCE

The instance has the numbers from 0 to 999, in text as in value."""

import random

from client import *

CREDIT = lambda more: pb.SubscribeRequest(credit=more)
ACK = lambda stamp: pb.SubscribeRequest(ack=stamp)


class Subscribed:
    """A subscription and what came of it."""

    def __init__(self, stream):
        self.stream, self.entries, self.sizes, self.acknowledged = stream, [], [], []

    @classmethod
    async def to(cls, client, instance, selection=None, format=pb.FORMAT_TEXT, **others):
        stream = await client.open("Subscribe")
        await stream.send(options(instance, selection, format=format, **others))
        self = cls(stream)
        first = await stream.receive()
        assert first.HasField("started"), first
        self.position = first.started.cursor_micros if first.started.HasField("cursor_micros") else None
        return self

    async def receive(self):
        """What kind of answer came; `None` at the end."""
        answer = await self.stream.receive()
        kind = answer and answer.WhichOneof("response")
        if kind == "batch":
            assert len(answer.batch.entries) > 0
            self.sizes.append(len(answer.batch.entries))
            self.entries.extend(answer.batch.entries)
        elif kind == "acknowledged":
            self.acknowledged.append(answer.acknowledged)
        return kind

    async def until(self, count):
        while len(self.entries) < count:
            assert await self.receive() == "batch", f"{len(self.entries)} of {count}"

    async def rest(self):
        while await self.receive() is not None:
            pass

    async def until_acknowledged(self, stamp):
        await self.stream.send(ACK(stamp))
        while self.acknowledged[-1:] != [stamp]:
            assert await self.receive() is not None
            assert self.acknowledged == sorted(self.acknowledged)

    def values(self):
        return [value(entry) for entry in self.entries]


async def ends(client, instance):
    """Each selection of the past has an end, without the client's closing its side."""
    stamps = [entry.micros for entry in await read_all(client, instance)]
    for selection, expected in [
        ({"from_": "earliest", "limit": 5}, range(5)),
        ({"from_": "earliest", "to": str(stamps[7])}, range(8)),
        ({"after": stamps[990], "to": str(stamps[995])}, range(991, 996)),
        ({"after": stamps[990], "from_": "now", "limit": 3}, range(991, 994)),
        # As many as there are: nothing comes behind the last one.
        ({"after": stamps[990], "limit": 9}, range(991, 1000)),
        ({"from_": "earliest", "match": "[{'$1',[{'=:=',{'rem','$1',100},0}],['$1']}]", "limit": 4}, range(0, 400, 100)),
        ({"from_": "earliest", "grep": "^99.$", "to": str(stamps[-1])}, range(990, 1000)),
        ({"from_": "earliest", "to": str(stamps[0] - 1)}, []),
    ]:
        subscribed = await Subscribed.to(client, instance, selection)
        await subscribed.rest()
        assert subscribed.values() == list(expected), (selection, subscribed.values())


async def credit(client, instance, seed):
    """What comes is never more than credit was given for, and in the end exactly that."""
    chance = random.Random(seed)
    given, most = chance.randrange(0, 30), chance.randrange(1, 20)
    subscribed = await Subscribed.to(client, instance, {"from_": "earliest"}, credit=given, batch=most)
    for _ in range(20):
        for _ in range(chance.randrange(1, 4)):
            more = chance.randrange(0, 25)
            await subscribed.stream.send(CREDIT(more))
            given += more
        enough = chance.randrange(len(subscribed.entries), given + 1)
        while len(subscribed.entries) < enough:
            assert await subscribed.receive() == "batch"
            assert len(subscribed.entries) <= given
    await subscribed.stream.end()
    await subscribed.rest()
    assert subscribed.values() == list(range(min(given, 1000))), f"seed {seed}: given {given}"
    assert max(subscribed.sizes, default=0) <= most, f"seed {seed}: {subscribed.sizes}"


async def closed_sides(client, instance):
    """Who closes its side gets what there is credit for, now or later."""
    for given, expected in ((0, 0), (10, 10)):
        subscribed = await Subscribed.to(client, instance, {"from_": "earliest"}, credit=given)
        await subscribed.stream.end()
        await subscribed.rest()
        assert subscribed.values() == list(range(expected))
    # Nothing is there yet, and there is credit: it comes. Without `from`, nothing of the past.
    later = await Subscribed.to(client, instance, credit=2)
    endless = await Subscribed.to(client, instance)
    await later.stream.end()
    await endless.stream.end()
    await client.call("Append", append(instance, "1000", "1001", "1002"))
    await later.rest()
    assert later.values() == [1000, 1001]
    await endless.until(3)
    await client.call("Append", append(instance, "1003"))
    await endless.until(4)
    assert endless.values() == [1000, 1001, 1002, 1003]
    await endless.stream.cancel()


async def acknowledgements(client, instance):
    """A position goes with its name, from one subscription to the next, and forward only."""
    names = {"cursor": f"c-{instance}", "credit": 10}
    first = await Subscribed.to(client, instance, {"from_": "earliest"}, **names)
    assert first.position is None
    await first.until(10)
    stamps = [entry.micros for entry in first.entries]
    await first.until_acknowledged(stamps[3])
    await first.until_acknowledged(stamps[6])
    second = await Subscribed.to(client, instance, {"from_": "earliest"}, **names)
    assert second.position == stamps[6]
    await second.until(10)
    assert second.values() == list(range(7, 17))
    # Many at once: the latest is said to be stored, not each.
    for entry in second.entries:
        await second.stream.send(ACK(entry.micros))
    await second.stream.end()
    await second.rest()
    assert second.acknowledged[-1] == second.entries[-1].micros and second.acknowledged == sorted(set(second.acknowledged))
    # Under another name nothing was acknowledged; the selection's end counts as ever.
    third = await Subscribed.to(client, instance, {"to": str(second.entries[-1].micros + 2)}, cursor=names["cursor"])
    await third.stream.end()
    await third.rest()
    assert third.values() == list(range(17, 17 + len(third.entries))) and 1 <= len(third.entries) <= 2
    other = await Subscribed.to(client, instance, {"from_": "earliest", "limit": 1}, cursor="other-" + instance)
    assert other.position is None
    # What has come to its end can still be acknowledged.
    await other.until(1)
    await other.until_acknowledged(other.entries[0].micros)
    await other.rest()


async def formats(client, instance):
    for format, form, expected in [
        (pb.FORMAT_ETF, "etf", b"\x83\x61\x05"),
        (pb.FORMAT_UNSPECIFIED, "etf", b"\x83\x61\x05"),
        (pb.FORMAT_TEXT, "text", "5"),
        (pb.FORMAT_JSON, "json", "5"),
    ]:
        subscribed = await Subscribed.to(client, instance, {"from_": "earliest", "limit": 6}, format)
        await subscribed.rest()
        assert getattr(subscribed.entries[5].event, form) == expected
    report = "{warning_report,{'$pid',a@host,50,0,17},{{'$pid',a@host,93,0,17},std_warning,[{low,disk}]}}"
    subscribed = await Subscribed.to(client, instance, {"level": "warning"}, views=True, credit=1)
    await client.call("Append", append(instance, "5", report))
    await subscribed.until(1)
    assert subscribed.entries[0].view.level == "warning" and subscribed.entries[0].view.node == "a@host"
    await subscribed.stream.cancel()


async def refusals(client, instance):
    good = options(instance, {"from_": "earliest"}, credit=1)
    named = options(instance, credit=0, cursor="refused")
    future = ACK(2**62)
    for requests, code, field, answers in [
        ([CREDIT(1)], "INVALID_ARGUMENT", "options", 0),
        ([pb.SubscribeRequest()], "INVALID_ARGUMENT", "options", 0),
        ([options("nobody")], "NOT_FOUND", None, 0),
        ([options(instance, {"from_": "soon"})], "INVALID_ARGUMENT", "from", 0),
        ([options(instance, {"newest_first": True})], "INVALID_ARGUMENT", "newest_first", 0),
        ([options(instance, cursor="c" * 256)], "INVALID_ARGUMENT", "cursor", 0),
        ([options(instance, format=7)], "INVALID_ARGUMENT", "format", 0),
        ([named, good], "INVALID_ARGUMENT", "options", 1),
        ([named, pb.SubscribeRequest()], "INVALID_ARGUMENT", "request", 1),
        ([named, future], "INVALID_ARGUMENT", "ack", 1),
        ([options(instance, credit=0), ACK(1)], "INVALID_ARGUMENT", "ack", 1),
    ]:
        failure = await first_failure(client, "Subscribe", *requests)
        found = (failure.code, failure.fields, failure.answers)
        assert found == (code, [field] if field else [], answers), (requests, found, failure)
    stream = await client.open("Subscribe")
    await stream.end()
    try:
        await stream.receive()
        raise AssertionError("it has no options")
    except Failure as failure:
        assert failure.fields == ["options"], failure


async def main(Client, port, instance):
    client = Client(port)
    await ends(client, instance)
    for seed in range(30):
        await credit(client, instance, seed)
    await acknowledgements(client, instance)
    await refusals(client, instance)
    await formats(client, instance)
    await closed_sides(client, instance)
    await client.close()


run(main)
