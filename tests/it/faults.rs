//! Faults: what keeps breaking, what people decide about it, and that it stays so whatever happens.

mod answers;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use logmachine::analysis::fault::News;
use logmachine::analysis::fault_event::FaultEvent;
use logmachine::analysis::fingerprint::FaultId;
use logmachine::etf::text;
use logmachine::time::Timestamp;
use serde_json::{Value, json};

use crate::harness::{Erl, World, free_port, has_erlang, wait_for};
use crate::http::{Answer, ENTRIES, Served, parse, request};
use crate::releases::releases;

/// A program with the instances `quotes` and `error_logger`, whose faults are asked for.
struct Kept(Served);

impl Kept {
    fn start(world: &World, flags: &[&str]) -> Self {
        Kept(Served::start(world, &[&["--instance", "error_logger"], flags].concat()))
    }

    fn start_at(world: &World, port: u16) -> Self {
        Kept(Served::start_at(world, port, &[]))
    }

    fn stop(self) {
        assert_eq!(self.0.program.stop(), Some(0));
    }

    /// What is told of some faults.
    fn faults(&self, query: &str) -> Vec<Value> {
        let answer = self.0.get(&format!("/api/v1/faults?{query}"));
        answer["faults"].as_array().expect("a list").clone()
    }

    fn fault(&self, id: &str) -> Value {
        self.0.get(&format!("/api/v1/faults/{id}"))
    }

    /// The one fault that there is, when it has occurred so often.
    fn only(&self, count: u64) -> Value {
        wait_for("a fault of that count", || {
            let faults = self.faults("");
            assert!(faults.len() <= 1, "{faults:#?}");
            faults.into_iter().find(|fault| fault["count"] == count)
        })
    }

    fn request(&self, method: &str, path: &str, body: &str) -> Answer {
        request(self.0.port, method, path, &[], body.as_bytes())
    }

    /// Decides; the fault then.
    fn decide(&self, id: &str, decision: &Value) -> Value {
        let answer = self.request("PATCH", &format!("/api/v1/faults/{id}"), &decision.to_string());
        assert_eq!(answer.status, 200, "{}", answer.text());
        serde_json::from_slice(&answer.body).expect("JSON")
    }

    /// What is refused: the status, the place at fault and the message.
    fn refused(&self, method: &str, path: &str, body: &str) -> (u16, String, String) {
        let answer = self.request(method, path, body);
        let error: Value = serde_json::from_slice(&answer.body).expect("an error is JSON");
        let text = |name: &str| error["error"][name].as_str().unwrap_or_default().to_owned();
        (answer.status, text("where"), text("message"))
    }

    /// Appends events, written as terms, to `quotes`; whether they were acknowledged.
    fn append(&self, events: &[String]) -> bool {
        append(self.0.port, events)
    }

    /// The entries of an instance that are selected, as Erlang terms are written.
    fn entries(&self, instance: &str, query: &str) -> Vec<(Timestamp, String)> {
        let path = format!("/api/v1/instances/{instance}/entries?format=text&{query}");
        let headers = [("Accept", "application/x-ndjson")];
        let answer = request(self.0.port, "GET", &path, &headers, b"");
        assert_eq!(answer.status, 200, "{}", answer.text());
        let entry = |line: &str| {
            let entry: Value = serde_json::from_str(line).expect("a line is JSON");
            let at = Timestamp::from_micros(entry["micros"].as_u64().expect("a number"));
            (at, entry["event"].as_str().expect("text").to_owned())
        };
        answer.text().lines().map(entry).collect()
    }

    /// What was told and decided, in its order.
    fn told(&self) -> Vec<(Timestamp, FaultEvent)> {
        let entries = self.entries("faults", "");
        let decoded = |(at, event): (Timestamp, String)| {
            let event = text::parse_lossless(&event).expect("a term");
            Some((at, FaultEvent::decode(event.as_term())?))
        };
        entries.into_iter().filter_map(decoded).collect()
    }

    /// The same as words: `new`, `regressed`, or `STATE by WHO`.
    fn words(&self) -> Vec<String> {
        let word = |event| match event {
            FaultEvent::News(_, News::New) => "new".to_owned(),
            FaultEvent::News(_, News::Regressed { .. }) => "regressed".to_owned(),
            FaultEvent::Decision(decision) => format!("{} by {}", decision.state, decision.by),
        };
        self.told().into_iter().map(|(_, event)| word(event)).collect()
    }
}

/// The same, whether somebody is there or not.
pub(crate) fn append(port: u16, events: &[String]) -> bool {
    let body = events.iter().map(|event| format!("{event}.\n")).collect::<String>();
    try_request(port, "POST", ENTRIES, &body).is_some_and(|answer| answer.status == 200)
}

/// The answer, if there is a whole one.
fn try_request(port: u16, method: &str, path: &str, body: &str) -> Option<Answer> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\nContent-Type: text/x-erlang\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(format!("{head}{body}").as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    answer.windows(4).any(|four| four == b"\r\n\r\n").then(|| parse(&answer))
}

/// Lines of cells between bars.
fn rows<const N: usize>(table: &str) -> impl Iterator<Item = [&str; N]> {
    let lines = table.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(|line| {
        let cells: Vec<_> = line.split(" | ").map(str::trim).collect();
        cells.try_into().unwrap_or_else(|_| panic!("{line}"))
    })
}

/// An error that is the `n`th fault, with data that differs from one occurrence to another.
fn error(n: usize, data: usize) -> String {
    format!(
        "{{log,'n@10.0.0.1',error,{{\"fault {n}: ~p\",[{data}]}},#{{mfa => {{stock,find,1}},time => {data}}}}}"
    )
}

