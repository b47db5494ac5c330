%% @private The Erlang examples, as a user would run them.
-module(examples_tests).
-export([example_test_/0]).
-include("claims.hrl").

example_test_() ->
    {setup,
        fun() ->
            Dir = filename:join(filename:dirname(otp_host:root()),
                "examples/erlang"),
            [load(filename:join(Dir, F)) || F <- ["quotes_bus", "quotes_producer",
                "quotes_average"]],
            Host = otp_host:start(otp_host:own(), otp_host:unique("logs"), ["-hidden"]),
            ok = otp_host:load(Host, fake_instance),
            Host
        end,
        fun otp_host:stop/1,
        fun(Host) ->
            [
                {"an_application_is_captured_unchanged", fun() -> bus() end},
                {"producer_and_average_survive_a_netsplit_and_a_crash",
                    {timeout, 60, fun() -> average(Host) end}}
            ]
        end}.

load(File) ->
    {ok, Module, Beam} = compile:file(File, [binary, return_errors]),
    {module, Module} = code:load_binary(Module, File, Beam).

bus() ->
    {ok, Bus} = quotes_bus:start_link(),
    R = fake_receiver:start(),
    ok = gen_event:add_sup_handler(quotes_bus, {logmachine_forwarder, node()}, R),
    quotes_bus:publish(vtb, 101.5, 10),
    quotes_bus:publish(vtb, 100.5, 20),
    Expected = [{quote, vtb, 101.5, 10}, {quote, vtb, 100.5, 20}],
    ?assertEqual(Expected, fake_receiver:wait(R, fun(E) -> length(E) =:= 2 end)),
    ?assertEqual(101.5, quotes_bus:best(vtb)),
    unlink(Bus),
    gen_event:stop(Bus).

average(Host) ->
    process_flag(trap_exit, true),
    Node = element(2, Host),
    _ = otp_host:rex(Host, fake_instance, start, [quotes, local]),
    Quotes = {quotes, Node},
    File = "average." ++ os:getpid() ++ ".dets",
    {ok, Producer} = quotes_producer:start_link(Quotes),
    #{start := {M, F, A}} = quotes_average:child_spec(Quotes, File),
    {ok, C1} = apply(M, F, A),
    publish(Producer, 1, 400),
    true = erlang:disconnect_node(Node),
    publish(Producer, 401, 800),
    wait_for_entries(Producer, C1),
    exit(C1, kill),
    publish(Producer, 801, 1000),
    {ok, C2} = apply(M, F, A),
    wait_for_entries(Producer, C2),
    %% What is in the log is what counts: a retry after the netsplit may have written twice.
    {ok, Entries, eof} = logmachine:read(Quotes, earliest, #{limit => 100000}),
    Log = [{P, V} || {_, {quote, vtb, P, V}} <- Entries],
    ?assert(length(Log) >= 1000),
    Expected = lists:sum([P * V || {P, V} <- Log]) / lists:sum([V || {_, V} <- Log]),
    ?assertEqual(Expected, quotes_average:average(vtb)),
    gen_server:stop(C2),
    gen_server:stop(Producer),
    file:delete(File).

publish(Producer, From, To) ->
    [quotes_producer:quote(Producer, vtb, 100 + I rem 7, I) || I <- lists:seq(From, To)],
    ok.

%% Until everything is written and the consumer has reached the newest entry.
wait_for_entries(Producer, Consumer) ->
    otp_host:wait(fun() -> quotes_producer:pending(Producer) =:= 0 end),
    #{instance := Instance} = options(Consumer),
    otp_host:wait(fun() ->
        {ok, Entries, eof} = logmachine:read(Instance, earliest, #{limit => 100000}),
        {Last, _} = lists:last(Entries),
        #{last := Reached} = logmachine_consumer:info(Consumer),
        Reached =:= Last
    end).

options(Consumer) ->
    element(4, sys:get_state(Consumer)).
