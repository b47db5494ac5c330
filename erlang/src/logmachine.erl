%% @doc Event logs of a logmachine node: subscribe to them, read them, append to them.
%%
%% An instance is an atom, such as `error_logger' or `quotes'. It is found through {@link global},
%% where a logmachine node registers it as `{Instance, N}', N from 0 to 9; the first one found
%% serves. `{Instance, Node}' names the one on a certain node, which then need not be connected yet.
%%
%% An entry is `{Timestamp, Event}'. Timestamps are `{MegaSecs, Secs, MicroSecs}', unique and
%% strictly rising within an instance.
%%
%% No process and no application needs to run. `subscribe/2,3,4,5' with a moment to start from,
%% `get_zlist/2' and `info/1,2' return and fail as those of the original logmachine did. The others
%% return `{error, not_found}' where an instance isn't known; where it is known and does not answer,
%% they exit as `gen_server:call/3' does.
-module(logmachine).

-export([
    subscribe/2, subscribe/3, subscribe/4, subscribe/5,
    get_zlist/2,
    info/1, info/2,
    read/3,
    append/2,
    append_many/2,
    faults/1, faults/2,
    explain/2,
    cast/2,
    unsubscribe/1,
    ack/2,
    credit/2,
    whereis/1,
    child_spec/1
]).

-export_type([
    instance/0, timestamp/0, from/0, event/0, entry/0, zlist/0, match_spec/0, session/0,
    subscribe_options/0, read_options/0, fault_options/0, explain_options/0, error/0
]).

-compile({no_auto_import, [whereis/1]}).
-dialyzer({no_improper_lists, zlist/3}).

-type instance() :: atom() | {atom(), node()}.
%% Its name, or its name and the logmachine node that runs it.
-type timestamp() :: {
    MegaSecs :: non_neg_integer(), Secs :: 0..999999, MicroSecs :: 0..999999
}.
%% When an event was taken in, as `os:timestamp/0' would say it.
-type unit() :: millisecond | ms | sec | second | min | minute | hour | day.
%% Of a span of time.
-type from() ::
    timestamp()
    | {{Year :: integer(), Month :: 1..12, Day :: 1..31}, {0..23, 0..59, 0..59}, Millis :: 0..999}
    | non_neg_integer()
    | earliest
    | now
    | {ago, {non_neg_integer(), unit()}}
    | {ago, {{H :: non_neg_integer(), M :: non_neg_integer(), S :: non_neg_integer()}, hms}}.
%% A point in the log: a timestamp; date and time in UTC with milliseconds; microseconds since
%% the Unix epoch; the first entry; the end; so long ago.
-type event() :: term().
%% What was sent: any term.
-type entry() :: {timestamp(), event()}.
%% An event with its timestamp.
-type zlist() :: [] | nonempty_improper_list(entry(), fun(() -> zlist())).
%% A lazy list, as the `zlists' library has it.
-type match_spec() :: [{term(), [term()], [term()]}].
%% As for `ets': it sees the event, and what its body returns is delivered in the event's place.
-type session() :: pid().
%% The process on the logmachine node that carries entries to one subscriber.
-type subscribe_options() :: #{
    from => from(),
    to => from(),
    pid => pid(),
    marker => term(),
    match_spec => match_spec(),
    batch => pos_integer(),
    credit => non_neg_integer(),
    link => boolean(),
    cursor => binary()
}.
%% The guide "Subscribing and reading" says what each means.
-type read_options() :: #{
    to => from(),
    limit => pos_integer(),
    max_bytes => pos_integer(),
    match_spec => match_spec(),
    order => asc | desc,
    strict => boolean()
}.
%% Bounds of one answer; with `strict' it tells of deleted and damaged stretches, with `order => desc' it holds the
%% entries at or before where it begins, newest first.
-type fault_state() :: new | ongoing | regressed | resolved | muted.
-type fault_options() :: #{
    state => fault_state() | [fault_state()],
    from => from(),
    to => from(),
    sort => last_seen | first_seen | count,
    limit => pos_integer()
}.
%% Faults in these states, last seen at or after `from', first seen at or before `to'.
-type explain_options() :: #{from => from(), to => from(), baseline => from()}.
%% The stretch, the last hour unless told, and where what it is compared with begins.
-type error() :: {error, not_found | term()}.
%% Why there is no answer.

