//! Rules and alerts: each alert is told of once and in order, whatever happens to the program, to whom and until when.

mod receiver;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use logmachine::TermBuf;
use logmachine::analysis::alert_event::{AlertEvent, Phase, Unwatched};
use logmachine::time::{Timestamp, moment};
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

use crate::analyses::{elements, entries};
use crate::faults::{Chance, append, shop};
use crate::harness::{PATIENCE, World, free_port, has_erlang, wait_for};
use crate::http::{Served, python, request};
use receiver::Receiver;

const SECOND: u64 = 1_000_000;

/// Those that stay silent for a minute after an unwatched stretch are not absent; or for as long as the rule waits.
const GRACE: u64 = 60 * SECOND;

/// Rules of every kind, about the same events.
const CONFIG: &str = r#"
[[rule]]
name = "busy"
instance = "quotes"
match = "[{{quote,'$1','_'},[],['$1']}]"
count = 20
within = "1s"
by = 1

[[rule]]
name = "busy_for_long"
instance = "quotes"
match = "[{{quote,<<\"S5\">>,'_'},[],['$_']}]"
count = 3
within = "1s"
for = "1s"

[[rule]]
name = "silent"
instance = "quotes"
match = "[{{quote,'$1','_'},[],['$1']}]"
absent_for = "1s"
by = 1

[[rule]]
name = "silent_for_long"
instance = "quotes"
match = "[{{quote,<<\"S6\">>,'_'},[],['$_']}]"
absent_for = "1s"
for = "1s"

[[rule]]
name = "errors"
instance = "quotes"
level = "error"
count = 3
within = "1s"
by = "node"
"#;

const RULES: [&str; 5] = ["busy", "busy_for_long", "silent", "silent_for_long", "errors"];

/// The alerts of the log, in its order.
fn alerts(served: &Served) -> Vec<AlertEvent> {
    let all = entries(served, "alerts").into_iter();
    all.filter_map(|(_, event)| AlertEvent::decode(event.as_term())).collect()
}

/// Those of a rule, as words: `1 firing`.
fn words(served: &Served, rule: &str) -> Vec<String> {
    let of_rule = alerts(served).into_iter().filter(|alert| alert.rule == rule);
    of_rule.map(|alert| format!("{} {}", alert.number, alert.phase.as_str())).collect()
}

/// The stretches that nobody watched.
fn unwatched(served: &Served) -> Vec<(u64, u64)> {
    let all = entries(served, "alerts").into_iter();
    let gap = |(_, event): (u64, TermBuf)| Unwatched::decode(event.as_term());
    all.filter_map(gap).map(|gap| (gap.from.micros(), gap.to.micros())).collect()
}

/// What was told of a rule, and when nobody watched, for who looks for a mistake.
fn history(served: &Served, rule: &str) -> String {
    let mut lines = String::new();
    for (recorded, event) in entries(served, "alerts") {
        let line = match AlertEvent::decode(event.as_term()) {
            Some(alert) if alert.rule == rule => {
                let by = alert.by.as_ref().map(ToString::to_string).unwrap_or_default();
                let AlertEvent { number, at, .. } = alert;
                format!("{number} {} {by} at {}", alert.phase.as_str(), at.micros())
            }
            Some(_) => continue,
            None => match Unwatched::decode(event.as_term()) {
                Some(gap) => format!("unwatched {} to {}", gap.from.micros(), gap.to.micros()),
                None => event.to_string(),
            },
        };
        lines.push_str(&format!("\n{recorded}: {line}"));
    }
    lines
}

/// What is told of a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Word {
    at: u64,
    by: String,
    phase: Phase,
    /// Of what fires.
    count: Option<u64>,
    /// Of what fires: the last event by then.
    entry: Option<u64>,
    firing_at: Option<u64>,
}

impl Word {
    fn of(alert: &AlertEvent) -> Self {
        let fires = alert.phase == Phase::Firing;
        Word {
            at: alert.at.micros(),
            by: alert.by.as_ref().map(ToString::to_string).unwrap_or_default(),
            phase: alert.phase,
            count: fires.then_some(alert.count),
            entry: alert.entry.filter(|_| fires).map(|entry| entry.micros()),
            firing_at: alert.firing_at.map(|at| at.micros()),
        }
    }
}

/// What is due for a key of which there must be `count` events within a second, by the plainest of ways: each moment at
/// which something changes is looked at.
fn due_by_count(by: &str, stamps: &[u64], count: usize, hold: u64) -> Vec<Word> {
    let moments: BTreeSet<u64> = stamps.iter().flat_map(|at| [*at, at + SECOND]).collect();
    let by_then = |moment: u64| stamps.partition_point(|at| *at <= moment);
    let mut next = moments.iter().skip(1).copied().chain([u64::MAX]);
    let (mut since, mut firing_at, mut due) = (None, None, Vec::new());
    for now in moments.iter().copied() {
        let next = next.next().expect("as many, and one more");
        let word = |at, phase| Word {
            at,
            by: by.to_owned(),
            phase,
            count: None,
            entry: None,
            firing_at: None,
        };
        if by_then(now) - stamps.partition_point(|at| at + SECOND <= now) < count {
            since = None;
            if firing_at.is_some() {
                due.push(Word { firing_at: firing_at.take(), ..word(now, Phase::Resolved) });
            }
            continue;
        }
        let begun = *since.get_or_insert(now);
        if firing_at.is_none() && begun + hold < next {
            let at = begun + hold;
            firing_at = Some(at);
            let counted = count + by_then(at) - by_then(begun);
            let entry = Some(stamps[by_then(at) - 1]);
            due.push(Word { count: Some(counted as u64), entry, ..word(at, Phase::Firing) });
        }
    }
    due
}

