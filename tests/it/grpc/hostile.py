"""Peers that break the rules of HTTP/2 or of gRPC, or keep them and ask for too much. Arguments: PORT PID

Each is answered or closed in time. The node's memory, of which PID is the process, stays what it was; says how much it took."""

import random, socket, struct, sys, time

import h2.config, h2.connection, h2.errors, h2.events, h2.exceptions, h2.settings
import hpack

PORT, PID = int(sys.argv[1]), int(sys.argv[2])
PATIENCE = 60
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
LOG = "/logmachine.v1.Log/"
# What any of them may take beyond what was taken before.
MOST_KIB = 100 << 10
# Of hundreds of streams that are not read each holds a batch or two.
MOST_OF_STREAMS_KIB = 250 << 10
# Bodies and messages that come have 256 MiB together; what is made of one is larger than itself.
MOST_OF_BODIES_KIB = 320 << 10
MOST_OF_EVENTS_KIB = 700 << 10


def memory_kib(which):
    for line in open(f"/proc/{PID}/status"):
        if line.startswith(which):
            return int(line.split()[1])


def frame(kind, flags=0, stream=0, payload=b"", length=None):
    length = len(payload) if length is None else length
    return struct.pack(">I", length)[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def message(payload, declared=None, compressed=0):
    """As gRPC writes one."""
    return struct.pack(">BI", compressed, len(payload) if declared is None else declared) + payload


def fields(method="Append", *others, host=f"127.0.0.1:{PORT}", **replaced):
    found = {":method": "POST", ":scheme": "http", ":path": LOG + method, ":authority": host, "content-type": "application/grpc", "te": "trailers"}
    found.update({name.replace("_", "-"): value for name, value in replaced.items()})
    return [(name, value) for name, value in found.items() if value is not None] + list(others)


def connect():
    connection = socket.create_connection(("127.0.0.1", PORT))
    connection.settimeout(PATIENCE)
    return connection


def flood(parts, *, opening=PREFACE + frame(SETTINGS), seconds=3):
    """Sends as much as is taken, for a while, and reads nothing; whether it was closed."""
    connection = connect()
    connection.sendall(opening)
    end = time.monotonic() + seconds
    connection.settimeout(1)
    try:
        for part in parts:
            if time.monotonic() > end:
                return False
            connection.sendall(part)
    except socket.timeout:
        return False  # no more of it is read
    except OSError:
        return True
    finally:
        connection.close()
    return False


def frames(connection):
    """What comes, as kind, stream and payload, to the end."""
    left = b""
    while True:
        while len(left) >= 9 and len(left) >= 9 + (size := int.from_bytes(left[:3], "big")):
            yield left[3], int.from_bytes(left[5:9], "big"), left[9 : 9 + size]
            left = left[9 + size :]
        if not (received := connection.recv(1 << 16)):
            return
        left += received


def first_of(connection, kinds):
    return next((frame for frame in frames(connection) if frame[0] in kinds), (GOAWAY, 0, b""))


class Peer:
    """One that keeps the rules of HTTP/2."""

    def __init__(self, window=None):
        config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8", validate_outbound_headers=False, normalize_outbound_headers=False)
        self.h2, self.socket, self.ended, self.status = h2.connection.H2Connection(config), connect(), {}, {}
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.h2.initiate_connection()
        if window is not None:
            self.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
        self.flush()

    def flush(self):
        self.socket.sendall(self.h2.data_to_send())

    def hear(self):
        """What comes next; `False` where the connection is closed."""
        received = self.socket.recv(1 << 16)
        if not received:
            return False
        for event in self.h2.receive_data(received):
            if isinstance(event, (h2.events.ResponseReceived, h2.events.TrailersReceived)):
                found = dict(event.headers)
                if "grpc-status" in found:
                    self.status[event.stream_id] = int(found["grpc-status"])
                elif found.get(":status", "200") != "200":
                    self.status[event.stream_id] = "HTTP " + found[":status"]
            elif isinstance(event, h2.events.DataReceived) and event.flow_controlled_length:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                self.ended[event.stream_id] = "ended"
            elif isinstance(event, h2.events.StreamReset):
                self.ended.setdefault(event.stream_id, f"reset {event.error_code}")
            elif isinstance(event, h2.events.ConnectionTerminated):
                return False
        self.flush()
        return True

    def open(self, headers, end=False):
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, headers, end_stream=end)
        self.flush()
        return stream

    def send(self, stream, data, end=False, patience=None):
        """All of it, as fast as it is taken; or for so long, and whether that was all."""
        left, until = memoryview(data), patience and time.monotonic() + patience
        while len(left) and stream not in self.ended:
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size, len(left))
            if room > 0:
                self.h2.send_data(stream, bytes(left[:room]))
                self.flush()
                left = left[room:]
                continue
            if until:
                self.socket.settimeout(max(until - time.monotonic(), 0.01))
            try:
                if not self.hear():
                    return False
            except socket.timeout:
                if until:
                    return False
                raise
            finally:
                self.socket.settimeout(PATIENCE)
        if end and stream not in self.ended:
            self.h2.end_stream(stream)
            self.flush()
        return True

    def outcome(self, stream):
        """Its status, or how else it ended."""
        try:
            while stream not in self.ended:
                if not self.hear():
                    return "closed"
        except (ConnectionError, h2.exceptions.ProtocolError):
            return "closed"
        return self.status.get(stream, self.ended[stream])

    def close(self):
        self.socket.close()


