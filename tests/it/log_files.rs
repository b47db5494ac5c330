//! What OTP's `disk_log` makes of our files.

use crate::harness::{World, has_erlang, wait_for};

const NAME: &str = "{error_logger, 0}";

/// Rotation by size while terms of many kinds come in; every rotated segment is read by `disk_log` without repair,
/// and all of them together hold what was sent.
#[test]
fn rotated_segments_are_read_by_disk_log_term_for_term() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    std::fs::write(world.path("c.toml"), "[instance_defaults]\nsegment_bytes = \"300KiB\"\n")
        .unwrap();
    let data = world.path("data").display().to_string();
    let mut a = world.erl("a");
    let flags = ["--connect", "a@127.0.0.1", "--config", "c.toml", "--data-dir", &data];
    let program = world.logmachine(&flags);
    a.wait_for_name(NAME);
    a.eval(
        "Kinds = fun(N) -> [N, -N, N bsl 70, N / 3, atom, 'stränge ätom', {}, [], [N | N], \"string\", <<N:13>>,
            #{n => N}, self(), make_ref(), fun lists:map/2, fun(X) -> X + N end, binary:copy(<<N>>, 70000)] end",
    );
    a.eval(&format!("R = global:whereis_name({NAME}), Sent = [T || N <- lists:seq(1, 20), T <- Kinds(N)],
        [{{ok, _}} = gen_server:call(R, {{append, T}}) || T <- Sent], {{ok, _}} = gen_server:call(R, {{append, last}})"));
    let segments = || {
        let files =
            std::fs::read_dir(world.path("data/error_logger")).expect("the directory is there");
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> =
            names.filter(|name| name.starts_with("error_logger_") && name.ends_with('Z')).collect();
        names.sort();
        names
    };
    wait_for("two rotations", || (segments().len() >= 2).then_some(()));
    assert_eq!(program.stop(), Some(0));
    let mut files: Vec<_> =
        segments().iter().map(|name| format!("{data}/error_logger/{name}")).collect();
    files.push(format!("{data}/error_logger/error_logger"));
    let list = format!("{files:?}");
    a.eval(&format!("Files = {list}"));
    let read = "Chunks = fun Chunks(L, C, Acc) -> case disk_log:chunk(L, C) of
            eof -> lists:append(lists:reverse(Acc)); {Next, Terms} -> Chunks(L, Next, [Terms | Acc]) end end,
        Opened = [begin {ok, L} = disk_log:open([{name, F}, {file, F}, {mode, read_only}, {repair, false}]),
            Ts = Chunks(L, start, []), disk_log:close(L), Ts end || F <- Files],
        Read = [E || {{_, _, _}, E} <- lists:append(Opened)],
        {Read =:= Sent ++ [last], [length(O) > 0 || O <- Opened] =:= [true || _ <- Files]}";
    assert_eq!(a.eval(read), "{true,true}");
}

/// Rotation by age.
#[test]
fn a_segment_is_rotated_when_it_is_old() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    std::fs::write(world.path("c.toml"), "[instance_defaults]\nreopen_period = \"300ms\"\n")
        .unwrap();
    let mut a = world.erl("a");
    let _program = world.logmachine(&["--connect", "a@127.0.0.1", "--config", "c.toml"]);
    a.wait_for_name(NAME);
    a.eval(&format!("gen_server:call({{global, {NAME}}}, {{append, x}})"));
    a.wait_until(&format!("gen_server:call({{global, {NAME}}}, {{info, segments}}) > 1"), "true");
}

/// Segments become archives that are still read, by us and by OTP's `zip` and `disk_log`.
#[test]
fn archived_segments_stay_readable_here_and_in_erlang() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let config = "[instance_defaults]\nsegment_bytes = \"20KiB\"\narchive_after = \"100ms\"\narchive_period = \"100ms\"\nevict_after = \"50ms\"\nevict_period = \"50ms\"\n";
    std::fs::write(world.path("c.toml"), config).unwrap();
    let data = world.path("data").display().to_string();
    let mut a = world.erl("a");
    a.load("lm_collect");
    let program =
        world.logmachine(&["--connect", "a@127.0.0.1", "--config", "c.toml", "--data-dir", &data]);
    a.wait_for_name(NAME);
    a.eval(&format!("R = global:whereis_name({NAME}), [{{ok, _}} = gen_server:call(R, {{append, {{N, binary:copy(<<N>>, 1000)}}}}) || N <- lists:seq(1, 100)], ok"));
    let archives = || {
        let files = std::fs::read_dir(world.path("data/error_logger/archive")).expect("it is made");
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(".zip")).collect::<Vec<_>>()
    };
    wait_for("four archives", || (archives().len() >= 4).then_some(()));
    assert_eq!(
        a.eval("[N || {_, {N, _}} <- lm_collect:take(earliest, [])] =:= lists:seq(1, 100)"),
        "true"
    );
    let mut names = archives();
    names.sort();
    let unzip = format!(
        "(fun() -> {{ok, [{{Name, Bytes}}]}} = zip:unzip(\"{data}/error_logger/archive/{}\", [memory]),
            ok = file:write_file(\"unzipped\", Bytes),
            {{ok, L}} = disk_log:open([{{name, x}}, {{file, \"unzipped\"}}, {{mode, read_only}}, {{repair, false}}]),
            {{_, [{{_, {{First, _}}}} | _]}} = disk_log:chunk(L, start), disk_log:close(L),
            {{First, filename:basename(Name) ++ \".zip\" =:= \"{}\"}} end)()",
        names[0], names[0]
    );
    assert_eq!(a.eval(&unzip), "{1,true}");
    assert_eq!(program.stop(), Some(0));
}

/// What is too old is deleted, never the live segment; who asks to be told is told.
#[test]
fn deleted_history_is_stepped_over_unless_asked_to_be_told() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let config = "[instance_defaults]\nsegment_bytes = \"20KiB\"\nmax_bytes = \"60KiB\"\narchive_period = \"100ms\"\n";
    std::fs::write(world.path("c.toml"), config).unwrap();
    let mut a = world.erl("a");
    a.load("lm_collect");
    let _program = world.logmachine(&["--connect", "a@127.0.0.1", "--config", "c.toml"]);
    a.wait_for_name(NAME);
    a.eval(&format!("R = global:whereis_name({NAME}), [{{ok, _}} = gen_server:call(R, {{append, {{N, binary:copy(<<N>>, 1000)}}}}) || N <- lists:seq(1, 200)], ok"));
    a.wait_until("gen_server:call(R, {info, bytes}) < 100000", "true");
    a.eval("[{Oldest, _} | _] = Kept = lm_collect:take(earliest, []), length(Kept)");
    let kept = "Numbers = [N || {_, {N, _}} <- Kept], Numbers =:= lists:seq(hd(Numbers), 200) andalso hd(Numbers) > 1";
    assert_eq!(a.eval(kept), "true");
    let strict = "gen_server:call(R, {read, {1, 0, 0}, #{strict => true}})";
    assert_eq!(a.eval(&format!("{{error, {{deleted, At}}}} = {strict}, At >= Oldest")), "true");
    assert_eq!(a.eval("element(1, gen_server:call(R, {read, Oldest, #{}}))"), "ok");
}
