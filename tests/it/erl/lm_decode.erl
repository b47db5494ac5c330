%% What this release decodes, and whether it stays connected.
-module(lm_decode).
-export([differences/1, verdicts/2, creation/0, subscribed/1, batched/1, read/1, watch/0, watched/1]).

-define(NODE, 'logmachine@127.0.0.1').
-define(RECEIVER, {'.error_logger.receiver.srv', ?NODE}).

%% Reads terms, each behind its length in 4 bytes, and writes a byte for each: 1 if this node decodes it, 0 if not.
%% Creations that are 16#c0c0c0c0 become this node's own.
verdicts(In, Out) ->
    {ok, Bytes} = file:read_file(In),
    Own = binary:replace(Bytes, <<16#c0c0c0c0:32>>, <<(creation()):32>>, [global]),
    ok = file:write_file(Out, [decodes(Term) || <<Size:32, Term:Size/binary>> <= Own]).

decodes(Term) ->
    try
        _ = binary_to_term(<<131, Term/binary>>),
        1
    catch
        error:badarg -> 0
    end.

%% How many lines {External, Parsed, Text} there are, and the first few whose terms are not the same three times.
differences(File) ->
    {ok, Lines} = file:consult(File),
    Differing = [
        Line
     || {External, Parsed, Text} = Line <- Lines,
        Term <- [catch binary_to_term(list_to_binary(External))],
        Term =/= (catch binary_to_term(list_to_binary(Parsed))) orelse Term =/= (catch real:real(Text))
    ],
    {length(Lines), lists:sublist(Differing, 5)}.

creation() ->
    Self = term_to_binary(self()),
    binary:decode_unsigned(binary:part(Self, byte_size(Self), -4)).

%% {Entries, Substituted} of the first Count entries.
subscribed(Count) ->
    Options = #{from => earliest, marker => {one, Count}},
    {ok, Session} = gen_server:call(?RECEIVER, {subscribe, Options#{pid => self()}}),
    Seen = [receive {{one, Count}, Entry} -> Entry after 20000 -> exit(nothing_came) end || _ <- lists:seq(1, Count)],
    ok = gen_server:stop(Session),
    counted(Seen).

batched(Count) ->
    Options = #{from => earliest, marker => {many, Count}, batch => 50},
    {ok, Session} = gen_server:call(?RECEIVER, {subscribe, Options#{pid => self()}}),
    Seen = batches(Count),
    ok = gen_server:stop(Session),
    counted(Seen).

batches(Due) when Due =< 0 -> [];
batches(Due) ->
    receive
        {{many, _}, Entries} -> Entries ++ batches(Due - length(Entries))
    after 20000 -> exit(nothing_came)
    end.

%% All there are; Count is only a wish.
read(_Count) -> counted(read(earliest, [])).

read(From, Seen) ->
    case gen_server:call(?RECEIVER, {read, From, #{limit => 500}}, 20000) of
        {ok, Entries, eof} -> lists:append(lists:reverse([Entries | Seen]));
        {ok, Entries, Next} -> read(Next, [Entries | Seen])
    end.

counted(Entries) ->
    {length(Entries), length([T || {T, {logmachine, undecodable, T}} <- Entries])}.

%% A process that notices when the connection is lost.
watch() ->
    Owner = self(),
    Pid = spawn(fun() ->
        erlang:monitor_node(?NODE, true),
        Owner ! {self(), watching},
        receive
            {nodedown, ?NODE} -> receive {asked, Asker} -> Asker ! {self(), down} end;
            {asked, Asker} -> Asker ! {self(), up}
        end
    end),
    receive {Pid, watching} -> Pid end.

watched(Pid) ->
    Pid ! {asked, self()},
    receive {Pid, State} -> State end.
