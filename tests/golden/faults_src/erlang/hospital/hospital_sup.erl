-module(hospital_sup).
-behaviour(supervisor).
-export([start_link/1, start_link/3, init/1]).

start_link(Intensity) -> supervisor:start_link({local, ?MODULE}, ?MODULE, {Intensity, []}).

start_link(Name, Intensity, Children) -> supervisor:start_link({local, Name}, ?MODULE, {Intensity, Children}).

init({Intensity, Children}) ->
    {ok, {#{strategy => one_for_one, intensity => Intensity, period => 10}, Children}}.
