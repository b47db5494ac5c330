-module(pgpool_conn).
-behaviour(gen_server).
-export([run/2, start_link/1, init/1, handle_call/3, handle_cast/2, handle_info/2]).

run(_Sql, _Params) ->
    {error, application:get_env(pgpool, failing, timeout)}.

start_link(Options) -> gen_server:start_link(?MODULE, Options, []).

init(Options) -> {ok, Options#{buffer => <<>>}}.

handle_call(_, _, State) -> {reply, ok, State}.

handle_cast(_, State) -> {noreply, State}.

handle_info({tcp, _, Data}, State) ->
    {noreply, decode(Data, State)}.

decode(<<Type, Size:32, Rest/binary>>, State) when byte_size(Rest) >= Size - 4 ->
    State#{buffer => Rest, last => Type}.
