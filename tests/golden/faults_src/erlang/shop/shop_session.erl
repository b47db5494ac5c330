-module(shop_session).
-behaviour(gen_server).
-export([start_link/1, init/1, handle_call/3, handle_cast/2, terminate/2]).

start_link(User) -> gen_server:start_link(?MODULE, User, []).

init(User) -> {ok, #{user => User}}.

handle_call({touch, Now}, _, Session) -> {ok, Session#{seen => Now}};
handle_call({logout, Why}, _, Session) -> throw({logged_out, Why, Session}).

handle_cast({expire, Seconds}, Session) -> {stop, normal, Session#{expired => Seconds}}.

terminate(normal, #{user := User}) ->
    ok = saved(User);
terminate(_, _) ->
    ok.

saved(User) -> {error, {disk_full, User}}.
