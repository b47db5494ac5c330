%% @private The two handlers on every release there is, installed as the logmachine node does.
-module(handlers_tests).
-export([every_release_test_/0]).
-include("claims.hrl").

-define(EVENT, logmachine_forwarder).
-define(LOGGER, logmachine_logger_handler).
-define(ID, 'logmachine.test').

every_release_test_() ->
    [
        {filename:basename(filename:dirname(filename:dirname(Erl))), on(Erl)}
     || Erl <- otp_host:releases()
    ].

on(Erl) ->
    {setup,
        fun() ->
            Host = otp_host:start(Erl, otp_host:unique("host")),
            otp_host:handlers(Host),
            %% The host's own handler would format everything, for nobody.
            rex(Host, logger, set_handler_config, [default, level, none]),
            ok = otp_host:load(Host, host_helper),
            ok = otp_host:load(Host, host_crasher),
            Host
        end,
        fun otp_host:stop/1,
        fun(Host) ->
            [
                {atom_to_list(Name), {setup, fun() -> ok end, fun(_) -> clean(Host) end,
                    {timeout, 120, fun() -> Test(Host) end}}}
             || {Name, Test} <- tests()
            ]
        end}.

tests() ->
    [
        {error_logger_events_arrive_untouched_and_once, fun untouched/1},
        {any_manager_and_any_event, fun any_manager/1},
        {bad_arguments_are_refused, fun bad_arguments/1},
        {both_captures_give_the_same_error_logger_events, fun same_shape/1},
        {plain_logger_events_arrive_and_tagged_ones_are_left_to_gen_event, fun plain/1},
        {text_arrives_as_one_binary_and_what_is_none_as_it_is, fun text/1},
        {events_have_a_time_whatever_their_metadata, fun timed/1},
        {an_event_manager_filters_by_the_level_of_the_tag, fun levels/1},
        {a_full_queue_is_flushed_and_counted_by_each_of_us_and_calls_stay, fun flushed/1},
        {report_callbacks_become_text_and_cannot_hurt, fun callbacks/1},
        {own_diagnostics_are_not_forwarded, fun own_domain/1},
        {an_event_with_a_remote_group_leader_is_captured_where_it_happened, fun group_leader/1},
        {big_terms_are_cut_and_keep_their_shape, fun big/1},
        {drops_while_disconnected_are_reported_on_return, fun disconnected/1},
        {a_frozen_receiver_costs_events_but_no_waiting, fun frozen/1},
        {a_handler_whose_receiver_stays_gone_removes_itself, fun abandoned/1},
        {a_handler_follows_a_new_receiver, fun moved/1},
        {loading_the_code_again_disturbs_nothing, fun reloaded/1},
        {a_log_call_stays_cheap, fun cheap/1}
    ].

clean(Host) ->
    _ = net_adm:ping(element(2, Host)),
    _ = rex(Host, logger, remove_handler, [?ID]),
    _ = [
        rex(Host, gen_event, delete_handler, [error_logger, H, []])
     || is_pid(rex(Host, erlang, whereis, [error_logger])),
        H <- rex(Host, gen_event, which_handlers, [error_logger])
    ],
    ok.

rex(Host, M, F, A) -> otp_host:rex(Host, M, F, A).
node_of(Host) -> element(2, Host).

start_error_logger(Host) ->
    Config = #{level => info, filter_default => log},
    case rex(Host, logger, add_handler, [error_logger, error_logger, Config]) of
        ok -> ok;
        {error, {already_exist, _}} -> ok
    end.

install_event(_, Manager, Args) when is_pid(Manager) ->
    gen_event:add_sup_handler(Manager, {?EVENT, node()}, Args);
install_event(Host, Manager, Args) ->
    gen_event:add_sup_handler({Manager, node_of(Host)}, {?EVENT, node()}, Args).

