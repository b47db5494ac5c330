//! Handlers on other nodes: what they catch, that there is one of each, that they come back.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use rustix::process::{Signal, kill_process};

use crate::harness::{Erl, LogMachine, World, has_erlang};
use crate::releases::releases;

const ONE_OF_EACH: &str = "{1,1}";

/// A node `NAME@127.0.0.1` with the module that the tests use.
fn host(world: &World, erl: &std::path::Path, name: &str) -> Erl {
    let mut node = Erl::start(world, erl, &["-name", &format!("{name}@127.0.0.1")]);
    node.load("lm_capture");
    node
}

fn erl(world: &World, name: &str) -> Erl {
    host(world, &PathBuf::from("erl"), name)
}

fn connect() -> [&'static str; 4] {
    ["--connect", "a@127.0.0.1", "--connect", "b@127.0.0.1"]
}

fn wait_installed(node: &mut Erl) {
    node.wait_until("lm_capture:installed()", "true");
}

/// What `lm_capture:emit()` leaves in the log, however it was captured.
const ONE_OF_EVERYTHING: &str = "[{crash_report,3},{emulator,1},{error_msg,1},{error_report,2},\
    {error_report_type,1},{info_msg,1},{info_report,1},{server,2},{supervisor_report,1},\
    {warning_msg,1},{warning_report,1},{{alarm,clear},1},{{alarm,set},1},\
    {{log,error,string},1},{{log,error,with_line},1},{{log,error,<<\"lm eleven\">>},1},\
    {{log,notice,report},1},{{log,warning,string},1}]";

/// Every release at once, each of them logging one of everything; the last one logged of each kind shows that
/// all before it, and every copy of them, would be there. `left` is what has to be gone in the end.
fn every_release_reports_everything_once(flags: &[&str], handlers: &str, left: &str) {
    let world = World::with_epmd();
    std::fs::write(
        world.path("logger.toml"),
        "[[instance]]\nname = \"error_logger\"\nlocate_em = \"error_logger\"\ncapture = \"logger\"\n",
    )
    .unwrap();
    let program = world.logmachine(flags);
    let (world, found) = (&world, releases());
    let mut nodes: Vec<_> = std::thread::scope(|scope| {
        let start = |(release, erl): &(&'static str, PathBuf)| {
            let (release, erl) = (*release, erl.clone());
            scope.spawn(move || (release, host(world, &erl, &format!("n{release}"))))
        };
        let started: Vec<_> = found.iter().map(start).collect();
        started.into_iter().map(|node| node.join().expect("it starts")).collect()
    });
    for (release, node) in &mut nodes {
        assert_eq!(node.eval("erlang:system_info(otp_release)"), format!("{release:?}"));
        node.eval("application:start(sasl)");
        node.wait_until("lm_capture:handlers()", handlers);
        node.begin("lm_capture:emit()");
    }
    for (release, node) in &mut nodes {
        assert_eq!(node.value(), "ok", "OTP {release}");
        node.wait_until("lm_capture:kinds()", ONE_OF_EVERYTHING);
        println!("OTP {release}: fine");
    }
    assert_eq!(program.stop(), Some(0));
    for (release, node) in &mut nodes {
        node.wait_until(left, "{0,0}");
        println!("OTP {release}: left as it was found");
    }
}

#[test]
fn every_release_is_captured_with_everything_it_reports_once() {
    if has_erlang() {
        let installed = "[{error_logger,installed},{logger,installed}]";
        let flags = ["--connect", "local"];
        every_release_reports_everything_once(&flags, installed, "lm_capture:count()");
    }
}

#[test]
fn logger_alone_captures_the_same_in_the_same_shapes() {
    if has_erlang() {
        let flags = ["--connect", "local", "--config", "logger.toml"];
        let left = "{lm_capture:logging(), length([P || P <- [whereis(error_logger)], is_pid(P)])}";
        every_release_reports_everything_once(&flags, "[{logger,installed}]", left);
    }
}

