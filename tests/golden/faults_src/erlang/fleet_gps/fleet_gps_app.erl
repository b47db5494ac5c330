-module(fleet_gps_app).
-behaviour(application).
-export([start/2, stop/1]).

start(_, _) -> fleet_gps_sup:start_link(all).

stop(_) -> ok.