%% A search through a cold archive may take its time.
-define(CALL_MILLIS, 60000).
-define(ALIASES, 10).
-define(ZLIST_CHUNK_ENTRIES, 500).
-define(ZLIST_CHUNK_BYTES, 1048576).

%% @doc Subscribes the caller to the entries stamped at or after `From', or as the options say.
%%
%% From a moment on: `subscribe(Instance, From, self())'. With a map the answer is
%% `{ok, Session}' or `{error, Reason}'; options that are left out are the receiver's defaults, and
%% `pid' is the caller. The session isn't linked to the subscriber unless `link' says so: monitor
%% it.
-spec subscribe
    (instance(), subscribe_options()) -> {ok, session()} | error();
    (instance(), from()) -> session().
subscribe(Instance, Options) when is_map(Options) ->
    call(Instance, {subscribe, maps:merge(#{pid => self()}, Options)});
subscribe(Instance, From) ->
    subscribe(Instance, From, self()).

%% @equiv subscribe(Instance, From, Pid, Instance)
-spec subscribe(instance(), from(), pid()) -> session().
subscribe(Instance, From, Pid) ->
    subscribe(Instance, From, Pid, name(Instance)).

%% @equiv subscribe(Instance, From, Pid, Marker, [{'$1', [], ['$1']}])
-spec subscribe(instance(), from(), pid(), term()) -> session().
subscribe(Instance, From, Pid, Marker) ->
    subscribe(Instance, From, Pid, Marker, [{'$1', [], ['$1']}]).

%% @doc Subscribes `Pid' to the entries stamped at or after `From' that the match spec lets through.
%%
%% They arrive as messages `{Marker, {Timestamp, Event}}', each exactly once and in order, first the
%% past and then, without a gap, what is still to come. The session is linked to `Pid'.
%%
%% Where there can be no session this throws `{failed_to_start_subscription, [{reason, {error,
%% Reason}}, {instance, Instance}, {start_from, From}, {subscriber, Pid}, {marker, Marker},
%% {match_spec, MatchSpec}]}'.
-spec subscribe(instance(), from(), pid(), term(), match_spec()) -> session().
subscribe(Instance, From, Pid, Marker, MatchSpec) ->
    Answer =
        try
            call(Instance, {subscribe, From, Pid, Marker, MatchSpec})
        catch
            exit:Reason -> {error, Reason}
        end,
    case Answer of
        {ok, Session} ->
            Session;
        Failure ->
            throw(
                {failed_to_start_subscription, [
                    {reason, Failure},
                    {instance, Instance},
                    {start_from, From},
                    {subscriber, Pid},
                    {marker, Marker},
                    {match_spec, MatchSpec}
                ]}
            )
    end.

%% @doc Ends a session: nothing more of it comes after this returns. One that has ended is fine too.
-spec unsubscribe(session()) -> ok.
unsubscribe(Session) ->
    %% A subscriber that is linked to it and doesn't trap exits outlives it: the reason is `normal'.
    try
        gen_server:stop(Session)
    catch
        exit:_ -> ok
    end.

%% @doc Says that every entry up to `Timestamp' is dealt with, under the `cursor' of the session.
%%
%% It is stored durably on the logmachine node; nothing is answered. The next subscriber under that
%% cursor gets what comes after it.
-spec ack(session(), timestamp()) -> ok.
ack(Session, {_, _, _} = Timestamp) ->
    Session ! {ack, Timestamp},
    ok.

%% @doc Allows the session to send `N' entries more, where it was started with `credit'.
-spec credit(session(), non_neg_integer()) -> ok.
credit(Session, N) when is_integer(N), N >= 0 ->
    Session ! {credit, N},
    ok.

%% @doc The entries from `From' up to the newest, as a lazy list.
%%
%% `[]', or `[Entry | Rest]' where `Rest()' is the lazy list of what follows. Entries are fetched by
%% the chunk as the list is walked; keeping its head doesn't keep what was walked over. The list
%% ends at the entry that is the newest when it is reached. Works with the `zlists' library.
%% Walking on while the instance can't be reached raises `{logmachine, Reason}'.
-spec get_zlist(instance(), from()) -> zlist().
get_zlist(Instance, From) ->
    Options = #{limit => ?ZLIST_CHUNK_ENTRIES, max_bytes => ?ZLIST_CHUNK_BYTES},
    case read(Instance, From, Options) of
        {ok, Entries, Next} -> zlist(Entries, Next, Instance);
        {error, Reason} -> error({logmachine, Reason})
    end.

zlist([Entry | Rest], Next, Instance) -> [Entry | fun() -> zlist(Rest, Next, Instance) end];
zlist([], eof, _) -> [];
zlist([], Next, Instance) -> get_zlist(Instance, Next).

%% @doc What the instance knows about itself: `[{data_dir, Dir}, {arch_data_dir, Dir} | More]'.
-spec info(instance()) -> [{atom(), term()}] | error().
info(Instance) ->
    call(Instance, info).

%% @doc One property of {@link info/1}; throws `{noprop, Key}' if there is none of that name.
-spec info(instance(), atom()) -> term() | error().
info(Instance, Key) ->
    case info(Instance) of
        {error, Reason} ->
            {error, Reason};
        Info ->
            case lists:keyfind(Key, 1, Info) of
                {Key, Value} -> Value;
                false -> throw({noprop, Key})
            end
    end.

%% @doc Reads entries stamped at or after `From'; the third element is where to go on, or `eof'.
-spec read(instance(), from(), read_options()) -> {ok, [entry()], from() | eof} | error().
read(Instance, From, Options) when is_map(Options) ->
    call(Instance, {read, From, Options}).

%% @doc Appends an event and waits until it is as durable as the instance's `sync' promises.
-spec append(instance(), event()) -> {ok, timestamp()} | error().
append(Instance, Event) ->
    call(Instance, {append, Event}).

%% @doc Appends events together, in order, and returns the first and the last timestamp.
-spec append_many(instance(), [event(), ...]) -> {ok, timestamp(), timestamp()} | error().
append_many(Instance, [_ | _] = Events) ->
    call(Instance, {append, Events, many}).

%% @equiv faults(Instance, #{})
-spec faults(instance()) -> {ok, [map()]} | error().
faults(Instance) ->
    faults(Instance, #{}).

%% @doc The faults of an instance, the one that was last seen first: maps with `id', `title', `state',
%% `count', `first_seen', `last_seen', `nodes', `modules' and more. The guide "Analysis" has them all.
-spec faults(instance(), fault_options()) -> {ok, [map()]} | error().
faults(Instance, Options) when is_map(Options) ->
    call(Instance, {faults, Options}).

%% @doc What is different about a stretch of time: a map with `text', `count', `baseline_count' and `findings'.
%%
%% Every entry of the stretch and of the one before is read, some 2 microseconds for each.
-spec explain(instance(), explain_options()) -> {ok, map()} | error().
explain(Instance, Options) when is_map(Options) ->
    call(Instance, {explain, Options}).

%% @doc Sends an event and doesn't wait. As with any cast, it is lost if nobody is there.
-spec cast(instance(), event()) -> ok.
cast(Instance, Event) ->
    case whereis(Instance) of
        undefined -> ok;
        Receiver -> gen_server:cast(Receiver, Event)
    end.

%% @doc The receiver of an instance, to be used with `gen_server'; `undefined' if none is known.
-spec whereis(instance()) -> pid() | {atom(), node()} | undefined.
whereis({Name, Node}) when is_atom(Name), is_atom(Node) ->
    {list_to_atom("." ++ atom_to_list(Name) ++ ".receiver.srv"), Node};
whereis(Name) when is_atom(Name) ->
    whereis(Name, 0).

whereis(_, ?ALIASES) ->
    undefined;
whereis(Name, N) ->
    case global:whereis_name({Name, N}) of
        undefined -> whereis(Name, N + 1);
        Pid -> Pid
    end.

%% @doc The child specification of a supervised consumer; see {@link logmachine_consumer}.
-spec child_spec(logmachine_consumer:options()) -> supervisor:child_spec().
child_spec(Options) ->
    logmachine_consumer:child_spec(Options).

name({Name, _}) -> Name;
name(Name) -> Name.

call(Instance, Request) ->
    case whereis(Instance) of
        undefined -> {error, not_found};
        Receiver -> gen_server:call(Receiver, Request, ?CALL_MILLIS)
    end.