/// A node that is captured and has the module `shop`.
pub(crate) fn shop(world: &World, erl: &Path, name: &str) -> Erl {
    let mut node = Erl::start(world, erl, &["-name", &format!("{name}@127.0.0.1")]);
    node.load("lm_capture");
    node.load("shop");
    node.wait_until("lm_capture:installed()", "true");
    node
}

/// Each death has three reports. Three releases have the same fault, each on a node of its own.
#[test]
fn a_server_that_crashes_again_and_again_is_one_fault_on_every_release() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let kept = Kept::start(&world, &["--connect", "local"]);
    let mut watching = world.erl("watching");
    watching.wait_for_name("{faults, 0}");
    watching.eval(
        "{ok, _} = gen_server:call({global, {faults, 0}}, {subscribe, #{from => now, pid => self(), marker => m}})",
    );
    let mut per_node = serde_json::Map::new();
    let mut running = Vec::new();
    for (release, erl) in releases().into_iter().filter(|it| ["23", "27", "29"].contains(&it.0)) {
        let mut node = shop(&world, &erl, &format!("n{release}"));
        assert_eq!(node.eval("shop:start()"), "ok");
        for order in ["1", "[self(), make_ref()]", "<<\"x\">>", "self()", "#{k => \"text\"}"] {
            assert_eq!(node.eval(&format!("shop:order({order})")), "ok");
        }
        per_node.insert(format!("n{release}@127.0.0.1"), json!(5));
        let count = 5 * per_node.len() as u64;
        let fault = kept.only(count);
        assert_eq!(fault["title"], "{badmatch,{error,{no_stock,_}}} in shop:charge/1");
        assert_eq!((&fault["state"], &fault["level"]), (&json!("new"), &json!("error")));
        assert_eq!(fault["instance"], "error_logger");
        assert_eq!(fault["nodes"], json!(per_node), "OTP {release}");
        assert_eq!(fault["modules"], json!(["shop"]));
        let hour = fault["last_hour"].as_array().unwrap();
        assert_eq!(hour.len(), 60);
        assert_eq!(hour.iter().filter_map(Value::as_u64).sum::<u64>(), count);
        let samples = fault["samples"].as_array().unwrap();
        assert_eq!(samples.len(), 5);
        assert_eq!((&samples[0], &samples[4]), (&fault["first_seen"], &fault["last_seen"]));
        let whole = kept.fault(fault["id"].as_str().unwrap());
        let entries = whole["entries"].as_array().unwrap();
        let stamps: Vec<_> = entries.iter().map(|entry| entry["ts"].clone()).collect();
        assert_eq!(stamps, *samples);
        assert!(entries.iter().all(|entry| entry["view"]["level"] == "error"));
        // Each report of a death tells where it came up.
        let id = fault["id"].as_str().unwrap();
        assert_eq!(kept.entries("error_logger", &format!("fault={id}")).len() as u64, 3 * count);
        running.push(node);
    }
    assert_eq!(kept.words(), ["new"]);
    let id = kept.faults("")[0]["id"].as_str().unwrap().to_owned();
    watching.wait_for_message(&format!(
        "{{m, {{_, {{fault, <<\"{id}\">>, new, #{{title := <<\"{{badmatch,\", _/binary>>, node := 'n23@127.0.0.1', modules := [shop]}}}}}}}}"
    ));
}

