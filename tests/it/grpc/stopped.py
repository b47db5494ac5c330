"""Every sort of stream while the node stops. Arguments: CLIENT PORT INSTANCE

Says `streaming` when all are under way, and how each ended."""

from client import *


async def main(Client, port, instance):
    client = Client(port)
    subscribed = await client.open("Subscribe")
    await subscribed.send(options(instance))
    assert (await subscribed.receive()).HasField("started")
    waiting = await client.open("Subscribe")
    await waiting.send(options(instance, {"from_": "earliest"}, credit=0, cursor="waiting"))
    assert (await waiting.receive()).HasField("started")
    appending = await client.open("AppendStream")
    await appending.send(append(instance, "1"))
    assert (await appending.receive()).count == 1
    say("streaming")
    for name, stream in (("Subscribe", subscribed), ("Subscribe without credit", waiting), ("AppendStream", appending)):
        try:
            while (answer := await stream.receive()) is not None:
                assert name == "Subscribe" and len(answer.batch.entries) > 0, (name, answer)
            say(f"{name} ended OK")
        except Failure as failure:
            say(f"{name} ended {failure.code}")
    await client.close()


run(main)
