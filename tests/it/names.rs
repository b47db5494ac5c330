//! The global name, in clusters where not everybody can tell, answer or be reached.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use logmachine::etf::{Term, TermRef, encode, text};
use logmachine::proto::control;
use rustix::process::{Signal, kill_process};

use crate::harness::{Erl, LogMachine, World, has_erlang, wait_for};

const NAME: &str = "{error_logger, 0}";

/// A visible node that is no BEAM: its `rex` answers everything with the same term, or nothing at all.
struct Stranger {
    stream: TcpStream,
    asked: Arc<AtomicUsize>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Stranger {
    fn connect(world: &World, name: &str, answer: Option<&str>) -> Self {
        // `DFLAG_PUBLISHED`
        let stream = crate::hostile::connect_with(|flags| flags | 1, world, name, &world.cookie());
        let stream = stream.expect("it is let in");
        stream.set_read_timeout(None).unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let answer = answer.map(|answer| text::parse(answer).unwrap());
        let (reading, counted) = (stream.try_clone().unwrap(), asked.clone());
        let thread = std::thread::spawn(move || serve(reading, answer.as_deref(), &counted));
        Stranger { stream, asked, thread: Some(thread) }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
        let _ = self.thread.take().expect("ended once").join();
    }
}

/// Reads packets until the connection ends, answers ticks with ticks and calls with `answer`.
fn serve(mut stream: TcpStream, answer: Option<&[u8]>, asked: &AtomicUsize) {
    loop {
        let mut len = [0; 4];
        if stream.read_exact(&mut len).is_err() {
            return;
        }
        let mut packet = vec![0; u32::from_be_bytes(len) as usize];
        if stream.read_exact(&mut packet).is_err() {
            return;
        }
        let mut out = vec![0; 4];
        if let Some(from) = caller(&packet) {
            let has = |text: &[u8]| packet.windows(text.len()).any(|bytes| bytes == text);
            // Each instance asks for its own.
            let is_about_names = has(b"whereis_name") && has(b"error_logger");
            asked.fetch_add(usize::from(is_about_names), Ordering::SeqCst);
            let Some(answer) = answer else { continue };
            let [pid, tag] = TermRef::whole(&from).unwrap().as_tuple().unwrap();
            out.clear();
            control::send(&mut out, &pid.as_pid().unwrap(), |out| {
                encode::tuple_header(out, 2);
                out.extend_from_slice(tag.bytes());
                out.extend_from_slice(answer);
            });
        }
        if stream.write_all(&out).is_err() {
            return;
        }
    }
}

/// The `From` of a `gen` call in a packet.
fn caller(packet: &[u8]) -> Option<Box<[u8]>> {
    let signal = control::parse(packet.get(1..)?).ok()?;
    let control::Signal::Message { message, .. } = signal else { return None };
    let Term::Tuple(mut elements) = message.view() else { return None };
    let is_call = elements.next()?.is_atom("$gen_call");
    is_call.then(|| elements.next().map(|from| from.bytes().into()))?
}

/// Samples `whereis_name` and casts numbers until it is told to stop; `{Samples that found nobody, Casts}`.
const SAMPLER: &str = "Sampler = fun(Name) -> spawn(fun() ->
    (fun Loop(N, Missing) ->
        Found = case global:whereis_name(Name) of
            undefined -> 1;
            Pid -> gen_server:cast(Pid, {sample, N}), 0
        end,
        receive {stop, To} -> To ! {sampled, Missing + Found, N}
        after 2 -> Loop(N + 1, Missing + Found) end
    end)(1, 0) end) end";

