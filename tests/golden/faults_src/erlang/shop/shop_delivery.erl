-module(shop_delivery).
-behaviour(gen_statem).
-export([start_link/1, init/1, callback_mode/0, handle_event/4]).

start_link(Parcel) -> gen_statem:start_link(?MODULE, Parcel, []).

callback_mode() -> handle_event_function.

init(Parcel) -> {ok, {packed, 0}, Parcel}.

handle_event(cast, {moved, Place}, {packed, Stops}, Parcel) ->
    {next_state, {packed, Stops + distance(Place)}, Parcel};
handle_event(info, {lost, Place}, _, Parcel) ->
    {stop, {lost_at, Place}, Parcel}.

distance({Lat, Long}) -> round(math:sqrt(Lat - Long)).