/// The same for a key that must not be silent for so long. `first` is when it is, if it never was heard of.
fn due_by_silence(
    by: &str,
    stamps: &[u64],
    gaps: &[(u64, u64)],
    long: u64,
    first: Option<u64>,
) -> Vec<Word> {
    // An entry at the moment that a stretch begins came before.
    let mut events: Vec<(u64, Option<u64>)> = stamps.iter().map(|at| (*at, None)).collect();
    events.extend(gaps.iter().map(|(from, to)| (*from, Some(*to))));
    events.sort_by_key(|(at, gap)| (*at, gap.is_some()));
    let (mut absent_at, mut last, mut firing_at, mut due) = (first, None, None, Vec::new());
    let fire = |at: u64, entry: Option<u64>| Word {
        at,
        by: by.to_owned(),
        phase: Phase::Firing,
        count: Some(0),
        entry,
        firing_at: None,
    };
    for (at, gap) in events {
        if let Some(absent) = absent_at.filter(|absent| *absent < at) {
            due.push(fire(absent, last));
            (absent_at, firing_at) = (None, Some(absent));
        }
        match gap {
            Some(to) => {
                absent_at = absent_at.map(|absent| {
                    let unwatched = to - at.max(absent - long);
                    (absent + unwatched).max(to + long.min(GRACE))
                });
            }
            None => {
                (absent_at, last) = (Some(at + long), Some(at));
                if firing_at.is_some() {
                    let phase = Phase::Resolved;
                    let firing_at = firing_at.take();
                    due.push(Word { phase, count: None, entry: None, firing_at, ..fire(at, None) });
                }
            }
        }
    }
    due.extend(absent_at.map(|absent| fire(absent, last)));
    due
}

/// What is due for each rule of [`CONFIG`], of all times.
fn due(served: &Served) -> BTreeMap<&'static str, Vec<Word>> {
    let gaps = unwatched(served);
    let begin = gaps[0].1;
    let mut quotes: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut errors = quotes.clone();
    for (at, event) in entries(served, "quotes") {
        let elements = elements(&event);
        match (
            &*elements[0].to_string(),
            &*elements.get(2).map(ToString::to_string).unwrap_or_default(),
        ) {
            ("quote", _) => quotes.entry(elements[1].to_string()).or_default().push(at),
            ("log", "error") => errors.entry(elements[1].to_string()).or_default().push(at),
            _ => {}
        }
    }
    let of = |symbol: &str| quotes.get(symbol).map(|it| &it[..]).unwrap_or_default();
    let each = |keys: &BTreeMap<String, Vec<u64>>, due: &dyn Fn(&str, &[u64]) -> Vec<Word>| {
        keys.iter().flat_map(|(key, stamps)| due(key, stamps)).collect()
    };
    let mut all = BTreeMap::from([
        ("busy", each(&quotes, &|by, stamps| due_by_count(by, stamps, 20, 0))),
        ("busy_for_long", due_by_count("", of("<<\"S5\">>"), 3, SECOND)),
        ("silent", each(&quotes, &|by, stamps| due_by_silence(by, stamps, &gaps, SECOND, None))),
        ("silent_for_long", due_by_silence("", of("<<\"S6\">>"), &gaps, 2 * SECOND, Some(begin))),
        ("errors", each(&errors, &|by, stamps| due_by_count(by, stamps, 3, 0))),
    ]);
    all.values_mut().for_each(|words| words.sort());
    all
}

/// Waits until each rule has told what is due, once, and nothing else. How often alerts fired.
fn agrees_with_the_log(served: &Served) -> BTreeMap<&'static str, usize> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut told: BTreeMap<&str, Vec<Word>> = RULES.map(|rule| (rule, Vec::new())).into();
        let (mut numbers, mut ids) = (BTreeMap::<String, u64>::new(), BTreeSet::new());
        let mut firing = BTreeMap::new();
        for alert in alerts(served) {
            let word = Word::of(&alert);
            let number = numbers.entry(alert.rule.clone()).or_default();
            *number += 1;
            assert_eq!(alert.number, *number, "{alert:?}: {}", history(served, &alert.rule));
            let whose = (alert.rule.clone(), word.by.clone());
            match alert.phase {
                Phase::Firing => {
                    assert!(ids.insert(alert.id), "{alert:?}");
                    assert_eq!(firing.insert(whose, alert.id), None, "it fires already: {alert:?}");
                }
                Phase::Resolved => assert_eq!(firing.remove(&whose), Some(alert.id), "{alert:?}"),
            }
            told.get_mut(&*alert.rule).expect("a rule of ours").push(word);
        }
        // Asked later than what was told: that nobody watched while the program started may be recorded meanwhile.
        let due = due(served);
        let mut missing = Vec::new();
        for (rule, told) in &mut told {
            assert!(told.is_sorted_by_key(|word| word.at), "{rule}: not in order");
            told.sort();
            let (told, due) = (BTreeSet::from_iter(&*told), BTreeSet::from_iter(&due[rule]));
            let lacking: Vec<_> = due.difference(&told).copied().cloned().collect();
            if let Some(beyond) = told.difference(&due).next() {
                let near = |word: &&Word| {
                    word.by == beyond.by && word.at.abs_diff(beyond.at) < 20 * SECOND
                };
                let due: Vec<_> = due.iter().copied().filter(near).collect();
                let told: Vec<_> = told.iter().copied().filter(near).collect();
                let gaps: Vec<_> = unwatched(served)
                    .into_iter()
                    .filter(|gap| gap.1.abs_diff(beyond.at) < 20 * SECOND)
                    .collect();
                panic!(
                    "{rule}: not due: {beyond:#?}\ndue: {due:#?}\ntold: {told:#?}\nmissing: {lacking:#?}\ngaps: {gaps:?}"
                );
            }
            missing.extend(lacking.into_iter().map(|word| (*rule, word)));
        }
        if missing.is_empty() {
            let fired =
                |words: &Vec<Word>| words.iter().filter(|it| it.phase == Phase::Firing).count();
            return told.iter().map(|(rule, words)| (*rule, fired(words))).collect();
        }
        assert!(Instant::now() < deadline, "missing: {missing:#?}, gaps: {:?}", unwatched(served));
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A symbol: each is half as frequent as the one before.
fn symbol(chance: &mut Chance, active: usize) -> Option<usize> {
    let n = (1 + chance.below(127)).leading_zeros() as usize + 7 - usize::BITS as usize;
    (active & (1 << n) != 0).then_some(n)
}