/// One node is there before us, one comes later, one restarts; then we are killed and come back.
#[test]
fn nodes_and_we_come_and_go_and_capture_is_always_back() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let mut a = erl(&world, "a");
    let flags = connect();
    let program = world.logmachine(&flags);
    wait_installed(&mut a);
    let mut b = erl(&world, "b");
    wait_installed(&mut b);
    a.eval("error_logger:error_report([{lm, 1}])");
    b.eval("logger:error(#{lm => 2})");
    let tags = "lm_capture:tags('.error_logger.receiver.srv')";
    a.wait_until(tags, "[1,2]");
    a.kill();
    let mut a = erl(&world, "a");
    wait_installed(&mut a);
    a.eval("error_logger:error_report([{lm, 3}])");
    a.wait_until(tags, "[1,2,3]");
    program.kill();
    // The host goes on, with nobody listening, at full speed.
    b.eval("error_logger:error_report([{lm, unseen}]), logger:remove_handler(default)");
    assert_eq!(b.eval("lm_capture:storm(1, 20000) < 10000"), "true");
    let program = world.logmachine(&flags);
    let ready = Instant::now();
    for node in [&mut a, &mut b] {
        wait_installed(node);
        assert_eq!(node.eval("lm_capture:count()"), ONE_OF_EACH);
    }
    println!("captured again {:?} after the ready line", ready.elapsed());
    a.eval("error_logger:error_report([{lm, 4}])");
    b.eval("logger:error(#{lm => 5})");
    b.wait_until(&format!("{tags} -- lists:seq(6, 20000)"), "[1,2,3,4,5]");
    // The handler that stayed in logger reports what it could not send.
    b.wait_until("[R || #{reason := R, count := 20000} <- lm_capture:dropped()]", "[down]");
    assert_eq!(program.stop(), Some(0));
    b.wait_until("lm_capture:count()", "{0,0}");
}

/// Through both handlers. In a later life with another level the handler that stayed in `logger` gets it too.
#[test]
fn logger_level_decides_what_is_captured_by_whichever_handler() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let configure = |level: Option<&str>| {
        let instance = "[[instance]]\nname = \"error_logger\"\n";
        let level = level.map(|level| format!("logger_level = {level:?}\n")).unwrap_or_default();
        std::fs::write(world.path("c.toml"), format!("{instance}{level}")).unwrap();
    };
    let tags = "lm_capture:tags('.error_logger.receiver.srv')";
    for (release, path) in releases() {
        let mut a = host(&world, &path, &format!("n{release}"));
        let data = world.path(release).display().to_string();
        let flags = ["--config", "c.toml", "--connect", "local", "--data-dir", &data];
        a.eval("logger:set_primary_config(level, all)");
        let mut seen: Vec<String> = Vec::new();
        let log = |a: &mut Erl, tags: [u32; 8]| {
            let [debug, info, notice, warning, error, progress, report, warned] = tags;
            a.eval(&format!("logger:debug(#{{lm => {debug}}}), logger:info(#{{lm => {info}}})"));
            a.eval(&format!("error_logger:warning_report([{{lm, {warned}}}])"));
            a.eval(&format!("error_logger:info_report([{{lm, {report}}}])"));
            // As a supervisor does.
            a.eval(&format!("logger:info(#{{label => {{supervisor, progress}}, report => [{{lm, {progress}}}]}}, #{{error_logger => #{{tag => info_report, type => progress}}}})"));
            a.eval(&format!(
                "logger:notice(#{{lm => {notice}}}), logger:warning(#{{lm => {warning}}})"
            ));
            a.eval(&format!(
                "error_logger:error_report([{{lm, {error}}}]), logger:error(#{{lm => {error}}})"
            ));
        };
        let mut life = |a: &mut Erl, level: Option<&str>, first: u32, expected: &[u32]| {
            configure(level);
            let program = world.logmachine(&flags);
            wait_installed(a);
            log(a, std::array::from_fn(|n| first + u32::try_from(n).unwrap()));
            seen.extend(expected.iter().map(|n| (first + n).to_string()));
            a.wait_until(tags, &format!("[{}]", seen.join(",")));
            program.kill();
            a.wait_until("nodes(hidden)", "[]");
        };
        // The error, 4, comes through each.
        life(&mut a, Some("error"), 10, &[4, 4]);
        life(&mut a, Some("warning"), 20, &[3, 4, 4, 7]);
        life(&mut a, None, 30, &[2, 3, 4, 4, 6, 7]);
        life(&mut a, Some("info"), 40, &[1, 2, 3, 4, 4, 5, 6, 7]);
        life(&mut a, Some("all"), 50, &[0, 1, 2, 3, 4, 4, 5, 6, 7]);
    }
}

/// A filter of the configuration runs on the node that logs.
#[test]
fn logger_filters_keep_out_what_they_stop() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let config = "[[instance]]\nname = \"error_logger\"\nlocate_em = \"error_logger\"\n\
        logger_filters = \"[{quiet, {fun logger_filters:domain/2, {stop, sub, [noisy]}}}]\"\n";
    std::fs::write(world.path("c.toml"), config).unwrap();
    for (release, path) in releases() {
        let mut a = host(&world, &path, &format!("n{release}"));
        let data = world.path(release).display().to_string();
        let flags = ["--config", "c.toml", "--connect", "local", "--data-dir", &data];
        let _program = world.logmachine(&flags);
        wait_installed(&mut a);
        a.eval("logger:error(#{lm => 1}), logger:error(#{lm => 2}, #{domain => [noisy, x]}), logger:error(#{lm => 3})");
        a.wait_until("lm_capture:tags('.error_logger.receiver.srv')", "[1,3]");
    }
}

