%% Writes quotes straight into the instance `quotes', without an event manager.
%%
%% A cast costs nothing and promises nothing. append/2 and append_many/2 return when the quotes are
%% as durable as the instance's `sync' says, so this producer keeps what it couldn't hand over and
%% tries again: no quote is lost while it lives, and one may be written twice when an answer was.
-module(quotes_producer).

-behaviour(gen_server).

-export([start_link/1, quote/4, pending/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-define(FLUSH_MILLIS, 20).
-define(RETRY_MILLIS, 500).
-define(BATCH, 500).

%% Instance is `quotes', found by its global name, or `{quotes, Node}'.
-spec start_link(logmachine:instance()) -> {ok, pid()}.
start_link(Instance) ->
    gen_server:start_link(?MODULE, Instance, []).

-spec quote(pid(), atom(), number(), pos_integer()) -> ok.
quote(Producer, Symbol, Price, Volume) ->
    gen_server:cast(Producer, {quote, Symbol, Price, Volume}).

%% How many quotes are not in the log yet.
-spec pending(pid()) -> non_neg_integer().
pending(Producer) ->
    gen_server:call(Producer, pending).

init(Instance) ->
    {ok, {Instance, queue:new(), no_timer}}.

handle_cast({quote, _, _, _} = Quote, {Instance, Queue, Timer}) ->
    {noreply, {Instance, queue:in(Quote, Queue), flush_in(?FLUSH_MILLIS, Timer)}}.

handle_call(pending, _, {_, Queue, _} = State) ->
    {reply, queue:len(Queue), State}.

handle_info(flush, {Instance, Queue, _}) ->
    {Batch, Rest} = queue:split(min(?BATCH, queue:len(Queue)), Queue),
    case written(Instance, queue:to_list(Batch)) of
        true ->
            case queue:is_empty(Rest) of
                true -> {noreply, {Instance, Rest, no_timer}};
                false -> {noreply, {Instance, Rest, flush_in(0, no_timer)}}
            end;
        false ->
            {noreply, {Instance, Queue, flush_in(?RETRY_MILLIS, no_timer)}}
    end.

%% No answer (a netsplit, a restart) is the same as no: try again.
written(_, []) ->
    true;
written(Instance, Quotes) ->
    try logmachine:append_many(Instance, Quotes) of
        {ok, _First, _Last} -> true;
        {error, _} -> false
    catch
        exit:_ -> false
    end.

flush_in(Millis, no_timer) -> erlang:send_after(Millis, self(), flush);
flush_in(_, Timer) -> Timer.
