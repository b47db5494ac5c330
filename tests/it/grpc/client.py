"""Two clients that others wrote, behind one face, so that a script does the same with either."""

import asyncio, json, ssl, sys, time, urllib.request

import logmachine_pb2 as pb
from google.rpc import error_details_pb2, status_pb2

# What anything may take that is only waited for.
PATIENCE = 60
# Batches of large events are larger than what clients take unless told.
MAX_MESSAGE_BYTES = 64 << 20


class Failure(Exception):
    """How a call ended that did not end well."""

    def __init__(self, code, message, details):
        super().__init__(code, message, details)
        self.code, self.message = code, message
        self.fields, self.reason, self.retry_seconds = [], None, None
        for detail in details:
            if isinstance(detail, error_details_pb2.BadRequest):
                self.fields = [violation.field for violation in detail.field_violations]
            elif isinstance(detail, error_details_pb2.ErrorInfo):
                assert detail.domain == "logmachine", detail
                self.reason = detail.reason
            elif isinstance(detail, error_details_pb2.RetryInfo):
                self.retry_seconds = detail.retry_delay.ToTimedelta().total_seconds()


class Grpcio:
    """Google's, of which the core is C++."""

    def __init__(self, port, token=None, certificate=None, host="127.0.0.1", options=()):
        import grpc, logmachine_pb2_grpc

        options = [("grpc.max_receive_message_length", MAX_MESSAGE_BYTES), ("grpc.use_local_subchannel_pool", 1), *options]
        if certificate is None:
            self.channel = grpc.aio.insecure_channel(f"{host}:{port}", options)
        else:
            credentials = grpc.ssl_channel_credentials(open(certificate, "rb").read())
            self.channel = grpc.aio.secure_channel(f"{host}:{port}", credentials, options)
        self.log = logmachine_pb2_grpc.LogStub(self.channel)
        self.metadata = [("authorization", f"Bearer {token}")] if token else None

    async def call(self, method, request):
        try:
            return await getattr(self.log, method)(request, metadata=self.metadata, timeout=PATIENCE)
        except BaseException as error:
            raise self.failure(error)

    async def open(self, method, request=None):
        method = getattr(self.log, method)
        return GrpcioStream(method(metadata=self.metadata) if request is None else method(request, metadata=self.metadata))

    async def close(self):
        await self.channel.close()

    @staticmethod
    def failure(error):
        import grpc

        if not isinstance(error, grpc.RpcError):
            return error
        details = []
        for key, value in error.trailing_metadata() or ():
            if key == "grpc-status-details-bin":
                for packed in status_pb2.Status.FromString(value).details:
                    name = packed.type_url.rpartition(".")[2]
                    detail = getattr(error_details_pb2, name)()
                    assert packed.Unpack(detail)
                    details.append(detail)
        return Failure(error.code().name, error.details(), details)


class GrpcioStream:
    def __init__(self, call):
        self.stream = call

    async def send(self, request):
        try:
            await self.stream.write(request)
        except BaseException as error:
            raise Grpcio.failure(error)

    async def end(self):
        await self.stream.done_writing()

    async def receive(self):
        """The next message; `None` where the stream ended with OK."""
        import grpc

        try:
            message = await asyncio.wait_for(self.stream.read(), PATIENCE)
        except BaseException as error:
            raise Grpcio.failure(error)
        return None if message is grpc.aio.EOF else message

    async def cancel(self):
        self.stream.cancel()


