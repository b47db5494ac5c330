//! Segments and OTP's own `disk_log`: each reads what the other wrote, term for term.

use std::path::Path;
use std::process::Command;

use super::*;
use crate::etf;

/// Runs Erlang code and gives what it prints; `None`, with a line that says so, where there is no `erl`.
pub(super) fn erl(dir: &Path, code: &str) -> Option<String> {
    let output = Command::new("erl")
        .args(["-noshell", "-noinput", "-boot", "start_clean", "-eval", code, "-s", "init", "stop"])
        .current_dir(dir)
        .env("HOME", dir)
        .output();
    match output {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
            Some(text)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut stderr = io::stderr();
            io::Write::write_all(&mut stderr, b"skipped: no erl on this machine\n")
                .expect("writes");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Reads a log file with `disk_log` alone and prints one digest over all its terms in order.
const READ: &str = "
    Read = fun(File) ->
        {ok, L} = disk_log:open([{name, File}, {file, File}, {mode, read_only}]),
        F = fun(F, C0, Acc) ->
            case disk_log:chunk(L, C0) of
                eof -> lists:append(lists:reverse(Acc));
                {C, Ts} -> F(F, C, [Ts | Acc])
            end
        end,
        Ts = F(F, start, []),
        ok = disk_log:close(L),
        {length(Ts), erlang:md5([term_to_binary(T) || T <- Ts])}
    end,";

/// The same digest of what a cursor gives.
fn digest(log: &Log) -> String {
    let mut context = md5::Context::new();
    let (mut count, mut cursor) = (0, log.cursor(MIN));
    while let Some(chunk) = cursor.next(1 << 16).expect("reads") {
        for entry in chunk.entries() {
            assert!(etf::walk(entry.entry).is_ok_and(|walked| walked.len == entry.entry.len()));
            context.consume([etf::tag::VERSION]);
            context.consume(entry.entry);
            count += 1;
        }
    }
    format!("{{{count},<<{}>>}}", context.finalize().0.map(|byte| byte.to_string()).join(","))
}

#[test]
fn a_rotated_segment_is_read_by_disk_log_term_for_term() {
    let dir = tempfile::tempdir().expect("makes a directory");
    let opened = super::super::open(config(dir.path()), Arc::new(RealStorage), clock());
    let (mut writer, log) = opened.expect("opens");
    let mut whole = Batch::new();
    let sizes =
        [0, 1, 100, 65_400, 65_470, 65_480, 65_484, 65_485, 65_486, 65_490, 65_528, 300_000];
    for (stamp, bytes) in (1_700_000_000_000_000..).zip(sizes.iter().cycle().take(100)) {
        whole.push(at(stamp), &event(stamp, *bytes));
    }
    writer.append(whole).expect("appends");
    writer.append(batch(1_700_000_300_000_200..1_700_000_300_010_200, 30)).expect("appends");
    writer.rotate_at(at(1_700_000_400_000_000)).expect("rotates");
    let expected = digest(&log);
    writer.append(batch([1_800_000_000_000_000], 30)).expect("appends");
    writer.close().expect("closes");
    let name = "quotes_2023-11-14_22-20-00.000Z";
    let code =
        format!("{READ} io:format(\"~w ~w\", [Read(\"{name}\"), element(1, Read(\"quotes\"))]).");
    let Some(read) = erl(dir.path(), &code) else { return };
    assert_eq!(read, format!("{expected} 1"));
}

#[test]
fn a_directory_written_by_disk_log_is_read_and_grows() {
    let dir = tempfile::tempdir().expect("makes a directory");
    // Two rotated files by reopen, as the original made them, and a live one whose writer died.
    let write = format!(
        "{READ}
        {{ok, q}} = disk_log:open([{{name, q}}, {{file, \"quotes\"}}]),
        Kinds = [atom, 'odd atom', \"string\", [1, 2 | 3], {{}}, #{{a => 1.5, b => [#{{}}]}}, <<1, 2, 3:3>>,
            1 bsl 100, -(1 bsl 2000), self(), make_ref(), fun lists:map/2, fun(X) -> X end, [],
            <<0:(65000 * 8)>>, <<1:(65490 * 8)>>, <<2:(70000 * 8)>>, lists:seq(1, 50000), 255, 256, -1],
        Log = fun(N) -> [disk_log:log(q, {{{{1700, 5, I + N}}, K}}) || {{I, K}} <- lists:enumerate(Kinds)] end,
        Log(0), Log(100),
        ok = disk_log:reopen(q, \"quotes_2023-11-14_22-13-25.000Z\"),
        Log(200), [disk_log:log(q, {{{{1700, 6, I}}, {{event, I}}}}) || I <- lists:seq(0, 20000)],
        ok = disk_log:reopen(q, \"quotes_2023-11-14_22-13-26.500Z\"),
        Log(300000), ok = disk_log:sync(q),
        {{ok, _}} = file:copy(\"quotes\", \"open\"),
        All = [Read(\"quotes_2023-11-14_22-13-25.000Z\"), Read(\"quotes_2023-11-14_22-13-26.500Z\")],
        disk_log:close(q),
        ok = file:rename(\"open\", \"quotes\"),
        io:format(\"~w\", [lists:sum([C || {{C, _}} <- All]) + length(Kinds)])."
    );
    let enumerate = "lists:enumerate(Kinds)";
    let write = write.replace(enumerate, "lists:zip(lists:seq(1, length(Kinds)), Kinds)");
    let Some(count) = erl(dir.path(), &write) else { return };
    let opened = super::super::open(config(dir.path()), Arc::new(RealStorage), Clock::system());
    let (mut writer, log) = opened.expect("opens");
    assert_eq!(log.stats().events.to_string(), count);
    assert_eq!((log.stats().damaged, log.stats().torn_bytes), (0, 0));
    let last = log.committed().last.expect("has entries");
    writer.append(batch([last.micros() + 1], 5)).expect("appends");
    let ours = digest(&log);
    writer.rotate_at(last).expect("rotates");
    writer.close().expect("closes");
    // All of it, the file that both wrote to among them, in one digest by disk_log.
    let code = "
        Files = lists:sort(filelib:wildcard(\"quotes_*Z\")),
        Terms = fun(File) ->
            {ok, L} = disk_log:open([{name, File}, {file, File}, {mode, read_only}]),
            F = fun(F, C0) -> case disk_log:chunk(L, C0) of eof -> []; {C, Ts} -> Ts ++ F(F, C) end end,
            F(F, start)
        end,
        All = lists:flatmap(Terms, Files),
        io:format(\"~w\", [{length(All), erlang:md5([term_to_binary(T) || T <- All])}]).";
    assert_eq!(erl(dir.path(), code).expect("ran before"), ours);
}

#[test]
fn an_archive_is_unpacked_by_erlang_and_read_by_disk_log() {
    let dir = tempfile::tempdir().expect("makes a directory");
    let mut archiving = config(dir.path());
    archiving.archive_after = Some(Duration::ZERO);
    let opened = open_with(archiving, Arc::new(RealStorage), clock(), Keeper::Inline);
    let (mut writer, log) = opened.expect("opens");
    writer.append(batch(1_700_000_000_000_000..1_700_000_000_050_000, 30)).expect("appends");
    writer.rotate_at(at(1_700_000_400_000_000)).expect("rotates");
    writer.maintain_at(at(1_700_000_500_000_000)).expect("maintains");
    assert_eq!((log.stats().archives, log.stats().segments), (1, 1));
    let name = "quotes_2023-11-14_22-20-00.000Z";
    let code = format!(
        "{READ}
        {{ok, [Name]}} = zip:unzip(\"archive/{name}.zip\"),
        \"{name}\" = filename:basename(Name),
        io:format(\"~w\", [Read(\"{name}\")])."
    );
    let Some(read) = erl(dir.path(), &code) else { return };
    assert_eq!(read, digest(&log));
}

/// Leaves a directory behind as the original did: an archive by `zip:create`, one that was moved and not
/// packed, rotated files of which some are empty, and a live file whose node was killed.
#[test]
fn a_directory_of_the_original_opens_in_place_and_grows() {
    let dir = tempfile::tempdir().expect("makes a directory");
    let code = "
        ok = filelib:ensure_dir(\"archive/x\"),
        {ok, q} = disk_log:open([{name, q}, {file, \"quotes.log\"}]),
        Log = fun(S) -> [disk_log:alog(q, {{1700, S, I}, {event, S, I}}) || I <- lists:seq(1, 500)] end,
        Names = [\"quotes_2023-11-14_22-13-\" ++ integer_to_list(S) ++ \".000Z\" || S <- lists:seq(20, 25)],
        lists:foldl(fun(Name, S) ->
            S =:= 3 orelse Log(S), ok = disk_log:sync(q), ok = disk_log:reopen(q, Name), S + 1
        end, 0, Names),
        [First, Second | _] = Names,
        ok = file:rename(First, \"archive/\" ++ First),
        {ok, _} = zip:create(\"archive/\" ++ First ++ \".zip\", [First], [{cwd, \"archive\"}]),
        ok = file:delete(\"archive/\" ++ First),
        ok = file:rename(Second, \"archive/\" ++ Second),
        Log(6), ok = disk_log:sync(q),
        {ok, _} = file:copy(\"quotes.log\", \"open\"), disk_log:close(q),
        ok = file:rename(\"open\", \"quotes.log\"),
        {ok, F} = file:open(\"quotes.log\", [append]), file:write(F, <<0, 0, 0, 33, 98, 87>>), file:close(F),
        io:format(\"done\").";
    if erl(dir.path(), code).is_none() {
        return;
    }
    let mut archiving = config(dir.path());
    archiving.archive_after = Some(Duration::from_secs(1));
    let opened = open_with(archiving, Arc::new(RealStorage), Clock::system(), Keeper::Inline);
    let (mut writer, log) = opened.expect("opens");
    assert_eq!(log.stats().events, 3000);
    assert_eq!((log.stats().archives, log.stats().damaged), (1, 1), "the torn tail is named");
    let seconds = |log: &Log| {
        let mut seconds = Vec::new();
        let mut cursor = log.cursor(MIN);
        while let Some(chunk) = cursor.next(1 << 16).expect("reads") {
            seconds.extend(chunk.entries().map(|entry| entry.timestamp.parts().1));
        }
        seconds.dedup();
        seconds
    };
    assert_eq!(seconds(&log), [0, 1, 2, 4, 5, 6]);
    writer.append(batch([1_700_000_007_000_000], 5)).expect("appends");
    writer.maintain().expect("maintains");
    assert_eq!((log.stats().archives, log.stats().segments), (7, 1));
    assert_eq!(seconds(&log), [0, 1, 2, 4, 5, 6, 7]);
    let last = log.cursor(at(1_700_000_006_000_499)).next(1).expect("reads").expect("has entries");
    assert_eq!(last.first(), at(1_700_000_006_000_499));
}
