%% Reads in a process of its own, without which it is of no use.
-module(ecg_stream).
-behaviour(gen_server).
-export([start_link/1, init/1, handle_call/3, handle_cast/2, handle_info/2, decode/2]).

start_link(Bed) -> gen_server:start_link(?MODULE, Bed, []).

init(Bed) -> {ok, {Bed, none}}.

handle_call(_, _, State) -> {reply, ok, State}.

handle_cast(_, State) -> {noreply, State}.

handle_info({frame, Frame}, {Bed, _}) ->
    Reader = spawn_link(?MODULE, decode, [Bed, Frame]),
    {noreply, {Bed, Reader}}.

decode(Bed, <<Leads, Frame/binary>>) ->
    Samples = [binary:part(Frame, Lead * 12, 12) || Lead <- lists:seq(0, Leads - 1)],
    {Bed, Samples}.
