%% An application as it stood before anybody thought of logmachine: it publishes quotes through an
%% event manager, and whoever is interested adds a handler.
%%
%% To have every quote of every node in a durable log, nothing here changes. On the logmachine
%% node one instance is configured:
%%
%%     [[instance]]
%%     name = "quotes"
%%     locate_em = "{local, quotes_bus}"
%%
%% and as soon as the two nodes see each other, its handler is in this manager.
-module(quotes_bus).

-behaviour(gen_event).

-export([start_link/0, publish/3, best/1]).
-export([init/1, handle_event/2, handle_call/2]).

%% Starts the event manager with the application's own handler in it.
-spec start_link() -> {ok, pid()}.
start_link() ->
    {ok, Pid} = gen_event:start_link({local, ?MODULE}),
    ok = gen_event:add_handler(?MODULE, ?MODULE, []),
    {ok, Pid}.

-spec publish(Symbol :: atom(), Price :: number(), Volume :: pos_integer()) -> ok.
publish(Symbol, Price, Volume) ->
    gen_event:notify(?MODULE, {quote, Symbol, Price, Volume}).

%% The highest price seen so far.
-spec best(Symbol :: atom()) -> number() | undefined.
best(Symbol) ->
    gen_event:call(?MODULE, ?MODULE, {best, Symbol}).

init([]) ->
    {ok, #{}}.

handle_event({quote, Symbol, Price, _}, Best) ->
    {ok, Best#{Symbol => max(Price, maps:get(Symbol, Best, Price))}};
handle_event(_, Best) ->
    {ok, Best}.

handle_call({best, Symbol}, Best) ->
    {ok, maps:get(Symbol, Best, undefined), Best}.
