%% Modules that have a name of ours, or had one, and are somebody else's: what tests put on a host.
%%
%% As it is, the handler of the original logmachine, by what its documentation says: started with the
%% reference of a receiver, it casts every event there. With FIRST, what the first version of this
%% program uploaded under the original's name, as far as a host can tell: it takes options, and has a
%% version and a guard.
-module(logmachine_event_handler).
-export([init/1, handle_event/2, handle_call/2, handle_info/2, terminate/2]).

-ifdef(FIRST).
-export([version/0, guard/1]).

version() -> 1.

guard(_) -> ok.

init(#{receiver := Receiver}) -> {ok, Receiver}.
-else.
init(Receiver) -> {ok, Receiver}.
-endif.

handle_event(Event, Receiver) ->
    gen_server:cast(Receiver, Event),
    {ok, Receiver}.

handle_call(_, Receiver) -> {ok, ok, Receiver}.

handle_info(_, Receiver) -> {ok, Receiver}.

terminate(_, _) -> ok.