/// What the rules say of the whole log is what was told while it was written, by programs that were killed.
fn a_replay_tells_the_same(world: &World, served: &Served) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
    let now = u64::try_from(now).unwrap();
    let url = format!("http://127.0.0.1:{}", served.port);
    let mut test = world.command("rules");
    test.args(["test", "c.toml", "--since", "1h", "-o", "json"]).env("LOGMACHINE_URL", url);
    let said = test.output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let word = |line: &str| {
        let word: Value = serde_json::from_str(line).expect("a line is JSON");
        let text = |name: &str| word[name].as_str().expect("a text").to_owned();
        (word["micros"].as_u64().expect("a number"), text("rule"), text("state"))
    };
    let said = String::from_utf8(said.stdout).unwrap();
    let mut replayed: Vec<_> = said.lines().map(word).filter(|(at, ..)| *at < now).collect();
    replayed.sort();
    wait_for("what was told by then", || {
        let told = alerts(served).into_iter();
        let told = told.map(|it| (it.at.micros(), it.rule, it.phase.as_str().to_owned()));
        let mut told: Vec<_> = told.filter(|(at, ..)| *at < now).collect();
        told.sort();
        (told == replayed).then_some(())
    });
}

/// One client appends, of symbols that come and go, often or rarely, while the program is killed, or stopped, at random moments; what it
/// has stored then stays, is gone, or is damaged. In the end what was told is what the log says: nothing twice, nothing
/// missing.
#[test]
fn kills_under_load_fire_and_resolve_each_alert_once() {
    const ROUNDS: usize = 30;
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut chance = Chance(seed);
    let (world, port) = (World::new(), free_port());
    std::fs::write(world.path("c.toml"), CONFIG).unwrap();
    let start = || Served::start_at(&world, port, &["--config", "c.toml"]);
    let (is_over, appended) = (AtomicBool::new(false), AtomicU64::new(0));
    let served = std::thread::scope(|scope| {
        let (is_over, appended) = (&is_over, &appended);
        let mut served = start();
        wait_for("the beginning", || (unwatched(&served).len() == 1).then_some(()));
        // Who has told nothing yet would begin anew without what was stored.
        let quote = |n: usize| format!("{{quote,<<\"S{n}\">>,0}}");
        let error = || "{log,n0@h,error,{\"~p\",[0]},#{}}".to_owned();
        let all = (0..7).flat_map(|n| vec![quote(n); 20]).chain((0..3).map(|_| error()));
        assert!(append(port, &all.collect::<Vec<_>>()));
        wait_for("an alert of each rule", || {
            assert!(append(port, &[quote(5)]));
            let told: BTreeSet<_> = alerts(&served).into_iter().map(|it| it.rule).collect();
            (told.len() == RULES.len()).then_some(())
        });
        let mut mine = Chance(seed + 1);
        scope.spawn(move || {
            let (mut active, mut rarely, mut until) = (127, 1, Instant::now());
            while !is_over.load(Ordering::Relaxed) {
                if Instant::now() >= until {
                    active = mine.below(128);
                    rarely = [1, 30, 300][mine.below(3)];
                    until = Instant::now() + Duration::from_millis(mine.below(3000) as u64);
                }
                let batch = 1 + mine.below(4);
                let mut event = |_| match (mine.below(rarely), symbol(&mut mine, active)) {
                    (0, None) if mine.below(4) == 0 => {
                        let level = ["error", "warning"][mine.below(2)];
                        let node = mine.below(3);
                        format!("{{log,'n{node}@h',{level},{{\"~p\",[{node}]}},#{{}}}}")
                    }
                    (0, Some(n)) => format!("{{quote,<<\"S{n}\">>,{}}}", mine.below(1000)),
                    _ => "{tick}".to_owned(),
                };
                let events: Vec<_> = (0..batch).map(&mut event).collect();
                if append(port, &events) {
                    appended.fetch_add(events.len() as u64, Ordering::Relaxed);
                }
            }
        });
        for _ in 0..ROUNDS {
            let told = alerts(&served).len() + chance.below(12);
            let due = appended.load(Ordering::Relaxed) + chance.below(2_000) as u64;
            if chance.below(3) == 0 {
                wait_for("appends", || (appended.load(Ordering::Relaxed) > due).then_some(()));
            } else {
                wait_for("alerts", || (alerts(&served).len() > told).then_some(()));
            }
            match chance.below(3) {
                0 => assert_eq!(served.program.stop(), Some(0)),
                _ => served.program.kill(),
            }
            let file = world.path("data/alerts/known/rules.checkpoint");
            let mut bytes = std::fs::read(&file).expect("it is there from the first start on");
            let at = chance.below(bytes.len());
            match chance.below(4) {
                0 => std::fs::remove_file(&file).unwrap(),
                1 => {
                    bytes[at] ^= 1 << chance.below(8);
                    std::fs::write(&file, bytes).unwrap();
                }
                _ => {}
            }
            served = start();
        }
        is_over.store(true, Ordering::Relaxed);
        served
    });
    let fired = agrees_with_the_log(&served);
    println!("{} appended, {fired:?}", appended.load(Ordering::Relaxed));
    assert!(fired.values().all(|fired| *fired > 0), "{fired:?}");
    // Whatever was told, nothing of it is told again.
    let starts = unwatched(&served).len();
    assert_eq!(served.program.stop(), Some(0));
    std::fs::remove_file(world.path("data/alerts/known/rules.checkpoint")).unwrap();
    let served = start();
    wait_for("the last start", || (unwatched(&served).len() > starts).then_some(()));
    assert!(append(port, &["{quote,<<\"S6\">>,1}".to_owned()]));
    let again = agrees_with_the_log(&served);
    assert_eq!((again["busy"], again["errors"]), (fired["busy"], fired["errors"]));
    assert_eq!(again["silent"], fired["silent"] + 1);
    a_replay_tells_the_same(&world, &served);
    assert_eq!(served.program.stop(), Some(0));
}

