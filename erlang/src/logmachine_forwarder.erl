%% @doc Carries what an event manager notifies to a logmachine receiver.
%%
%% A `gen_event' handler. The logmachine node uploads it to every node it captures and installs it,
%% with `gen_event:add_sup_handler/3' from its own process, in `error_logger' or in any other
%% manager; it works as well where an application adds it by hand. Events arrive at the receiver as
%% `gen_server:cast(Receiver, Event)' would bring them, untouched.
%%
%% It is a guest in somebody else's event manager: it never waits for the network, uses constant
%% memory and never crashes; where nobody else has a handler, it doesn't let the manager's queue grow
%% either. `HANDLERS.md' describes its arguments and everything it sends.
%% @hidden
-module(logmachine_forwarder).

-behaviour(gen_event).

-export([init/1, handle_event/2, handle_call/2, handle_info/2, terminate/2, code_change/3]).

-type receiver() :: pid() | atom() | {atom(), node()} | {global, term()}.
-type options() :: #{
    receiver := receiver(),
    local_only => boolean(),
    level => logger:level() | all,
    max_bytes => pos_integer(),
    remove_after => pos_integer() | infinity
}.
-export_type([receiver/0, options/0]).

-include("logmachine_guest.hrl").

%% How many messages may wait in a manager that only handlers of ours use; from how many on it is
%% asked who uses it, how often then, and how long an answer holds (in milliseconds).
-define(QUEUE_LIMIT, 2000).
-define(QUEUE_LONG, 20).
-define(ASK_EVERY, 100).
-define(ALONE_FOR, 300).

%% In the manager's process dictionary: our guests there. Each counts what any of them flushes.
-define(GUESTS, '$logmachine_guests').

%% @private
-spec init(options() | receiver() | {term(), term()}) -> {ok, map()} | {error, term()}.
init({Options, _FromSwap}) when is_map(Options) ->
    init(Options);