class Grpclib:
    """One in Python alone, with another HTTP/2."""

    def __init__(self, port, token=None, certificate=None, host="127.0.0.1", options=()):
        import grpclib.client, logmachine_grpc

        context = None
        if certificate is not None:
            context = ssl.create_default_context(cafile=certificate)
            context.set_alpn_protocols(["h2"])
        self.channel = grpclib.client.Channel(host, port, ssl=context)
        self.log = logmachine_grpc.LogStub(self.channel)
        self.metadata = {"authorization": f"Bearer {token}"} if token else None

    async def call(self, method, request):
        try:
            return await getattr(self.log, method)(request, metadata=self.metadata, timeout=PATIENCE)
        except BaseException as error:
            raise self.failure(error)

    async def open(self, method, request=None):
        stream = getattr(self.log, method).open(metadata=self.metadata)
        try:
            await stream.__aenter__()
            if request is not None:
                await stream.send_message(request, end=True)
            else:
                await stream.send_request()
        except BaseException as error:
            raise self.failure(error)
        return GrpclibStream(stream)

    async def close(self):
        self.channel.close()

    @staticmethod
    def failure(error):
        import grpclib

        if isinstance(error, TimeoutError):
            return error
        if isinstance(error, (grpclib.exceptions.StreamTerminatedError, OSError)):
            return Failure("UNAVAILABLE", str(error), [])
        if not isinstance(error, grpclib.GRPCError):
            return error
        return Failure(error.status.name, error.message, error.details or [])


class GrpclibStream:
    def __init__(self, stream):
        self.stream, self.has_ended = stream, False

    async def send(self, request):
        try:
            await self.stream.send_message(request)
        except BaseException as error:
            raise self.failure(error)

    async def end(self):
        self.has_ended = True
        await self.stream.end()

    async def receive(self):
        try:
            message = await asyncio.wait_for(self.stream.recv_message(), PATIENCE)
            if message is None:
                # Its status comes only to who has ended, too; it knows of no other order.
                self.stream._end_done = True
                await self.stream.recv_trailing_metadata()
            return message
        except BaseException as error:
            raise self.failure(error)

    def failure(self, error):
        """Where the stream was reset behind its status, that is its end."""
        try:
            self.stream._maybe_raise()
        except BaseException as status:
            error = status
        return Grpclib.failure(error)

    async def cancel(self):
        await self.stream.cancel()


CLIENTS = {"grpcio": Grpcio, "grpclib": Grpclib}


async def refused(attempt):
    """How an attempt failed that had to."""
    try:
        answer = await attempt
    except Failure as failure:
        return failure
    raise AssertionError(f"not refused: {answer}")


async def first_failure(client, method, *requests):
    """How a stream failed that had to, after so many answers."""
    stream, answers = await client.open(method), 0
    try:
        for request in requests:
            await stream.send(request)
        while await stream.receive() is not None:
            answers += 1
    except Failure as failure:
        failure.answers = answers
        return failure
    raise AssertionError(f"not refused: {requests}")


async def read_all(client, instance, format=pb.FORMAT_UNSPECIFIED, views=False, **selection):
    """What is selected."""
    request = pb.ReadRequest(instance=instance, format=format, views=views, selection=selected(**selection))
    stream, entries = await client.open("Read", request), []
    while (batch := await stream.receive()) is not None:
        assert len(batch.entries) > 0
        entries.extend(batch.entries)
    return entries


def selected(**selection):
    """`from` is a word of Python."""
    return pb.Selection(**{name.removesuffix("_"): value for name, value in selection.items()})


def options(instance, selection=None, **others):
    return pb.SubscribeRequest(options=pb.SubscribeOptions(instance=instance, selection=selected(**(selection or {})), **others))


def append(instance, *terms, **others):
    return pb.AppendRequest(instance=instance, events=[pb.Term(text=term) for term in terms], **others)


def http(port, path, **headers):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    return urllib.request.urlopen(request, timeout=PATIENCE).read()


def value(entry):
    """Of an event that is a number."""
    return int(entry.event.text)


def say(line):
    print(line, flush=True)


async def hear():
    """The next line of whoever runs this."""
    line = await asyncio.to_thread(sys.stdin.readline)
    assert line, "nobody is there any more"
    return line.strip()


def run(main):
    """Runs `main` with the client that the first argument names, and the other arguments."""
    asyncio.run(main(CLIENTS[sys.argv[1]], *[int(a) if a.isdigit() else a for a in sys.argv[2:]]))
    say("fine")