/// Two of us in one cluster; then one leaves.
#[test]
fn two_of_us_capture_everything_each_and_do_not_disturb_one_another() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let first = world.logmachine(&["--data-dir", "first"]);
    let cookie = world.cookie();
    let flags = ["--name", "second@127.0.0.1", "--setcookie", &cookie, "--data-dir", "second"];
    let _second = LogMachine::start(&world, &flags);
    let mut a = erl(&world, "a");
    // Both begin at the same moment.
    a.eval("[spawn(net_adm, ping, [N]) || N <- ['logmachine@127.0.0.1', 'second@127.0.0.1']]");
    a.wait_until("lm_capture:count()", "{2,2}");
    wait_installed(&mut a);
    a.wait_until("[S || {_, _, S} <- gen_server:call({'.error_logger.receiver.srv', 'second@127.0.0.1'}, {info, handlers})]", "[installed,installed]");
    a.eval("error_logger:error_report([{lm, 1}]), logger:error(#{lm => 2})");
    a.wait_until("lm_capture:tags('.error_logger.receiver.srv')", "[1,2]");
    // OTP lets two that add it at the same time add it twice.
    assert_eq!(
        a.eval("[I || I <- logger:get_handler_ids(), I =:= error_logger]"),
        "[error_logger]"
    );
    assert_eq!(first.stop(), Some(0));
    a.wait_until("lm_capture:count()", ONE_OF_EACH);
    a.eval("error_logger:error_report([{lm, 3}]), logger:error(#{lm => 4})");
    let seen = "[E || {_, E} <- element(2, gen_server:call({'.error_logger.receiver.srv', 'second@127.0.0.1'}, {read, earliest, #{}}))]";
    let tags = format!(
        "lists:sort([N || {{error_report, _, {{_, _, [{{lm, N}}]}}}} <- {seen}] ++ [N || {{log, _, _, {{report, #{{lm := N}}}}, _}} <- {seen}])"
    );
    a.wait_until(&tags, "[1,2,3,4]");
}

/// Managers of an application, registered on the node and with `global`; OTP's alarm handler; a user's own
/// handler module; two instances at one manager; none of them there when we start.
#[test]
fn any_event_manager_is_found_when_it_starts() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let mut a = erl(&world, "a");
    let instance = |name: &str, em: &str, more: &str| {
        format!("[[instance]]\nname = \"{name}\"\nlocate_em = \"{em}\"\n{more}")
    };
    let config = [
        instance("bus", "{local, lm_bus}", ""),
        instance("again", "{global, lm_bus, {inc, ['a@*']}}", ""),
        instance("mine", "{local, lm_bus}", "handler = \"lm_capture\"\n"),
        instance("other", "{global, lm_bus, {exc, ['a@*']}}", ""),
        instance("wide", "{global, lm_wide}", ""),
        instance("alarms", "alarm_handler", "capture = \"gen_event\"\n"),
    ];
    std::fs::write(world.path("c.toml"), config.concat()).unwrap();
    let _program = world.logmachine(&["--config", "c.toml", "--connect", "a@127.0.0.1"]);
    let state = |name: &str| {
        format!(
            "[element(1, S) || {{_, _, S}} <- gen_server:call({{'.{name}.receiver.srv', 'logmachine@127.0.0.1'}}, {{info, handlers}}), is_tuple(S)]"
        )
    };
    a.wait_until(&state("wide"), "[waiting]");
    a.eval("gen_event:start({local, lm_bus}), gen_event:start({global, lm_wide}), application:start(sasl)");
    a.wait_until(
        "lists:sort(gen_event:which_handlers(lm_bus))",
        "[{lm_capture,'logmachine@127.0.0.1'},{logmachine_forwarder,'logmachine@127.0.0.1'},{logmachine_forwarder,{'logmachine@127.0.0.1',again}}]",
    );
    a.wait_until("length(gen_event:which_handlers({global, lm_wide}))", "1");
    a.wait_until("length(gen_event:which_handlers(alarm_handler))", "2");
    a.eval("gen_event:notify(lm_bus, {lm, 1}), gen_event:notify({global, lm_wide}, {lm, 2}), alarm_handler:set_alarm({lm, 3})");
    for (name, expected) in [
        ("bus", "[1]"),
        ("again", "[1]"),
        ("mine", "[{mine,1}]"),
        ("wide", "[2]"),
        ("alarms", "[3]"),
        ("other", "[]"),
    ] {
        a.wait_until(&format!("lm_capture:tags('.{name}.receiver.srv')"), expected);
    }
    // It dies and is started again.
    a.eval("gen_event:stop(lm_bus), gen_event:start({local, lm_bus})");
    a.wait_until("length(gen_event:which_handlers(lm_bus))", "3");
}

