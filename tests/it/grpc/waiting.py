"""A stream whose events wait for the disk, and others on the same connection. Arguments: `grpcio` PORT"""

import grpc
import logmachine_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from client import *

# 64 KiB in a binary.
EVENT = pb.Term(etf=b"\x83m\x00\x01\x00\x00" + bytes(1 << 16))


async def main(Client, port):
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        log, health = logmachine_pb2_grpc.LogStub(channel), health_pb2_grpc.HealthStub(channel)

        async def is_served():
            await health.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
            await log.Info(pb.InfoRequest(instance="quotes"), timeout=PATIENCE)

        for _ in range(3):
            call, written = log.AppendStream(), 0
            try:
                while written < 1024:
                    await asyncio.wait_for(call.write(pb.AppendRequest(instance="quotes", events=[EVENT])), 1)
                    written += 1
            except asyncio.TimeoutError:
                pass
            # Nothing more of it is read.
            assert 200 < written < 1024, written
            await is_served()
            call.cancel()
            await is_served()


run(main)
