%% @doc A supervised process that consumes an instance and never loses its place.
%%
%% Behaviour of processes that work through the entries of a log. The consumer subscribes, hands
%% entries over in batches, gives credit only for what has been handled (so an overload stays in
%% the log and not in a mailbox), and acknowledges its position under a cursor's name, durably, on
%% the logmachine node. When the session, the node or the network goes, it subscribes again, with a
%% growing pause between attempts, and goes on where it was.
%%
%% Guarantee: every entry is handled at least once and in order. While this process lives each entry
%% is handled exactly once; after a crash of the process (or of `handle_entries/2') the batches that
%% were not acknowledged come again. Without `cursor' the position is only kept in this process.
%%
%% ```
%% -module(audit).
%% -behaviour(logmachine_consumer).
%% -export([init/1, handle_entries/2]).
%%
%% init(File) -> file:open(File, [append]).
%%
%% handle_entries(Entries, Io) ->
%%     [ok = io:format(Io, "~p.~n", [Entry]) || Entry <- Entries],
%%     {ok, Io}.
%% '''
%%
%% and in a supervisor:
%%
%% ```
%% logmachine:child_spec(#{instance => error_logger, module => audit, args => "audit.log",
%%                         cursor => <<"audit">>})
%% '''
-module(logmachine_consumer).

-behaviour(gen_server).

-export([child_spec/1, start_link/1, info/1]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).
-export([code_change/3]).

-export_type([options/0]).

-type options() :: #{
    %% What to consume.
    instance := logmachine:instance(),
    %% The callback module and what its init/1 gets.
    module := module(),
    args => term(),
    %% Where the position is kept on the logmachine node; default: nowhere.
    cursor => binary(),
    %% Where to start when there is no position yet; default `earliest'.
    from => logmachine:from(),
    match_spec => logmachine:match_spec(),
    %% Most entries in one call of handle_entries/2; default 100.
    batch => pos_integer(),
    %% Most entries under way at a time; default four batches.
    credit => pos_integer(),
    %% Pause in milliseconds before subscribing again: the first, and the longest.
    backoff => {pos_integer(), pos_integer()},
    %% Name to register the process under, as for gen_server:start_link/4.
    name => {local, atom()} | {global, term()} | {via, module(), term()},
    %% Id in the child specification; default `{logmachine_consumer, Instance, Module}'.
    id => term()
}.

-callback init(Args :: term()) -> {ok, State :: term()} | {error, Reason :: term()}.
-callback handle_entries([logmachine:entry(), ...], State :: term()) ->
    {ok, NewState :: term()} | {stop, Reason :: term(), NewState :: term()}.
-callback handle_info(Message :: term(), State :: term()) ->
    {ok, NewState :: term()} | {stop, Reason :: term(), NewState :: term()}.
-callback terminate(Reason :: term(), State :: term()) -> term().
-optional_callbacks([handle_info/2, terminate/2]).

-define(DEFAULT_BATCH, 100).
-define(DEFAULT_BACKOFF, {100, 10000}).
-define(CREDIT_BATCHES, 4).

-record(state, {
    module :: module(),
    user :: term(),
    options :: options(),
    batch :: pos_integer(),
    credit :: pos_integer(),
    backoff :: {pos_integer(), pos_integer()},
    pause :: pos_integer(),
    session = none :: none | {pid(), Monitor :: reference(), Marker :: term()},
    %% Timestamp of the last entry handled.
    last = none :: none | logmachine:timestamp(),
    handled = 0 :: non_neg_integer(),
    subscribed = 0 :: non_neg_integer(),
    refused = none :: term()
}).

%% @doc A child specification: permanent, worker.
-spec child_spec(options()) -> supervisor:child_spec().
child_spec(#{instance := Instance, module := Module} = Options) ->
    #{
        id => maps:get(id, Options, {?MODULE, Instance, Module}),
        start => {?MODULE, start_link, [Options]},
        modules => [?MODULE, Module]
    }.

%% @doc Starts a consumer; returns when the callback's init/1 has, subscribed or not.
-spec start_link(options()) -> {ok, pid()} | ignore | {error, term()}.
start_link(#{name := Name} = Options) ->
    gen_server:start_link(Name, ?MODULE, Options, []);
start_link(Options) ->
    gen_server:start_link(?MODULE, Options, []).

%% @doc Where a consumer stands: its last timestamp, how many entries it has handled, how often it
%% has subscribed, whether it is subscribed now, and why it was refused if it wasn't.
-spec info(gen_server:server_ref()) -> #{atom() => term()}.
info(Consumer) ->
    gen_server:call(Consumer, '$logmachine_info').

%% @private
-spec init(options()) -> {ok, #state{}, {continue, subscribe}} | {stop, term()}.
init(#{instance := _, module := Module} = Options) ->
    process_flag(trap_exit, true),
    Batch = maps:get(batch, Options, ?DEFAULT_BATCH),
    {First, _} = Backoff = maps:get(backoff, Options, ?DEFAULT_BACKOFF),
    case Module:init(maps:get(args, Options, [])) of
        {ok, User} ->
            {ok,
                #state{
                    module = Module,
                    user = User,
                    options = Options,
                    batch = Batch,
                    credit = maps:get(credit, Options, ?CREDIT_BATCHES * Batch),
                    backoff = Backoff,
                    pause = First
                },
                {continue, subscribe}};
        {error, Reason} ->
            {stop, Reason}
    end;
init(Options) ->
    {stop, {badarg, Options}}.

%% @private
-spec handle_continue(subscribe, #state{}) -> {noreply, #state{}}.
handle_continue(subscribe, #state{options = #{instance := Instance}} = State) ->
    Marker = {?MODULE, make_ref()},
    case request(logmachine:whereis(Instance), {subscribe, subscription(Marker, State)}) of
        {ok, Session} when is_pid(Session) ->
            {First, _} = State#state.backoff,
            {noreply, State#state{
                session = {Session, erlang:monitor(process, Session), Marker},
                subscribed = State#state.subscribed + 1,
                pause = First,
                refused = none
            }};
        Refused ->
            {noreply, later(State#state{refused = Refused})}
    end.

subscription(Marker, #state{options = Options} = State) ->
    Given = maps:with([cursor, match_spec], Options),
    Given#{
        pid => self(),
        marker => Marker,
        batch => State#state.batch,
        credit => State#state.credit,
        from => from(State)
    }.

%% The position that this process knows is the newest there is, unless it has none yet.
from(#state{last = {Mega, Sec, Micro}}) -> (Mega * 1000000 + Sec) * 1000000 + Micro + 1;
from(#state{options = Options}) -> maps:get(from, Options, earliest).

%% Without a timeout: giving up would leave a session behind that nobody knows. A lost node ends it.
request(undefined, _) ->
    {error, not_found};
request(Receiver, Request) ->
    try
        gen_server:call(Receiver, Request, infinity)
    catch
        exit:Reason -> {error, Reason}
    end.

%% Half to one and a half times the pause, so that many consumers don't come back at once.
later(#state{pause = Pause, backoff = {_, Longest}} = State) ->
    _ = erlang:send_after(Pause div 2 + rand:uniform(Pause), self(), {?MODULE, subscribe}),
    State#state{pause = min(2 * Pause, Longest)}.

%% @private
-spec handle_call(term(), {pid(), term()}, #state{}) -> {reply, term(), #state{}}.
handle_call('$logmachine_info', _, State) ->
    Info = #{
        last => State#state.last,
        handled => State#state.handled,
        subscribed => State#state.subscribed,
        connected => State#state.session =/= none,
        refused => State#state.refused
    },
    {reply, Info, State};
handle_call(_, _, State) ->
    {reply, {error, unsupported}, State}.

%% @private
-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_, State) ->
    {noreply, State}.

%% @private
-spec handle_info(term(), #state{}) ->
    {noreply, #state{}} | {noreply, #state{}, {continue, subscribe}} | {stop, term(), #state{}}.
handle_info({Marker, Delivery}, #state{session = {_, _, Marker}} = State) when is_list(Delivery) ->
    entries(Delivery, State);
handle_info({Marker, {_, _} = Entry}, #state{session = {_, _, Marker}} = State) ->
    entries([Entry], State);
handle_info({{?MODULE, _}, _}, State) ->
    %% From a session that is over.
    {noreply, State};
handle_info({'DOWN', Monitor, process, _, Why}, #state{session = {_, Monitor, _}} = State) ->
    {noreply, later(State#state{session = none, refused = {session_ended, Why}})};
handle_info({?MODULE, subscribe}, #state{session = none} = State) ->
    {noreply, State, {continue, subscribe}};
handle_info(Message, #state{module = Module, user = User} = State) ->
    case erlang:function_exported(Module, handle_info, 2) of
        true -> returned(Module:handle_info(Message, User), State);
        false -> unhandled(Message, State)
    end.

%% As for a process that doesn't trap exits; this one does so that terminate/2 is always called.
unhandled({'EXIT', _, Reason}, State) when Reason =/= normal -> {stop, Reason, State};
unhandled(_, State) -> {noreply, State}.

entries(Delivery, #state{module = Module, user = User, last = Last} = State) ->
    case fresh(Delivery, Last) of
        [] ->
            returned({ok, User}, settled(Delivery, [], State));
        Fresh ->
            case Module:handle_entries(Fresh, User) of
                {ok, _} = Result -> returned(Result, settled(Delivery, Fresh, State));
                Result -> returned(Result, State)
            end
    end.

%% Acknowledges a delivery and asks for as many entries more.
settled(Delivery, Fresh, #state{session = {Session, _, _}, last = Last} = State) ->
    {Newest, _} = lists:last(Delivery),
    _ =
        case State#state.options of
            #{cursor := _} -> Session ! {ack, Newest};
            _ -> none
        end,
    Session ! {credit, length(Delivery)},
    State#state{
        last = newest(Newest, Last),
        handled = State#state.handled + length(Fresh)
    }.

%% What a cursor whose last acknowledgement was lost delivers again is not handled again.
fresh(Delivery, none) -> Delivery;
fresh(Delivery, Last) -> [Entry || {Timestamp, _} = Entry <- Delivery, Timestamp > Last].

newest(Timestamp, none) -> Timestamp;
newest(Timestamp, Last) -> max(Timestamp, Last).

returned({ok, User}, State) -> {noreply, State#state{user = User}};
returned({stop, Reason, User}, State) -> {stop, Reason, State#state{user = User}}.

%% @private
-spec terminate(term(), #state{}) -> term().
terminate(Reason, #state{module = Module, user = User}) ->
    %% The session sees this process end, after its last acknowledgement; an exit signal from here
    %% could come before that.
    erlang:function_exported(Module, terminate, 2) andalso Module:terminate(Reason, User).

%% @private
-spec code_change(term(), #state{}, term()) -> {ok, #state{}}.
code_change(_, State, _) ->
    {ok, State}.