def call(method, body, end=True, **replaced):
    peer = Peer()
    try:
        stream = peer.open(fields(method, **replaced))
        peer.send(stream, body, end)
        return peer.outcome(stream)
    finally:
        peer.close()


def is_served():
    info = call("Info", message(b""))
    assert info == 0, info


# What protobuf makes of these: an AppendRequest of `quotes` with the event 1 as text, and events that are empty.
QUOTES = b"\x0a\x06quotes"
ONE = b"\x12\x03\x12\x011"
SUBSCRIBE = b"\x0a\x08" + QUOTES
CANCELLED, INVALID, DEADLINE, EXHAUSTED, OUT_OF_RANGE, UNIMPLEMENTED, INTERNAL, UNAVAILABLE = 1, 3, 4, 8, 11, 12, 13, 14


def rapid_reset():
    encode = hpack.Encoder().encode
    cancel = struct.pack(">I", 8)
    numbers = range(1, 2**22, 2)
    parts = (b"".join(frame(HEADERS, 4, n, encode(fields("Read"))) + frame(RST_STREAM, 0, n, cancel) for n in numbers[i : i + 50]) for i in range(0, len(numbers), 50))
    flood(parts)
    # The same with what is begun: a subscription that is there, and gone.
    body = message(SUBSCRIBE)
    encode = hpack.Encoder().encode
    parts = (frame(HEADERS, 4, n, encode(fields("Subscribe"))) + frame(DATA, 0, n, body) + frame(RST_STREAM, 0, n, cancel) for n in numbers)
    flood(parts)


def settings_flood():
    flood(frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 65535 + n % 2)) * 500 for n in range(10**6))


def ping_flood():
    flood(frame(PING, 0, 0, b"12345678") * 500 for _ in range(10**6))


def window_flood():
    flood(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1)) * 500 for _ in range(10**6))


def empty_data_flood():
    head = frame(HEADERS, 4, 1, hpack.Encoder().encode(fields("AppendStream")))
    flood((frame(DATA, 0, 1) * 500 for _ in range(10**6)), opening=PREFACE + frame(SETTINGS) + head)


