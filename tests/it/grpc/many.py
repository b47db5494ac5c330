"""Hundreds of subscriptions on few connections. Arguments: CLIENT PORT INSTANCE STREAMS COUNT

Says `subscribed` when all are; each sees the numbers from 0 on that are appended then."""

from client import *


async def main(Client, port, instance, streams, count):
    clients = [Client(port) for _ in range(2)]

    async def subscribe(number):
        stream = await clients[number % len(clients)].open("Subscribe")
        await stream.send(options(instance, format=pb.FORMAT_TEXT))
        assert (await stream.receive()).HasField("started")
        return stream

    async def follow(stream):
        next = 0
        while next < count:
            for entry in (await stream.receive()).batch.entries:
                assert value(entry) == next, (value(entry), next)
                next += 1

    all = await asyncio.gather(*[subscribe(number) for number in range(streams)])
    say("subscribed")
    await asyncio.gather(*[follow(stream) for stream in all])
    for client in clients:
        await client.close()


run(main)
