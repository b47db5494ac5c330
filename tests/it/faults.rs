//! Faults: what keeps breaking, what people decide about it, what is different about a stretch of time.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;

use logmachine::analysis::fault::News;
use logmachine::analysis::fault_event::FaultEvent;
use logmachine::etf::text;
use logmachine::time::Timestamp;
use serde_json::{Value, json};

use crate::harness::{Erl, World, has_erlang, wait_for};
use crate::http::{Answer, ENTRIES, Served, request};
use crate::releases::releases;

/// A program with the instances `quotes` and `error_logger`, whose faults are asked for.
struct Kept(Served);

impl Kept {
    fn start(world: &World, flags: &[&str]) -> Self {
        Kept(Served::start(world, &[&["--instance", "error_logger"], flags].concat()))
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
fn append(port: u16, events: &[String]) -> bool {
    let body = events.iter().map(|event| format!("{event}.\n")).collect::<String>();
    try_request(port, "POST", ENTRIES, &body) == Some(200)
}

/// The status of an answer, if there is one.
fn try_request(port: u16, method: &str, path: &str, body: &str) -> Option<u16> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\nContent-Type: text/x-erlang\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(format!("{head}{body}").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split(' ').nth(1)?.parse().ok()
}

/// An error that is the `n`th fault, with data that differs from one occurrence to another.
fn error(n: usize, data: usize) -> String {
    format!(
        "{{log,'n@10.0.0.1',error,{{\"fault {n}: ~p\",[{data}]}},#{{mfa => {{stock,find,1}},time => {data}}}}}"
    )
}

/// A node that is captured and has the module `shop`.
fn shop(world: &World, erl: &Path, name: &str) -> Erl {
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
        assert!(kept.append(&[error(1, count as usize)]));
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
    let cases = [
        (r#"{"state": "new"}"#, "state", "write resolved, muted or ongoing"),
        (r#"{"state": "gone"}"#, "state", "write resolved, muted or ongoing"),
        ("{}", "body", "missing field `state`"),
        ("", "body", "EOF"),
        ("resolved", "body", "expected"),
        (r#"{"state": "resolved", "who": "ann"}"#, "body", "unknown field `who`"),
        (
            r#"{"state": "resolved", "until": "2099-01-01T00:00:00Z"}"#,
            "until",
            "only what is muted",
        ),
        (r#"{"state": "ongoing", "for": "1h"}"#, "for", "only what is muted"),
        (
            r#"{"state": "muted", "for": "1h", "until": "2099-01-01T00:00:00Z"}"#,
            "until",
            "until or for",
        ),
        (r#"{"state": "muted", "for": "soon"}"#, "for", "write 30m, 2h, 7d"),
        (r#"{"state": "muted", "for": "-1h"}"#, "for", "write 30m, 2h, 7d"),
        (r#"{"state": "muted", "until": "soon"}"#, "until", "no moment"),
        (r#"{"state": "muted", "until": "2h"}"#, "until", "is over"),
        (r#"{"state": "muted", "until": "2001-01-01T00:00:00Z"}"#, "until", "is over"),
        (r#"{"state": "muted", "in_next_version": true}"#, "in_next_version", "goes with resolved"),
    ];
    for (body, place, message) in cases {
        let (status, at, said) = kept.refused("PATCH", &one, body);
        assert_eq!((status, &*at), (400, place), "{body}: {said}");
        assert!(said.contains(message), "{body}: {said}");
    }
    assert_eq!(kept.refused("PATCH", &one, &" ".repeat(20_000)).0, 400);
    let upper = id.to_uppercase();
    for unknown in ["0000000000000000", "1", "nothing", "%00", &upper, &id[1..], &format!("{id}0")]
    {
        if unknown == id {
            continue;
        }
        for (method, body) in [("GET", ""), ("PATCH", r#"{"state": "resolved"}"#)] {
            let (status, at, said) =
                kept.refused(method, &format!("/api/v1/faults/{unknown}"), body);
            assert_eq!((status, &*at, &*said), (404, "id", "there is no such fault"), "{unknown}");
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
}