/// Kills the manager; takes the handlers out by hand; drops the connection.
#[test]
fn what_is_taken_away_comes_back_once_and_the_gap_is_told() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let mut a = erl(&world, "a");
    let _program = world.logmachine(&["--connect", "a@127.0.0.1"]);
    wait_installed(&mut a);
    let check = |a: &mut Erl, tag: u32| {
        a.wait_until("catch lm_capture:count()", ONE_OF_EACH);
        wait_installed(a);
        a.eval(&format!("error_logger:error_report([{{lm, {tag}}}])"));
        let found = "lists:last([0 | lm_capture:tags('.error_logger.receiver.srv')])";
        a.wait_until(found, &tag.to_string());
    };
    let id = "{logmachine_forwarder, 'logmachine@127.0.0.1'}";
    a.eval("P = whereis(error_logger), exit(P, kill)");
    a.wait_until("is_pid(whereis(error_logger)) andalso whereis(error_logger) =/= P", "true");
    // That it is fed again is noticed at the next look.
    a.wait_until("lists:member(error_logger, logger:get_handler_ids())", "true");
    check(&mut a, 1);
    a.eval(&format!("gen_event:delete_handler(error_logger, {id}, by_hand)"));
    check(&mut a, 2);
    a.eval("logger:remove_handler('logmachine.error_logger.logmachine@127.0.0.1')");
    check(&mut a, 3);
    a.eval("erlang:disconnect_node('logmachine@127.0.0.1')");
    a.wait_until("net_adm:ping('logmachine@127.0.0.1')", "pong");
    check(&mut a, 4);
    assert_eq!(
        a.eval("[{R, F < T} || #{reason := R, from := F, to := T} <- lm_capture:dropped()]"),
        "[{not_captured,true},{not_captured,true}]"
    );
    assert_eq!(a.eval("lm_capture:tags('.error_logger.receiver.srv')"), "[1,2,3,4]");
}

/// A hundred thousand events as fast as they go; and again while we are frozen.
#[test]
fn a_storm_is_kept_or_counted_to_the_last_event_and_never_holds_up_who_logs() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let mut a = erl(&world, "a");
    let program = world.logmachine(&["--connect", "a@127.0.0.1"]);
    wait_installed(&mut a);
    a.eval("logger:remove_handler(default)");
    let kept = "length([N || {log, _, _, {report, #{lm := N}}, _} <- lm_capture:events()])";
    let dropped = "lists:sum([C || #{count := C} <- lm_capture:dropped()])";
    let millis = a.eval("lm_capture:storm(4, 25000)");
    a.wait_until(&format!("{kept} + {dropped}"), "100000");
    println!("{millis} ms for 100,000 events, {} dropped", a.eval(dropped));
    kill_process(program.pid(), Signal::STOP).unwrap();
    a.eval("Used = fun() -> [erlang:garbage_collect(P) || P <- processes()], erlang:memory(total) div 1024 end");
    a.eval("Before = Used()");
    let millis = a.eval("lm_capture:storm(4, 25000)");
    let grown = a.eval("Used() - Before");
    kill_process(program.pid(), Signal::CONT).unwrap();
    // A distribution buffer's worth, and what a release may keep for itself.
    println!("the host's memory grew by {grown} KiB");
    assert!(grown.parse::<i64>().expect("a number") < 32 * 1024, "{grown} KiB");
    a.wait_until(&format!("{kept} + {dropped}"), "200000");
    let dropped = a.eval(dropped);
    println!("{millis} ms for 100,000 events while we are frozen, {dropped} dropped");
    assert_ne!(dropped, "0");
    assert_eq!(a.eval("lists:usort([R || #{reason := R} <- lm_capture:dropped()])"), "[busy]");
}

