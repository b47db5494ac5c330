//! What OTP's `disk_log` makes of our files, and who may read them.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::harness::{LogMachine, World, has_erlang, wait_for};

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

/// Every path below `dir` with its permissions.
fn modes(dir: &Path, found: &mut Vec<(String, u32)>) {
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        // A draft may have got its name meanwhile.
        let Ok(meta) = entry.metadata() else { continue };
        found.push((entry.path().display().to_string(), meta.permissions().mode() & 0o777));
        if meta.is_dir() {
            modes(&entry.path(), found);
        }
    }
}

/// Segments, indexes, archives, a cursor and what surrounds them are made by a program whose umask takes nothing
/// away, then by one whose umask takes everything from the group too; a directory was there before.
#[test]
fn what_we_make_is_closed_to_others_and_what_was_there_is_left_alone() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let config = "[instance_defaults]\nsegment_bytes = \"64KiB\"\narchive_after = \"100ms\"\narchive_period = \"100ms\"\n";
    std::fs::write(world.path("c.toml"), config).unwrap();
    let cookie = world.cookie();
    let mut a = world.erl("a");
    for (umask, dir_mode, file_mode) in [("0000", 0o750, 0o640), ("0077", 0o700, 0o600)] {
        let data = world.path(&format!("data{umask}"));
        let before = data.join("error_logger");
        std::fs::create_dir_all(&before).unwrap();
        for dir in [&data, &before] {
            std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o777)).unwrap();
        }
        let mut command = world.command_after(&format!("umask {umask}"), "run");
        command.args(["--name", "logmachine@127.0.0.1", "--setcookie", &cookie, "-v"]);
        command.args(["--connect", "a@127.0.0.1", "--config", "c.toml"]);
        command.args(["--instance", "error_logger", "--instance", "quotes"]);
        command.arg("--data-dir").arg(&data);
        let program = LogMachine::start_as(&world, command);
        a.wait_for_name(NAME);
        a.wait_for_name("{quotes, 0}");
        a.eval(&format!("R = {{global, {NAME}}}, [{{ok, _}} = gen_server:call(R, {{append, binary:copy(<<N>>, 40000)}}) || N <- lists:seq(1, 9)]"));
        a.eval("(fun() -> {ok, S} = gen_server:call(R, {subscribe, #{cursor => <<\"audit\">>, from => earliest, pid => self()}}),
                receive {error_logger, {Ts, _}} -> S ! {ack, Ts}, gen_server:stop(S) end end)()");
        let found = wait_for("an archive and a cursor", || {
            let mut found = Vec::new();
            modes(&data, &mut found);
            let has = |text: &str| found.iter().any(|(path, _)| path.contains(text));
            (has(".zip") && has("cursors/")).then_some(found)
        });
        assert_eq!(program.stop(), Some(0));
        for (path, mode) in found {
            let due = match Path::new(&path) {
                path if path == before => 0o777,
                path if path.is_dir() => dir_mode,
                _ => file_mode,
            };
            assert_eq!(mode, due, "{path} has mode {mode:o} under umask {umask}");
        }
    }
}
