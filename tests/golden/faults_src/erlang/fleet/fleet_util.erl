-module(fleet_util).
-export([must/1]).

must({ok, Value}) -> Value;
must({error, Reason}) -> error({unexpected, Reason}).
