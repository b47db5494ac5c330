%% @private Erlang nodes of any release, started and ended by a test.
%%
%% OTP_MATRIX names a directory with one release per subdirectory (tests/otp-matrix); without it
%% the only release is the one that runs the tests.
-module(otp_host).
-export([releases/0, own/0, root/0, start/2, start/3, stop/1, rex/4, rex/3, load/2, freeze/1, thaw/1,
    release/1, unique/1, wait/1, handlers/1]).

-record(host, {node, sink, os_pid}).

releases() ->
    case os:getenv("OTP_MATRIX") of
        Unset when Unset =:= false; Unset =:= "" -> [own()];
        Dir -> lists:sort(filelib:wildcard(filename:join(Dir, "*/bin/erl")))
    end.

own() ->
    filename:join([code:root_dir(), "bin", "erl"]).

%% Makes this node one that can be connected to, if it isn't, so that `rebar3 eunit' works by itself;
%% `run-tests' starts one. Where no port mapper runs, one of our own does and ends with this node.
distribute() ->
    case is_alive() of
        true -> ok;
        false -> distributed()
    end.

distributed() ->
    Script = "epmd & pid=$!; cat >/dev/null; kill $pid 2>/dev/null",
    Open = fun() -> open_port({spawn_executable, "/bin/sh"}, [{args, ["-c", Script]}]) end,
    %% A process that outlives the test that happens to come first.
    spawn(fun() -> Open(), receive after infinity -> ok end end),
    wait(fun() -> element(1, erl_epmd:names()) =:= ok end),
    Name = list_to_atom(unique("tests") ++ "@127.0.0.1"),
    {ok, _} = net_kernel:start([Name, longnames]),
    true = erlang:set_cookie(node(), list_to_atom(unique("cookie"))),
    ok.

%% The directory `erlang' of the repository: where `rebar3' runs, unless told.
root() ->
    case os:getenv("LOGMACHINE_ERLANG") of
        Unset when Unset =:= false; Unset =:= "" -> element(2, file:get_cwd());
        Dir -> Dir
    end.

start(Erl, Name) -> start(Erl, Name, []).

%% The shell in between reads from the port, which closes when this node ends, however it ends: no
%% host outlives the tests.
start(Erl, Name, Args) ->
    ok = distribute(),
    Node = list_to_atom(Name ++ "@127.0.0.1"),
    Common = [
        "-noinput", "-name", atom_to_list(Node), "-setcookie", atom_to_list(erlang:get_cookie()),
        "-kernel", "logger_level", "all", "-pa", filename:dirname(code:which(?MODULE))
    ],
    Script = "\"$@\" & pid=$!; cat >/dev/null; kill -9 $pid",
    Port = open_port({spawn_executable, "/bin/sh"}, [
        {args, ["-c", Script, "sh", Erl | Common ++ Args]}, stderr_to_stdout, binary
    ]),
    Sink = spawn_sink(Port),
    wait(fun() -> net_adm:ping(Node) =:= pong end),
    %% A node answers before it has finished booting; logger's supervisor comes late.
    wait(fun() -> element(1, rex(Node, init, get_status, [])) =:= started end),
    OsPid = list_to_integer(rex(Node, os, getpid, [])),
    #host{node = Node, sink = Sink, os_pid = OsPid}.

%% A host's output is of no interest, but must not fill this process's mailbox.
spawn_sink(Port) ->
    Pid = spawn(fun Sink() -> receive close -> port_close(Port); _ -> Sink() end end),
    port_connect(Port, Pid),
    unlink(Port),
    Pid.

stop(#host{sink = Sink, node = Node}) ->
    Sink ! close,
    wait(fun() -> not lists:member(Node, nodes(connected)) end).

freeze(#host{os_pid = OsPid}) -> "" = os:cmd("kill -STOP " ++ integer_to_list(OsPid)), ok.
thaw(#host{os_pid = OsPid}) -> "" = os:cmd("kill -CONT " ++ integer_to_list(OsPid)), ok.

%% A call as the logmachine node makes it: to rex, with the host's own group leader.
rex(#host{node = Node}, M, F, A) -> rex(Node, M, F, A);
rex(Node, M, F, A) -> gen_server:call({rex, Node}, {call, M, F, A, user}, 60000).
rex(#host{node = Node}, M, F) -> rex(Node, M, F, []).

release(Host) -> list_to_integer(rex(Host, erlang, system_info, [otp_release])).

%% Compiles a module of the tests on the host and loads it there.
load(Host, Module) ->
    Source = filename:join(filename:dirname(code:which(?MODULE)), atom_to_list(Module) ++ ".erl"),
    {ok, Module, Beam} = rex(Host, compile, file, [filename:rootname(source(Source, Module)),
        [binary]]),
    {module, Module} = rex(Host, code, load_binary, [Module, "test", Beam]),
    ok.

source(Beside, Module) ->
    case filelib:is_regular(Beside) of
        true -> Beside;
        false -> proplists:get_value(source, Module:module_info(compile))
    end.

%% Uploads the two handlers, the variant for the host's release.
handlers(Host) ->
    Variant = case release(Host) >= 25 of true -> "r25"; false -> "r23" end,
    [begin
        File = filename:join([root(), "priv", "handlers", Variant,
            atom_to_list(M) ++ ".beam"]),
        {ok, Beam} = file:read_file(File),
        {module, M} = rex(Host, code, load_binary, [M, "logmachine", Beam])
     end || M <- [logmachine_forwarder, logmachine_logger_handler]],
    ok.

unique(Prefix) ->
    Prefix ++ integer_to_list(erlang:unique_integer([positive])) ++ "_" ++ os:getpid().

wait(Condition) -> wait(Condition, erlang:monotonic_time(millisecond) + 30000).
wait(Condition, Deadline) ->
    case Condition() of
        true -> ok;
        _ ->
            case erlang:monotonic_time(millisecond) > Deadline of
                true -> error(timeout);
                false -> timer:sleep(20), wait(Condition, Deadline)
            end
    end.
