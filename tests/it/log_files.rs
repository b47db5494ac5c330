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
        [case T of <<_:70000/binary>> -> {{ok, _}} = gen_server:call(R, {{append, T}}); _ -> gen_server:cast(R, T) end || T <- Sent], {{ok, _}} = gen_server:call(R, {{append, last}})"));
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
