"""The services that gRPC has for all. Arguments: `grpcio` PORT WHAT

With `waits`, says `watching` and each status that comes, until the stream ends. With `reflection`, asks what there is."""

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from google.protobuf import descriptor_pb2

from client import *

NAMES = health_pb2.HealthCheckResponse.ServingStatus.Name


async def waits(channel):
    health = health_pb2_grpc.HealthStub(channel)
    watch = health.Watch(health_pb2.HealthCheckRequest(service="logmachine.v1.Log"))
    while True:
        try:
            status = NAMES((await watch.read()).status)
        except grpc.RpcError as error:
            say(f"ended {error.code().name}")
            return
        for service in ("", "logmachine.v1.Log"):
            checked = await health.Check(health_pb2.HealthCheckRequest(service=service))
            assert NAMES(checked.status) == status, (checked, status)
        say(status)


def without_names(file):
    """Without what compilers may leave out."""
    file.ClearField("source_code_info")
    messages = list(file.message_type)
    for message in messages:
        messages.extend(message.nested_type)
        for field in message.field:
            field.ClearField("json_name")
    return file


async def reflection(channel):
    health = health_pb2_grpc.HealthStub(channel)
    try:
        await health.Check(health_pb2.HealthCheckRequest(service="nobody"))
        raise AssertionError("there is no such service")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.NOT_FOUND
    # As the manual of the service wants it: a watch goes on, the service may come.
    watch = health.Watch(health_pb2.HealthCheckRequest(service="nobody"))
    assert NAMES((await watch.read()).status) == "SERVICE_UNKNOWN"
    watch.cancel()
    # The messages of both versions are the same.
    Request = reflection_pb2.ServerReflectionRequest
    for version in ("v1", "v1alpha"):
        method = channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            Request.SerializeToString,
            reflection_pb2.ServerReflectionResponse.FromString,
        )
        asked = [
            Request(list_services=""),
            Request(file_containing_symbol="logmachine.v1.Log"),
            Request(file_by_filename="logmachine.proto"),
            Request(file_containing_symbol="logmachine.v1.SubscribeOptions"),
        ]
        answers = [answer async for answer in method(iter(asked))]
        assert len(answers) == len(asked)
        services = {service.name for service in answers[0].list_services_response.service}
        assert {"logmachine.v1.Log", "grpc.health.v1.Health"} <= services, services
        for answer in answers[1:]:
            [file] = answer.file_descriptor_response.file_descriptor_proto
            file = descriptor_pb2.FileDescriptorProto.FromString(file)
            ours = descriptor_pb2.FileDescriptorProto()
            pb.DESCRIPTOR.CopyToProto(ours)
            file, ours = without_names(file), without_names(ours)
            assert [service.name for service in file.service] == ["Log"]
            assert file == ours, version
        try:
            [answer async for answer in method(iter([Request(file_containing_symbol="nobody")]))]
            raise AssertionError("there is no such symbol")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.NOT_FOUND, error


async def main(Client, port, what):
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        await {"waits": waits, "reflection": reflection}[what](channel)


run(main)
