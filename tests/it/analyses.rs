//! Analyses: what is computed of windows of time is exact, whatever happens to the program.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use logmachine::etf::{order, text};
use logmachine::time::Timestamp;
use logmachine::{Term, TermBuf};
use serde_json::{Value, json};

use crate::faults::{Chance, append};
use crate::harness::{World, free_port, has_erlang, wait_for};
use crate::http::{ENTRIES, Served, request};

const SECOND: u64 = 1_000_000;

/// Candles of quotes, the same without keys and sliding, and what is computed of candles.
const CONFIG: &str = r#"
[[analysis]]
name = "candles"
from = "quotes"
match_spec = "[{{quote,'$1','$2','$3'},[],[{{'$1','$2','$3'}}]}]"
by = 1
window = "1s"
values = { open = "first(2)", high = "max(2)", low = "min(2)", close = "last(2)", volume = "sum(3)", n = "count" }
start = "earliest"

[[analysis]]
name = "sliding"
from = "quotes"
window = "3s"
every = "1s"
values = { sum = "sum(4)", kinds = "distinct(2)", n = "count" }

[[analysis]]
name = "of_candles"
from = "candles"
match_spec = "[{{analysis,'_','$1','_',#{n => '$2'}},[],[{{'$1','$2'}}]}]"
by = 1
window = "2s"
values = { n = "sum(2)" }
"#;

/// What a row is of, and its values as text.
type Row = ((u64, String), (u64, BTreeMap<String, String>));

/// The entries of an instance.
pub(crate) fn entries(served: &Served, instance: &str) -> Vec<(u64, TermBuf)> {
    let path = format!("/api/v1/instances/{instance}/entries?format=text");
    let answer = request(served.port, "GET", &path, &[("Accept", "application/x-ndjson")], b"");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let entry = |line: &str| {
        let entry: Value = serde_json::from_str(line).expect("a line is JSON");
        let event = text::parse_lossless(entry["event"].as_str().expect("text"));
        (entry["micros"].as_u64().expect("a number"), event.expect("a term"))
    };
    answer.text().lines().map(entry).collect()
}

pub(crate) fn elements(term: &TermBuf) -> Vec<TermBuf> {
    match term.as_term().view() {
        Term::Tuple(elements) => elements.map(|it| it.to_buf()).collect(),
        _ => panic!("{term} is no tuple"),
    }
}

fn micros(stamp: &TermBuf) -> u64 {
    let [mega, secs, micros] = stamp.as_term().as_tuple().expect("a timestamp");
    let part = |term: logmachine::TermRef<'_>| term.as_integer().expect("a number");
    Timestamp::from_parts(part(mega), part(secs), part(micros)).expect("a timestamp").micros()
}

/// The rows that an analysis has told, in their order.
fn rows(served: &Served, name: &str) -> Vec<Row> {
    let row = |(_, event): (u64, TermBuf)| {
        let [tag, of, by, window, values] = elements(&event).try_into().expect("five");
        assert_eq!((tag.to_string(), of.to_string()), ("analysis".to_owned(), name.to_owned()));
        let [from, to] = elements(&window).try_into().expect("two");
        let Term::Map(pairs) = values.as_term().view() else { panic!("{values} is no map") };
        let texts = pairs.map(|(key, value)| (text::to_text(key), text::to_text(value)));
        ((micros(&to), by.to_string()), (micros(&from), texts.collect()))
    };
    entries(served, name).into_iter().map(row).collect()
}