/// What webhooks are called, and what requests to them are signed with.
const HOOKS: [(&str, &str, &str); 2] = [
    ("one", "/one", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
    ("two", "/two", "two texts of 32 bytes are longer"),
];

/// `[[webhook]]`, of a receiver on this machine.
fn hooks(receiver: &Receiver) -> String {
    let hook = |(name, path, secret): &(&str, &str, &str)| {
        format!(
            "[[webhook]]\nname = {name:?}\nurl = {:?}\nsecret = {secret:?}\nallow_private = true\n",
            receiver.url(path)
        )
    };
    HOOKS.iter().map(hook).collect()
}

/// The receiver answers, refuses or breaks off, the program is killed or stopped, both at random. In the end everything
/// came, the first time in the order of the log.
#[test]
fn a_webhook_is_told_at_least_once_across_kills() {
    const ROUNDS: usize = 20;
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut chance = Chance(seed);
    let (world, port) = (World::new(), free_port());
    let receiver = Receiver::failing(seed + 1, false);
    let rules = r#"
[[rule]]
name = "each"
instance = "quotes"
match = "[{{quote,'$1','_'},[],['$1']}]"
within = "1s"
by = 1
notify = ["webhook:one", "webhook:two"]

[[rule]]
name = "few"
instance = "quotes"
match = "[{{quote,<<\"S0\">>,'$1'},[],['$_']}]"
within = "1s"
severity = "critical"
notify = ["webhook:one"]
"#;
    std::fs::write(world.path("c.toml"), format!("{rules}\n{}", hooks(&receiver))).unwrap();
    let start = || Served::start_at(&world, port, &["--config", "c.toml"]);
    let mut served = start();
    let mut appended = 0;
    for _ in 0..ROUNDS {
        let before = receiver.arrived("/one").len() + receiver.arrived("/two").len();
        let due = before + chance.below(4);
        for _ in 0..1 + chance.below(3) {
            appended += 1;
            assert!(append(port, &[format!("{{quote,<<\"S{}\">>,1}}", chance.below(4))]));
        }
        wait_for("requests", || {
            let arrived = receiver.arrived("/one").len() + receiver.arrived("/two").len();
            (arrived > due).then_some(())
        });
        match chance.below(4) {
            0 => assert_eq!(served.program.stop(), Some(0)),
            _ => served.program.kill(),
        }
        served = start();
    }
    receiver.is_kind.store(true, Ordering::Relaxed);
    // What was to be tried again much later is tried now.
    assert_eq!(served.program.stop(), Some(0));
    let served = start();
    wait_for("all events, and that nothing fires", || {
        let rules = served.get("/api/v1/rules");
        let alerts = served.get("/api/v1/alerts");
        let is_over = alerts["alerts"].as_array().unwrap().is_empty();
        (is_over && rules["rules"][0]["events"] == appended).then_some(())
    });
    let told = alerts(&served);
    let id = |alert: &AlertEvent| format!("{}-{}", alert.id, alert.phase.as_str());
    let two: Vec<_> = told.iter().filter(|alert| alert.rule == "each").map(id).collect();
    let one: Vec<_> = told.iter().map(id).collect();
    assert!(two.len() >= 2 * ROUNDS.min(4) && one.len() > two.len(), "{one:?}");
    wait_for("all alerts", || {
        let arrived = (receiver.ids("/one"), receiver.ids("/two"));
        (arrived.0.len() >= one.len() && arrived.1.len() >= two.len()).then_some(())
    });
    assert_eq!((receiver.ids("/one"), receiver.ids("/two")), (one, two));
    let mut all = Vec::new();
    for (_, path, secret) in HOOKS {
        let mut bodies = BTreeMap::new();
        for arrived in receiver.arrived(path) {
            let first = bodies.entry(arrived.id.clone()).or_insert_with(|| arrived.body.clone());
            assert_eq!(*first, arrived.body, "the same at every attempt");
            all.push(json!({"secret": secret, "body": arrived.body, "headers": {
                "webhook-id": arrived.id,
                "webhook-timestamp": arrived.timestamp,
                "webhook-signature": arrived.signature.expect("there is a secret"),
            }}));
        }
        for alert in told.iter().filter(|alert| bodies.contains_key(&id(alert))) {
            let body: Value = serde_json::from_str(&bodies[&id(alert)]).unwrap();
            let said = ["id", "rule", "state", "severity", "text", "instance"]
                .map(|key| body[key].as_str().unwrap().to_owned());
            let AlertEvent { rule, text, instance, .. } = alert.clone();
            let state = alert.phase.as_str().to_owned();
            let severity = alert.severity.as_str().to_owned();
            assert_eq!(said, [alert.id.to_string(), rule, state, severity, text, instance]);
            assert_eq!(body["micros"], alert.at.micros());
            assert_eq!(body["count"], alert.count);
            assert_eq!(body["firing_at"].is_null(), alert.phase == Phase::Firing);
            assert_eq!(body["explanation"].as_str(), alert.explanation.as_deref());
        }
    }
    println!("{appended} appended, {} told, {} requests", told.len(), all.len());
    verify(&world, &all);
    assert_eq!(served.program.stop(), Some(0));
}

/// Signatures are right, says the library that its authors publish; with another body they are not.
fn verify(world: &World, requests: &[Value]) {
    let Some(dir) = python("webhooks") else { return };
    let program = r#"
import base64, json, sys
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
for number, it in enumerate(json.load(open(sys.argv[1]))):
    secret = it["secret"]
    if not secret.startswith("whsec_"):
        secret = base64.b64encode(secret.encode()).decode()
    hook = Webhook(secret)
    assert hook.verify(it["body"], it["headers"]) == json.loads(it["body"])
    try:
        hook.verify(it["body"].replace("firing", "resolved"), it["headers"])
    except WebhookVerificationError:
        continue
    raise SystemExit("a body that was changed is taken")
print(number + 1, "requests are genuine")
"#;
    std::fs::write(world.path("requests"), serde_json::to_vec(requests).unwrap()).unwrap();
    let mut python = std::process::Command::new("python3");
    python.args(["-c", program]).arg(world.path("requests")).env("PYTHONPATH", dir);
    let output = python.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(
        said,
        format!("{} requests are genuine\n", requests.len()),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A process that is named in two ways is told by message and by cast; one that is named later gets what it missed.
#[test]
fn a_process_is_told() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let rule = |name: &str, tag: &str, notify: &str| {
        format!(
            "[[rule]]\nname = {name:?}\ninstance = \"quotes\"\nmatch = \"[{{{{{tag},'$1'}},[],['$1']}}]\"\nwithin = \"1s\"\nby = 1\n\
             severity = \"alert\"\ntext = \"$by trades\"\nnotify = [{notify}]\n"
        )
    };
    let there = rule(
        "there",
        "quote",
        "\"erlang:{global, on_call}\", \"erlang:{on_call, 'a@127.0.0.1'}\", \"cast:{global, on_call}\"",
    );
    let later =
        rule("later", "trade", "\"cast:{global, {late, 1}}\", \"erlang:{late, 'b@127.0.0.1'}\"");
    std::fs::write(world.path("c.toml"), format!("{there}{later}")).unwrap();
    let served = Served::start(&world, &["--config", "c.toml", "--connect", "local"]);
    let mut a = world.erl("a");
    a.wait_for_name("{quotes, 0}");
    a.eval("register(on_call, self()), yes = global:register_name(on_call, self())");
    a.eval("gen_server:cast({global, {quotes, 0}}, {quote, <<\"ACME\">>})");
    let alert = "{alert, there, firing, #{id := Id, number := 1, by := <<\"ACME\">>, count := 1, at := At, entry := At, \
                 severity := alert, instance := quotes, text := <<\"ACME trades\">>} = M}";
    a.eval(&format!(
        "{{Id, At, M}} = (fun() -> receive {alert} -> {{Id, At, M}} after 9000 -> none end end)()"
    ));
    assert_eq!(a.eval("{is_binary(Id), is_map_key(firing_at, M)}"), "{true,false}");
    a.wait_for_message("{alert, there, firing, M}");
    a.wait_for_message("{'$gen_cast', {alert, there, firing, M}}");
    let resolved = "{alert, there, resolved, #{id := Id, number := 2, firing_at := At}}";
    for message in [resolved, resolved, &format!("{{'$gen_cast', {resolved}}}")] {
        a.wait_for_message(message);
    }
    // Nobody has these names yet, and there is no such node.
    a.eval("gen_server:cast({global, {quotes, 0}}, {trade, acme})");
    served.program.wait_for_diagnostics("there is no process of this name");
    served.program.wait_for_diagnostics("b@127.0.0.1 is not connected");
    assert_eq!(a.eval("receive Any -> Any after 0 -> none end"), "none");
    let late = "fun(Match) -> receive Got -> Match(Got) after 30000 -> none end end";
    a.eval(&format!("Late = {late}, Me = self()"));
    // A process has one global name at most.
    let other = "spawn(fun Pass() -> receive Got -> Me ! Got, Pass() end end)";
    assert_eq!(a.eval(&format!("global:register_name({{late, 1}}, {other})")), "yes");
    let cast = |phase: &str| {
        format!(
            "Late(fun({{'$gen_cast', {{alert, later, {phase}, #{{by := acme}}}}}}) -> true; (Other) -> Other end)"
        )
    };
    assert_eq!(
        (a.eval(&cast("firing")), a.eval(&cast("resolved"))),
        ("true".into(), "true".into())
    );
    let mut b = world.erl("b");
    assert_eq!(b.eval(&format!("Late = {late}, register(late, self())")), "true");
    b.wait_for_name("{quotes, 0}");
    let message = |phase: &str| {
        format!(
            "Late(fun({{alert, later, {phase}, #{{by := acme}}}}) -> true; (Other) -> Other end)"
        )
    };
    assert_eq!(
        (b.eval(&message("firing")), b.eval(&message("resolved"))),
        ("true".into(), "true".into())
    );
    assert_eq!(a.eval("receive Any -> Any after 0 -> none end"), "none");
    let numbers = request(served.port, "GET", "/metrics", &[], b"").text();
    for receiver in ["cast:{global,{late,1}}", "erlang:{late,'b@127.0.0.1'}"] {
        let line = format!("logmachine_receiver_delivered_total{{receiver=\"{receiver}\"}} 2");
        assert!(numbers.contains(&line), "{line}: {numbers}");
    }
}

/// A server dies under its supervisor, on a node that is captured: a new fault, many errors, the fault again.
#[test]
fn errors_of_a_real_node_raise_alerts() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let config = r#"
[[rule]]
name = "new_fault"
fault = "new"

[[rule]]
name = "back"
fault = "regressed"
severity = "critical"

[[rule]]
name = "many_errors"
level = "error"
count = 30
within = "1h"
by = "node"
"#;
    std::fs::write(world.path("c.toml"), config).unwrap();
    let flags = ["--instance", "error_logger", "--config", "c.toml", "--connect", "local"];
    let served = Served::start(&world, &flags);
    let mut node = shop(&world, Path::new("erl"), "a");
    assert_eq!(node.eval("shop:start()"), "ok");
    // Each death has three reports.
    assert_eq!(node.eval("shop:order(1)"), "ok");
    let fires = |rule: &str| {
        wait_for(rule, || alerts(&served).into_iter().find(|alert| alert.rule == rule))
    };
    let new = fires("new_fault");
    assert_eq!(new.text, "new fault: {badmatch,{error,{no_stock,_}}} in shop:charge/1");
    let fault = served.get("/api/v1/faults")["faults"][0].clone();
    let id = fault["id"].as_str().unwrap().to_owned();
    assert_eq!(new.by.map(|by| by.to_string()), Some(format!("<<\"{id}\">>")));
    assert_eq!((&*new.instance, new.phase, new.count), ("error_logger", Phase::Firing, 1));
    assert!(new.explanation.is_some_and(|text| !text.is_empty()));
    let entry = |instance: &str, at: u64| {
        let path = format!("/api/v1/instances/{instance}/entries?from={at}&to={at}");
        served.get(&path)["entries"].as_array().unwrap().len()
    };
    assert_eq!(entry("faults", new.entry.unwrap().micros()), 1);
    assert_eq!(node.eval("[ok = shop:order(N) || N <- lists:seq(2, 10)], ok"), "ok");
    let many = fires("many_errors");
    assert_eq!(many.by.map(|by| by.to_string()).as_deref(), Some("'a@127.0.0.1'"));
    assert!(many.text.starts_with("a@127.0.0.1: 30 events within 1h, the last: "), "{}", many.text);
    assert_eq!((many.count, many.entry), (30, Some(many.at)));
    assert_eq!(entry("error_logger", many.at.micros()), 1);
    assert!(many.explanation.is_some_and(|text| !text.is_empty()));
    let one = format!("/api/v1/faults/{id}");
    let resolved = request(served.port, "PATCH", &one, &[], br#"{"state": "resolved"}"#);
    assert_eq!(resolved.status, 200);
    assert_eq!(node.eval("shop:order(11)"), "ok");
    let back = fires("back");
    assert_eq!(back.text, "it is back: {badmatch,{error,{no_stock,_}}} in shop:charge/1");
    assert_eq!(back.severity.as_str(), "critical");
    // That they crash again is nothing new.
    assert_eq!(alerts(&served).len(), 3);
    let firing = served.get("/api/v1/alerts?limit=2");
    assert_eq!(firing["alerts"].as_array().unwrap().len(), 2);
    let next = firing["next"].as_str().unwrap();
    let last = served.get(&format!("/api/v1/alerts?limit=2&cursor={next}"));
    assert_eq!((&last["alerts"][0]["rule"], &last["next"]), (&json!("new_fault"), &Value::Null));
    assert_eq!(last["alerts"][0]["by"], json!(id));
    assert_eq!(
        served.get("/api/v1/alerts?rule=many_errors")["alerts"][0]["by"],
        json!({"$atom": "a@127.0.0.1"})
    );
}

/// Asks for a silence; its status and answer.
fn silence(served: &Served, body: &str) -> (u16, Value) {
    let answer = request(served.port, "POST", "/api/v1/silences", &[], body.as_bytes());
    (answer.status, serde_json::from_slice(&answer.body).expect("JSON"))
}

fn lift(served: &Served, id: &str) -> u16 {
    request(served.port, "DELETE", &format!("/api/v1/silences/{id}"), &[], b"").status
}

/// One rule whose alerts fire for an hour, one whose are resolved after a second.
const LONG_AND_SHORT: &str = r#"
[[rule]]
name = "long"
instance = "quotes"
match = "[{{quote,'$1'},[],['$1']}]"
within = "1h"
by = 1
notify = ["webhook:one"]

[[rule]]
name = "short"
instance = "quotes"
match = "[{{trade,'$1'},[],['$1']}]"
within = "1s"
by = 1
notify = ["webhook:one"]
"#;

#[test]
fn silences_quiet_for_a_time() {
    let (world, receiver, port) = (World::new(), Receiver::start(), free_port());
    std::fs::write(world.path("c.toml"), format!("{LONG_AND_SHORT}{}", hooks(&receiver))).unwrap();
    let start = || Served::start_at(&world, port, &["--config", "c.toml"]);
    let served = start();
    let micros = || {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later");
        u64::try_from(since.as_micros()).expect("not for long ages")
    };
    let quiet = |served: &Served, body: &str| {
        let (status, silence) = silence(served, body);
        assert_eq!(status, 201, "{silence}");
        silence["id"].as_str().expect("an id").to_owned()
    };
    let (status, set) = silence(
        &served,
        r#"{"rule": "long", "by": "ACME", "for": "1h", "reason": "they are moving"}"#,
    );
    assert_eq!((status, &set["rule"], &set["by"]), (201, &json!("long"), &json!("ACME")));
    assert_eq!(set["reason"], "they are moving");
    let of_acme = set["id"].as_str().unwrap().to_owned();
    let day = moment::rfc3339(Timestamp::from_micros(micros() + 86_400 * SECOND));
    let of_short = quiet(&served, &format!(r#"{{"rule": "short", "until": "{day}"}}"#));
    assert_eq!(served.get("/api/v1/silences")["silences"].as_array().unwrap().len(), 2);
    // Receivers are told in order: who hears of the second was not told of the first.
    let event = |event: &str| assert!(append(port, &[event.to_owned()]));
    event("{quote,<<\"ACME\">>}");
    event("{quote,other}");
    event("{trade,acme}");
    let heard = || {
        let of =
            |it: &Value| format!("{} {} {}", it["rule"], it["by"], it["state"]).replace('"', "");
        receiver.arrived("/one").iter().map(|it| of(&it.json())).collect::<Vec<_>>()
    };
    let mut due = vec!["long {$atom:other} firing".to_owned()];
    wait_for("who is not quiet", || (heard() == due).then_some(()));
    wait_for("the short one's end", || {
        (words(&served, "short") == ["1 firing", "2 resolved"]).then_some(())
    });
    assert_eq!(words(&served, "long"), ["1 firing", "2 firing"]);
    let silenced = |served: &Served| {
        let alerts = served.get("/api/v1/alerts")["alerts"].as_array().unwrap().clone();
        alerts.iter().map(|it| (it["by"].clone(), it["silenced"].clone())).collect::<Vec<_>>()
    };
    let now = [(json!({"$atom": "other"}), json!(false)), (json!("ACME"), json!(true))];
    assert_eq!(silenced(&served), now);
    // They hold, whatever happens to the program.
    served.program.kill();
    let served = start();
    wait_for("what fires", || (silenced(&served) == now).then_some(()));
    assert_eq!(served.get("/api/v1/silences")["silences"].as_array().unwrap().len(), 2);
    assert_eq!((lift(&served, &of_acme), lift(&served, &of_acme)), (204, 404));
    assert_eq!(lift(&served, "nothing"), 404);
    due.push("long ACME firing".to_owned());
    wait_for("who was quiet and fires", || (heard() == due).then_some(()));
    assert_eq!(silenced(&served).iter().filter(|it| it.1 == true).count(), 0);
    // Who was resolved in the meantime is never told of.
    assert_eq!(lift(&served, &of_short), 204);
    assert_eq!(served.get("/api/v1/silences")["silences"], json!([]));
    event("{trade,zeta}");
    due.push("short {$atom:zeta} firing".to_owned());
    wait_for("who fires now", || (heard() == due).then_some(()));
    // Of what somebody was told, they are told the end.
    quiet(&served, r#"{"for": "1h"}"#);
    due.push("short {$atom:zeta} resolved".to_owned());
    wait_for("its end", || (heard() == due).then_some(()));
    for id in served.get("/api/v1/silences")["silences"].as_array().unwrap() {
        assert_eq!((&id["rule"], &id["by"]), (&Value::Null, &Value::Null));
        assert_eq!(lift(&served, id["id"].as_str().unwrap()), 204);
    }
    // It ends by itself, too.
    quiet(&served, r#"{"by": "'a@h'", "for": "1s"}"#);
    event("{quote,a@h}");
    due.push("long {$atom:a@h} firing".to_owned());
    wait_for("the end of a silence", || (heard() == due).then_some(()));
    let told = entries(&served, "alerts").len();
    for (body, place, message) in [
        (r#"{"rule": "lang", "for": "1h"}"#, "rule", "there is no rule lang"),
        (r#"{"rule": "long"}"#, "until", "a silence has an end"),
        (r#"{"for": "1h", "until": "2099-01-01T00:00:00Z"}"#, "until", "until or for"),
        (r#"{"until": "2001-01-01T00:00:00Z"}"#, "until", "is over"),
        (r#"{"until": "2h"}"#, "until", "is over; a span from now on is `for`"),
        (r#"{"until": "soon"}"#, "until", "no moment"),
        (r#"{"until": "2999-01-01T00:00:00Z"}"#, "until", "a year at most"),
        (r#"{"for": "soon"}"#, "for", "write 30m, 2h, 7d"),
        (r#"{"for": "-1h"}"#, "for", "write 30m, 2h, 7d"),
        (r#"{"for": "10000d"}"#, "until", "a year at most"),
        (r#"{"for": "0s"}"#, "for", "write 30m, 2h, 7d"),
        (r#"{"for": "1h", "who": "ann"}"#, "body", "unknown field `who`"),
        (r#"{"for": 3600}"#, "body", "invalid type"),
        ("hush", "body", "expected value"),
        ("", "body", "EOF"),
    ] {
        for content_type in ["application/json", "text/plain"] {
            let headers = [("Content-Type", content_type)];
            let answer =
                request(served.port, "POST", "/api/v1/silences", &headers, body.as_bytes());
            let error: Value = serde_json::from_slice(&answer.body).expect("an error is JSON");
            let said = (answer.status, error["error"]["where"].as_str().unwrap_or_default());
            assert_eq!(said, (400, place), "{body}: {error}");
            let text = error["error"]["message"].as_str().unwrap();
            assert!(text.contains(message), "{body}: {text}");
        }
    }
    assert_eq!(entries(&served, "alerts").len(), told, "what was refused is no event");
    assert_eq!(served.program.stop(), Some(0));
}

/// SIGHUP with a rule more, a rule less, one that asks for something else, and with a file that is wrong.
#[test]
fn rules_are_read_again() {
    let (world, receiver) = (World::new(), Receiver::start());
    let rule = |name: &str, tag: &str, more: &str| {
        format!(
            "[[rule]]\nname = {name:?}\ninstance = \"quotes\"\nmatch = \"[{{{{{tag},'$1'}},[],['$1']}}]\"\nwithin = \"1h\"\nby = 1\n{more}\n"
        )
    };
    let configure = |rules: &[String]| {
        std::fs::write(world.path("c.toml"), rules.concat() + &hooks(&receiver)).unwrap();
    };
    let notify = |path: &str| format!("notify = [\"webhook:{path}\"]");
    let (stays, goes) = (rule("stays", "quote", ""), rule("goes", "trade", &notify("one")));
    let brief = |name: &str| rule(name, "order", "").replace("1h", "1s");
    configure(&[stays.clone(), goes.clone(), brief("brief"), brief("twin")]);
    let served = Served::start(&world, &["--config", "c.toml"]);
    let again = |count: usize, said: &str| {
        kill_process(served.program.pid(), Signal::HUP).unwrap();
        wait_for(said, || {
            (served.program.diagnostics().matches(said).count() == count).then_some(())
        });
    };
    let event = |event: &str| assert!(append(served.port, &[event.to_owned()]));
    let told = |rule: &str, due: &[&str]| {
        wait_for(&format!("{rule}: {due:?}"), || (words(&served, rule) == due).then_some(()));
    };
    let names = || {
        let rules = served.get("/api/v1/rules")["rules"].as_array().unwrap().clone();
        rules.iter().map(|it| it["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    event("{trade,acme}");
    told("goes", &["1 firing"]);
    event("{order,1}");
    told("brief", &["1 firing", "2 resolved"]);
    // Who goes and comes back has the numbers that follow, whatever was told since; what is over is not told then.
    configure(&[stays.clone(), brief("twin")]);
    again(1, "SIGHUP: read again: ");
    told("goes", &["1 firing", "2 resolved"]);
    event("{order,2}");
    told("twin", &["1 firing", "2 resolved", "3 firing", "4 resolved"]);
    event("{quote,acme}");
    told("stays", &["1 firing"]);
    configure(&[stays.clone(), goes.clone(), brief("brief"), brief("twin")]);
    again(2, "SIGHUP: read again: ");
    told("goes", &["1 firing", "2 resolved", "3 firing"]);
    event("{order,3}");
    told("twin", &["1 firing", "2 resolved", "3 firing", "4 resolved", "5 firing", "6 resolved"]);
    told("brief", &["1 firing", "2 resolved", "3 firing", "4 resolved"]);
    // Who is new looks back, and its receiver, who is new too, is told of what is so now.
    let comes = rule("comes", "quote", &notify("two"));
    configure(&[stays.clone(), comes.clone()]);
    again(3, "SIGHUP: read again: ");
    told("comes", &["1 firing"]);
    told("goes", &["1 firing", "2 resolved", "3 firing", "4 resolved"]);
    assert_eq!(names(), ["stays", "comes"]);
    let ended = alerts(&served).into_iter().rfind(|alert| alert.rule == "goes").unwrap();
    assert!(ended.text.starts_with("there is no such rule any more: "), "{}", ended.text);
    wait_for("the new receiver", || (receiver.ids("/two").len() == 1).then_some(()));
    // Whoever is wrong changes nothing.
    configure(&[rule("stays", "quote", "count = 0")]);
    again(1, "SIGHUP: nothing changed: c.toml:7: count: ");
    assert_eq!(names(), ["stays", "comes"]);
    event("{quote,other}");
    told("stays", &["1 firing", "2 firing"]);
    told("comes", &["1 firing", "2 firing"]);
    // In another order.
    configure(&[comes.clone(), goes.clone(), stays.clone()]);
    again(4, "SIGHUP: read again: ");
    assert_eq!(names(), ["comes", "goes", "stays"]);
    told("goes", &["1 firing", "2 resolved", "3 firing", "4 resolved", "5 firing"]);
    // Who asks for something else tells what that is not.
    configure(&[comes, goes, rule("stays", "quote", "count = 2")]);
    again(5, "SIGHUP: read again: ");
    told("stays", &["1 firing", "2 firing", "3 resolved", "4 resolved"]);
    event("{quote,other}");
    told("stays", &["1 firing", "2 firing", "3 resolved", "4 resolved", "5 firing"]);
    assert_eq!(words(&served, "comes"), ["1 firing", "2 firing"]);
    assert_eq!(served.get("/api/v1/alerts?rule=stays")["alerts"].as_array().unwrap().len(), 1);
    assert_eq!(served.program.stop(), Some(0));
}

/// While another receiver, which does not answer, keeps the change waiting.
#[test]
fn a_receiver_that_is_new_hears_the_first_word_of_its_rule() {
    let (world, receiver) = (World::new(), Receiver::start());
    let stuck = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}/", stuck.local_addr().unwrap());
    let stuck_hook =
        format!("[[webhook]]\nname = \"stuck\"\nurl = \"{url}\"\nallow_private = true\n");
    let rules = LONG_AND_SHORT.replace("webhook:one", "webhook:stuck");
    let new = LONG_AND_SHORT.split("[[rule]]").nth(1).unwrap().replace("\"long\"", "\"new\"");
    let configure = |rules: &str| {
        std::fs::write(world.path("c.toml"), format!("{rules}{stuck_hook}{}", hooks(&receiver)))
            .unwrap();
    };
    configure(&rules);
    let served = Served::start(&world, &["--config", "c.toml"]);
    assert!(append(served.port, &["{quote,acme}".to_owned()]));
    let _held = stuck.accept().unwrap();
    configure(&format!("[[rule]]{new}{rules}"));
    kill_process(served.program.pid(), Signal::HUP).unwrap();
    served.program.wait_for_diagnostics("SIGHUP: read again: ");
    wait_for("what is so", || (words(&served, "new") == ["1 firing"]).then_some(()));
    wait_for("who is told", || (receiver.ids("/one").len() == 1).then_some(()));
    assert_eq!(words(&served, "long"), ["1 firing"]);
}