/// A host that has no other handler, as RabbitMQ leaves it, so that nothing holds up who logs; eight processes log as
/// fast as they go. The queue is looked at from inside, every millisecond.
#[test]
fn a_manager_that_only_we_use_holds_few_events_and_what_is_flushed_is_counted() {
    if !has_erlang() {
        return;
    }
    for (release, path) in releases() {
        let world = World::with_epmd();
        let mut a = host(&world, &path, "a");
        let _program = world.logmachine(&["--connect", "local"]);
        wait_installed(&mut a);
        a.eval("ok = logger:remove_handler(default)");
        // A machine that is busy with other tests may not let the manager run for a while, and its queue grows; one that does
        // not flush holds far more each time.
        let few = (1..=3).any(|times| {
            let found = a.eval("element(1, lm_capture:flood(8, 37500))");
            let all = (times * 300_000).to_string();
            a.wait_until("lists:sum(tuple_to_list(lm_capture:settled()))", &all);
            println!("OTP {release}: {found}, kept and dropped {}", a.eval("lm_capture:settled()"));
            found.parse::<u64>().expect("a number") < 30_000
        });
        assert!(few, "OTP {release}: the queue of the manager grew each time");
        let reasons = a.eval("lists:usort([R || #{reason := R} <- lm_capture:dropped()])");
        assert!(reasons.contains("flushed"), "OTP {release}: {reasons}");
        assert_eq!(a.eval("lm_capture:count()"), ONE_OF_EACH);
    }
}

/// The same with a handler of the host's own in the manager, which counts.
#[test]
fn what_somebody_else_waits_for_is_not_flushed() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let mut a = erl(&world, "a");
    let _program = world.logmachine(&["--connect", "local"]);
    wait_installed(&mut a);
    a.eval(
        "ok = logger:remove_handler(default), error_logger:add_report_handler(lm_capture, counter)",
    );
    a.eval("lm_capture:flood(4, 10000)");
    a.wait_until("gen_event:call(error_logger, lm_capture, count)", "40000");
    a.wait_until("lists:sum(tuple_to_list(lm_capture:settled()))", "40000");
    // And flushed again when it has gone.
    a.eval("error_logger:delete_report_handler(lm_capture), lm_capture:flood(8, 20000)");
    a.wait_until("lists:sum(tuple_to_list(lm_capture:settled()))", "200000");
    let reasons = a.eval("[R || #{reason := flushed = R} <- lm_capture:dropped()] =/= []");
    assert_eq!(reasons, "true");
}

/// The host has its own handler `error_logger`, narrow in each way that `logger` knows, before us and changed
/// under our eyes.
#[test]
fn what_the_hosts_own_error_logger_handler_keeps_back_is_captured_once() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    for (release, path) in releases() {
        let mut a = host(&world, &path, &format!("n{release}"));
        let data = world.path(release).display().to_string();
        a.eval("ok = logger:add_handler(error_logger, error_logger, #{level => error, filter_default => log})");
        a.eval("logger:set_primary_config(level, all)");
        let _program = world.logmachine(&["--connect", "local", "--data-dir", &data]);
        wait_installed(&mut a);
        let mut tag = 0;
        let mut log_all = |a: &mut Erl| {
            for meta in ["#{}", "#{secret => 1}", "#{changed => 1}", "#{crash => 1}"] {
                tag += 1;
                let report =
                    format!("#{{label => {{error_logger, x}}, report => [{{lm, {tag}}}]}}");
                a.eval(&format!(
                    "logger:error({report}, ({meta})#{{error_logger => #{{tag => error_report, type => std_error}}}})"
                ));
                tag += 1;
                a.eval(&format!("error_logger:warning_report([{{lm, {tag}}}])"));
            }
            let expected: Vec<_> = (1..=tag).map(|tag| tag.to_string()).collect();
            let found = "lm_capture:tags('.error_logger.receiver.srv')";
            a.wait_until(found, &format!("[{}]", expected.join(",")));
        };
        log_all(&mut a);
        for change in [
            "logger:set_handler_config(error_logger, level, all)",
            "logger:set_handler_config(error_logger, level, none)",
            "logger:set_handler_config(error_logger, #{level => all, filter_default => stop})",
            "logger:add_handler_filter(error_logger, lm, {fun lm_capture:pass/2, ignore})",
            "logger:set_handler_config(error_logger, filter_default, log)",
            "logger:set_handler_config(error_logger, filters, [{lm, {fun lm_capture:pass/2, stop}}])",
            "logger:set_handler_config(error_logger, filters, [])",
        ] {
            assert_eq!(a.eval(change), "ok", "OTP {release}: {change}");
            log_all(&mut a);
        }
        // Behind these no second copy can come.
        a.eval("error_logger:error_report([{lm, last}]), logger:error(#{lm => last})");
        a.wait_until(
            "[T || last = T <- lm_capture:tags('.error_logger.receiver.srv')]",
            "[last,last]",
        );
        let all = format!(
            "{} =:= lists:seq(1, {tag}) ++ [last, last]",
            "lm_capture:tags('.error_logger.receiver.srv')"
        );
        assert_eq!(a.eval(&all), "true");
        println!("OTP {release}: fine");
    }
}