def continuation_flood():
    block = hpack.Encoder().encode(fields("Append"))
    more = b"\x00\x01x\x7f\x81\x7d" + b"y" * 16000  # a literal that is never indexed
    begin = PREFACE + frame(SETTINGS) + frame(HEADERS, 0, 1, block)
    assert flood((frame(CONTINUATION, 0, 1, b"\x00\x01x\x03yyy" * 2000) for _ in range(10**5)), opening=begin), "it is closed"
    assert flood((frame(CONTINUATION, 0, 1) * 100 for _ in range(10**5)), opening=begin), "it is closed"
    flood((frame(CONTINUATION, 0, 1, more[:16000]) for _ in range(10**5)), opening=begin)


def huge_heads():
    for others in ([("x", "y" * (1 << 20))], [("x", "y")] * 20_000, [(f"x-{n}", "y" * 100) for n in range(3000)]):
        block = hpack.Encoder().encode(fields("Append", *others), huffman=False)
        parts = [block[n : n + 16_000] for n in range(0, len(block), 16_000)]
        head = [frame(HEADERS, 0, 1, parts[0]), *[frame(CONTINUATION, 0, 1, part) for part in parts[1:]], frame(CONTINUATION, 4, 1)]
        connection = connect()
        try:
            connection.sendall(PREFACE + frame(SETTINGS) + b"".join(head))
            # Refused, which is the head of an answer, or a reset; or the end.
            first_of(connection, {HEADERS, RST_STREAM, GOAWAY})
        except OSError:
            pass
        finally:
            connection.close()
    # One large field, and thousands of references to it.
    encoder = hpack.Encoder()
    first = encoder.encode(fields("Append", ("x-bomb", "y" * 3900)))
    again = encoder.encode(fields("Append", *[("x-bomb", "y" * 3900)] * 10_000))
    connection = connect()
    connection.sendall(PREFACE + frame(SETTINGS) + frame(HEADERS, 4, 1, first))
    for n in range(3, 203, 2):
        try:
            connection.sendall(frame(HEADERS, 4, n, again[:16000]))
        except OSError:
            break
    connection.close()


def broken_frames():
    """Each is the end of its connection, or of its stream."""
    encode = lambda *arguments, **replaced: hpack.Encoder().encode(fields(*arguments, **replaced))
    good = frame(HEADERS, 4, 1, encode("Append"))
    for broken in [
        b"",
        b"\xff" * 100,
        frame(DATA, 0, 0, b"x"),
        frame(DATA, 0, 1, b"x"),
        frame(HEADERS, 4, 2, encode("Append")),
        frame(HEADERS, 4, 1, b"\xff\xff\xff\xff\xff\xff"),
        frame(SETTINGS, 0, 0, b"12345"),
        frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 2**31)),
        frame(PING, 0, 0, b"1"),
        frame(CONTINUATION, 4, 1, b""),
        good + frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 2**31 - 1)) * 2,
        frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 2**31 - 1)) * 2,
        frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 0)),
        frame(DATA, 0, 1, length=2**24 - 1),
        good + frame(HEADERS, 0, 3, encode("Append")) + frame(PING, 0, 0, b"12345678"),
        good + frame(DATA, 8, 1, b"\xff" + b"x" * 10),
        frame(HEADERS, 4, 1, encode("Append", **{":path": None})),
        frame(HEADERS, 4, 1, encode("Append", ("connection", "close"))),
    ]:
        connection = connect()
        connection.sendall(PREFACE + frame(SETTINGS) + broken)
        # Its end is what is waited for; where there is a stream that is fine, that is cut off here.
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1 << 16):
            pass
        connection.close()