/// What the log says, by the plainest of ways: for each window the events in it, key by key.
fn due(
    log: &[(u64, TermBuf)],
    (window, every): (u64, u64),
    key: impl Fn(&[TermBuf]) -> String,
    values: impl Fn(&[&[TermBuf]]) -> Vec<(&'static str, String)>,
) -> Vec<Row> {
    let mut windows: BTreeMap<(u64, String), Vec<&[TermBuf]>> = BTreeMap::new();
    let log: Vec<_> = log.iter().map(|(at, event)| (*at, elements(event))).collect();
    for (at, event) in &log {
        let first = at / every * every + every;
        for end in (first..first + window).step_by(usize::try_from(every).unwrap()) {
            windows.entry((end, key(event))).or_default().push(event);
        }
    }
    let row = |((end, key), events): ((u64, String), Vec<&[TermBuf]>)| {
        let values = values(&events).into_iter().map(|(name, it)| (name.to_owned(), it)).collect();
        ((end, key), (end - window, values))
    };
    windows.into_iter().map(row).collect()
}

fn sum(events: &[&[TermBuf]], n: usize) -> String {
    events.iter().map(|it| it[n].as_term().as_integer().unwrap()).sum::<i64>().to_string()
}

/// Waits until everything that is due was told, and nothing else.
fn agrees_with_the_log(served: &Served) -> usize {
    let quotes = entries(served, "quotes");
    let candles = due(
        &quotes,
        (SECOND, SECOND),
        |event| event[1].to_string(),
        |events| {
            let mut prices: Vec<_> = events.iter().map(|it| &it[2]).collect();
            let (open, close) = (prices[0].to_string(), prices[prices.len() - 1].to_string());
            prices.sort_by(|a, b| order::cmp(a.as_term(), b.as_term()));
            let high = prices
                .iter()
                .rev()
                .take_while(|it| order::equal(it.as_term(), prices[prices.len() - 1].as_term()));
            vec![
                ("open", open),
                ("high", high.last().unwrap().to_string()),
                ("low", prices[0].to_string()),
                ("close", close),
                ("volume", sum(events, 3)),
                ("n", events.len().to_string()),
            ]
        },
    );
    let sliding = due(
        &quotes,
        (3 * SECOND, SECOND),
        |_| "all".to_owned(),
        |events| {
            let kinds: BTreeSet<_> = events.iter().map(|it| it[1].to_string()).collect();
            vec![
                ("sum", sum(events, 3)),
                ("kinds", kinds.len().to_string()),
                ("n", events.len().to_string()),
            ]
        },
    );
    wait_for("the windows of the log", || {
        let told = (rows(served, "candles"), rows(served, "sliding"));
        assert!(told.0.len() <= candles.len() && told.1.len() <= sliding.len(), "too many");
        (told == (candles.clone(), sliding.clone())).then_some(())
    });
    let of_candles = due(
        &entries(served, "candles"),
        (2 * SECOND, 2 * SECOND),
        |event| event[2].to_string(),
        |events| {
            let count = |event: &&[TermBuf]| {
                event[4].as_term().map_get("n").and_then(|n| n.as_integer()).unwrap()
            };
            vec![("n", events.iter().map(count).sum::<i64>().to_string())]
        },
    );
    wait_for("the windows of candles", || (rows(served, "of_candles") == of_candles).then_some(()));
    candles.len()
}

/// One client appends, while the program is killed, or stopped, at random moments; what it has stored then stays, is gone,
/// or is damaged. In the end what was told is what the log says: no window twice, none missing.
#[test]
fn kills_under_load_neither_lose_nor_repeat_a_window() {
    const ROUNDS: usize = 40;
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut chance = Chance(seed);
    let (world, port) = (World::new(), free_port());
    std::fs::write(world.path("c.toml"), CONFIG).unwrap();
    let start = || Served::start_at(&world, port, &["--config", "c.toml"]);
    let (is_over, appended) = (AtomicBool::new(false), AtomicU64::new(0));
    let served = std::thread::scope(|scope| {
        let (is_over, appended) = (&is_over, &appended);
        let mut mine = Chance(seed + 1);
        scope.spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                let batch = 1 + mine.below(40);
                let mut quote = |_| {
                    let price = mine.below(1000);
                    format!("{{quote,<<\"S{}\">>,{}.5,{}}}", mine.below(7), price, mine.below(100))
                };
                let events: Vec<_> = (0..batch).map(&mut quote).collect();
                if append(port, &events) {
                    appended.fetch_add(batch as u64, Ordering::Relaxed);
                }
            }
        });
        let mut served = start();
        for _ in 0..ROUNDS {
            let due = appended.load(Ordering::Relaxed) + chance.below(2_000) as u64;
            wait_for("appends", || (appended.load(Ordering::Relaxed) > due).then_some(()));
            match chance.below(3) {
                0 => assert_eq!(served.program.stop(), Some(0)),
                _ => served.program.kill(),
            }
            // The one that knows where to begin without it.
            let file = world.path("data/candles/known/candles.analysis");
            if let Ok(mut bytes) = std::fs::read(&file) {
                let at = chance.below(bytes.len());
                match chance.below(4) {
                    0 => std::fs::remove_file(&file).unwrap(),
                    1 => {
                        bytes[at] ^= 1;
                        std::fs::write(&file, bytes).unwrap();
                    }
                    _ => {}
                }
            }
            served = start();
        }
        is_over.store(true, Ordering::Relaxed);
        served
    });
    let told = agrees_with_the_log(&served);
    println!("{} appended, {told} candles", appended.load(Ordering::Relaxed));
    let analyses = served.get("/api/v1/analyses");
    let named = |name: &str| {
        let all = analyses["analyses"].as_array().unwrap();
        all.iter().find(|it| it["name"] == name).cloned().unwrap()
    };
    assert_eq!(
        (analyses["analyses"].as_array().unwrap().len(), &analyses["next"]),
        (3, &json!(null))
    );
    let sliding = named("sliding");
    assert_eq!(sliding["values"], json!({"sum": "sum(4)", "kinds": "distinct(2)", "n": "count"}));
    assert_eq!((&sliding["window_seconds"], &sliding["every_seconds"]), (&json!(3.0), &json!(1.0)));
    assert_eq!(
        (&sliding["by"], &sliding["rows"], &sliding["behind_seconds"]),
        (&json!(null), &json!(0), &json!(0.0))
    );
    assert_eq!((&named("candles")["from"], &named("candles")["by"]), (&json!("quotes"), &json!(1)));
    let numbers = request(served.port, "GET", "/metrics", &[], b"").text();
    assert!(numbers.contains("logmachine_analysis_not_numbers_total{analysis=\"candles\"} 0"));
    assert_eq!(served.program.stop(), Some(0));
}

