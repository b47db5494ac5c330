-module(hl7_conn).
-behaviour(gen_server).
-export([start_link/1, init/1, handle_call/3, handle_cast/2, handle_info/2]).
-record(conn, {peer, buffer = <<>>, last, count = 0}).

start_link(Peer) -> gen_server:start_link(?MODULE, Peer, []).

init(Peer) -> {ok, #conn{peer = Peer}}.

handle_call(_, _, Conn) -> {reply, ok, Conn}.

handle_cast(_, Conn) -> {noreply, Conn}.

handle_info({tcp, _Socket, Data}, #conn{count = Count} = Conn) ->
    Message = hl7_parse:message(Data),
    {noreply, Conn#conn{last = Message, count = Count + 1}}.
