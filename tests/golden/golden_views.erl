%% What OTP reports and logs, as our handlers forward it, beside the text that OTP's own formatter makes of it.
%%
%% main([Out]) writes to Out the external format, compressed, of {Release, [{Event, Many, One}]}: Event is what
%% logmachine_logger_handler sends, Many the text of logger_formatter, One that with `single_line'. start/0 and
%% finish/1 do it around what somebody else does (golden_views.exs, in Elixir).
%% Needs logmachine_logger_handler on the code path; run with `+pc unicode'.
-module(golden_views).
-export([main/1, start/0, finish/1, log/2]).
-export([init/1, callback_mode/0, terminate/2, terminate/3, code_change/3, start/2, start_child/1]).
-export([stop/1, handle_call/2, handle_call/3, handle_cast/2, handle_event/2, state/3, silent/0]).

main([Out]) ->
    ok = start(),
    logged(),
    reported(),
    crashed(),
    behaviours(),
    supervised(),
    applications(),
    finish(Out),
    halt(0).

start() ->
    Self = self(),
    Collector = spawn(fun() -> collect([]) end),
    register(golden_collector, Collector),
    {ok, #{config := Guest}} = logmachine_logger_handler:adding_handler(#{
        id => golden, config => #{receiver => Self, error_logger => forward}
    }),
    ok = logger:set_primary_config(level, all),
    _ = logger:remove_handler(default),
    logger:add_handler(golden, ?MODULE, #{config => Guest}).

finish(Out) ->
    settle(-1),
    golden_collector ! {take, self()},
    Entries = receive {entries, All} -> lists:usort(All) end,
    Release = list_to_integer(erlang:system_info(otp_release)),
    ok = file:write_file(Out, term_to_binary({Release, Entries}, [{compressed, 9}])).

collect(Entries) ->
    receive
        {entry, Entry} -> collect([Entry | Entries]);
        {count, From} -> From ! {count, length(Entries)}, collect(Entries);
        {take, From} -> From ! {entries, Entries}
    end.

%% Until nothing has come for a while.
settle(Before) ->
    receive after 300 -> ok end,
    golden_collector ! {count, self()},
    receive
        {count, Before} -> ok;
        {count, Count} -> settle(Count)
    end.

%% The handler: has our own send what it makes of the event to this process, and takes it out of the mailbox.
log(Event, #{config := Guest}) ->
    ok = logmachine_logger_handler:log(Event, #{config => Guest#{receiver => self()}}),
    receive
        %% Other casts may be waiting for this process.
        {'$gen_cast', Forwarded} when tuple_size(Forwarded) =:= 3; element(1, Forwarded) =:= log ->
            note(Forwarded, original(Event, Forwarded)),
            bare(Event)
    after 0 -> ok
    end.

%% What of the event is still there to be formatted.
original(#{level := Level}, {_, _, {_, Format, Args}}) when is_list(Format), is_list(Args) ->
    #{level => Level, msg => {Format, Args}, meta => #{}};
original(#{level := Level}, {log, _, _, {report, _}, #{'$text' := Text}}) ->
    #{level => Level, msg => {string, Text}, meta => #{}};
original(Event, _) ->
    Event.

%% A report of OTP's as somebody else may append it: without its callback.
bare(#{level := Level, msg := {report, #{label := {_, _}} = Report}, meta := Meta} = Event) ->
    Plain = maps:without([report_cb, error_logger, mfa, file, line, logger_formatter], Meta),
    note({log, node(), Level, {report, Report}, Plain}, Event);
bare(_) ->
    ok.

note(Forwarded, Original) ->
    Text = fun(Single) ->
        Config = #{single_line => Single, template => [msg]},
        unicode:characters_to_binary(logger_formatter:format(Original, Config))
    end,
    golden_collector ! {entry, {Forwarded, Text(false), Text(true)}}.

%% Logged by a program ----------------------------------------------------------------------------

logged() ->
    logger:error("plain text"),
    logger:warning("~p of ~ts took ~.2f s", [{order, 17}, <<"Grüße"/utf8>>, 1.5]),
    logger:notice("over~nmany~n   lines,~nand more"),
    logger:info("text ~ts", [[<<"deep ">>, [$c, ["hars"]], 16#65e5]]),
    logger:debug("~p", [long()]),
    logger:error("wrong ~p ~p", [one]),
    logger:error("no bytes ~ts", [<<"bad ", 255, 254>>]),
    logger:error(#{what => failed, why => {timeout, 5000}, text => "a text", bytes => <<"x">>}),
    logger:error([{what, failed}, {who, self()}, alone, {list, [1, 2, 3]}]),
    logger:error(#{}),
    logger:error([{key, long()}]),
    logger:critical(#{row => 11}, #{report_cb => fun(_) -> {"lm ~ts~n", [<<"eleven">>]} end}),
    logger:alert(#{row => 12}, #{report_cb => fun(_, _) -> ["many\n", <<"lines">>] end}),
    logger:emergency("in a domain", #{domain => [shop, orders], mfa => {shop, pay, 2}, file => "src/shop.erl", line => 17}),
    logger:log(error, "with ids ~p ~w", [self(), make_ref()]).

long() ->
    #{
        name => <<"a name that is rather long for a single line">>,
        items => [{item, N, "item " ++ integer_to_list(N), #{price => N * 1.5}} || N <- lists:seq(1, 6)],
        owner => self()
    }.

%% By means of error_logger -----------------------------------------------------------------------

reported() ->
    error_logger:error_report([{row, 1}, {text, "text"}, more]),
    error_logger:error_report("a text"),
    error_logger:error_report({a, term}),
    error_logger:error_report(my_type, [{row, 2}]),
    error_logger:error_report(#{a => map}),
    error_logger:error_report([]),
    error_logger:error_report([{deep, long()}]),
    error_logger:error_msg("error ~p~n", [3]),
    error_logger:error_msg("wrong ~p", []),
    error_logger:format("format ~s~n", ["x"]),
    error_logger:warning_msg("warning ~p", [4]),
    error_logger:warning_report([{row, 5}]),
    error_logger:info_msg("info ~p", [6]),
    error_logger:info_report([{row, 7}]),
    error_logger:info_report([{alarm_handler, {set, {disk_full, "/"}}}]),
    error_logger:info_report([{alarm_handler, {clear, disk_full}}]).

%% Crashes ----------------------------------------------------------------------------------------

crashed() ->
    Zero = identity(0),
    Long = lists:duplicate(30, {a, <<"value">>}),
    Reasons = [
        fun() -> exit(a_reason) end,
        fun() -> exit({shutdown_not, [1, 2, 3]}) end,
        fun() -> exit({bad, Long}) end,
        fun() -> throw(a_ball) end,
        fun() -> throw({nocatch, Long}) end,
        fun() -> error(a_reason) end,
        fun() -> error({my_error, <<"text">>}) end,
        fun() -> error({my_error, Long}) end,
        fun() -> 1 / Zero end,
        fun() -> ok = identity(Long) end,
        fun() -> ok = identity(error) end,
        fun() -> case identity(1) of 2 -> ok end end,
        fun() -> if Zero =:= 1 -> ok end end,
        fun() -> try identity(1) of 2 -> ok after ok end end,
        fun() -> only_atoms(17) end,
        fun() -> only_atoms(Long) end,
        fun() -> only_atoms("abc") end,
        fun() -> two(Long, [97, 98]) end,
        fun() -> nowhere:to_be_found(1, 2) end,
        fun() -> (identity(not_a_fun))() end,
        fun() -> (identity(fun lists:map/2))(1) end,
        fun() -> maps:fold(fun(_, _, _) -> error(inner) end, 0, #{a => 1}), ok end,
        %% Functions of OTP's that tell more of their errors than their reason.
        fun() -> atom_to_list(identity("x")) end,
        fun() -> ets:lookup(identity(no_table), key) end,
        fun() -> tuple_size(identity(a)) end,
        fun() -> lists:foldl(fun(_, _) -> exit({in, fold}) end, 0, [1]), ok end,
        fun() -> erlang:raise(error, {badarg, 17}, [{m, f, 2, [{file, "m.erl"}, {line, 3}]}, {'M m', 'F f', [1, b], []}]) end,
        fun() -> erlang:raise(exit, killed_by_hand, []) end,
        fun() -> register(golden_crasher, self()), put(key, value), exit(registered) end
    ],
    [end_of(proc_lib:spawn(Reason)) || Reason <- Reasons],
    [end_of(spawn(Reason)) || Reason <- [lists:nth(N, Reasons) || N <- [6, 9, 10, 15]]],
    %% With neighbours, and messages.
    end_of(proc_lib:spawn(fun() ->
        self() ! {a, message},
        _ = proc_lib:spawn_link(?MODULE, silent, []),
        _ = spawn_link(fun silent/0),
        exit(with_neighbours)
    end)),
    case erlang:function_exported(proc_lib, set_label, 1) of
        true -> end_of(proc_lib:spawn(fun() -> proc_lib:set_label({worker, 17}), exit(labelled) end));
        false -> ok
    end.

silent() ->
    receive never -> ok end.

identity(Term) ->
    _ = erlang:phash2(Term),
    Term.

only_atoms(Atom) when is_atom(Atom) -> Atom.

two(Atom, _) when is_atom(Atom) -> Atom.

attempt(Call) ->
    try
        Call()
    catch
        _:_ -> failed
    end.

end_of(Pid) ->
    Ref = monitor(process, Pid),
    receive {'DOWN', Ref, process, _, _} -> ok end.

%% Generic behaviours -----------------------------------------------------------------------------

behaviours() ->
    {ok, Server} = gen_server:start(?MODULE, {server, long()}, []),
    attempt(fun() -> gen_server:call(Server, crash) end),
    {ok, Named} = gen_server:start({local, golden_server}, ?MODULE, {server, small}, []),
    gen_server:cast(Named, crash),
    end_of(Named),
    {ok, Stopped} = gen_server:start(?MODULE, {server, small}, []),
    attempt(fun() -> gen_server:call(Stopped, {stop, {a, reason}}) end),
    {ok, Log} = gen_server:start(?MODULE, {server, small}, [{debug, [log]}]),
    attempt(fun() -> gen_server:call(Log, crash) end),
    {ok, Deaf} = gen_server:start(?MODULE, {server, small}, []),
    Deaf ! {nobody, handles, this},
    _ = sys:get_state(Deaf),
    gen_server:stop(Deaf),
    case erlang:function_exported(proc_lib, set_label, 1) of
        true ->
            {ok, Labelled} = gen_server:start(?MODULE, {labelled, small}, []),
            attempt(fun() -> gen_server:call(Labelled, crash) end);
        false ->
            ok
    end,
    {ok, Machine} = gen_statem:start(?MODULE, {machine, #{n => 1}}, []),
    attempt(fun() -> gen_statem:call(Machine, crash) end),
    {ok, Other} = gen_statem:start({local, golden_machine}, ?MODULE, {machine, long()}, []),
    gen_statem:cast(Other, postponed),
    gen_statem:cast(Other, {exit, a_reason}),
    gen_statem:cast(Other, queued),
    end_of(Other),
    {ok, Manager} = gen_event:start({local, golden_manager}),
    ok = gen_event:add_handler(Manager, ?MODULE, {handler, state}),
    gen_event:sync_notify(Manager, crash),
    ok = gen_event:add_handler(Manager, {?MODULE, id}, {handler, state}),
    Manager ! {nobody, handles, this},
    gen_event:sync_notify(Manager, {return, nonsense}),
    gen_event:stop(Manager).

init({server, State}) -> {ok, State};
init({labelled, State}) -> proc_lib:set_label(golden_label), {ok, State};
init({machine, Data}) -> {ok, state, Data};
init({handler, State}) -> {ok, State};
init({fails, Reason}) -> {stop, Reason};
init({supervisor, Children}) -> {ok, {#{intensity => 2, period => 60}, Children}};
init({simple, Child}) -> {ok, {#{strategy => simple_one_for_one, intensity => 1, period => 60}, [Child]}};
init(fails) -> {error, cannot_start}.

callback_mode() -> [state_functions, state_enter].

handle_call(crash, _, State) -> crash_now(State);
handle_call({stop, Reason}, _, State) -> {stop, Reason, State}.

handle_call(_, State) -> {ok, ok, State}.

handle_cast(crash, State) -> crash_now(State).

handle_event(crash, State) -> crash_now(State);
handle_event({return, Value}, _) -> Value.

crash_now(State) ->
    ok = identity({crashed, State}).

state(enter, _, Data) -> {keep_state, Data};
state({call, _}, crash, Data) -> crash_now(Data);
state(cast, postponed, Data) -> {keep_state, Data, [postpone, {state_timeout, 60000, later}]};
state(cast, {exit, Reason}, _) -> exit(Reason);
state(_, _, Data) -> {keep_state, Data}.

terminate(_, _) -> ok.

terminate(_, _, _) -> ok.

code_change(_, State, _) -> {ok, State}.

%% Supervisors and applications -------------------------------------------------------------------

supervised() ->
    process_flag(trap_exit, true),
    Child = #{id => child, start => {gen_server, start_link, [{local, golden_child}, ?MODULE, {server, small}, []]}},
    {ok, Sup} = supervisor:start_link({local, golden_sup}, ?MODULE, {supervisor, [Child]}),
    [
        begin
            attempt(fun() -> gen_server:call(golden_child, crash) end),
            receive after 50 -> ok end
        end
     || _ <- [1, 2, 3]
    ],
    end_of(Sup),
    Failing = #{id => {failing, "child"}, start => {gen_server, start_link, [?MODULE, {fails, no_luck}, []]}},
    {error, _} = supervisor:start_link(?MODULE, {supervisor, [Failing]}),
    Simple = #{id => simple, start => {?MODULE, start_child, []}, restart => temporary},
    {ok, Many} = supervisor:start_link(?MODULE, {simple, Simple}),
    {ok, One} = supervisor:start_child(Many, [{server, small}]),
    {ok, _} = supervisor:start_child(Many, [{server, small}]),
    attempt(fun() -> gen_server:call(One, crash) end),
    receive after 50 -> ok end,
    unlink(Many),
    exit(Many, shutdown),
    end_of(Many),
    process_flag(trap_exit, false).

start_child(Args) ->
    gen_server:start_link(?MODULE, Args, []).

applications() ->
    Keys = [{description, "golden"}, {vsn, "1"}, {modules, [?MODULE]}, {applications, [kernel, stdlib]}],
    ok = application:load({application, golden_fails, [{mod, {?MODULE, fails}} | Keys]}),
    {error, _} = application:start(golden_fails),
    ok = application:load({application, golden_runs, [{mod, {?MODULE, runs}} | Keys]}),
    ok = application:start(golden_runs),
    ok = application:stop(golden_runs).

%% The callback of an application.
start(normal, runs) -> supervisor:start_link(?MODULE, {supervisor, []});
start(normal, fails) -> {error, cannot_start}.

stop(_) -> ok.
