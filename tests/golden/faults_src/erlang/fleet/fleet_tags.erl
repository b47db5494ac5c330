-module(fleet_tags).
-export([parse/1]).

parse(Texts) ->
    Tags = [list_to_atom(Text) || Text <- Texts],
    lists:usort(Tags).