def broken_messages():
    one = message(QUOTES + ONE)
    for method, body, expected in [
        ("Append", one, {0}),
        ("Append", message(random.Random(1).randbytes(1000)), {INTERNAL, INVALID}),
        ("Append", message(b"\x0a\xff\xff\xff\xff\x0f"), {INTERNAL, INVALID}),
        ("Append", message(b"\x0a\x02\xff\xff"), {INTERNAL, INVALID}),
        ("Append", message(b"\x12" * 100_000), {INTERNAL, INVALID}),
        ("Append", message(b"\x0b" * 100_000), {INTERNAL, INVALID}),  # groups in groups
        ("Append", message(b"", declared=2**32 - 1), {EXHAUSTED}),
        ("Append", message(b"x" * 1000, declared=2**32 - 1), {EXHAUSTED}),
        ("AppendStream", message(b"", declared=2**32 - 1), {EXHAUSTED}),
        ("Subscribe", message(b"", declared=2**32 - 1), {EXHAUSTED}),
        ("Read", message(b"", declared=2**31), {EXHAUSTED}),
        ("Append", message(QUOTES + ONE, compressed=1), {INTERNAL, UNIMPLEMENTED}),
        ("Append", message(QUOTES + ONE, compressed=7), {INTERNAL, UNIMPLEMENTED}),
        ("Append", b"", {INTERNAL, INVALID, UNIMPLEMENTED}),
        ("Append", b"\x00\x00", {INTERNAL, INVALID}),
        ("Append", message(b"half", declared=100), {INTERNAL, INVALID}),
        ("AppendStream", message(b"half", declared=100), {INTERNAL, INVALID}),
        ("Append", one + one, {0, INTERNAL, INVALID, UNIMPLEMENTED}),
        ("Nothing", one, {UNIMPLEMENTED}),
        ("", one, {UNIMPLEMENTED, "HTTP 404"}),
    ]:
        found = call(method, body)
        assert found in expected, (method, body[:50], found, expected)
    assert call("Append", one, grpc_encoding="gzip") in {0, UNIMPLEMENTED}
    assert call("Append", message(QUOTES + ONE, compressed=1), grpc_encoding="gzip") == UNIMPLEMENTED
    for method in ("Append", "AppendStream", "Read", "Subscribe", "Info"):
        for kind in ("application/json", "application/grpc-web", "application/grpcx", None):
            assert call(method, one, content_type=kind) == "HTTP 415", (method, kind)
        assert call(method, one, **{":method": "PUT"}) == "HTTP 405", method
        assert call(method, b"", **{":method": "GET"}) == "HTTP 405", method
    assert call("Append", one, host="evil.example") == 7


def half_messages():
    """Many that begin a large message, and say no more. Others have theirs recorded meanwhile."""
    peers = []
    for _ in range(40):
        peer = Peer()
        peers.append(peer)
        for method in ("Append", "AppendStream", "Subscribe"):
            stream = peer.open(fields(method))
            peer.send(stream, message(b"x" * (1 << 20), declared=16 << 20)[: 200_000], patience=0.5)
    is_served()
    assert call("Append", message(QUOTES + ONE)) == 0
    for peer in peers:
        peer.close()


def large_halves():
    """As much as is taken of messages that never end."""
    peers = []
    for _ in range(24):
        peer = Peer()
        peers.append(peer)
        stream = peer.open(fields("Append"))
        peer.send(stream, message(b"x" * (15 << 20), declared=16 << 20), patience=0.3)
    is_served()
    for peer in peers:
        peer.close()
    # Their memory is free again.
    while (found := call("Append", large_append(1 << 20))) != 0:
        assert found == UNAVAILABLE, found


def varint(number):
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def endless():
    """As much memory as there is, by messages that never end, of a peer that is there. It is given up, in the end."""
    peer = Peer()
    streams = [peer.open(fields(("Append", "AppendStream", "Subscribe")[n % 3])) for n in range(16)]
    for stream in streams:
        assert peer.send(stream, message(b"x" * 16_100_000, declared=16 << 20))
    large = large_append(12 << 20)
    assert call("Append", large) == UNAVAILABLE, "there is no room"
    for stream in streams:
        assert peer.outcome(stream) == DEADLINE, peer.outcome(stream)
    assert call("Append", large) == 0
    peer.close()


def large_append(size):
    """Of a binary."""
    event = b"\x83\x6d" + struct.pack(">I", size) + bytes(size)
    term = b"\x0a" + varint(len(event)) + event
    return message(QUOTES + b"\x12" + varint(len(term)) + term)