init(Options) ->
    case guest(Options, #{local_only => false, level => all}) of
        {ok, #{level := Level} = Guest} ->
            case severity(Level) of
                none -> {error, {badarg, {level, Level}}};
                Severity -> {ok, settled(attach(Guest#{severity => Severity}, self(), none))}
            end;
        {error, Reason} ->
            {error, Reason}
    end.

settled(#{counters := C} = Guest) ->
    atomics:put(C, ?ASKED_AT, ?NEVER),
    atomics:put(C, ?ALONE_AT, ?NEVER),
    put(?GUESTS, [Guest | guests()]),
    Guest.

guests() ->
    case get(?GUESTS) of
        undefined -> [];
        Guests -> Guests
    end.

%% @private
-spec handle_event(term(), map()) -> {ok, map()} | remove_handler.
handle_event(Event, #{counters := C} = Guest) ->
    case atomics:get(C, ?STATE) of
        ?ABANDONED ->
            remove_handler;
        _ ->
            case is_wanted(Event, Guest) of
                true -> forward_safely(Guest, Event);
                false -> ok
            end,
            case process_info(self(), message_queue_len) of
                {_, Length} when Length > ?QUEUE_LONG -> relieve(Guest, Length, now_millis());
                _ -> ok
            end,
            {ok, Guest}
    end.

forward_safely(#{counters := C} = Guest, Event) ->
    try
        forward(Guest, Event)
    catch
        _:_ -> atomics:add(C, ?FAILED, 1)
    end.

%% A queue that grows is flushed, as OTP's own handlers do with theirs: what waits there is the host's
%% memory. Not if somebody else has a handler here, whose events these are too. Which handlers there
%% are can't be seen from inside one: the manager is asked when its queue gets long, and without an
%% answer of just now nothing is flushed. Each flush asks again before it begins, and so leaves the
%% question at the head of the queue.
relieve(#{counters := C} = Guest, Length, Now) ->
    case Now - atomics:get(C, ?ASKED_AT) >= ?ASK_EVERY of
        true -> ask(Guest, Now);
        false -> ok
    end,
    case Length > ?QUEUE_LIMIT andalso Now - atomics:get(C, ?ALONE_AT) =< ?ALONE_FOR of
        true ->
            atomics:put(C, ?ALONE_AT, ?NEVER),
            ask(Guest, Now),
            Guests = guests(),
            %% As in OTP's: else who logs comes first again and again, and fills it faster than this
            %% empties it.
            Priority = process_flag(priority, high),
            Counts = flush(Length, Guests, [0 || _ <- Guests]),
            _ = process_flag(priority, Priority),
            count_flushed(Guests, Counts);
        false ->
            ok
    end.

%% What gen_event:which_handlers/1 would send to this manager, with the guard as the one who asks.
ask(#{counters := C, guard := Guard}, Now) ->
    atomics:put(C, ?ASKED_AT, Now),
    self() ! {Guard, {Guard, logmachine_handlers}, which_handlers},
    ok.

%% Takes events out, at most so many, and nothing else: calls, sync_notify, system messages stay.
flush(0, _, Counts) ->
    Counts;
flush(Left, Guests, Counts) ->
    receive
        {notify, Event} -> flush(Left - 1, Guests, count(Event, Guests, Counts))
    after 0 -> Counts
    end.

count(Event, [Guest | Guests], [Count | Counts]) ->
    case is_wanted(Event, Guest) of
        true -> [Count + 1 | count(Event, Guests, Counts)];
        false -> [Count | count(Event, Guests, Counts)]
    end;
count(_, [], []) ->
    [].

count_flushed([_ | Guests], [0 | Counts]) ->
    count_flushed(Guests, Counts);
count_flushed([Guest | Guests], [Count | Counts]) ->
    dropped(Guest, ?FLUSHED, Count),
    count_flushed(Guests, Counts);
count_flushed([], []) ->
    ok.

%% Which events are captured ------------------------------------------------------------------------

is_wanted(Event, #{severity := Severity, local_only := LocalOnly}) ->
    severity_of(Event) =< Severity andalso not (LocalOnly andalso is_copy(Event)).

%% How severe an event is that error_logger has tagged; others have no level and always pass.
severity_of({Tag, _, {_, Type, _}}) -> severity_of(Tag, Type);
severity_of(_) -> 0.

severity_of(error, _) -> 3;
severity_of(error_report, _) -> 3;
severity_of(warning_msg, _) -> 4;
severity_of(warning_report, _) -> 4;
severity_of(info_report, progress) -> 6;
severity_of(info_report, _) -> 5;
severity_of(info_msg, _) -> 5;
severity_of(info, _) -> 5;
severity_of(_, _) -> 0.

%% The levels of logger, as syslog counts them.
severity(emergency) -> 0;
severity(alert) -> 1;
severity(critical) -> 2;
severity(error) -> 3;
severity(warning) -> 4;
severity(notice) -> 5;
severity(info) -> 6;
severity(debug) -> 7;
severity(all) -> 8;
severity(_) -> none.

%% An event of another node whose process has its group leader here: that node reports it itself.
is_copy({_Tag, GroupLeader, {Pid, _, _}}) when is_pid(GroupLeader), is_pid(Pid) ->
    node(Pid) =/= node() andalso node(GroupLeader) =:= node();
is_copy(_) ->
    false.

%% @private
-spec handle_call(term(), map()) -> {ok, term(), map()}.
handle_call(info, #{counters := C} = Guest) ->
    Info = info(Guest),
    {ok, Info#{unreported_flushed => atomics:get(C, ?FLUSHED)}, Guest};
handle_call(_, Guest) ->
    {ok, {error, unsupported}, Guest}.

%% @private
-spec handle_info(term(), map()) -> {ok, map()}.
handle_info(_, Guest) ->
    {ok, Guest}.

%% @private
-spec terminate(term(), map()) -> ok.
terminate(_, #{guard := Guard} = Guest) ->
    _ =
        case [Other || #{guard := Theirs} = Other <- guests(), Theirs =/= Guard] of
            [] -> erase(?GUESTS);
            Others -> put(?GUESTS, Others)
        end,
    detach(Guest).

%% @private
-spec code_change(term(), map(), term()) -> {ok, map()}.
code_change(_, Guest, _) ->
    {ok, Guest}.