#[test]
fn what_people_decide_holds_until_the_fault_comes_back() {
    let world = World::new();
    let kept = Kept::start(&world, &[]);
    let occurs = |count: u64| {
        assert!(kept.append(&[error(1, usize::try_from(count).unwrap())]));
        kept.only(count)
    };
    let id = occurs(1)["id"].as_str().unwrap().to_owned();
    let resolved = kept.decide(&id, &json!({"state": "resolved"}));
    let by = resolved["by"].as_str().unwrap().to_owned();
    assert!(!by.is_empty());
    assert_eq!(
        (&resolved["state"], &resolved["in_next_version"]),
        (&json!("resolved"), &json!(false))
    );
    assert_eq!(kept.faults("state=resolved").len(), 1);
    assert_eq!(kept.faults("state=new,regressed").len(), 0);
    // It comes back once, however often it occurs.
    let back = occurs(2);
    assert_eq!((&back["state"], &back["by"]), (&json!("regressed"), &Value::Null));
    assert_eq!(
        (&occurs(3)["state"], &occurs(4)["state"]),
        (&json!("regressed"), &json!("regressed"))
    );
    let mut told = vec!["new".to_owned(), format!("resolved by {by}"), "regressed".to_owned()];
    assert_eq!(kept.words(), told);
    // What is muted is counted and not told of.
    let muted = kept.decide(&id, &json!({"state": "muted"}));
    assert_eq!((&muted["state"], &muted["until"]), (&json!("muted"), &Value::Null));
    assert_eq!(occurs(5)["state"], "muted");
    let reopened = kept.decide(&id, &json!({"state": "ongoing"}));
    assert_eq!(reopened["state"], "ongoing");
    let muted = kept.decide(&id, &json!({"state": "muted", "for": "300ms"}));
    assert!(muted["until"].as_str().unwrap() > muted["state_since"].as_str().unwrap());
    wait_for("the end of its time", || (kept.fault(&id)["state"] == "ongoing").then_some(()));
    let later = kept.decide(&id, &json!({"state": "muted", "until": "2099-01-01T00:00:00Z"}));
    assert_eq!(
        (&later["state"], &later["until"]),
        (&json!("muted"), &json!("2099-01-01T00:00:00.000000Z"))
    );
    for state in ["muted", "ongoing", "muted", "muted", "resolved"] {
        told.push(format!("{state} by {by}"));
    }
    kept.decide(&id, &json!({"state": "resolved", "for": null, "until": null}));
    assert_eq!(kept.words(), told);
    assert_eq!(occurs(6)["state"], "regressed");
    told.push("regressed".to_owned());
    assert_eq!(kept.words(), told);

    let one = format!("/api/v1/faults/{id}");
    for [body, place, message] in rows(
        r#"
        {"state": "new"} | state | write resolved, muted or ongoing
        {"state": "gone"} | state | write resolved, muted or ongoing
        {} | body | missing field `state`
        resolved | body | expected value
        {"state": "resolved", "who": "ann"} | body | unknown field `who`
        {"state": "resolved", "until": "2099-01-01T00:00:00Z"} | until | only what is muted
        {"state": "ongoing", "for": "1h"} | for | only what is muted
        {"state": "muted", "for": "1h", "until": "2099-01-01T00:00:00Z"} | until | until or for
        {"state": "muted", "for": "soon"} | for | write 30m, 2h, 7d
        {"state": "muted", "for": "-1h"} | for | write 30m, 2h, 7d
        {"state": "muted", "until": "soon"} | until | no moment
        {"state": "muted", "until": "2h"} | until | is over
        {"state": "muted", "until": "2001-01-01T00:00:00Z"} | until | is over
        {"state": "muted", "in_next_version": true} | in_next_version | goes with resolved
        "#,
    ) {
        let (status, at, said) = kept.refused("PATCH", &one, body);
        assert_eq!((status, &*at), (400, place), "{body}: {said}");
        assert!(said.contains(message), "{body}: {said}");
    }
    let (status, at, said) = kept.refused("PATCH", &one, &" ".repeat(20_000));
    assert_eq!((status, &*at), (413, "body"), "{said}");
    for unknown in ["0000000000000000", "1", "nothing", "%00", &id[1..], &format!("{id}0")] {
        for (method, body) in [("GET", ""), ("PATCH", r#"{"state": "resolved"}"#)] {
            let refused = kept.refused(method, &format!("/api/v1/faults/{unknown}"), body);
            assert_eq!(refused, (404, "id".to_owned(), "there is no such fault".to_owned()));
        }
    }
    assert_eq!(kept.words(), told, "what was refused is no event");
}

#[test]
fn only_an_admin_decides() {
    let world = World::new();
    let (mut config, mut tokens) = ("[http]\n".to_owned(), Vec::new());
    for role in ["read", "write", "admin"] {
        let made = world.command("token").args([role, "--role", role]).output().unwrap();
        let made = String::from_utf8(made.stdout).unwrap();
        let (token, lines) = made.split_once('\n').unwrap();
        config.push_str(lines);
        tokens.push((role, format!("Bearer {token}")));
    }
    std::fs::write(world.path("c.toml"), config).unwrap();
    let served = Served::start(&world, &["--config", "c.toml"]);
    let request = |token: &str, method: &str, path: &str, body: &str| {
        let headers = [("Authorization", token), ("Content-Type", "text/x-erlang")];
        request(served.port, method, path, &headers, body.as_bytes())
    };
    assert_eq!(request(&tokens[1].1, "POST", ENTRIES, &error(1, 1)).status, 200);
    let id = wait_for("the fault", || {
        let list = request(&tokens[0].1, "GET", "/api/v1/faults", "");
        let list: Value = serde_json::from_slice(&list.body).expect("JSON");
        list["faults"][0]["id"].as_str().map(str::to_owned)
    });
    let one = format!("/api/v1/faults/{id}");
    for (role, token) in &tokens {
        assert_eq!(request(token, "GET", &one, "").status, 200);
        let decided = request(token, "PATCH", &one, r#"{"state": "resolved"}"#);
        let said: Value = serde_json::from_slice(&decided.body).expect("JSON");
        if *role == "admin" {
            assert_eq!((decided.status, &said["by"]), (200, &json!("admin")));
            continue;
        }
        let due = format!("token {role:?} has the role {role}, this needs admin");
        assert_eq!((decided.status, &said["error"]["message"]), (403, &json!(due)));
    }
    // Nor is a decision smuggled in as an event.
    let decision = format!("{{fault,<<\"{id}\">>,muted,#{{by => <<\"ann\">>}}}}.");
    for path in
        ["faults", "f%61ults", "nodes"].map(|name| format!("/api/v1/instances/{name}/entries"))
    {
        for ((role, token), status) in tokens.iter().zip([403, 403, 200]) {
            assert_eq!(request(token, "POST", &path, &decision).status, status, "{role}: {path}");
        }
    }
    assert_eq!(request("Bearer nobody", "PATCH", &one, r#"{"state": "resolved"}"#).status, 401);
    assert_eq!(request("Bearer nobody", "GET", "/api/v1/faults", "").status, 401);
}

/// An application whose version changes. What is resolved in the next version may go on to occur in the old one.
#[test]
fn a_fault_resolved_in_the_next_version_comes_back_there() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let kept = Kept::start(&world, &[]);
    let start = |version: &str| {
        let source = world.path("src/shop.erl");
        std::fs::create_dir_all(source.parent().unwrap()).unwrap();
        std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/erl/shop.erl"), &source)
            .unwrap();
        let ebin = world.path(&format!("shop-{version}/ebin"));
        std::fs::create_dir_all(&ebin).unwrap();
        let app = format!(
            "{{application, shop, [{{vsn, {version:?}}}, {{modules, [shop]}}, {{registered, []}}, {{applications, [kernel]}}]}}."
        );
        std::fs::write(ebin.join("shop.app"), app).unwrap();
        let mut node = world.erl("n");
        let compiled = node.eval(&format!("compile:file({source:?}, [{{outdir, {ebin:?}}}])"));
        assert_eq!(compiled, "{ok,shop}");
        assert_eq!(node.eval(&format!("code:add_patha({ebin:?}), application:load(shop)")), "ok");
        node.load("lm_capture");
        assert_eq!(node.eval("net_kernel:connect_node('logmachine@127.0.0.1')"), "true");
        node.wait_until("lm_capture:installed()", "true");
        node.wait_for_name("{faults, 0}");
        assert_eq!(node.eval("shop:start()"), "ok");
        node
    };
    let version = |number: &str| json!({"application": "shop", "version": number});
    let mut node = start("1.4.2");
    node.eval("shop:order(1)");
    let fault = kept.only(1);
    assert_eq!(fault["first_version"], version("1.4.2"));
    let id = fault["id"].as_str().unwrap().to_owned();
    // As somebody types it in a shell.
    let decide = |node: &mut Erl, id: &str, about: &str| {
        node.eval(&format!(
            "gen_server:cast({{global, {{faults, 0}}}}, {{fault, {id}, resolved, {about}}})"
        ));
        wait_for("the decision", || kept.faults("state=resolved").pop())
    };
    let resolved =
        decide(&mut node, &format!("<<\"{id}\">>"), "#{by => ann, in_next_version => true}");
    assert_eq!((&resolved["by"], &resolved["in_next_version"]), (&json!("ann"), &json!(true)));
    node.eval("shop:order(2)");
    assert_eq!(kept.only(2)["state"], "resolved");
    node.kill();
    let mut node = start("1.4.3");
    node.eval("shop:order(3)");
    let back = kept.only(3);
    assert_eq!(back["state"], "regressed");
    assert_eq!(
        (&back["first_version"], &back["last_version"]),
        (&version("1.4.2"), &version("1.4.3"))
    );
    assert_eq!(kept.fault(&id)["versions"], json!([version("1.4.2"), version("1.4.3")]));
    let resolved = decide(&mut node, &format!("\"{id}\""), "#{by => ann}");
    assert_eq!((&resolved["by"], &resolved["in_next_version"]), (&json!("ann"), &json!(false)));
    node.eval("shop:order(4)");
    assert_eq!(kept.only(4)["state"], "regressed");
    assert_eq!(
        kept.words(),
        ["new", "resolved by ann", "regressed", "resolved by ann", "regressed"]
    );
    let regressed = kept.entries("faults", "grep=regressed");
    assert!(
        regressed[0].1.contains("application => shop") && regressed[0].1.contains("<<\"1.4.3\">>"),
        "{regressed:?}"
    );
    // What decides nothing breaks nothing.
    for nonsense in [
        "x",
        "{fault, 1, resolved, #{}}",
        "{fault, <<\"x\">>, resolved, #{}}",
        "{fault, \"0000000000000000\", resolved, #{}}",
        "{fault, a, b, c, d}",
    ] {
        node.eval(&format!("gen_server:cast({{global, {{faults, 0}}}}, {nonsense})"));
    }
    node.eval("shop:order(5)");
    assert_eq!(kept.only(5)["state"], "regressed");
    // Something else fails in the new version alone, and the explanation says which version that is.
    let from = kept.entries("error_logger", "order=desc&limit=1")[0].0;
    let mails =
        "[begin shop:mail(\"ann\"), receive after 30 -> ok end end || _ <- lists:seq(1, 40)], ok";
    assert_eq!(node.eval(mails), "ok");
    wait_for("the mails", || kept.faults("").iter().any(|it| it["count"] == 40).then_some(()));
    let explained = kept.0.get(&format!("/api/v1/explain?from={}", from.next().micros()));
    let text = explained["text"].as_str().unwrap();
    assert!(
        text.starts_with("On n@127.0.0.1, `cannot send mail to ~ts in shop:mail/1` (new, "),
        "{text}"
    );
    assert!(
        text.contains("; shop 1.4.3 runs there since ") && text.contains(", 1.4.2 before."),
        "{text}"
    );
    let deployed = &explained["findings"][0]["deployed"];
    assert_eq!((&deployed["version"], &deployed["before"]), (&json!("1.4.3"), &json!("1.4.2")));
}

/// Numbers that depend on the seed alone.
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).expect("less than end")
    }
}