/// Starts `error_logger` on a host and gives it a handler.
fn add_to_error_logger(node: &mut Erl, id: &str, args: &str) {
    node.eval(
        "logger:add_handler(error_logger, error_logger, #{level => info, filter_default => log})",
    );
    let added = node.eval(&format!("gen_event:add_handler(error_logger, {id}, {args})"));
    assert_eq!(added, "ok");
}

const ORIGINAL: &str = "{logmachine_event_handler, 'theirs@127.0.0.1'}";

/// What a process that stands for the original's receiver, and counts, has got.
const THEIRS: &str = "Theirs ! {count, self()}, receive {count, N} -> N after 5000 -> none end";

/// The original's handler runs on the host, and goes on casting to its receiver, before us, beside us and after us.
#[test]
fn the_originals_handler_goes_on_beside_ours() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    for (release, path) in releases() {
        let mut a = host(&world, &path, &format!("n{release}"));
        a.load("logmachine_event_handler");
        a.eval("Theirs = spawn(fun() -> (fun Loop(C) -> receive {'$gen_cast', {error_report, _, {_, _, [{lm, _}]}}} -> Loop(C + 1); {count, From} -> From ! {count, C}, Loop(C); _ -> Loop(C) end end)(0) end)");
        add_to_error_logger(&mut a, ORIGINAL, "Theirs");
        let data = world.path(release).display().to_string();
        let program = world.logmachine(&["--connect", "local", "--data-dir", &data]);
        wait_installed(&mut a);
        assert_eq!(a.eval("lm_capture:count()"), ONE_OF_EACH);
        a.eval("error_logger:error_report([{lm, 1}])");
        a.wait_until("lm_capture:tags('.error_logger.receiver.srv')", "[1]");
        a.wait_until(&format!("(fun() -> {THEIRS} end)()"), "1");
        assert_eq!(program.stop(), Some(0));
        a.wait_until("lm_capture:count()", "{0,0}");
        a.eval("error_logger:error_report([{lm, 2}])");
        a.wait_until(&format!("(fun() -> {THEIRS} end)()"), "2");
        assert_eq!(
            a.eval("erlang:function_exported(logmachine_event_handler, version, 0)"),
            "false"
        );
        println!("OTP {release}: fine");
    }
}

/// `handler` names the original's: on the host that has it, it is used, as the original used it; ours is used on the
/// host that has none, and on the one that has what the first version of ours left there. Then a host has modules of
/// somebody else's with the names of ours.
#[test]
fn modules_of_somebody_elses_are_used_or_left_alone_but_never_replaced() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let mut a = erl(&world, "a");
    let mut b = erl(&world, "b");
    let mut c = erl(&world, "c");
    let mut d = erl(&world, "d");
    a.load("logmachine_event_handler");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/erl/logmachine_event_handler");
    c.eval(&format!(
        "{{ok, M, Code}} = compile:file({source:?}, [binary, {{d, 'FIRST'}}]), code:load_binary(M, \"first\", Code)"
    ));
    // What an earlier life of ours left, whose end the host has not noticed.
    let receiver = "#{receiver => {'.error_logger.receiver.srv', 'logmachine@127.0.0.1'}}";
    let left = "{logmachine_event_handler, 'logmachine@127.0.0.1'}";
    add_to_error_logger(&mut c, left, receiver);
    for name in ["logmachine_forwarder", "logmachine_logger_handler"] {
        d.eval(&format!("{{ok, _, C_{name}}} = compile:forms([{{attribute, 1, module, {name}}}], []), code:load_binary({name}, \"theirs\", C_{name})"));
    }
    let instance = "[[instance]]\nname = \"error_logger\"\n";
    let handler = "handler = \"logmachine_event_handler\"\n";
    std::fs::write(world.path("c.toml"), format!("{instance}{handler}")).unwrap();
    let program = world.logmachine(&["--config", "c.toml", "--connect", "local"]);
    for (node, module) in [
        (&mut a, "logmachine_event_handler"),
        (&mut b, "logmachine_forwarder"),
        (&mut c, "logmachine_forwarder"),
    ] {
        wait_installed(node);
        let expected = format!("[{{{module},'logmachine@127.0.0.1'}}]");
        assert_eq!(node.eval("gen_event:which_handlers(error_logger)"), expected);
        node.eval(
            "error_logger:error_report([{lm, node()}]), error_logger:error_report([{lm, node()}])",
        );
    }
    d.wait_until("[element(1, S) || {_, S} <- lm_capture:handlers()]", "[refused,refused]");
    for name in ["logmachine_forwarder", "logmachine_logger_handler"] {
        assert_eq!(d.eval(&format!("code:is_loaded({name})")), "{file,\"theirs\"}");
        program.wait_for_diagnostics(&format!("it has a module {name} that is not ours"));
    }
    d.wait_until(
        "lm_capture:tags('.error_logger.receiver.srv')",
        "['a@127.0.0.1','a@127.0.0.1','b@127.0.0.1','b@127.0.0.1','c@127.0.0.1','c@127.0.0.1']",
    );
}

