%% The processes of the connections that a listener accepted: says which of them failed.
-module(listn_conns).
-export([start_link/2, connection/2, init/3]).

start_link(Name, Protocol) -> proc_lib:start_link(?MODULE, init, [self(), Name, Protocol]).

connection(Conns, Peer) ->
    Conns ! {accepted, self(), Peer},
    receive
        {Conns, Pid} -> Pid
    end.

init(Parent, Name, Protocol) ->
    process_flag(trap_exit, true),
    proc_lib:init_ack(Parent, {ok, self()}),
    loop(Parent, Name, Protocol).

loop(Parent, Name, Protocol) ->
    receive
        {accepted, From, Peer} ->
            {ok, Pid} = Protocol:start_link(Name, Peer),
            From ! {self(), Pid},
            loop(Parent, Name, Protocol);
        {'EXIT', Parent, Reason} ->
            exit(Reason);
        {'EXIT', Pid, Reason} ->
            error_logger:error_msg(
                "Listener ~p: connection process ~p of ~p:start_link/2 exited with reason ~999999p~n",
                [Name, Pid, Protocol, Reason]
            ),
            loop(Parent, Name, Protocol)
    end.