/// An analysis that comes later: from then on, in whole windows, or from the beginning of the log.
#[test]
fn history_is_read_if_it_is_asked_for() {
    let (world, port) = (World::new(), free_port());
    let served = Served::start_at(&world, port, &[]);
    let quotes: Vec<_> = (0..50).map(|n| format!("{{quote,<<\"S\">>,{n},1}}")).collect();
    assert!(append(port, &quotes));
    assert_eq!(served.program.stop(), Some(0));
    let late = "[[analysis]]\nname = \"late\"\nfrom = \"quotes\"\nwindow = \"1s\"\nvalues = { n = \"count\" }\n";
    std::fs::write(world.path("c.toml"), format!("{CONFIG}{late}")).unwrap();
    // The window of the first quotes is over.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let served = Served::start_at(&world, port, &["--config", "c.toml"]);
    let counted = |name: &str| {
        let count = |row: Row| row.1.1["n"].parse::<u64>().unwrap();
        rows(&served, name).into_iter().map(count).sum::<u64>()
    };
    wait_for("the past", || (counted("candles") == 50).then_some(()));
    assert_eq!(counted("late"), 0);
    // A row of the far future, which is none of ours, silences nothing after a restart.
    let row = b"{analysis,late,all,{{9000,0,0},{9000,1,0}},#{n => 0}}.";
    let path = "/api/v1/instances/late/entries";
    let said = request(port, "POST", path, &[("Content-Type", "text/x-erlang")], row);
    assert_eq!(said.status, 200, "{}", said.text());
    assert_eq!(served.program.stop(), Some(0));
    let served = Served::start_at(&world, port, &["--config", "c.toml"]);
    let counted = |name: &str| {
        let count = |row: Row| row.1.1["n"].parse::<u64>().unwrap();
        rows(&served, name).into_iter().map(count).sum::<u64>()
    };
    assert!(append(port, &quotes[..7]));
    wait_for("what is new", || (counted("late") == 7 && counted("candles") == 57).then_some(()));
    assert_eq!(served.program.stop(), Some(0));
}

/// The example of the guide: a process gets candles of a symbol, from a timestamp on.
#[test]
fn an_erlang_process_subscribes_to_candles() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    std::fs::write(world.path("c.toml"), CONFIG).unwrap();
    let served = Served::start(&world, &["--config", "c.toml", "--connect", "local"]);
    let mut a = world.erl("a");
    a.wait_for_name("{quotes, 0}");
    a.wait_for_name("{candles, 0}");
    a.eval("Quote = fun(S, P, V) -> gen_server:cast({global, {quotes, 0}}, {quote, S, P, V}) end");
    // All in one window, so that it is known what is due.
    a.eval("(fun W() -> case element(3, os:timestamp()) < 200000 of true -> ok; false -> timer:sleep(20), W() end end)()");
    a.eval("[Quote(<<\"ACME\">>, P, 100) || P <- [12.5, 13.0, 11.75, 12.25]], Quote(<<\"OTHER\">>, 1, 1)");
    a.eval(
        "{ok, _} = gen_server:call({global, {candles, 0}}, {subscribe, #{from => {ago, {1, min}}, pid => self(), marker => candles, \
         match_spec => [{{analysis, '_', <<\"ACME\">>, '_', '_'}, [], ['$_']}]}})",
    );
    a.eval("{From, To, Candle} = receive {candles, {_, {analysis, candles, <<\"ACME\">>, {F, T}, M}}} -> {F, T, M} after 10000 -> none end");
    assert_eq!(
        a.eval("lists:sort(maps:to_list(Candle))"),
        "[{close,12.25},{high,13.0},{low,11.75},{n,4},{open,12.5},{volume,400}]"
    );
    assert_eq!(a.eval("{element(3, From), timer:now_diff(To, From)}"), "{0,1000000}");
    assert_eq!(served.get(&format!("{ENTRIES}?limit=100"))["entries"].as_array().unwrap().len(), 5);
}