/// Two nodes log numbers while handlers, managers, connections and we are taken away in an order that a seed
/// decides. In the end each node has one handler in each place, and no number is in the log twice.
#[test]
fn chaos_leaves_one_handler_everywhere_and_no_event_twice() {
    if !has_erlang() {
        return;
    }
    let seed = std::env::var("LOGMACHINE_SEED").ok().and_then(|seed| seed.parse().ok());
    let mut state: u64 = seed.unwrap_or(5);
    println!("LOGMACHINE_SEED={state}");
    let world = World::with_epmd();
    let mut nodes = [erl(&world, "a"), erl(&world, "b")];
    let flags = connect();
    let mut program = Some(world.logmachine(&flags));
    for node in &mut nodes {
        wait_installed(node);
        node.eval("logger:remove_handler(default), S = lm_capture:sequence(self())");
    }
    for _ in 0..12 {
        // Knuth's linear congruential generator.
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let choice = state >> 33;
        let node = &mut nodes[usize::from(choice & 1 == 1)];
        match (choice >> 1) % 6 {
            0 => drop(node.eval("erlang:disconnect_node('logmachine@127.0.0.1')")),
            // Not killed: that twice in a moment is more than its supervisor, and with it kernel, stands.
            1 => drop(node.eval("gen_event:stop(error_logger)")),
            2 => drop(node.eval("gen_event:delete_handler(error_logger, {logmachine_forwarder, 'logmachine@127.0.0.1'}, chaos)")),
            3 => drop(node.eval("logger:remove_handler('logmachine.error_logger.logmachine@127.0.0.1')")),
            4 => {
                kill_process(node.pid(), Signal::STOP).unwrap();
                nodes[usize::from(choice & 1 == 0)].eval("receive after 300 -> ok end");
                let node = &mut nodes[usize::from(choice & 1 == 1)];
                kill_process(node.pid(), Signal::CONT).unwrap();
            }
            _ => {
                program.take().unwrap().kill();
                program = Some(world.logmachine(&flags));
            }
        }
        // Whatever the next one meets: installed, half installed, or not at all.
        nodes[0].eval(&format!("receive after {} -> ok end", choice % 700));
    }
    for node in &mut nodes {
        node.wait_until("catch lm_capture:count()", ONE_OF_EACH);
        wait_installed(node);
        node.eval("S ! stop, {last, Last} = receive L -> L end");
        node.wait_until("lm_capture:installed() andalso lm_capture:count()", ONE_OF_EACH);
        node.eval("error_logger:error_report([{lm, {node(), 1000002}}]), logger:error(#{lm => {node(), 1000001}})");
        node.wait_until(
            "lists:last(lm_capture:tags('.error_logger.receiver.srv')) >= {node(), 1000002}",
            "true",
        );
        for parity in [0, 1] {
            let numbers = node.eval(&format!("lm_capture:numbers({parity})"));
            println!("{numbers} of {}", node.eval("Last div 2"));
            assert!(numbers.ends_with(",0}"), "twice or out of order: {numbers}");
        }
    }
}

/// Elixir of the system, and the one that `make test` could install beside an OTP release.
fn elixirs() -> Vec<PathBuf> {
    let beside = releases().into_iter().map(|(_, erl)| erl.with_file_name("elixir"));
    let found = beside.filter(|elixir| elixir.exists());
    let runs = |elixir: &PathBuf| {
        let mut command = Command::new(elixir);
        command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    };
    [PathBuf::from("elixir")].into_iter().chain(found).filter(runs).collect()
}

/// Elixir nodes with nothing on them but Elixir: what they say of a crash differs, and is text or a report to the end.
#[test]
fn elixirs_logger_and_crashes_are_captured_readably() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let mut a = erl(&world, "a");
    let _program = world.logmachine(&["--connect", "local"]);
    wait_installed(&mut a);
    let found = elixirs();
    if found.is_empty() {
        println!("skipped: there is no elixir on this machine");
    }
    for (number, elixir) in found.iter().enumerate() {
        check_elixir(&world, &mut a, elixir, &format!("x{number}@127.0.0.1"));
    }
}