install_logger(Host, Config) ->
    rex(Host, logger, add_handler, [?ID, ?LOGGER, #{level => all, config => Config}]).

%% Tests

untouched(Host) ->
    start_error_logger(Host),
    R = fake_receiver:start(),
    ok = install_event(Host, error_logger, #{receiver => R, local_only => true}),
    Report = [{a, 1}, {b, <<"two">>}],
    rex(Host, error_logger, error_report, [Report]),
    rex(Host, error_logger, info_msg, ["last", []]),
    Events = fake_receiver:wait(R, fun(E) -> lists:keymember(info_msg, 1, E) end),
    [{error_report, GL, {Pid, std_error, Report}}] = [E || {error_report, _, _} = E <- Events],
    ?assertEqual({node_of(Host), node_of(Host)}, {node(GL), node(Pid)}),
    ?assertMatch([{info_msg, _, {_, "last", []}}], [E || {info_msg, _, _} = E <- Events]),
    Stats = gen_event:call({error_logger, node_of(Host)}, {?EVENT, node()}, info),
    ?assertMatch(#{version := 2, cut := 0, failed := 0, unreported_busy := 0}, Stats),
    ok = gen_event:delete_handler({error_logger, node_of(Host)}, {?EVENT, node()}, done).

any_manager(Host) ->
    {ok, Bus} = rex(Host, gen_event, start, [{local, quotes_bus}]),
    Name = '.quotes.receiver.srv',
    R = fake_receiver:start(Name),
    %% The original's bare receiver reference, and a manager that nobody calls error_logger.
    ok = install_event(Host, quotes_bus, {Name, node()}),
    Odd = [quote, {quote, "VTB", 1.5}, [improper | list], #{map => <<1:3>>}, {error_report, Bus,
        {self(), x, y}}],
    [gen_event:notify({quotes_bus, node_of(Host)}, E) || E <- Odd],
    Bus ! {an, unexpected, message},
    ?assertEqual({error, unsupported}, gen_event:call({quotes_bus, node_of(Host)}, {?EVENT,
        node()}, what)),
    ?assertEqual(Odd, fake_receiver:wait(R, fun(E) -> length(E) >= length(Odd) end)),
    ok = gen_event:delete_handler({quotes_bus, node_of(Host)}, {?EVENT, node()}, done),
    rex(Host, gen_event, stop, [quotes_bus]),
    fake_receiver:stop(R).

bad_arguments(Host) ->
    start_error_logger(Host),
    [
        ?assertMatch({error, {badarg, _}}, install_event(Host, error_logger, Args))
     || Args <- [#{}, #{receiver => 17}, "string", #{receiver => self(), max_bytes => 3},
                 #{receiver => self(), remove_after => soon},
                 #{receiver => self(), level => sometimes}]
    ],
    ?assertMatch({error, _}, install_logger(Host, #{})),
    ?assertMatch({error, _}, install_logger(Host, #{receiver => self(), error_logger => maybe_so})),
    ?assertEqual([], rex(Host, gen_event, which_handlers, [error_logger])).

%% What our logger handler builds is compared with what OTP's own path through error_logger gives.
same_shape(Host) ->
    start_error_logger(Host),
    [R1, R2] = [fake_receiver:start(), fake_receiver:start()],
    ok = install_event(Host, error_logger, #{receiver => R1}),
    ok = install_logger(Host, #{receiver => R2, error_logger => forward}),
    ok = rex(Host, host_helper, all_kinds, []),
    rex(Host, error_logger, error_report, [the_end]),
    End = fun(Events) -> lists:any(fun({_, _, {_, _, the_end}}) -> true; (_) -> false end,
        Events) end,
    ByGenEvent = fake_receiver:wait(R1, End),
    ByLogger = [E || E <- fake_receiver:wait(R2, End), element(1, E) =/= log],
    ?assert(length(ByGenEvent) >= 16),
    ?assertEqual(lists:sort(strip(ByGenEvent)), lists:sort(strip(ByLogger))).

%% The reason of a crashed callback holds a stack in some releases.
strip(Events) ->
    [
        case E of
            {T, GL, {P, "REPORT_CB CRASH" ++ _ = F, [R, Why]}} -> {T, GL, {P, F, [R, {element(1,
                Why), element(2, Why)}]}};
            _ -> E
        end
     || E <- Events
    ].

plain(Host) ->
    R = fake_receiver:start(),
    ok = install_logger(Host, #{receiver => R}),
    ok = rex(Host, host_helper, log_at, [[
        {error, "a string"}, {debug, #{a => report}}, {notice, [{a, list}], #{mine => yes,
            domain => [app]}},
        {error, #{no => tag}, #{error_logger => #{type => std_error}}}
    ]]),
    rex(Host, error_logger, error_report, [left_to_gen_event]),
    rex(Host, logger, error, ["~p", [fmt]]),
    Node = node_of(Host),
    Events = fake_receiver:wait(R, fun(E) -> [x || {log, _, error, {"~p", [fmt]},
        _} <- E] =/= [] end),
    ?assertMatch(
        [
            {log, Node, error, {string, <<"a string">>}, #{pid := _, gl := _, time := _}},
            {log, Node, debug, {report, #{a := report}}, _},
            {log, Node, notice, {report, [{a, list}]}, #{mine := yes}},
            {log, Node, error, {report, #{no := tag}}, _},
            {log, Node, error, {"~p", [fmt]}, _}
        ],
        [E || {log, _, _, _, Meta} = E <- Events, not is_otp(Meta)]
    ),
    ?assertEqual([], [E || E <- Events, element(1, E) =/= log]).

is_otp(#{domain := [otp | _]}) -> true;
is_otp(_) -> false.

text(Host) ->
    R = fake_receiver:start(),
    ok = install_logger(Host, #{receiver => R, max_bytes => 2000}),
    Long = lists:duplicate(3000, $x),
    Bad = [[["half ", <<16#c3>>]], ["not text ", <<255>>], [16#110000], ["an ", atom],
        [$a | not_even_a_list]],
    Good = [{["a ", [<<"tree ">>, [$o, $f, [[[" \x{e9}\x{20ac}"]]]]]], <<"a tree of \x{e9}\x{20ac}"/utf8>>},
        {[228], <<"\x{e4}"/utf8>>}, {[], <<>>}, {<<"flat">>, <<"flat">>}],
    [ok = rex(Host, host_helper, string_at, [T]) || T <- Bad ++ [T || {T, _} <- Good] ++ [Long]],
    rex(Host, logger, error, ["the end"]),
    Events = fake_receiver:wait(R, fun(E) -> [x || {log, _, _, {string, <<"the end">>},
        _} <- E] =/= [] end),
    Texts = [T || {log, _, error, {string, T}, _} <- Events],
    ?assertEqual(Bad ++ [T || {_, T} <- Good], lists:sublist(Texts, length(Bad) + length(Good))),
    ?assertMatch([[$x | _], <<"the end">>], lists:nthtail(length(Bad) + length(Good), Texts)),
    {ok, #{failed := 0}} = rex(Host, ?LOGGER, stats, [?ID]).

timed(Host) ->
    R = fake_receiver:start(),
    ok = install_logger(Host, #{receiver => R}),
    ok = rex(Host, host_helper, log_at, [[
        {error, "one", #{}}, {error, "two", #{time => 17}}, {error, "three", #{time => noon}}
    ]]),
    Events = fake_receiver:wait(R, fun(E) -> [x || {log, _, _, {string, <<"three">>},
        _} <- E] =/= [] end),
    [One, 17, Three] = [T || {log, _, error, _, #{time := T}} <- Events],
    Now = os:system_time(microsecond),
    ?assert(abs(Now - One) < 600000000),
    ?assert(abs(Now - Three) < 600000000).

levels(Host) ->
    {ok, Bus} = rex(Host, gen_event, start, []),
    Tags = [{error, x}, {error_report, std_error}, {warning_msg, x}, {warning_report, std_warning},
        {info_msg, x}, {info_report, std_info}, {info, std_info}, {info_report, progress}],
    Expected = [{error, [1, 2]}, {emergency, []}, {warning, [1, 2, 3, 4]},
        {notice, [1, 2, 3, 4, 5, 6, 7]}, {info, lists:seq(1, 8)}, {all, lists:seq(1, 8)}],
    [
        begin
            R = fake_receiver:start(),
            ok = install_event(Host, Bus, #{receiver => R, level => Level}),
            [gen_event:notify(Bus, {Tag, self(), {self(), Type, N}})
             || {{Tag, Type}, N} <- lists:zip(Tags, lists:seq(1, length(Tags)))],
            %% What no tag of error_logger's is on has no level.
            gen_event:notify(Bus, {error, half}),
            gen_event:notify(Bus, the_end),
            Events = fake_receiver:wait(R, fun(E) -> lists:member(the_end, E) end),
            ?assertEqual(Kept, [N || {_, _, {_, _, N}} <- Events]),
            ?assert(lists:member({error, half}, Events)),
            ok = gen_event:delete_handler(Bus, {?EVENT, node()}, done)
        end
     || {Level, Kept} <- Expected
    ],
    rex(Host, gen_event, stop, [Bus]).

%% More events than may wait, and calls among them, while the manager is suspended.
flushed(Host) ->
    {ok, Bus} = rex(Host, gen_event, start, []),
    [R1, R2] = [fake_receiver:start(), fake_receiver:start()],
    ok = install_event(Host, Bus, #{receiver => R1}),
    ok = gen_event:add_handler(Bus, {?EVENT, second}, #{receiver => R2, level => error}),
    ok = sys:suspend(Bus),
    %% The question that a long queue makes our handlers ask, with nothing before it.
    ok = rex(Host, host_helper, ask, [Bus]),
    N = 10000,
    [gen_event:notify(Bus, {Tag, self(), {self(), x, I}})
     || I <- lists:seq(1, N), Tag <- [error, info_msg]],
    Asking = [spawn_monitor(fun() -> exit(gen_event:sync_notify(Bus, {error, self(), {self(), x, sync}})) end),
        spawn_monitor(fun() -> exit(gen_event:call(Bus, {?EVENT, node()}, info)) end)],
    otp_host:wait(fun() ->
        rex(Host, erlang, process_info, [Bus, message_queue_len]) >= {message_queue_len, 2 * N + 2} end),
    ok = sys:resume(Bus),
    [ok, #{failed := 0}] = [receive {'DOWN', Ref, _, _, Answer} -> Answer end || {_, Ref} <- Asking],
    Tally = fun(R, Total) ->
        Events = fake_receiver:wait(R, fun(E) -> kept(E) + flushed_of(E) >= Total + 1 end),
        ?assertEqual(Total + 1, kept(Events) + flushed_of(Events)),
        ?assertMatch([_], [x || {error, _, {_, x, sync}} <- Events]),
        flushed_of(Events)
    end,
    [Flushed1, Flushed2] = [Tally(R1, 2 * N), Tally(R2, N)],
    ?assert(Flushed1 > 0),
    ?assert(Flushed2 > 0),
    rex(Host, gen_event, stop, [Bus]).

kept(Events) -> length([x || {_, _, {_, x, _}} <- Events]).
flushed_of(Events) ->
    lists:sum([C || {logmachine, dropped, #{reason := flushed, count := C}} <- Events]).

callbacks(Host) ->
    R = fake_receiver:start(),
    ok = install_logger(Host, #{receiver => R, text_chars => 100}),
    Cb = fun(F) -> #{report_cb => F} end,
    ok = rex(Host, host_helper, log_at, [[
        {error, #{n => 1}, Cb(fun logger:format_report/1)},
        {error, #{n => 2}, Cb(fun maps:get/2)},
        {error, #{n => 3}, Cb(fun erlang:hd/1)},
        {error, #{n => 4, x => lists:duplicate(10000, $a)}, Cb(fun logger:format_report/1)},
        {error, #{n => 5}, Cb(not_a_fun)},
        {error, #{n => 6}, Cb(fun logger:error/1)},
        {error, "the end"}
    ]]),
    Events = fake_receiver:wait(R, fun(E) -> [x || {log, _, _, {string, <<"the end">>},
        _} <- E] =/= [] end),
    Texts = [{N, maps:get('$text', M, none), maps:is_key(report_cb, M)} || {log, _, _, {report,
        #{n := N}}, M} <- Events],
    ?assertMatch([{1, <<_, _/binary>>, false}, {2, none, false}, {3, none, false}, {4, Long,
        false}, {5, none, false} | _]
        when byte_size(Long) =< 400, lists:sort([T || {_, _, _} = T <- Texts])),
    Six = [T || {6, T, false} <- Texts],
    ?assertEqual([none], lists:usort(Six)).

own_domain(Host) ->
    R = fake_receiver:start(),
    ok = install_logger(Host, #{receiver => R}),
    ok = rex(Host, host_helper, log_at, [[{error, "ours", #{domain => [logmachine, client]}},
        {error, "theirs"}]]),
    Events = fake_receiver:wait(R, fun(E) -> [x || {log, _, _, {string, <<"theirs">>},
        _} <- E] =/= [] end),
    ?assertEqual([], [x || {log, _, _, {string, <<"ours">>}, _} <- Events]).

group_leader(Host) ->
    process_flag(trap_exit, true),
    Other = otp_host:start(otp_host:own(), otp_host:unique("other")),
    otp_host:handlers(Other),
    start_error_logger(Host),
    start_error_logger(Other),
    R = fake_receiver:start(),
    [begin
        ok = install_event(H, error_logger, #{receiver => R, local_only => true}),
        ok = install_logger(H, #{receiver => R})
     end || H <- [Host, Other]],
    Remote = rex(Other, erlang, whereis, [user]),
    rex(Host, host_helper, under, [Remote, error, ["over there", #{k => v}]]),
    rex(Host, error_logger, error_report, [warm]),
    rex(Host, host_helper, under, [Remote, error, [#{label => {error_logger, error_report},
        report => there},
        #{error_logger => #{tag => error_report, type => std_error}}]]),
    rex(Other, logger, error, ["last one"]),
    rex(Other, error_logger, error_report, [last_report]),
    Last = fun(E) ->
        [x || {log, _, _, {string, <<"last one">>}, _} <- E] =/= [] andalso
            [x || {error_report, _, {_, _, last_report}} <- E] =/= [] andalso
            [x || {error_report, _, {_, _, there}} <- E] =/= [] andalso
            [x || {log, _, _, {string, <<"over there">>}, _} <- E] =/= []
    end,
    Events = fake_receiver:wait(R, Last),
    ?assertEqual([node_of(Host)], [N || {log, N, _, {string, <<"over there">>}, _} <- Events]),
    ?assertEqual([node_of(Host)], [node(P) || {error_report, _, {P, _, there}} <- Events]),
    otp_host:stop(Other).

big(Host) ->
    start_error_logger(Host),
    R = fake_receiver:start(),
    ok = install_event(Host, error_logger, #{receiver => R}),
    ok = install_logger(Host, #{receiver => R}),
    Bin = binary:copy(<<"0123456789">>, 1000000),
    Terms = [
        {bin, Bin}, {list, lists:seq(1, 2000000)}, {string, lists:duplicate(3000000, $x)},
        {tuple, erlang:make_tuple(500000, {a, b})}, {map, maps:from_list([{I, I} ||
            I <- lists:seq(1, 300000)])},
        {deep, lists:foldl(fun(_, Acc) -> [Acc] end, Bin, lists:seq(1, 50000))},
        {improper, lists:foldl(fun(I, Acc) -> [I | Acc] end, Bin, lists:seq(1, 300000))},
        {fairly, [{first, Bin}, {second, small}, {third, lists:seq(1, 500000)}, {fourth, 4}]},
        {big_integers, [I bsl 300000 || I <- lists:seq(1, 40)]}, {bits, <<Bin/binary, 5:3>>}
    ],
    [gen_event:notify({error_logger, node_of(Host)}, {error_report, self(), {self(), x, T}}) ||
        T <- Terms],
    [rex(Host, logger, error, [#{term => T}]) || T <- Terms],
    Done = fun(E) ->
        length([x || {error_report, _, {_, x, _}} <- E]) + length([x || {log, _, error, {report,
            #{term := _}}, _} <- E]) =:=
            2 * length(Terms)
    end,
    Events = [E || E <- fake_receiver:wait(R, Done), element(1,
        E) =:= error_report orelse element(3, E) =:= error],
    [?assert(erlang:external_size(E) =< 1048576) || E <- Events],
    Kept = fun(Key, Es) -> hd([V || {error_report, _, {_, _, {K, V}}} <- Es, K =:= Key]) end,
    ?assertMatch({'$logmachine_cut', 10000000, <<"0123456789", _/binary>>}, Kept(bin, Events)),
    ?assertMatch([1, 2, 3 | _], Kept(list, Events)),
    ?assertEqual('$logmachine_cut', lists:last(Kept(list, Events))),
    ?assertMatch([{first, {'$logmachine_cut', _, _}}, {second, small}, {third, [1 | _]}, {fourth,
        4}], Kept(fairly, Events)),
    ?assertMatch(#{'$logmachine_cut' := 300000}, Kept(map, Events)),
    ?assertEqual('$logmachine_cut', hd(Kept(big_integers, Events))).

disconnected(Host) ->
    Name = '.away.receiver.srv',
    R = fake_receiver:start(Name),
    ok = install_logger(Host, #{receiver => {Name, node()}}),
    rex(Host, logger, error, ["before"]),
    fake_receiver:wait(R, fun(E) -> [x || {log, _, _, {string, <<"before">>}, _} <- E] =/= [] end),
    %% The host logs 25 events once it has lost us, and then takes the connection up again.
    ok = rex(Host, host_helper, log_while_away, [node(), [{error, #{away => I}} ||
        I <- lists:seq(1, 25)]]),
    Events = fake_receiver:wait(R, fun(E) -> [x || {logmachine, dropped,
        #{reason := down}} <- E] =/= [] end),
    Node = node_of(Host),
    [Dropped] = [D || {logmachine, dropped, D} <- Events],
    ?assertMatch(#{node := Node, from := {_, _, _}, to := {_, _, _}, reason := down}, Dropped),
    #{count := Count, from := From, to := To} = Dropped,
    %% Kernel processes of the host may have logged something of their own meanwhile.
    ?assert(Count >= 25),
    ?assert(From =< To),
    ?assertEqual([], [x || {log, _, _, {report, #{away := _}}, _} <- Events]),
    %% And events flow again without anybody's help.
    rex(Host, logger, error, ["after"]),
    fake_receiver:wait(R, fun(E) -> [x || {log, _, _, {string, <<"after">>}, _} <- E] =/= [] end),
    fake_receiver:stop(R).

frozen(Host) ->
    Sink = otp_host:start(otp_host:own(), otp_host:unique("sink"), ["-hidden"]),
    ok = otp_host:load(Sink, fake_receiver),
    Pid = rex(Sink, erlang, spawn, [fake_receiver, count_loop, []]),
    rex(Sink, erlang, register, [counting, Pid]),
    pong = rex(Host, net_adm, ping, [node_of(Sink)]),
    ok = install_logger(Host, #{receiver => {counting, node_of(Sink)}}),
    otp_host:freeze(Sink),
    Before = rex(Host, erlang, memory, [total]),
    N = 40000,
    ?assertEqual([normal || _ <- lists:seq(1, 4)], rex(Host, host_helper, storm, [N, 1000, 4])),
    {ok, #{sent := Sent, unreported_busy := Busy}} = rex(Host, ?LOGGER, stats, [?ID]),
    After = rex(Host, erlang, memory, [total]),
    ?assert(Busy > 0),
    ?assert(Sent + Busy >= N),
    ?assert(After - Before < 50000000),
    otp_host:thaw(Sink),
    Counts = fun() ->
        {counting, node_of(Sink)} ! {self(), counts},
        receive {counts, E, D} -> {E, D} after 5000 -> {0, 0} end
    end,
    otp_host:wait(fun() -> {ok, S} = rex(Host, ?LOGGER, stats, [?ID]), maps:get(unreported_busy,
        S) =:= 0 end),
    otp_host:wait(fun() ->
        {ok, #{sent := S}} = rex(Host, ?LOGGER, stats, [?ID]),
        {E, D} = Counts(),
        E =:= S andalso D >= Busy andalso E + D >= N
    end),
    otp_host:stop(Sink).

abandoned(Host) ->
    start_error_logger(Host),
    R = fake_receiver:start(),
    ok = install_logger(Host, #{receiver => R, remove_after => 1500}),
    ok = rex(Host, gen_event, add_handler, [error_logger, {?EVENT, byhand}, #{receiver => R,
        remove_after => 1500}]),
    ?assertEqual(2, rex(Host, host_helper, guards, [])),
    fake_receiver:stop(R),
    otp_host:wait(fun() -> not lists:member(?ID, rex(Host, logger, get_handler_ids, [])) end),
    otp_host:wait(fun() ->
        rex(Host, error_logger, error_report, [anything]),
        not lists:member({?EVENT, byhand}, rex(Host, gen_event, which_handlers, [error_logger]))
    end),
    otp_host:wait(fun() -> rex(Host, host_helper, guards, []) =:= 0 end).

moved(Host) ->
    [R1, R2] = [fake_receiver:start(), fake_receiver:start()],
    ok = install_logger(Host, #{receiver => R1, text_chars => 10}),
    {error, {already_exist, ?ID}} = install_logger(Host, #{receiver => R2}),
    rex(Host, logger, error, ["one"]),
    ok = rex(Host, logger, update_handler_config, [?ID, config, #{receiver => R2}]),
    fake_receiver:stop(R1),
    rex(Host, logger, error, ["two"]),
    Events = fake_receiver:wait(R2, fun(E) -> [x || {log, _, _, {string, <<"two">>},
        _} <- E] =/= [] end),
    ?assertEqual([], [x || {log, _, _, {string, <<"one">>}, _} <- Events]),
    ok = rex(Host, logger, set_handler_config, [?ID, level, error]),
    ok = rex(Host, logger, set_handler_config, [?ID, config, #{receiver => R2,
        error_logger => forward}]),
    rex(Host, logger, error, ["three"]),
    fake_receiver:wait(R2, fun(E) -> [x || {log, _, _, {string, <<"three">>}, _} <- E] =/= [] end),
    ?assertMatch({error, _}, rex(Host, logger, update_handler_config, [?ID, config,
        #{receiver => 1}])),
    ?assertMatch({ok, #{config := #{receiver := R2, text_chars := 10, error_logger := forward}}},
        rex(Host, logger, get_handler_config, [?ID])).

reloaded(Host) ->
    start_error_logger(Host),
    R = fake_receiver:start(),
    ok = install_logger(Host, #{receiver => R}),
    ok = install_event(Host, error_logger, #{receiver => R}),
    [otp_host:handlers(Host) || _ <- lists:seq(1, 4)],
    {ok, #{config := #{guard := Guard}}} = rex(Host, logger, get_handler_config, [?ID]),
    ?assert(rex(Host, erlang, is_process_alive, [Guard])),
    rex(Host, logger, error, ["still"]),
    rex(Host, error_logger, error_report, [here]),
    fake_receiver:wait(R, fun(E) ->
        [x || {log, _, _, {string, <<"still">>}, _} <- E] =/= [] andalso [x || {error_report, _, {_,
            _, here}} <- E] =/= []
    end),
    ?assert(rex(Host, erlang, is_process_alive, [Guard])),
    ?assertEqual([{?EVENT, node()}], rex(Host, gen_event, which_handlers, [error_logger])).

cheap(Host) ->
    Bare = rex(Host, host_helper, cost, [3000]),
    R = fake_receiver:start(),
    ok = install_logger(Host, #{receiver => R}),
    Ours = rex(Host, host_helper, cost, [3000]),
    io:format(user,
        "~n    OTP ~p: a log call takes ~.2f us without the handler, ~.2f us with it~n",
        [otp_host:release(Host), Bare, Ours]),
    fake_receiver:stop(R).