/// Ends a sampler: it has found the name every time, and what it cast is in the log, once and in order.
fn check_samples(a: &mut Erl, sampler: &str) {
    a.eval(&format!("{sampler} ! {{stop, self()}}"));
    let all = format!(
        "(fun() -> receive {{sampled, Missing, Casts}} ->
            {{ok, _}} = gen_server:call({{global, {NAME}}}, {{append, done}}),
            {{ok, Es, eof}} = gen_server:call({{global, {NAME}}}, {{read, earliest, #{{limit => 1000000}}}}),
            {{Missing, Casts > 100, [N || {{_, {{sample, N}}}} <- Es] =:= lists:seq(1, Casts)}} end end)()"
    );
    assert_eq!(a.eval(&all), "{0,true,true}");
}

/// Visible nodes whose `rex` knows no `global`, talks nonsense, or says nothing, beside a real one.
#[test]
fn a_node_that_cant_tell_takes_the_name_from_nobody_and_is_asked_rarely() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let mut a = world.erl("a");
    let program = world.logmachine(&["--connect", "a@127.0.0.1"]);
    a.wait_for_name(NAME);
    a.eval(SAMPLER);
    a.eval(&format!("S = Sampler({NAME})"));
    let answers = [
        Some("{badrpc, {'EXIT', {undef, [{global, whereis_name, 1, []}]}}}"),
        Some("nil"),
        Some("[undefined]"),
        Some("[nil, nil, nil, nil, nil, nil, nil, nil, nil, nil]"),
        None,
    ];
    let strangers: Vec<_> = answers
        .iter()
        .enumerate()
        .map(|(n, answer)| Stranger::connect(&world, &format!("s{n}@127.0.0.1"), *answer))
        .collect();
    // Long enough for several surveys of each.
    wait_for("questions", || strangers.iter().all(|s| s.asked() >= 4).then_some(()));
    let begin = Instant::now();
    let before: Vec<_> = strangers.iter().map(Stranger::asked).collect();
    // A node that joins meanwhile learns the name as if they were not there.
    let mut b = world.erl("b");
    assert_eq!(b.eval("net_adm:ping('a@127.0.0.1')"), "pong");
    b.wait_for_name(NAME);
    a.eval("timer:sleep(3000)");
    check_samples(&mut a, "S");
    let seconds = begin.elapsed().as_secs_f64();
    for (stranger, before) in strangers.iter().zip(before) {
        let more = stranger.asked() - before;
        assert!(more as f64 <= 2.0 + seconds / 2.0, "asked {more} times in {seconds} s");
    }
    assert_eq!(
        a.eval("gen_server:call({'.error_logger.receiver.srv', 'logmachine@127.0.0.1'}, get_global_alias)"),
        "{error_logger,0}"
    );
    drop(strangers);
    assert_eq!(program.stop(), Some(0));
}

/// A node of the cluster is frozen; one that has lost its link to us, and one that joins, need the name meanwhile,
/// and nobody gets it for as long as `global` waits for the frozen one. Nobody else loses it either.
#[test]
fn a_frozen_node_takes_the_name_from_nobody() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let (mut a, mut b, mut c) = (world.erl("a"), world.erl("b"), world.erl("c"));
    assert_eq!(a.eval("[net_adm:ping(N) || N <- ['b@127.0.0.1', 'c@127.0.0.1']]"), "[pong,pong]");
    b.eval("net_adm:ping('c@127.0.0.1')");
    let _program = world.logmachine(&["--connect", "a@127.0.0.1"]);
    for node in [&mut a, &mut b, &mut c] {
        node.wait_for_name(NAME);
    }
    a.eval(SAMPLER);
    a.eval(&format!("S = Sampler({NAME})"));
    kill_process(c.pid(), Signal::STOP).unwrap();
    // `b` forgets the name; registering it anew through `b` hangs, as `global` locks `c` too.
    b.eval("erlang:disconnect_node('logmachine@127.0.0.1')");
    b.wait_until("lists:member('logmachine@127.0.0.1', nodes(hidden))", "true");
    // A call's patience is five seconds.
    a.eval("timer:sleep(7000)");
    kill_process(c.pid(), Signal::CONT).unwrap();
    b.wait_for_name(NAME);
    c.wait_for_name(NAME);
    check_samples(&mut a, "S");
}

/// A node beside the cluster learns no names: somebody holds `global`'s lock there. Registering through it takes longer
/// than any patience, which is no reason to take the name from those who have it.
#[test]
fn a_registration_without_an_answer_takes_the_name_from_nobody() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let (mut a, mut d) = (world.erl("a"), world.erl("d"));
    let _program = world.logmachine(&["--connect", "a@127.0.0.1"]);
    a.wait_for_name(NAME);
    a.eval(SAMPLER);
    a.eval(&format!("S = Sampler({NAME})"));
    assert_eq!(d.eval("global:set_lock({global, d}, [node()])"), "true");
    assert_eq!(d.eval("net_adm:ping('logmachine@127.0.0.1')"), "pong");
    // A call's patience is five seconds.
    a.eval("timer:sleep(7000)");
    assert_eq!(d.eval(&format!("global:whereis_name({NAME})")), "undefined");
    assert_eq!(d.eval("global:del_lock({global, d}, [node()])"), "true");
    d.wait_for_name(NAME);
    check_samples(&mut a, "S");
}

