%% A team's own application, for the tests of faults: orders that crash a server under a supervisor, a database that
%% stops answering, mails that cannot be sent all day long.
-module(shop).
-export([start/0, order/1, mail/1, mail_every/1, open/0, freeze/0, visit/0, visit_every/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-include_lib("kernel/include/logger.hrl").

%% What must not end with the caller has no link to it.
start() ->
    {ok, Supervisor} = supervisor:start_link({local, shop_sup}, ?MODULE, supervisor),
    unlink(Supervisor),
    ok.

%% Returns when the server that died of this order has a successor.
order(Order) ->
    Old = whereis(shop_cart),
    gen_server:cast(Old, {order, Order}),
    restarted(Old).

restarted(Old) ->
    case whereis(shop_cart) of
        New when is_pid(New), New =/= Old -> ok;
        _ -> receive after 1 -> restarted(Old) end
    end.

charge(Order) ->
    {ok, _} = stock(Order).

stock(Order) ->
    {error, {no_stock, Order}}.

mail(To) ->
    ?LOG_ERROR("cannot send mail to ~ts", [To]).

mail_every(Millis) ->
    {ok, _} = gen_server:start(?MODULE, {every, Millis, mail}, []),
    ok.

%% The database, which answers until it is frozen.
open() ->
    {ok, _} = gen_server:start({local, shop_db}, ?MODULE, db, []),
    ok.

freeze() ->
    sys:suspend(shop_db).

%% A process that asks the database, and waits no longer than 20 ms.
visit() ->
    proc_lib:spawn(fun() -> gen_server:call(shop_db, {find, rand:uniform(1000)}, 20) end).

visit_every(Millis) ->
    {ok, _} = gen_server:start(?MODULE, {every, Millis, visit}, []),
    ok.

init(supervisor) ->
    Cart = #{id => cart, start => {gen_server, start_link, [{local, shop_cart}, ?MODULE, cart, []]}},
    {ok, {#{intensity => 1000, period => 1}, [Cart]}};
init({every, Millis, What}) ->
    {ok, _} = timer:send_interval(Millis, What),
    {ok, What};
init(State) ->
    {ok, State}.

handle_call({find, _}, _, State) ->
    {reply, found, State}.

handle_cast({order, Order}, State) ->
    charge(Order),
    {noreply, State}.

handle_info(mail, State) ->
    mail(integer_to_list(rand:uniform(1000)) ++ "@example.org"),
    {noreply, State};
handle_info(visit, State) ->
    visit(),
    {noreply, State}.
