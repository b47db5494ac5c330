%% @doc Carries what an event manager notifies to a logmachine receiver.
%%
%% A `gen_event' handler. The logmachine node uploads it to every node it captures and installs it,
%% with `gen_event:add_sup_handler/3' from its own process, in `error_logger' or in any other
%% manager; it works as well where an application adds it by hand. Events arrive at the receiver as
%% `gen_server:cast(Receiver, Event)' would bring them, untouched.
%%
%% It is a guest in somebody else's event manager: it never waits for the network, uses constant
%% memory and never crashes. `HANDLERS.md' describes its arguments and everything it sends.
-module(logmachine_event_handler).

-behaviour(gen_event).

-export([init/1, handle_event/2, handle_call/2, handle_info/2, terminate/2, code_change/3]).

-type receiver() :: pid() | atom() | {atom(), node()} | {global, term()}.
-type options() :: #{
    receiver := receiver(),
    local_only => boolean(),
    max_bytes => pos_integer(),
    remove_after => pos_integer() | infinity
}.
-export_type([receiver/0, options/0]).

-include("logmachine_guest.hrl").

%% @private
-spec init(options() | receiver() | {term(), term()}) -> {ok, map()} | {error, term()}.
init({Options, _FromSwap}) when is_map(Options) ->
    init(Options);
init(Options) ->
    case guest(Options, #{local_only => false}) of
        {ok, Guest} -> {ok, attach(Guest, self(), none)};
        {error, Reason} -> {error, Reason}
    end.

%% @private
-spec handle_event(term(), map()) -> {ok, map()} | remove_handler.
handle_event(Event, #{counters := C, local_only := LocalOnly} = Guest) ->
    case atomics:get(C, ?STATE) of
        ?ABANDONED ->
            remove_handler;
        _ ->
            case LocalOnly andalso is_copy(Event) of
                true -> ok;
                false -> forward_safely(Guest, Event)
            end,
            {ok, Guest}
    end.

forward_safely(#{counters := C} = Guest, Event) ->
    try
        forward(Guest, Event)
    catch
        _:_ -> atomics:add(C, ?FAILED, 1)
    end.

%% An event of another node whose process has its group leader here: that node reports it itself.
is_copy({_Tag, GroupLeader, {Pid, _, _}}) when is_pid(GroupLeader), is_pid(Pid) ->
    node(Pid) =/= node() andalso node(GroupLeader) =:= node();
is_copy(_) ->
    false.

%% @private
-spec handle_call(term(), map()) -> {ok, term(), map()}.
handle_call(info, Guest) ->
    {ok, info(Guest), Guest};
handle_call(_, Guest) ->
    {ok, {error, unsupported}, Guest}.

%% @private
-spec handle_info(term(), map()) -> {ok, map()}.
handle_info(_, Guest) ->
    {ok, Guest}.

%% @private
-spec terminate(term(), map()) -> ok.
terminate(_, Guest) ->
    detach(Guest).

%% @private
-spec code_change(term(), map(), term()) -> {ok, map()}.
code_change(_, Guest, _) ->
    {ok, Guest}.