fn checkpoint(world: &World, instance: &str) -> PathBuf {
    world.path(&format!("data/faults/known/{instance}.checkpoint"))
}

/// Which fault a title of [`error`] is of.
fn number(fault: &Value) -> usize {
    let title = fault["title"].as_str().expect("a title");
    let number = title.strip_prefix("fault ").and_then(|rest| rest.split(':').next());
    number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{title}"))
}

/// One client appends, another resolves what is not, while the program is killed, or stopped, at random moments; what it
/// has stored then stays, is gone, or is damaged. In the end the logs say what has to be known.
#[test]
fn kills_under_load_neither_lose_nor_repeat_an_occurrence_or_a_word() {
    const FAULTS: usize = 60;
    const ROUNDS: u64 = 20;
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut chance = Chance(seed);
    let (world, port) = (World::new(), free_port());
    let (is_over, appended) = (AtomicBool::new(false), AtomicU64::new(0));
    let kept = std::thread::scope(|scope| {
        let goes_on = || !is_over.load(Ordering::Relaxed);
        let mut mine = Chance(seed + 1);
        let appended = &appended;
        scope.spawn(move || {
            while goes_on() {
                let batch = 1 + mine.below(40);
                let mut next = |_| error(mine.below(FAULTS), mine.below(1 << 40));
                let events: Vec<_> = (0..batch).map(&mut next).collect();
                if append(port, &events) {
                    appended.fetch_add(batch as u64, Ordering::Relaxed);
                }
            }
        });
        let mut mine = Chance(seed + 2);
        scope.spawn(move || {
            while goes_on() {
                let path = "/api/v1/faults?state=new,regressed&limit=1000";
                let answer = try_request(port, "GET", path, "");
                let faults: Option<Value> =
                    answer.and_then(|answer| serde_json::from_slice(&answer.body).ok());
                let faults = faults.and_then(|it| it["faults"].as_array().cloned());
                let Some(faults) = faults.filter(|it| !it.is_empty()) else { continue };
                let fault = &faults[mine.below(faults.len())];
                let path = format!("/api/v1/faults/{}", fault["id"].as_str().expect("an id"));
                try_request(port, "PATCH", &path, r#"{"state": "resolved"}"#);
            }
        });
        let mut kept = Kept::start_at(&world, port);
        for _ in 0..ROUNDS {
            let due = appended.load(Ordering::Relaxed) + chance.below(3_000) as u64;
            wait_for("appends", || (appended.load(Ordering::Relaxed) > due).then_some(()));
            match chance.below(3) {
                0 => kept.stop(),
                _ => kept.0.program.kill(),
            }
            let file = checkpoint(&world, "quotes");
            if let Ok(mut bytes) = std::fs::read(&file) {
                let at = chance.below(bytes.len());
                match chance.below(6) {
                    0 => std::fs::remove_file(&file).unwrap(),
                    1 => std::fs::write(&file, &bytes[..at]).unwrap(),
                    2 => {
                        bytes[at] ^= 1 << chance.below(8);
                        std::fs::write(&file, bytes).unwrap();
                    }
                    _ => {}
                }
            }
            kept = Kept::start_at(&world, port);
        }
        is_over.store(true, Ordering::Relaxed);
        kept
    });
    agrees_with_the_logs(&kept);
    kept.stop();
    std::fs::remove_file(checkpoint(&world, "quotes")).unwrap();
    let kept = Kept::start_at(&world, port);
    let told = agrees_with_the_logs(&kept);
    println!("{} appended, {told} told", appended.load(Ordering::Relaxed));
}

/// That each fault is counted as often as it is in the log, was told of as new once, and as regressed once for each time
/// that it was resolved and came back. How much was told.
fn agrees_with_the_logs(kept: &Kept) -> usize {
    let mut occurred: BTreeMap<usize, Vec<Timestamp>> = BTreeMap::new();
    for (at, event) in kept.entries("quotes", "") {
        let (_, rest) = event.split_once("\"fault ").expect("nothing else was appended");
        let (number, _) = rest.split_once(':').expect("a number comes first");
        occurred.entry(number.parse().unwrap()).or_default().push(at);
    }
    let counts: BTreeMap<_, _> = occurred.iter().map(|(n, all)| (*n, all.len() as u64)).collect();
    let mut last = BTreeMap::new();
    let faults = wait_for("the counts of the log", || {
        let faults = kept.faults("limit=1000");
        let count = |fault: &Value| (number(fault), fault["count"].as_u64().expect("a count"));
        last = faults.iter().map(count).collect();
        (last == counts).then_some(faults)
    });
    let ids: BTreeMap<_, _> = faults
        .iter()
        .map(|fault| (number(fault), FaultId::parse(fault["id"].as_str().unwrap()).unwrap()))
        .collect();
    let mut decided: BTreeMap<FaultId, Vec<Timestamp>> = BTreeMap::new();
    for (at, event) in kept.told() {
        if let FaultEvent::Decision(decision) = event {
            decided.entry(decision.id).or_default().push(at);
        }
    }
    let mut due = Vec::new();
    for (number, occurred) in &occurred {
        let id = ids[number];
        due.push((id, None));
        let decided = decided.remove(&id).unwrap_or_default();
        for (n, at) in decided.iter().enumerate() {
            let until = decided.get(n + 1).copied().unwrap_or(Timestamp::MAX);
            if occurred.iter().any(|occurred| at < occurred && *occurred < until) {
                due.push((id, Some(*at)));
            }
        }
    }
    assert!(decided.is_empty(), "of faults that are not known: {decided:?}");
    due.sort();
    wait_for("each word once", || {
        let mut told = Vec::new();
        for (_, event) in kept.told() {
            match event {
                FaultEvent::News(id, News::New) => told.push((id, None)),
                FaultEvent::News(id, News::Regressed { resolved }) => {
                    told.push((id, Some(resolved)))
                }
                FaultEvent::Decision(_) => {}
            }
        }
        told.sort();
        (told == due).then_some(told.len())
    })
}

/// What is stored is a help and no more: whatever becomes of it, the same is known as before, and nothing is told again.
#[test]
fn what_is_known_comes_back_from_the_log_whatever_became_of_the_checkpoint() {
    let (world, port) = (World::new(), free_port());
    let file = checkpoint(&world, "quotes");
    let mut kept = Kept::start_at(&world, port);
    let events = (0..200).map(|n| error(n % 17, n)).collect::<Vec<_>>();
    assert!(kept.append(&events));
    let ids = wait_for("the faults", || {
        let faults = kept.faults("sort=first_seen");
        (faults.len() == 17).then(|| {
            faults.iter().map(|it| it["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        })
    });
    for id in &ids[..6] {
        kept.decide(id, &json!({"state": "resolved"}));
    }
    kept.decide(&ids[7], &json!({"state": "muted", "for": "1h"}));
    kept.decide(&ids[8], &json!({"state": "ongoing"}));
    assert!(kept.append(&events[..14]));
    let known = |kept: &Kept| {
        let mut faults = kept.faults("sort=first_seen");
        for fault in &mut faults {
            // Minutes go by.
            fault["last_hour"] = Value::Null;
        }
        faults
    };
    let regressed = wait_for("those that came back", || {
        let count = kept.faults("state=regressed").len();
        (count > 0 && kept.words().iter().filter(|word| *word == "regressed").count() == count)
            .then_some(count)
    });
    let mut due = known(&kept);
    assert!(!file.exists(), "it is stored once a minute, and at the end");
    let mut oldest = Vec::new();
    // From what is stored now, and what was stored first, to what will be found.
    type Damage<'a> = &'a dyn Fn(&[u8], &[u8]) -> Option<Vec<u8>>;
    let damage: [(&str, Damage<'_>); 9] = [
        ("untouched", &|now, _| Some(now.to_vec())),
        ("gone", &|_, _| None),
        ("an older one", &|_, oldest| Some(oldest.to_vec())),
        ("a bit of it flipped", &|now, _| {
            let mut bytes = now.to_vec();
            bytes[now.len() / 2] ^= 4;
            Some(bytes)
        }),
        ("its first line changed", &|now, _| Some([b"L", &now[1..]].concat())),
        ("cut", &|now, _| Some(now[..now.len() / 2].to_vec())),
        ("empty", &|_, _| Some(Vec::new())),
        ("longer", &|now, _| Some([now, b"x"].concat())),
        ("noise", &|now, _| Some(now.iter().map(|byte| byte ^ 0x5a).collect())),
    ];
    for (what, become_of) in damage {
        let told = kept.words();
        kept.stop();
        let now = std::fs::read(&file).expect("it is stored");
        if oldest.is_empty() {
            oldest.clone_from(&now);
        }
        match become_of(&now, &oldest) {
            Some(bytes) => std::fs::write(&file, bytes).unwrap(),
            None => std::fs::remove_file(&file).unwrap(),
        }
        kept = Kept::start_at(&world, port);
        let mut last = Vec::new();
        wait_for(what, || {
            last = known(&kept);
            (last == due).then_some(())
        });
        assert_eq!(kept.words(), told, "{what}");
        let says = kept.0.program.diagnostics().contains("damaged or of another version");
        assert_eq!(says, !["untouched", "gone", "an older one"].contains(&what), "{what}");
        // It goes on from there.
        assert!(kept.append(&events[5..12]));
        due = wait_for(what, || {
            let next = known(&kept);
            let sum =
                |faults: &[Value]| faults.iter().filter_map(|it| it["count"].as_u64()).sum::<u64>();
            (sum(&next) == sum(&due) + 7).then_some(next)
        });
        let words = kept.words();
        assert_eq!(words.iter().filter(|word| *word == "new").count(), 17, "{what}");
        assert!(words.iter().filter(|word| *word == "regressed").count() >= regressed, "{what}");
    }
}

/// The server's own report does not tell where it came up, so it waits for those that do.
#[test]
fn reports_of_one_death_are_one_occurrence_whatever_comes_between() {
    let report = |n: usize, label: &str, rest: &str| {
        format!(
            "{{log,'n@10.0.0.1',error,{{report,#{{label => {label},{rest}}}}},#{{pid => {{'$pid','n@10.0.0.1',{n},0,7}},time => 1}}}}"
        )
    };
    let calls = "[{lists,nth,2,[]},{shop,find,1,[]}]";
    let reports = |n: usize| {
        let pid = format!("{{'$pid','n@10.0.0.1',{n},0,7}}");
        [
            report(
                n,
                "{gen_server,terminate}",
                "name => shop_cart,last_message => x,state => s,reason => badarg,client_info => undefined",
            ),
            report(
                n,
                "{proc_lib,crash}",
                &format!("report => [[{{pid,{pid}}},{{error_info,{{error,badarg,{calls}}}}}],[]]"),
            ),
            report(
                n,
                "{supervisor,child_terminated}",
                &format!(
                    "report => [{{supervisor,{{local,shop_sup}}}},{{errorContext,child_terminated}},{{reason,{{badarg,{calls}}}}},{{offender,[{{pid,{pid}}},{{id,cart}}]}}]"
                ),
            ),
        ]
    };
    let (world, port) = (World::new(), free_port());
    let mut kept = Kept::start_at(&world, port);
    assert!(kept.append(&reports(1)));
    let fault = kept.only(1);
    assert_eq!(fault["title"], "badarg in lists, called by shop:find/1");
    for (n, is_killed) in [(2, true), (3, false)] {
        let [first, second, third] = reports(n);
        assert!(kept.append(&[first]));
        if is_killed {
            kept.0.program.kill()
        } else {
            kept.stop()
        }
        kept = Kept::start_at(&world, port);
        assert!(kept.append(&[second, third]));
    }
    let sum = || kept.faults("").iter().filter_map(|fault| fault["count"].as_u64()).sum::<u64>();
    wait_for("three deaths", || (sum() == 3).then_some(()));
    assert!(kept.append(&reports(4)));
    wait_for("one more", || (sum() == 4).then_some(()));
}

/// What an operator says of grouping: one rule splits what is one fault, one merges what are two.
const RULES: [(&str, &str); 2] = [
    ("[{{log,'_',error,{\"payment ~p\",['$1'|'_']},'_'},[],['$1']}]", "payment by $1"),
    (
        "[{{log,'_',error,'_',#{mfa => {'$1','_','_'}}},[{'orelse',{'=:=','$1',mail},{'=:=','$1',sms}}],[any]}]",
        "message not sent",
    ),
];

#[test]
fn rules_split_merge_and_name_faults_in_both_forms_of_configuration() {
    let toml = RULES
        .map(|(spec, name)| format!("[[fault_rule]]\nmatch = {spec:?}\nfingerprint = {name:?}\n"));
    let erlang =
        RULES.map(|(spec, name)| format!("[{{match, {spec:?}}}, {{fingerprint, {name:?}}}]"));
    let files = [
        ("c.toml", toml.concat() + "[[instance]]\nname = \"deaf\"\nfaults = false\n"),
        (
            "c.config",
            format!(
                "[{{logmachine, [{{fault_rule, [{}]}}, {{instances, [{{deaf, [{{faults, false}}]}}]}}]}}].\n",
                erlang.join(",\n")
            ),
        ),
    ];
    let logged = |module: &str, message: &str| {
        format!("{{log,'n@10.0.0.1',error,{message},#{{mfa => {{{module},f,1}},time => 1}}}}")
    };
    let events = [
        logged("pay", "{\"payment ~p\",[card]}"),
        logged("pay", "{\"payment ~p\",[paypal]}"),
        logged("pay", "{\"payment ~p\",[card]}"),
        logged("pay", "{\"payment ~p\",[<<\"by mail\">>]}"),
        logged("mail", "{\"no route to ~p\",[1]}"),
        logged("sms", "{string,<<\"gateway is down\">>}"),
        logged("stock", "{\"nothing left of ~p\",[1]}"),
    ];
    let mut seen = Vec::new();
    for (file, content) in files {
        let world = World::new();
        std::fs::write(world.path(file), content).unwrap();
        let kept = Kept::start(&world, &["--config", file]);
        assert!(kept.append(&events));
        let path = "/api/v1/instances/deaf/entries";
        let body = format!("{}.\n", events[0]);
        assert_eq!(try_request(kept.0.port, "POST", path, &body).unwrap().status, 200);
        let faults = wait_for("the faults", || {
            let faults = kept.faults("sort=first_seen");
            let named = faults.iter().map(|fault| (fault["title"].clone(), fault["count"].clone()));
            let mut named: Vec<_> =
                named.map(|(title, count)| format!("{count} {title}")).collect();
            named.sort();
            (named
                == [
                    "1 \"nothing left of ~p in stock:f/1\"",
                    "1 \"payment by by mail\"",
                    "1 \"payment by paypal\"",
                    "2 \"message not sent\"",
                    "2 \"payment by card\"",
                ])
            .then_some(faults)
        });
        assert_eq!(kept.faults("instance=deaf"), Vec::<Value>::new());
        seen.push(faults.iter().map(|fault| fault["id"].clone()).collect::<Vec<_>>());
        kept.stop();
        assert!(checkpoint(&world, "quotes").exists() && !checkpoint(&world, "deaf").exists());
    }
    assert_eq!(seen[0], seen[1]);

    let world = World::new();
    let check = |file: &str, text: &str| {
        std::fs::write(world.path(file), text).unwrap();
        let output = world.command("check-config").arg(file).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{text}: {said}");
        said
    };
    let good = "match = \"[{'_',[],[a]}]\"";
    let expected = "expected a match spec such as \"[{{log,";
    for [rule, said] in rows(&format!(
        r#"match = "[{{"; fingerprint = "x" | 3: match: invalid value: string "[{{", {expected}
        fingerprint = "x"; match = "[{{'$1',[{{foo}}],['$1']}}]" | 4: match: invalid value: string "[{{'$1',[{{foo}}],['$1']}}]", {expected}
        match = 1; fingerprint = "x" | 3: match: invalid value: integer `1`, {expected}
        {good}; fingerprnt = "x" | 4: fingerprnt: unknown field `fingerprnt`; did you mean `fingerprint`?
        {good} | 2: missing field `fingerprint`"#
    )) {
        let line = check("w.toml", &format!("\n[[fault_rule]]\n{}\n", rule.replace("; ", "\n")));
        assert!(line.starts_with(&format!("logmachine: w.toml:{said}")), "{line}");
    }
    for [rules, said] in rows(&format!(
        r#"[GOOD;[{{fingerprint, "x"}};{{match, "[{{"}}]] | 4: match: "[{{" is not what belongs here: {expected}
        [GOOD;GOOD;[{{match, "[{{'_',[],[a]}}]"}}, {{fingerprnt, x}}]] | 4: fingerprnt: unknown field `fingerprnt`; did you mean `fingerprint`?
        [GOOD;[{{fingerprint, x}}]] | 3: fault_rule: missing field `match`
        x | 2: fault_rule: expected a list of rules
        [x] | 2: fault_rule: not a list of {{Key, Value}}"#
    )) {
        let good = "[{fingerprint, \"y\"}, {match, \"[{'_',[],[a]}]\"}]";
        let rules = rules.replace("GOOD", good).replace(';', ",\n");
        let line = check("w.config", &format!("[{{logmachine,\n [{{fault_rule, {rules}}}]}}].\n"));
        assert!(line.starts_with(&format!("logmachine: w.config:{said}")), "{line}");
    }
}

/// More faults than are kept, in pages: none is left out, none comes twice, the least recently seen are gone.
#[test]
fn at_most_ten_thousand_faults_are_known_and_pages_show_each_once() {
    const MORE: usize = 300;
    let (world, port) = (World::with_epmd(), free_port());
    let mut kept = Kept::start_at(&world, port);
    let numbers: Vec<_> = (0..10_000 + MORE).collect();
    for part in numbers.chunks(1000) {
        assert!(kept.append(&part.iter().map(|n| error(*n, *n)).collect::<Vec<_>>()));
    }
    // Some more often than others.
    let again: Vec<_> = (MORE..10_000).filter(|n| n % 7 == 0).map(|n| error(n, n)).collect();
    assert!(kept.append(&again) && kept.append(&again[..500]));
    let forgotten = |kept: &Kept| {
        let metrics = request(port, "GET", "/metrics", &[], b"").text();
        let value = |name: &str| {
            let line = format!("{name}{{instance=\"quotes\"}} ");
            metrics.lines().find_map(|it| it.strip_prefix(&line)?.parse::<usize>().ok())
        };
        let _ = kept;
        (value("logmachine_faults_known"), value("logmachine_faults_forgotten_total"))
    };
    wait_for("all of them", || (forgotten(&kept) == (Some(10_000), Some(MORE))).then_some(()));
    let sum: u64 = kept.faults("limit=10000").iter().filter_map(|it| it["count"].as_u64()).sum();
    assert_eq!(sum, 10_000 + again.len() as u64 + 500);
    let pages = |kept: &Kept, query: &str, limit: usize| {
        let (mut all, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = kept.0.get(&format!("/api/v1/faults?{query}&limit={limit}{cursor}"));
            let faults = page["faults"].as_array().unwrap();
            assert!(faults.len() == limit || page["next"].is_null());
            all.extend(faults.iter().cloned());
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return all,
            }
        }
    };
    for (sort, key) in
        [("last_seen", "last_seen_micros"), ("first_seen", "first_seen_micros"), ("count", "count")]
    {
        let all = pages(&kept, &format!("sort={sort}"), 997);
        let keys: Vec<_> = all.iter().map(|fault| fault[key].as_u64().unwrap()).collect();
        assert!(keys.is_sorted_by(|a, b| a >= b), "{sort}");
        let mut found: Vec<_> = all.iter().map(number).collect();
        found.sort_unstable();
        assert_eq!(found, numbers[MORE..], "{sort}");
    }
    // Those that were seen within a stretch, to the microsecond.
    let by_time = kept.faults("sort=first_seen&limit=10000");
    let (newest, oldest) = (&by_time[99], &by_time[349]);
    let query = format!(
        "sort=first_seen&from={}&to={}",
        oldest["first_seen_micros"], newest["first_seen_micros"]
    );
    let within = pages(&kept, &query, 100);
    assert_eq!(
        within.iter().map(number).filter(|n| n % 7 != 0).collect::<Vec<_>>(),
        by_time[99..350].iter().map(number).filter(|n| n % 7 != 0).collect::<Vec<_>>()
    );
    assert_eq!(kept.faults("").len(), 100);
    assert_eq!(kept.faults("from=now").len(), 0);
    assert_eq!(kept.faults("to=2001-01-01T00:00:00Z").len(), 0);
    assert_eq!(kept.faults("instance=quotes&state=new,ongoing&from=1h&limit=3").len(), 3);
    if has_erlang() {
        let mut a = world.erl("a");
        let call = "{ok, All} = gen_server:call({'.quotes.receiver.srv', 'logmachine@127.0.0.1'}, {faults, #{limit => 10000}}, 30000), length(lists:usort([Id || #{id := Id} <- All]))";
        assert_eq!(a.eval(call), "10000");
    }
    for [query, place] in rows(
        "limit=0 | limit
        limit=10001 | limit
        limit=x | limit
        sort=title | sort
        state=gone | state
        state= | state
        state=new, | state
        from=soon | from
        to=soon | to
        cursor=1 | cursor
        cursor=1-2 | cursor
        sates=new | query
        limit=1&limit=2 | query",
    ) {
        let (status, at, said) = kept.refused("GET", &format!("/api/v1/faults?{query}"), "");
        assert_eq!((status, &*at), (400, place), "{query}: {said}");
    }
    assert_eq!(kept.refused("GET", "/api/v1/faults?instance=nowhere", "").0, 404);
    // One that was forgotten is new again.
    assert!(kept.append(&[error(0, 0)]));
    wait_for("it is back", || (forgotten(&kept).1 == Some(MORE + 1)).then_some(()));
    for is_kept in [true, false] {
        wait_for("words", || (kept.told().len() == 10_000 + MORE + 1).then_some(()));
        kept.stop();
        if !is_kept {
            std::fs::remove_file(checkpoint(&world, "quotes")).unwrap();
        }
        kept = Kept::start_at(&world, port);
        wait_for("all of them", || {
            (forgotten(&kept) == (Some(10_000), Some(MORE + 1))).then_some(())
        });
        assert_eq!(number(&kept.faults("limit=1")[0]), 0);
    }
    assert_eq!(kept.told().len(), 10_000 + MORE + 1);
}
