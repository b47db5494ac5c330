"""Appends: every form, once, refused with reasons; pipelined and answered in order. Arguments: CLIENT PORT INSTANCE OTHER"""

import zlib

from client import *


async def forms(client, instance):
    compressed = b"\x83\x50" + (7).to_bytes(4, "big") + zlib.compress(b"\x6b\x00\x04abab")
    written = [pb.Term(etf=b"\x83\x61\x07"), pb.Term(etf=compressed), pb.Term(text='{quote,<<"ACME">>,12.5}'), pb.Term(text="a.\n")]
    written.append(pb.Term(json='{"$tuple":[{"$atom":"quote"},"ACME",12.6]}'))
    answer = await client.call("Append", pb.AppendRequest(instance=instance, events=written))
    entries = await read_all(client, instance, pb.FORMAT_TEXT)
    assert [entry.event.text for entry in entries] == [
        "7", "\"abab\"", '{quote,<<"ACME">>,12.5}', "a", '{quote,<<"ACME">>,12.6}'
    ], entries
    stamps = [entry.micros for entry in entries]
    assert stamps == list(range(stamps[0], stamps[0] + 5)), "one behind the other"
    assert (answer.first_micros, answer.last_micros, answer.count) == (stamps[0], stamps[-1], 5), answer
    assert [entry.event.etf for entry in await read_all(client, instance, limit=1)] == [b"\x83\x61\x07"]


async def once(client, instance, other):
    first = await client.call("Append", append(instance, "first"))
    request = append(instance, "1", "2", idempotency_key="k1")
    answers = await asyncio.gather(*[client.call("Append", request) for _ in range(16)])
    assert all(answer == answers[0] for answer in answers), answers
    assert answers[0].count == 2
    failure = await refused(client.call("Append", append(instance, "1", "3", idempotency_key="k1")))
    assert (failure.code, failure.reason) == ("FAILED_PRECONDITION", "key_reused"), failure
    # The same event in another form is other content; the same key means something else for another instance.
    etf = pb.AppendRequest(instance=instance, idempotency_key="k1", events=[pb.Term(etf=b"\x83\x61\x01"), pb.Term(etf=b"\x83\x61\x02")])
    assert (await refused(client.call("Append", etf))).reason == "key_reused"
    assert (await client.call("Append", append(other, "1", "2", idempotency_key="k1"))).first_micros != answers[0].first_micros
    failure = await refused(client.call("Append", append(instance, "1", idempotency_key="k" * 256)))
    assert (failure.code, failure.fields) == ("INVALID_ARGUMENT", ["idempotency_key"]), (failure, failure.fields)
    entries = await read_all(client, instance, pb.FORMAT_TEXT, after=first.last_micros)
    assert [entry.event.text for entry in entries] == ["1", "2"], entries


async def refusals(client, instance):
    first = await client.call("Append", append(instance, "first"))
    large = pb.Term(etf=b"\x83\x6d" + (16 << 20).to_bytes(4, "big") + bytes(16 << 20))
    for request, code, reason, fields in [
        (append("nobody", "1"), "NOT_FOUND", "not_found", []),
        (append("../etc", "1"), "NOT_FOUND", "not_found", []),
        (append("", "1"), "NOT_FOUND", "not_found", []),
        (append(instance), "INVALID_ARGUMENT", "bad_request", ["events"]),
        (append(instance, "1", "{a"), "INVALID_ARGUMENT", "bad_request", ["events[1]"]),
        (append(instance, "1. 2"), "INVALID_ARGUMENT", "bad_request", ["events[0]"]),
        (pb.AppendRequest(instance=instance, events=[pb.Term()]), "INVALID_ARGUMENT", "bad_request", ["events[0]"]),
        (pb.AppendRequest(instance=instance, events=[pb.Term(json="{")]), "INVALID_ARGUMENT", "bad_request", ["events[0]"]),
        (pb.AppendRequest(instance=instance, events=[pb.Term(json="[" * 5000)]), "INVALID_ARGUMENT", "bad_request", ["events[0]"]),
        (pb.AppendRequest(instance=instance, events=[pb.Term(etf=b"\x61\x01")]), "INVALID_ARGUMENT", "bad_request", ["events[0]"]),
        (pb.AppendRequest(instance=instance, events=[pb.Term(etf=b"\x83\x61\x01\x00")]), "INVALID_ARGUMENT", "bad_request", ["events[0]"]),
        # An event of more than max_event_bytes, and a message that is larger than any may be.
        (pb.AppendRequest(instance=instance, events=[large]), "RESOURCE_EXHAUSTED", "too_large", []),
        (pb.AppendRequest(instance=instance, events=[large, large]), "RESOURCE_EXHAUSTED", "too_large", []),
    ]:
        what = str(request)[:200]
        failure = await refused(client.call("Append", request))
        assert (failure.code, failure.reason, failure.fields) == (code, reason, fields), (what, failure, failure.reason, failure.fields)
        assert failure.message, what
    entries = await read_all(client, instance, after=first.last_micros)
    assert len(entries) == 0, "nothing of that was recorded"


