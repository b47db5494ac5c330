-module(fleet_config).
-export([number/2]).

number(Key, Config) ->
    case proplists:get_value(Key, Config) of
        undefined -> error({missing_config, Key});
        Text -> list_to_integer(Text)
    end.
