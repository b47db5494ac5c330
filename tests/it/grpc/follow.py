"""Follows the numbers of an instance from 0 on, whatever is cut, each once and in order. Arguments: CLIENT PORT INSTANCE COUNT BATCH

Goes on with `after`. Says `following` once it does, `ended CODE` for each end that is no end of what was asked for."""

import time

from client import *


async def main(Client, port, instance, count, batch):
    following, ends, next, last = False, set(), 0, None
    deadline = time.monotonic() + 3 * PATIENCE
    while next < count:
        assert time.monotonic() < deadline, f"{next} of {count} have come"
        # A client of its own each time: theirs wait longer and longer before they connect again.
        client = Client(port)
        try:
            stream = await client.open("Subscribe")
            selection = {"from_": "earliest"} if last is None else {"after": last}
            await stream.send(options(instance, selection, format=pb.FORMAT_TEXT, batch=batch))
            await stream.receive()
            if not following:
                following = True
                say("following")
            while next < count:
                answer = await stream.receive()
                for entry in answer.batch.entries:
                    assert value(entry) == next, (value(entry), next)
                    next, last = next + 1, entry.micros
            await stream.cancel()
        except Failure as failure:
            if failure.code not in ends:
                ends.add(failure.code)
                say(f"ended {failure.code}")
            await asyncio.sleep(0.02)
        finally:
            await client.close()


run(main)