async def pipelined(client, instance, other):
    stream = await client.open("AppendStream")

    async def send():
        await stream.send(append(instance, "0", "0"))
        for number in range(1, 2000):
            await stream.send(append("", str(number), str(number)))
        # The one that names another goes there, and those after it.
        await stream.send(append(other, "elsewhere"))
        await stream.send(append("", "elsewhere"))
        await stream.end()

    sending = asyncio.create_task(send())
    answers = []
    while (answer := await stream.receive()) is not None:
        answers.append(answer)
    await sending
    assert [answer.count for answer in answers] == [2] * 2000 + [1, 1]
    stamps = [stamp for answer in answers[:2000] for stamp in (answer.first_micros, answer.last_micros)]
    assert stamps == sorted(set(stamps)), "they rise"
    entries = await read_all(client, instance, pb.FORMAT_TEXT, from_=str(stamps[0]))
    assert [value(entry) for entry in entries] == [number for number in range(2000) for _ in range(2)]
    assert [entry.micros for entry in entries] == stamps, "each answer is its request's"
    elsewhere = await read_all(client, other, pb.FORMAT_TEXT, from_=str(answers[-2].first_micros))
    assert [entry.micros for entry in elsewhere] == [answer.first_micros for answer in answers[-2:]]


async def pipelined_and_refused(client, instance):
    # What was sent before the bad one is answered and recorded, what was sent after it is neither.
    first = await client.call("Append", append(instance, "first"))
    good = [append(instance, str(number)) for number in range(100)]
    # Who sends with asyncio and grpcio while the answer to that arrives is told of an internal error instead, by itself.
    late = [] if isinstance(client, Grpcio) else [append("", "never")]
    failure = await first_failure(client, "AppendStream", *good, append("", "3", "{a"), *late)
    assert failure.answers == 100, failure.answers
    assert (failure.code, failure.fields) == ("INVALID_ARGUMENT", ["events[1]"]), (failure, failure.fields)
    entries = await read_all(client, instance, pb.FORMAT_TEXT, after=first.last_micros)
    assert [value(entry) for entry in entries] == list(range(100))
    for requests, code, fields in [
        ([append("", "1")], "INVALID_ARGUMENT", ["instance"]),
        ([append("nobody", "1")], "NOT_FOUND", []),
        ([append(instance, idempotency_key="k")], "INVALID_ARGUMENT", ["idempotency_key"]),
        ([append(instance)], "INVALID_ARGUMENT", ["events"]),
    ]:
        failure = await first_failure(client, "AppendStream", *requests)
        assert (failure.code, failure.fields, failure.answers) == (code, fields, 0), (requests, failure, failure.fields)
    # Nothing at all is fine.
    stream = await client.open("AppendStream")
    await stream.end()
    assert await stream.receive() is None


async def main(Client, port, instance, other):
    client = Client(port)
    await forms(client, instance)
    await once(client, instance, other)
    await refusals(client, instance)
    await pipelined(client, instance, other)
    await pipelined_and_refused(client, instance)
    info = await client.call("Info", pb.InfoRequest(instance=instance))
    [said] = info.instances
    entries = await read_all(client, instance)
    assert said.name == instance and said.recording == "running" and info.node == "logmachine@127.0.0.1", info
    assert (said.first_micros, said.last_micros) == (entries[0].micros, entries[-1].micros)
    told = json.loads(http(port, f"/api/v1/instances/{instance}"))
    assert said.numbers["events"] == len(entries) == told["events"], (said, told)
    assert {name for name in told if type(told[name]) is int} <= set(said.numbers), (said, told)
    assert {i.name for i in (await client.call("Info", pb.InfoRequest())).instances} >= {instance, other}
    assert (await refused(client.call("Info", pb.InfoRequest(instance="nobody")))).code == "NOT_FOUND"
    await client.close()


run(main)
