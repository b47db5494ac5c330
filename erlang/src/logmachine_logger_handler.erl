%% @doc Carries what `logger' handles to a logmachine receiver.
%%
%% The logmachine node uploads it and adds it with `logger:add_handler/3'. An event arrives at the
%% receiver as a cast of `{log, Node, Level, Msg, Meta}'. Events that the manager `error_logger' also
%% gets are left to the handler there, or forwarded in error_logger's own shape, as the option
%% `error_logger' says.
%%
%% log/2 runs in the process that logs: it never waits for the network, and what it had to drop is
%% counted and reported later. `HANDLERS.md' describes its options and everything it sends.
%% @hidden
-module(logmachine_logger_handler).

-export([adding_handler/1, changing_config/3, removing_handler/1, log/2, stats/1]).

-include("logmachine_guest.hrl").

%% Set while a report callback runs, so that a callback that logs is not called again for that.
-define(FORMATTING, '$logmachine_formatting').
-define(DEFAULT_TEXT_CHARS, 8192).
-define(TEXT_DEPTH, 30).

%% @private
-spec adding_handler(logger:handler_config()) -> {ok, logger:handler_config()} | {error, term()}.
adding_handler(#{id := Id} = Config) ->
    case checked(maps:get(config, Config, #{})) of
        {ok, Guest} -> {ok, Config#{config => attach(Guest, none, {logger, Id})}};
        {error, Reason} -> {error, Reason}
    end.

checked(Options) ->
    Defaults = #{error_logger => skip, local_only => true, text_chars => ?DEFAULT_TEXT_CHARS},
    case guest(Options, Defaults) of
        {ok, #{error_logger := Shape, text_chars := Chars} = Guest} when
            Shape =:= skip orelse Shape =:= forward, is_integer(Chars), Chars >= 0
        ->
            {ok, Guest};
        {ok, Guest} ->
            {error, {badarg, Guest}};
        {error, Reason} ->
            {error, Reason}
    end.

%% @private Options given later are laid over the old ones; counters and guard stay.
-spec changing_config(set | update, logger:handler_config(), logger:handler_config()) ->
    {ok, logger:handler_config()} | {error, term()}.
changing_config(_, #{config := Old}, New) ->
    case checked(maps:merge(Old, maps:without([counters, guard], maps:get(config, New, #{})))) of
        {ok, #{guard := Guard, receiver := Receiver, remove_after := After} = Guest} ->
            Guard ! {logmachine_guest, receiver, Receiver, After},
            {ok, New#{config => Guest}};
        {error, Reason} ->
            {error, Reason}
    end.

%% @private
-spec removing_handler(logger:handler_config()) -> ok.
removing_handler(#{config := Guest}) ->
    detach(Guest).

%% @doc What the handler with this id has sent, cut and dropped so far.
-spec stats(logger:handler_id()) -> {ok, map()} | {error, term()}.
stats(Id) ->
    case logger:get_handler_config(Id) of
        {ok, #{module := ?MODULE, config := Guest}} -> {ok, info(Guest)};
        {ok, _} -> {error, not_ours};
        {error, Reason} -> {error, Reason}
    end.

%% @private
-spec log(logger:log_event(), logger:handler_config()) -> ok.
log(Event, #{config := #{counters := C} = Guest}) ->
    try
        handle(Event, Guest)
    catch
        _:_ -> atomics:add(C, ?FAILED, 1)
    end,
    ok.

handle(#{meta := #{domain := [logmachine | _]}}, _) ->
    %% The client library's own diagnostics; a subscriber that logs must not feed itself.
    ok;
handle(#{level := Level, msg := Msg, meta := Meta} = Event, #{local_only := LocalOnly} = Guest) ->
    case LocalOnly andalso is_copy(Meta) of
        true ->
            ok;
        false ->
            case is_for_error_logger(Msg, Meta) of
                true -> leave_or_forward(Event, Guest);
                false -> forward(Guest, log_event(Level, Msg, Meta, Guest))
            end
    end.

leave_or_forward(#{level := Level, msg := Msg, meta := Meta} = Event, #{error_logger := Shape} = Guest) ->
    case Shape =:= skip andalso error_logger_takes(Event) of
        true -> ok;
        false -> forward(Guest, error_logger_event(Level, Msg, Meta))
    end.

%% logger sends an event also to the node of the group leader. The node where it happened reports
%% it, whether or not the group leader's node is captured at all.
is_copy(#{pid := Pid, gl := GroupLeader}) when is_pid(Pid), is_pid(GroupLeader) ->
    node(Pid) =/= node() andalso node(GroupLeader) =:= node();
is_copy(_) ->
    false.

%% Events without a shape of error_logger's ------------------------------------------------------

log_event(Level, Msg, Meta, Guest) ->
    {log, node(), Level, readable(Msg, Guest), printable(Msg, timed(Meta), Guest)}.

%% Text may be any chardata, and Elixir's is a tree of small binaries: it becomes one UTF-8 binary.
%% What is no text, or will be cut anyway, stays what it is.
readable({string, Text}, #{max_bytes := Max}) when is_list(Text) ->
    case erlang:external_size(Text) =< Max andalso utf8(Text) of
        Flat when is_binary(Flat) -> {string, Flat};
        _ -> {string, Text}
    end;
readable(Msg, _) ->
    Msg.

utf8(Text) ->
    try
        unicode:characters_to_binary(Text)
    catch
        error:_ -> none
    end.

%% logger puts a time into all metadata, and lets who logs replace it by anything.
timed(#{time := Time} = Meta) when is_integer(Time) -> Meta;
timed(Meta) -> Meta#{time => os:system_time(microsecond)}.

%% A fun is of no use elsewhere, so a report callback is applied here and its text kept.
printable({report, Report}, #{report_cb := Callback} = Meta, #{text_chars := Chars}) ->
    Plain = maps:remove(report_cb, Meta),
    case Chars > 0 andalso text(Callback, Report, Chars) of
        Text when is_binary(Text) -> Plain#{'$text' => Text};
        _ -> Plain
    end;
printable(_, Meta, _) ->
    maps:remove(report_cb, Meta).

text(Callback, Report, Chars) ->
    case put(?FORMATTING, true) of
        undefined ->
            try
                format(Callback, Report, Chars)
            catch
                _:_ -> none
            after
                erase(?FORMATTING)
            end;
        _ ->
            none
    end.

format(Callback, Report, Chars) when is_function(Callback, 1) ->
    {Format, Args} = Callback(Report),
    limited(io_lib:format(Format, Args, [{chars_limit, Chars}]), Chars);
format(Callback, Report, Chars) when is_function(Callback, 2) ->
    Config = #{depth => ?TEXT_DEPTH, chars_limit => Chars, single_line => false},
    limited(Callback(Report, Config), Chars).

%% chars_limit is a wish that callbacks may ignore.
limited(CharData, Chars) ->
    case unicode:characters_to_binary(CharData) of
        Text when byte_size(Text) =< 4 * Chars ->
            Text;
        Text when is_binary(Text) ->
            Size = 4 * Chars,
            <<Beginning:Size/binary, _/binary>> = Text,
            whole_characters(unicode:characters_to_binary(Beginning));
        _ ->
            none
    end.

whole_characters({_, Whole, _}) -> Whole;
whole_characters(Whole) -> Whole.

%% Events in error_logger's shape ------------------------------------------------------------------

%% Exactly those that OTP's own handler `error_logger' passes on to the error_logger manager.
is_for_error_logger({report, _}, #{error_logger := #{tag := _}}) -> true;
is_for_error_logger({F, A}, #{error_logger := #{tag := _}}) when is_list(F), is_list(A) -> true;
is_for_error_logger(_, _) -> false.

%% Whether OTP's handler, as it is configured on this host now, takes the event: its level and its
%% filters, applied as logger_backend does. A host may have narrowed it for its own purposes, or
%% removed it. This is the look-up that logger itself makes for each event and handler (0.5 us; the
%% documented logger:get_handler_config/1 takes four times as long).
error_logger_takes(#{level := Level} = Event) ->
    try logger_config:get(logger, error_logger, Level) of
        {ok, #{module := error_logger} = Config} ->
            case filtered(maps:get(filters, Config, []), Event, ignore) of
                ignore -> maps:get(filter_default, Config, log) =:= log;
                stop -> false;
                #{msg := Msg, meta := Meta} -> is_for_error_logger(Msg, Meta)
            end;
        _ ->
            false
    catch
        error:_ -> true
    end.

filtered([{_, {Filter, Extra}} | Filters], Event, Found) ->
    %% logger removes a filter that fails, and goes on as if it had answered `ignore'.
    try Filter(Event, Extra) of
        stop -> stop;
        #{level := _, msg := _, meta := _} = Changed -> filtered(Filters, Changed, Changed);
        _ -> filtered(Filters, Event, Found)
    catch
        _:_ -> filtered(Filters, Event, Found)
    end;
filtered([], _, Found) ->
    Found.

error_logger_event(Level, Msg, #{error_logger := #{tag := Tag} = Mine, gl := GroupLeader} = Meta) ->
    {First, Second} = error_logger_body(Msg, Mine, Meta),
    {MappedTag, MappedFirst} = warning_mapped(Level, Tag, First),
    Pid =
        case Mine of
            #{emulator := true} -> emulator;
            _ -> maps:get(pid, Meta)
        end,
    {MappedTag, GroupLeader, {Pid, MappedFirst, Second}}.

error_logger_body({report, Report}, #{type := Type}, _) ->
    case Report of
        #{label := _, report := Inner} -> {Type, Inner};
        _ -> {Type, Report}
    end;
error_logger_body({report, #{label := _, format := Format, args := Args}}, _, _) ->
    {Format, Args};
error_logger_body({report, Report}, Mine, Meta) ->
    Callback = maps:get(report_cb, Mine, maps:get(report_cb, Meta, fun logger:format_report/1)),
    as_format(Callback, Report);
error_logger_body({Format, Args}, _, _) ->
    {Format, Args}.

as_format(Callback, Report) when is_function(Callback, 1) ->
    try Callback(Report) of
        {Format, Args} when is_list(Format), is_list(Args) -> {Format, Args};
        Other -> {"REPORT_CB ERROR: ~tp; Returned: ~tp", [Report, Other]}
    catch
        Class:Reason -> {"REPORT_CB CRASH: ~tp; Reason: ~tp", [Report, {Class, Reason}]}
    end;
as_format(Callback, Report) ->
    case text(Callback, Report, ?DEFAULT_TEXT_CHARS) of
        none -> {"~tp", [Report]};
        Text -> {"~ts", [Text]}
    end.

%% The emulator flag +W makes warnings errors or infos for error_logger's handlers.
warning_mapped(warning, Tag, First) ->
    case error_logger:warning_map() of
        warning -> {Tag, First};
        error -> {as_error(Tag), as_error(First)};
        info -> {as_info(Tag), as_info(First)}
    end;
warning_mapped(_, Tag, First) ->
    {Tag, First}.

as_error(warning_msg) -> error;
as_error(warning_report) -> error_report;
as_error(std_warning) -> std_error;
as_error(Other) -> Other.

as_info(warning_msg) -> info_msg;
as_info(warning_report) -> info_report;
as_info(std_warning) -> std_info;
as_info(Other) -> Other.