def empty_events():
    """Two bytes each, millions of them: what is made of them is larger."""
    body = message(QUOTES + b"\x12\x00" * (8 << 20))
    peers = [Peer() for _ in range(3)]
    streams = [peer.open(fields("Append")) for peer in peers]
    for peer, stream in zip(peers, streams):
        peer.send(stream, body, end=True)
    for peer, stream in zip(peers, streams):
        found = peer.outcome(stream)
        assert found in (INVALID, EXHAUSTED), found
        peer.close()


def unread_answers():
    """Thousands of appends on a stream whose answers have no room to be sent."""
    peer = Peer(window=0)
    stream = peer.open(fields("AppendStream"))
    sent = 0
    for _ in range(100):
        # Tiny ones, until no more are taken.
        if not peer.send(stream, message(QUOTES + ONE) * 1000, patience=1):
            break
        sent += 1000
    is_served()
    peer.close()
    assert sent >= 4000, sent
    # Subscriptions and reads that can send nothing.
    peer = Peer(window=0)
    for n in range(900):
        stream = peer.open(fields("Subscribe" if n % 2 else "Read"))
        peer.send(stream, message(b"\x0a\x12" + QUOTES + b"\x12\x0a\x0a\x08earliest" if n % 2 else QUOTES), end=n % 2 == 0)
    is_served()
    peer.close()


def too_many_streams():
    """More than a connection may have: those above are refused, the others live."""
    peer = Peer()
    while not peer.h2.remote_settings.max_concurrent_streams < 10_000:
        assert peer.hear()
    most = peer.h2.remote_settings.max_concurrent_streams
    encode = hpack.Encoder().encode
    for n in range(most + 50):
        peer.socket.sendall(frame(HEADERS, 4, 2 * n + 1, encode(fields("Subscribe"))))
    peer.socket.settimeout(PATIENCE)
    refused = set()
    for kind, stream, payload in frames(peer.socket):
        if kind == RST_STREAM:
            assert int.from_bytes(payload, "big") == 7, "REFUSED_STREAM"
            refused.add(stream)
            if len(refused) == 50:
                break
    assert min(refused) == 2 * most + 1, min(refused)
    is_served()
    peer.close()


def silent():
    """Connections that say nothing, or half a head."""
    connections = []
    for n in range(300):
        connection = connect()
        connection.sendall([b"", PREFACE[:10], PREFACE, PREFACE + frame(SETTINGS) + frame(HEADERS, 0, 1, b"\x82")][n % 4])
        connections.append(connection)
    is_served()
    for connection in connections:
        connection.close()


ATTACKS = [
    silent, broken_frames, broken_messages, huge_heads, rapid_reset, settings_flood, ping_flood, window_flood, empty_data_flood,
    continuation_flood, too_many_streams, unread_answers, half_messages, large_halves, empty_events,
]
# For whoever names it: it takes a minute.
SLOW = [endless]

for name in sys.argv[3:]:
    assert name in {attack.__name__ for attack in ATTACKS + SLOW}, name
for attack in ATTACKS + SLOW:
    if attack.__name__ not in sys.argv[3:] and (sys.argv[3:] or attack in SLOW):
        continue
    before, began = memory_kib("VmHWM"), time.monotonic()
    attack()
    is_served()
    took = memory_kib("VmHWM") - before
    print(f"{attack.__name__}: {took} KiB, {time.monotonic() - began:.1f} s", flush=True)
    most = {"unread_answers": MOST_OF_STREAMS_KIB, "large_halves": MOST_OF_BODIES_KIB, "endless": MOST_OF_BODIES_KIB, "empty_events": MOST_OF_EVENTS_KIB}.get(attack.__name__, MOST_KIB)
    assert took < most, f"{attack.__name__} took {took} KiB"
print("fine", flush=True)
