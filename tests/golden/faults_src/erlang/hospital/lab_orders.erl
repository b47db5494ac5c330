-module(lab_orders).
-export([reject/3]).
-include("log.hrl").

reject(Order, Analyte, Why) ->
    ?LOG_ERROR(#{event => lab_order_rejected, order => Order, analyte => Analyte, reason => Why, attempts => 3}).
