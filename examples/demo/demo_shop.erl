%% A shop on three nodes whose supervisor tree fails in ways that teach something. Nothing in it
%% knows of logmachine, but that prices are cast to a global name (market/2).
-module(demo_shop).
%% The supervisor as well as its workers, so that the demo is one file.
-behaviour(gen_server).

-export([start/1, start_link/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-define(DAY, 60000).

%% Called by `-s demo_shop start NODE`.
start([Name]) ->
    logger:remove_handler(default),
    Nodes = ['front@127.0.0.1', 'stock@127.0.0.1', 'billing@127.0.0.1'],
    spawn(fun() ->
        %% It outlives the supervisor that gives up.
        process_flag(trap_exit, true),
        together(Nodes),
        Name =:= stock andalso
            spawn_link(fun() -> rand:seed(exsss, 5), market(erlang:monotonic_time(millisecond), 20.0) end),
        days(Name)
    end).

%% A day lasts a minute, and all are alike.
days(Name) ->
    Dawn = erlang:monotonic_time(millisecond),
    {ok, Sup} = supervisor:start_link({local, shop_sup}, ?MODULE, {supervisor, Name}),
    play(Name),
    rest(Name, Dawn + ?DAY),
    exit(Sup, shutdown),
    receive {'EXIT', Sup, _} -> ok end,
    days(Name).

%% Waits for the other nodes, and until somebody listens to error reports.
together(Nodes) ->
    Pongs = [pong || Node <- Nodes, net_adm:ping(Node) =:= pong],
    Listens = whereis(error_logger) =/= undefined andalso
        [Id || Id <- logger:get_handler_ids(), Id =/= error_logger],
    case length(Pongs) =:= length(Nodes) andalso Listens =/= false andalso Listens =/= [] of
        true -> sleep(500);
        false -> sleep(50), together(Nodes)
    end.

%% What happens on each node, and when.
play(front) ->
    logger:notice("front: open for business"),
    sleep(500),
    %% A request that nobody foresaw.
    catch gen_server:call(web, {order, "seven teapots"}),
    sleep(2000),
    %% Asks another node, which takes too long.
    catch gen_server:call(web, {ask_stock, teapot}, 5000),
    sleep(2000),
    logger:notice("front: all customers come at once", #{demo => rush}),
    [customer(N) || N <- lists:seq(1, 12)],
    sleep(500),
    logger:notice("front: the rush is over", #{demo => over});
play(stock) ->
    sleep(1000),
    error_logger:warning_msg("stock: only ~p teapots left~n", [3]),
    sleep(2500),
    %% A process that no supervisor knows.
    spawn(fun() -> lists:nth(8, [teapot, teapot, teapot]) end);
play(billing) ->
    sleep(2500),
    logger:warning(#{what => slow_bank, bank => example, millis => 2750}),
    %% The bank is gone, and restarting does not help: the supervisor gives up.
    catch gen_server:call(bank, charge),
    sleep(200),
    catch gen_server:call(bank, charge).

%% The rest of the day is quiet.
rest(Name, Dusk) ->
    case Dusk - erlang:monotonic_time(millisecond) of
        Left when Left > 3000 ->
            sleep(3000),
            Name =:= front andalso logger:notice("front: sold a teapot"),
            rest(Name, Dusk);
        Left ->
            sleep(max(0, Left))
    end.

customer(N) ->
    proc_lib:spawn(fun() -> count(teapot, 100 + N) end),
    sleep(250).

%% What things sell for, twenty times a second: there are no kettles any more after three seconds,
%% and teapots become dear when all customers come, and cheaper when they are gone.
market(Begun, Price) ->
    Millis = (erlang:monotonic_time(millisecond) - Begun) rem ?DAY,
    cast({quote, teapot, round(100 * (Price + 0.7 * (rand:uniform() - 0.5))) / 100, rand:uniform(3)}),
    Millis < 3000 andalso cast({quote, kettle, 12.5, 1}),
    sleep(50),
    Trend = if Millis < 2500 -> -0.01; Millis < 4500 -> 0.01; Millis < 15000 -> 0.03; true -> (20 - Price) / 100 end,
    market(Begun, Price + Trend + 0.5 * (rand:uniform() - 0.5)).

cast(Quote) ->
    gen_server:cast({global, {quotes, 0}}, Quote).

count(What, Millis) ->
    {ok, gen_server:call({shelves, 'stock@127.0.0.1'}, {count, What}, Millis)}.

sleep(Millis) ->
    receive after Millis -> ok end.

%% The tree.
init({supervisor, Node}) ->
    Intensity = case Node of billing -> 1; _ -> 5 end,
    {ok, {#{strategy => one_for_one, intensity => Intensity, period => 10}, children(Node)}};
init(Worker) ->
    {ok, Worker}.

children(front) -> [child(web)];
children(stock) -> [child(shelves)];
children(billing) -> [child(bank)].

child(Name) ->
    #{id => Name, start => {?MODULE, start_link, [Name, #{worker => Name}]}}.

start_link(Name, State) ->
    gen_server:start_link({local, Name}, ?MODULE, State, []).

%% The workers.
handle_call({order, Text}, _, #{worker := web} = State) ->
    Count = list_to_integer(Text),
    {reply, {ok, Count}, State};
handle_call({ask_stock, What}, _, #{worker := web} = State) ->
    Answer = gen_server:call({shelves, 'stock@127.0.0.1'}, {count, What}, 300),
    {reply, Answer, State};
handle_call({count, _}, _, #{worker := shelves} = State) ->
    sleep(1000),
    {reply, 3, State};
handle_call(charge, _, #{worker := bank} = State) ->
    {stop, {bank_unreachable, econnrefused}, State}.

handle_cast(_, State) -> {noreply, State}.

handle_info(_, State) -> {noreply, State}.
