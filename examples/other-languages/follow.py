"""Writes to an instance of a logmachine node and follows it. Usage: follow.py NODE COOKIE ENTRIES"""

import sys

from erldistpy import Atom, Node

RECEIVER = ".error_logger.receiver.srv"
logmachine, cookie, entries = sys.argv[1:]
alive, host = logmachine.split("@")

with Node(our_name=f"python@{host}", peer_name=alive, peer_host=host, cookie=cookie) as node:
    # A call is answered once the event is as durable as `sync` says; strings become binaries.
    event = (Atom("hello"), "python")
    print("append:", node.call(RECEIVER, (Atom("append"), event)))

    # `rpc` reaches the functions of the Erlang module `logmachine`, and nothing else.
    arguments = [Atom("error_logger"), Atom("events")]
    rpc = (Atom("call"), Atom("logmachine"), Atom("info"), arguments, Atom("user"))
    print("events:", node.call("rex", rpc))

    # erldistpy has calls alone. What is no call goes through its channel.
    me, channel = node._our_pid, node._channel
    channel.send_reg_send(me, Atom(RECEIVER), (Atom("$gen_cast"), event))

    # First the past, then entries as they are recorded.
    options = {Atom("from"): Atom("earliest"), Atom("pid"): me, Atom("marker"): Atom("entry")}
    call = (Atom("$gen_call"), (me, node._next_ref()), (Atom("subscribe"), options))
    channel.send_reg_send(me, Atom(RECEIVER), call)
    node._sock.settimeout(None)  # a call sets its own
    left = int(entries)
    while left > 0:
        # A subscription makes a link, which comes as a message without payload.
        payload = channel.recv_message().payload
        match payload:
            case (Atom(name="entry"), (stamp, event)):
                print("entry:", event)
                left -= 1
            case (_reference, answer):
                print("subscribe:", answer)