/// Two of us; the first goes, the second takes its number and keeps its own beside it; the first comes back and takes
/// the next free one; at a stop all are given back.
#[test]
fn a_free_number_is_taken_over_and_casts_to_either_name_arrive() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    std::fs::write(world.path("c.toml"), "[instance_defaults]\ntakeover = \"1s\"\n").unwrap();
    let (mut a, mut b) = (world.erl("a"), world.erl("b"));
    assert_eq!(a.eval("net_adm:ping('b@127.0.0.1')"), "pong");
    let flags = ["--connect", "a@127.0.0.1", "--data-dir", "first", "--config", "c.toml"];
    let first = world.logmachine(&flags);
    a.wait_for_name(NAME);
    let cookie = world.cookie();
    let mut second_flags = vec!["--name", "second@127.0.0.1", "--setcookie", &cookie];
    second_flags.extend(["--connect", "a@127.0.0.1", "--data-dir", "second", "--config", "c.toml"]);
    let second = LogMachine::start(&world, &second_flags);
    a.wait_for_name("{error_logger, 1}");
    b.wait_for_name("{error_logger, 1}");
    let of_second =
        "gen_server:call({'.error_logger.receiver.srv', 'second@127.0.0.1'}, get_global_alias)";
    a.wait_until(of_second, "{error_logger,1}");
    a.eval(SAMPLER);
    a.eval("S = Sampler({error_logger, 1})");
    first.kill();
    a.wait_until(of_second, "{error_logger,0}");
    let info =
        "gen_server:call({'.error_logger.receiver.srv', 'second@127.0.0.1'}, {info, global_alias})";
    assert_eq!(a.eval(info), "{error_logger,0}");
    // Both names are the same process, on every node.
    let both = "[node(global:whereis_name({error_logger, N})) || N <- [0, 1]]";
    for node in [&mut a, &mut b] {
        assert_eq!(node.eval(both), "['second@127.0.0.1','second@127.0.0.1']");
    }
    check_samples(&mut a, "S");
    for name in [NAME, "{error_logger, 1}"] {
        assert_eq!(
            b.eval(&format!("element(1, gen_server:call({{global, {name}}}, {{append, x}}))")),
            "ok"
        );
    }
    // Too late for its old name.
    let first = world.logmachine(&flags);
    a.wait_for_name("{error_logger, 2}");
    assert_eq!(a.eval("node(global:whereis_name({error_logger, 2}))"), "'logmachine@127.0.0.1'");
    assert_eq!(a.eval(both), "['second@127.0.0.1','second@127.0.0.1']");
    kill_process(second.pid(), Signal::TERM).unwrap();
    second.wait_for_diagnostics("giving {error_logger,0} up");
    second.wait_for_diagnostics("giving {error_logger,1} up");
    for number in ["0", "1"] {
        let whereis = format!("global:whereis_name({{error_logger, {number}}})");
        a.wait_until(&whereis, "undefined");
        b.wait_until(&whereis, "undefined");
    }
    drop((first, second));
}

/// How long nodes are without the name after their links to us were cut, five times each: the seed, and one that is
/// known from it.
#[test]
fn a_lost_link_is_made_again_and_the_name_is_known_there_again() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let (mut a, mut b) = (world.erl("a"), world.erl("b"));
    assert_eq!(a.eval("net_adm:ping('b@127.0.0.1')"), "pong");
    let _program = world.logmachine(&["--connect", "a@127.0.0.1", "--instance", "quotes"]);
    a.wait_for_name("{quotes, 0}");
    b.wait_for_name("{quotes, 0}");
    let is_linked = "lists:member('logmachine@127.0.0.1', nodes(hidden)) andalso is_pid(global:whereis_name({quotes, 0}))";
    // A cut that `global` doesn't notice within 100 ms, as it is just connecting, costs nobody the name.
    let cut = "(fun() -> Begin = erlang:monotonic_time(millisecond),
            Since = fun() -> erlang:monotonic_time(millisecond) - Begin end,
            erlang:disconnect_node('logmachine@127.0.0.1'),
            (fun Gone() -> (global:whereis_name({quotes, 0}) =:= undefined orelse Since() > 100) orelse Gone() end)(),
            (fun Back() -> is_pid(global:whereis_name({quotes, 0})) orelse begin timer:sleep(1), Back() end end)(),
            Since() end)()";
    let mut millis: Vec<u64> = Vec::new();
    for node in [&mut b, &mut a] {
        for _ in 0..5 {
            node.wait_until(is_linked, "true");
            millis.push(node.eval(cut).parse().expect("a number"));
        }
    }
    println!("milliseconds without the name: {millis:?}");
    millis.sort_unstable();
    // Half of the period in which a seed is asked anyway; on a machine with nothing else to do it is 0.1 s.
    assert!(millis[5] < 2500, "{millis:?}");
}