fn check_elixir(world: &World, a: &mut Erl, elixir: &std::path::Path, name: &str) {
    let script = r#"require Logger; IO.gets(""); Logger.error("lm says no")
        Logger.error(["lm ", [?t, ["re", "e "]], "\u00e9"])
        Task.start(fn -> raise "lm task" end); IO.gets("")"#;
    let mut command = Command::new(elixir);
    command.args(["--name", name, "--cookie", &world.cookie()]);
    command.args(["--erl", "-start_epmd false", "-e", script]);
    command.env("ERL_EPMD_PORT", world.epmd_port.to_string()).env("HOME", world.dir.path());
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut elixir = command.spawn().expect("it ran before");
    // It ends with its standard input, so also if this test fails.
    let mut input = elixir.stdin.take().unwrap();
    a.wait_until(
        &format!("[S || {{'{name}', _, S}} <- gen_server:call({{'.error_logger.receiver.srv', 'logmachine@127.0.0.1'}}, {{info, handlers}})]"),
        "[installed,installed]",
    );
    writeln!(input).unwrap();
    // Flat, with level, node and time; a crash of 1.15 and later too.
    a.wait_until(
        &format!("[S || {{log, '{name}', error, {{string, S}}, #{{pid := P, time := T}}}} <- lm_capture:events(), node(P) =:= '{name}', is_integer(T), string:find(S, \"lm task\") =:= nomatch] =:= [<<\"lm says no\">>, <<\"lm tree \", 233/utf8>>]"),
        "true",
    );
    let crash = "(fun({error_msg, _, {P, F, _}}) when is_list(F) -> P; \
        ({log, _, error, {string, S}, #{pid := P, error_logger := #{tag := error_msg}}}) when is_binary(S) -> P; \
        (_) -> self() end)";
    a.wait_until(
        &format!("[E || E <- lm_capture:events(), node({crash}(E)) =:= '{name}', string:find(io_lib:format(\"~tp\", [E]), \"lm task\") =/= nomatch] =/= []"),
        "true",
    );
    drop(input);
    assert!(elixir.wait().unwrap().success());
}

/// `make demo` without the make.
#[test]
fn the_demo_shows_every_failure_and_ends() {
    if !has_erlang() {
        return;
    }
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/demo/run");
    let output = Command::new(demo).arg(env!("CARGO_BIN_EXE_logmachine")).output();
    let output = output.expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    for text in [
        "front: open for business",
        "Last message in was {order,\"seven teapots\"}",
        "only 3 teapots left",
        "slow_bank",
        "reached_max_restart_intensity",
        "Error in process",
        "from three nodes",
        "timeout calling shelves (count) in demo_shop:count/2",
        "On front@127.0.0.1, `timeout calling shelves (count) in demo_shop:count/2` ",
        "ALERT       many_errors: 5 errors within 2 s on billing@127.0.0.1",
        "resolved    many_errors: 7 errors within 2 s on billing@127.0.0.1",
        "ALERT       many_errors: 5 errors within 2 s on front@127.0.0.1",
        "ALERT       silent: no price of a kettle for 2 s",
        "{many_errors,resolved,<<\"7 errors within 2 s on billing@127.0.0.1\">>}",
        "{new_fault,firing,<<\"new: timeout calling shelves (count) in demo_shop:count/2\">>}",
        // The axis below five candles, and more of them.
        " ┤ ",
        "└─────────────────────",
    ] {
        assert!(said.contains(text), "{text}: {said}");
    }
}

/// A process fails with secrets in what it says; nothing of them is in any file of the log.
#[test]
fn secrets_in_what_is_captured_are_not_recorded() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let config = "[[instance]]\nname = \"error_logger\"\nredact = [\"password\", \"*secret*\"]\n";
    std::fs::write(world.path("c.toml"), config).unwrap();
    let program = world.logmachine(&["--config", "c.toml", "--connect", "a@127.0.0.1"]);
    let mut a = erl(&world, "a");
    wait_installed(&mut a);
    a.eval(
        "logger:error(#{what => failed, password => <<\"hunter2\">>, conf => [{my_secret, \"hunter3\"}, {host, h}]})",
    );
    a.eval(
        "Seen = fun() -> {ok, Entries, _} = rpc:call('logmachine@127.0.0.1', logmachine, read, [error_logger, earliest, #{limit => 1000}]), \
         lists:flatten([io_lib:format(\"~0p\", [E]) || {_, E} <- Entries]) end",
    );
    a.wait_until("string:find(Seen(), \"what => failed\") =/= nomatch", "true");
    let seen = a.eval("Seen()");
    assert!(seen.contains("password => '[redacted]'"), "{seen}");
    assert!(seen.contains("{my_secret,'[redacted]'},{host,h}"), "{seen}");
    assert_eq!(program.stop(), Some(0));
    let segment = std::fs::read(world.path("data/error_logger/error_logger")).unwrap();
    assert!(!segment.windows(6).any(|bytes| bytes == b"hunter"));
}
