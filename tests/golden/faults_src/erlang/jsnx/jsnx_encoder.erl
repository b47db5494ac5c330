-module(jsnx_encoder).
-export([value/1]).

value([{_, _} | _] = Pairs) -> ["{", lists:join(",", [[string(Key), ":", value(Value)] || {Key, Value} <- Pairs]), "}"];
value(List) when is_list(List) -> ["[", lists:join(",", [value(Value) || Value <- List]), "]"];
value(Number) when is_integer(Number) -> integer_to_binary(Number);
value(Text) when is_binary(Text); is_atom(Text) -> string(Text).

string(Atom) when is_atom(Atom) -> string(atom_to_binary(Atom, utf8));
string(Text) -> ["\"", Text, "\""].
