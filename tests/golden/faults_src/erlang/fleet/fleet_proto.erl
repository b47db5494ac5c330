%% What the boxes in the cars speak: a process for each connection.
-module(fleet_proto).
-export([start_link/2, init/2]).
-record(conn, {listener, peer, device, seen = 0}).

start_link(Listener, Peer) -> {ok, proc_lib:spawn_link(?MODULE, init, [Listener, Peer])}.

init(Listener, Peer) -> loop(#conn{listener = Listener, peer = Peer}).

loop(#conn{seen = Seen} = Conn) ->
    receive
        {tcp, Data} ->
            {Type, Payload} = frame(Data),
            loop(handle(Type, Payload, Conn#conn{seen = Seen + 1}))
    end.

frame(<<16#7E, 1, Size, Payload:Size/binary>>) -> {login, Payload};
frame(<<16#7E, 2, Size, Payload:Size/binary>>) -> {fix, Payload}.

handle(login, Imei, Conn) ->
    {ok, Device} = device(Imei),
    Conn#conn{device = Device};
handle(fix, _, Conn) ->
    Conn.

device(Imei) -> {error, {unknown_device, Imei}}.
