//! A running node from a terminal: `tail`, `read`, `send`, `info`, `token`, `completions`, `man`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::harness::{LogMachine, World, free_port, wait_for};

/// A node that serves HTTP, with what talks to it.
struct Served {
    world: World,
    node: LogMachine,
    url: String,
}

impl Served {
    fn new() -> Self {
        let world = World::new();
        let node = world.logmachine(&["--http", "127.0.0.1:0", "--instance", "quotes"]);
        let url = node.url();
        Served { world, node, url }
    }

    fn command(&self, verb: &str, flags: &[&str]) -> Command {
        command(&self.world, &self.url, verb, flags)
    }

    /// What a verb prints; it goes well and says nothing else.
    fn said(&self, verb: &str, flags: &[&str]) -> String {
        said(&mut self.command(verb, flags))
    }

    /// Sends a term a line; the timestamps.
    fn send(&self, terms: &[String]) -> Vec<String> {
        send(&self.world, &self.url, terms)
    }

    /// The events that `read` finds, as Erlang text.
    fn read(&self, flags: &[&str]) -> Vec<String> {
        let flags = [&["quotes", "-o", "term"], flags].concat();
        events(&self.said("read", &flags))
    }
}

fn command(world: &World, url: &str, verb: &str, flags: &[&str]) -> Command {
    let mut command = world.command(verb);
    command.args(flags).env("LOGMACHINE_URL", url);
    command
}

fn said(command: &mut Command) -> String {
    let output = command.output().expect("the program runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*errors), (Some(0), ""), "{command:?}");
    String::from_utf8(output.stdout).expect("text")
}

fn send(world: &World, url: &str, terms: &[String]) -> Vec<String> {
    let mut command = command(world, url, "send", &["quotes", "-"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let lines = terms.join("\n");
    // The timestamps may fill their pipe before all is sent.
    let sending = std::thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = child.wait_with_output().unwrap();
    sending.join().unwrap().unwrap();
    assert_eq!(output.status.code(), Some(0));
    String::from_utf8(output.stdout).unwrap().lines().map(ToOwned::to_owned).collect()
}

/// The events of lines `{{1795,346203,138170},Event}.`, as they were written.
fn events(lines: &str) -> Vec<String> {
    let event = |line: &str| {
        let (_, event) = line.split_once("},").expect("a timestamp comes first");
        event.strip_suffix("}.").expect("each line ends a term").to_owned()
    };
    lines.lines().map(event).collect()
}

fn numbers(range: std::ops::RangeInclusive<usize>) -> Vec<String> {
    range.map(|n| format!("{{n,{n}}}")).collect()
}

fn failed(output: &Output, code: i32, text: &str) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{errors}");
    assert_eq!(errors.lines().count(), 1, "{errors}");
    assert!(errors.contains(text), "{text}: {errors}");
    assert!(output.stdout.is_empty());
}

/// A request as a program in any language would send it; the status and the body.
fn request(
    url: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (u16, String) {
    let address = url.strip_prefix("http://").expect("no TLS here");
    let mut stream = TcpStream::connect(address).unwrap();
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let length = body.len();
    stream.write_all(format!("{head}content-length: {length}\r\n\r\n{body}").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// Each term as `read -o term` printed it, sent again; each event as `read -o ndjson` printed it, posted again.
#[test]
fn what_is_sent_is_read_again_the_same_term_in_every_form() {
    let served = Served::new();
    let deep = format!("{}{}", "[".repeat(900), "]".repeat(900));
    let sent: Vec<String> = [
        "{quote,\"ACME\",17.5}",
        "[1.0,1,-0.0,1.0e22,9007199254740993,<<255,0>>,<<5:3>>,\"日本\",<<\"grüße\"/utf8>>]",
        "#{a => [b|c],<<\"$k\">> => {},1 => ''}",
        "{'$pid',a@host,50,0,1700000000}",
        "[{'$ref',a@host,1700000000,1,2,3},{'$port',a@host,5,1700000000},fun lists:map/2]",
        "{'$tuple','$pid',1}",
        r#"{"\e[2J\x{9b}31m\x{202e}",<<"\x{202e}"/utf8>>,'\x{202e}\n'}"#,
        deep.as_str(),
    ]
    .map(ToOwned::to_owned)
    .to_vec();
    let stamps = served.send(&sent);
    assert_eq!(stamps.len(), sent.len());
    let printed = served.read(&[]);
    assert!(
        printed.iter().flat_map(|line| line.chars()).all(|c| !c.is_control() && c != '\u{202e}')
    );
    served.send(&printed);
    assert_eq!(served.read(&["-n", &sent.len().to_string()]), printed);
    assert_eq!(printed[0], sent[0]);
    assert_eq!(printed[3], sent[3]);
    assert_eq!(printed[7], sent[7]);

    let lines = served.said("read", &["quotes", "-o", "ndjson", "-n", "8"]);
    let event = |line: &str| {
        let (_, rest) = line.split_once(r#""event":"#).unwrap();
        rest.rsplit_once(r#","view":"#).unwrap().0.to_owned()
    };
    let json: Vec<_> = lines.lines().map(event).collect();
    for event in &json {
        let headers = [("content-type", "application/json")];
        let path = "/api/v1/instances/quotes/entries";
        let (status, said) = request(&served.url, "POST", path, &headers, event);
        assert_eq!(status, 200, "{said}");
    }
    let again = served.said("read", &["quotes", "-o", "ndjson", "-n", "8"]);
    assert_eq!(again.lines().map(event).collect::<Vec<_>>(), json);
    assert_eq!(served.read(&["-n", "8"]), printed);

    let array = served.said("read", &["quotes", "-o", "json"]);
    let array: Vec<serde_json::Value> = array
        .lines()
        .filter(|line| !matches!(*line, "[" | "]") && line.len() < 1_000)
        .map(|line| serde_json::from_str(line.trim_start_matches(',')).expect("a line is an entry"))
        .collect();
    assert_eq!(array.len(), 3 * (sent.len() - 1));
    assert_eq!(array[0]["ts"], stamps[0].as_str());
    let pretty = served.said("read", &["quotes"]);
    assert_eq!(pretty.lines().count(), 3 * sent.len());
    assert!(pretty.starts_with(&stamps[0][..10]) && pretty.contains("{quote,\"ACME\",17.5}"));
    assert!(pretty.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{202e}'));
}

/// Two and a half pages of entries, so that what is asked for begins and ends within some and spans others.
#[test]
fn what_is_selected_is_what_was_asked_for() {
    let served = Served::new();
    assert_eq!(served.read(&[]), Vec::<String>::new());
    assert_eq!(served.said("read", &["quotes", "-o", "json"]), "[]\n");
    const COUNT: usize = 2_500;
    let all = numbers(1..=COUNT);
    let stamps = served.send(&all);
    let reversed = |mut events: Vec<String>| {
        events.reverse();
        events
    };
    let stamp = |n: usize| stamps[n - 1].as_str();
    assert_eq!(served.read(&[]), all);
    assert_eq!(served.read(&["--reverse"]), reversed(all.clone()));
    let cases: [(&[&str], Vec<String>); 11] = [
        (&["-n", "3"], numbers(2498..=2500)),
        (&["--lines", "2100"], numbers(401..=2500)),
        (&["-n", "0"], Vec::new()),
        (&["-n", "2", "-r"], reversed(numbers(2499..=2500))),
        (&["--since", stamp(2400)], numbers(2400..=2500)),
        (&["--until", stamp(1234)], numbers(1..=1234)),
        (&["--since", stamp(7), "--until", stamp(1009), "-r"], reversed(numbers(7..=1009))),
        (&["--since", stamp(9), "--until", stamp(1500), "-n", "2"], numbers(1499..=1500)),
        (&["--after-cursor", stamp(2498)], numbers(2499..=2500)),
        (
            &["--since", "1h", "-g", "^.n,1+}$"],
            ["1", "11", "111", "1111"].map(|n| format!("{{n,{n}}}")).to_vec(),
        ),
        (
            &["--match", "[{{n,'$1'},[{'>','$1',2498}],[{{'$1',got}}]}]"],
            ["{2499,got}", "{2500,got}"].map(ToOwned::to_owned).to_vec(),
        ),
    ];
    for (flags, expected) in cases {
        assert_eq!(served.read(flags), expected, "{flags:?}");
    }
    let tail =
        |flags: &[&str]| events(&served.said("tail", &[&["quotes", "-o", "term"], flags].concat()));
    assert_eq!(tail(&[]), numbers(2491..=2500));
    assert_eq!(tail(&["-n", "1"]), numbers(2500..=2500));
    assert_eq!(tail(&["--until", stamp(30)]), numbers(21..=30));
    // Nobody waits for what has been there for long.
    assert_eq!(tail(&["-f", "--since", stamp(1490), "--until", stamp(1500)]), numbers(1490..=1500));

    // A cursor stands behind everything that was looked at, whatever of it was shown.
    let cursor = |said: &str| {
        let line = said.lines().last().expect("it was asked for");
        line.split_once("-- cursor: ").expect("it says so").1.to_owned()
    };
    let first = served.said("read", &["quotes", "-o", "term", "-g", "nothing", "--show-cursor"]);
    assert_eq!(first.lines().count(), 1);
    let newest = cursor(&first);
    let said = served.said("read", &["quotes", "-o", "term", "--until", stamp(5), "--show-cursor"]);
    assert!(said.lines().last().unwrap().starts_with('%'), "file:consult/1 passes over it");
    let fifth = cursor(&said);
    served.send(&numbers(2501..=2502));
    assert_eq!(served.read(&["--after-cursor", &newest]), numbers(2501..=2502));
    assert_eq!(served.read(&["--after-cursor", &fifth, "--until", stamp(7)]), numbers(6..=7));
    let output = served
        .command("read", &["quotes", "-o", "ndjson", "-n", "1", "--show-cursor"])
        .output()
        .unwrap();
    let line: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("nothing else is there");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(cursor(&said), line["micros"].to_string());
}

/// Numbers that depend on the seed alone.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// A way to the node that breaks.
struct Proxy {
    url: String,
    port: u16,
    /// Whether connections are cut, after some bytes that came from the node.
    cuts: Arc<AtomicBool>,
    /// How often that was.
    count: Arc<Mutex<u64>>,
}

impl Proxy {
    /// `after(n)`: after how many bytes the connection is cut that is the `n`th since cutting began.
    fn new(node_port: u16, mut after: impl FnMut(u64) -> u64 + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (cuts, count) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(0)));
        let (cutting, counted) = (cuts.clone(), count.clone());
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                // Whoever finds nobody there is sent away.
                let Ok(node) = TcpStream::connect(("127.0.0.1", node_port)) else { continue };
                let limit = cutting.load(Ordering::SeqCst).then(|| {
                    let mut counted = counted.lock().unwrap();
                    *counted += 1;
                    after(*counted)
                });
                let (from_client, to_node) =
                    (client.try_clone().unwrap(), node.try_clone().unwrap());
                std::thread::spawn(move || carry(from_client, to_node, None));
                std::thread::spawn(move || carry(node, client, limit));
            }
        });
        Proxy { url: format!("http://127.0.0.1:{port}"), port, cuts, count }
    }

    fn cut(&self) {
        self.cuts.store(true, Ordering::SeqCst);
    }
}

/// Carries bytes, up to so many of them; then neither side can go on.
fn carry(mut from: TcpStream, mut to: TcpStream, limit: Option<u64>) {
    let mut left = limit.unwrap_or(u64::MAX);
    let mut bytes = [0; 4096];
    while let Ok(read @ 1..) = from.read(&mut bytes) {
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(read);
        left -= taken as u64;
        if to.write_all(&bytes[..taken]).is_err() || taken < read {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

/// A verb that goes on, and its lines as they come.
struct Following {
    child: Child,
    lines: std::sync::mpsc::Receiver<String>,
}

impl Following {
    fn new(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Following { child, lines }
    }

    /// The next events.
    fn next(&self, count: usize) -> Vec<String> {
        let next = |_| self.lines.recv_timeout(crate::harness::PATIENCE).expect("it comes");
        events(&(0..count).map(next).collect::<Vec<_>>().join("\n"))
    }

    /// Ends it; what it has said on standard error.
    fn end(mut self) -> String {
        self.child.kill().unwrap();
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        self.child.wait().unwrap();
        assert!(self.lines.recv().is_err(), "nothing came twice");
        said
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = (self.child.kill(), self.child.wait());
    }
}

/// The proxy cuts every connection after a random number of bytes, within heads, within entries, between them. The node is
/// stopped once and killed once, and comes back at the same port, while events come.
#[test]
fn tail_shows_each_event_once_in_order_whatever_breaks_on_the_way() {
    const SEED: u64 = 0x5eed_0f7a_11ed_0001;
    let mut chance = Chance(SEED);
    println!("seed {SEED:#x}");
    let world = World::new();
    let port = free_port();
    let proxy = Proxy::new(port, move |_| 1 + chance.below(1_500));
    let hosts = format!("[http]\nhosts = [\"127.0.0.1:{}\"]\n", proxy.port);
    std::fs::write(world.path("c.toml"), hosts).unwrap();
    let http = format!("127.0.0.1:{port}");
    let start =
        || world.logmachine(&["--config", "c.toml", "--http", &http, "--instance", "quotes"]);
    let mut node = start();
    let url = node.url();
    send(&world, &url, &numbers(1..=5));
    let flags = ["quotes", "-f", "-n", "3", "-o", "term"];
    let tail = Following::new(command(&world, &proxy.url, "tail", &flags));
    assert_eq!(tail.next(3), numbers(3..=5));
    proxy.cut();
    let mut sent = 5;
    for round in 0..3 {
        // A few at a time, so that some come while there is no connection and some while there is one.
        for _ in 0..8 {
            send(&world, &url, &numbers(sent + 1..=sent + 5));
            sent += 5;
        }
        assert_eq!(tail.next(40), numbers(sent - 39..=sent));
        match round {
            0 => assert_eq!(node.stop(), Some(0)),
            1 => node.kill(),
            _ => break,
        }
        node = start();
        node.url();
    }
    let said = tail.end();
    assert!(*proxy.count.lock().unwrap() > 10, "the connection was cut");
    let (lost, back) =
        (said.matches("connection lost: ").count(), said.matches("connected again").count());
    assert!(lost >= 3 && (back == lost || back + 1 == lost), "{said}");
}

/// What is selected comes, and nothing that was there before `-n 0`; the end that was asked for ends it.
#[test]
fn tail_follows_a_selection_up_to_its_end() {
    let served = Served::new();
    served.send(&numbers(1..=20));
    let from_now = Following::new(
        served.command("tail", &["quotes", "-f", "-n", "0", "-g", "[05]}$", "-o", "term"]),
    );
    let matched = [
        "quotes",
        "-f",
        "--since",
        "1h",
        "--match",
        "[{{n,'$1'},[{'>','$1',18}],['$1']}]",
        "-o",
        "term",
    ];
    let matched = Following::new(served.command("tail", &matched));
    assert_eq!(matched.next(2), ["19", "20"]);
    // It has asked for the end of the log before it is connected.
    wait_for("both are connected", || {
        let (_, node) = request(&served.url, "GET", "/api/v1/node", &[], "");
        node.contains(r#""streams":2"#).then_some(())
    });
    served.send(&numbers(21..=31));
    assert_eq!(from_now.next(2), ["{n,25}", "{n,30}"]);
    assert_eq!(matched.next(11), (21..=31).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!((from_now.end(), matched.end()), (String::new(), String::new()));
    // A moment that comes: nothing is recorded any more, and yet it ends.
    let soon = std::time::SystemTime::now() + std::time::Duration::from_secs(2);
    let soon = soon.duration_since(std::time::UNIX_EPOCH).unwrap().as_micros().to_string();
    let flags = ["quotes", "-f", "-n", "1", "--until", &soon, "-o", "term", "--show-cursor"];
    let said = served.said("tail", &flags);
    assert_eq!(events(said.lines().next().unwrap()), numbers(31..=31));
    assert_eq!(said.lines().last(), Some(&*format!("% -- cursor: {soon}")));
    assert_eq!(served.node.stop(), Some(0));
}

/// The first answer is cut off before its first byte, when the node has recorded the event; the answer to how long the node
/// has run is cut off in the middle.
#[test]
fn an_event_whose_answer_is_lost_is_sent_again_and_appended_once() {
    let world = World::new();
    let port = free_port();
    let proxy = Proxy::new(port, |nth| match nth {
        1 => 0,
        2 => 20,
        _ => u64::MAX,
    });
    let hosts = format!("[http]\nhosts = [\"127.0.0.1:{}\"]\n", proxy.port);
    std::fs::write(world.path("c.toml"), hosts).unwrap();
    let http = format!("127.0.0.1:{port}");
    let node = world.logmachine(&["--config", "c.toml", "--http", &http, "--instance", "quotes"]);
    let url = node.url();
    // Only a node that has run for longer than the event is on its way is known to be the one that got it.
    wait_for("the node has run for a while", || {
        let (_, node) = request(&url, "GET", "/api/v1/node", &[], "");
        let (_, uptime) = node.split_once(r#""uptime_seconds":"#)?;
        (uptime.split(',').next()?.parse::<u64>().ok()? >= 3).then_some(())
    });
    proxy.cut();
    let stamps = ["{n,1}", "{n,2}"]
        .map(|term| said(&mut command(&world, &proxy.url, "send", &["quotes", term])));
    assert!(*proxy.count.lock().unwrap() > 2, "an answer was lost, and what was asked then");
    let lines = said(&mut command(&world, &url, "read", &["quotes", "-o", "ndjson"]));
    let recorded: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(recorded.len(), 2);
    for (entry, stamp) in recorded.iter().zip(&stamps) {
        assert_eq!(entry["ts"], stamp.trim_end());
    }
}

#[test]
fn what_cannot_be_done_is_one_line_and_an_exit_code() {
    let served = Served::new();
    let run = |verb: &str, flags: &[&str]| served.command(verb, flags).output().unwrap();
    let verbs: [(&str, &[&str]); 5] = [
        ("tail", &["nowhere"]),
        ("tail", &["nowhere", "-f"]),
        ("read", &["nowhere"]),
        ("send", &["nowhere", "{a,1}"]),
        ("info", &["nowhere"]),
    ];
    for (verb, flags) in verbs {
        failed(
            &run(verb, flags),
            1,
            "there is no instance of that name; there is alerts, faults, nodes, quotes",
        );
    }
    let nobody = format!("http://127.0.0.1:{}", free_port());
    for (verb, flags) in [
        ("tail", &["quotes", "-f"][..]),
        ("read", &["quotes"]),
        ("send", &["quotes", "a"]),
        ("info", &[]),
    ] {
        failed(
            &run(verb, &[flags, &["--url", &nobody]].concat()),
            1,
            "nobody listens there; is the node running",
        );
        failed(&run(verb, &[flags, &["--url", "here"]].concat()), 2, "write http://HOST:PORT");
    }
    for (flags, text) in [
        (&["-g", "("][..], "--grep: unclosed group"),
        (&["--match", "[{"], "--match: "),
        (&["--since", "soon"], "--since: \"soon\" is no moment"),
        (&["--until", "soon"], "--until: \"soon\" is no moment"),
        (&["--after-cursor", "x"], "--after-cursor: \"x\" is no moment"),
        (&["-p", "loud"], "possible values: emergency, alert"),
        (&["-o", "xml"], "possible values: pretty, term, json, ndjson"),
        (&["-n", "few"], "--lines <N>"),
    ] {
        for verb in ["tail", "read"] {
            failed(&run(verb, &[&["quotes"], flags].concat()), 2, text);
        }
    }
    failed(&run("send", &["quotes", "{a"]), 2, "TERM: line 1, column 3: ");
    failed(&run("man", &["nothing"]), 2, "nothing: no such verb");
    // What is no node does not look like one.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            let _ = client.read(&mut [0; 4096]);
            let _ = client.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
        }
    });
    failed(&run("read", &["quotes", "--url", &other]), 1, "is no logmachine node");
    // A line of many that is none ends it there; what came before is in.
    let mut sending = served.command("send", &["quotes", "-"]);
    let mut sending = sending
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    sending.stdin.take().unwrap().write_all(b"{n,1}.\n\n% why not\n{n,\n{n,2}\n").unwrap();
    let output = sending.wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("standard input, line 4: "));
    assert_eq!((output.status.code(), served.read(&[])), (Some(1), numbers(1..=1)));
}

/// The node reads the lines that `token` printed; a token that allows to read allows no more.
#[test]
fn a_token_opens_what_it_is_for() {
    let world = World::new();
    let make = |name: &str, role: &str| {
        let output = world.command("token").args([name, "--role", role]).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        let said = String::from_utf8(output.stdout).unwrap();
        let (token, lines) = said.split_once("\n\n").unwrap();
        let file = world.path(&format!("{role}.token"));
        std::fs::write(&file, token).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        (token.to_owned(), lines.to_owned())
    };
    let (reader, reads) = make("the \"dashboard\"", "read");
    let (writer, writes) = make("shop", "write");
    assert_ne!(reader, writer);
    std::fs::write(world.path("c.toml"), format!("{reads}\n{writes}")).unwrap();
    said(world.command("check-config").arg("c.toml").stdout(Stdio::piped()));
    let node =
        world.logmachine(&["--config", "c.toml", "--http", "127.0.0.1:0", "--instance", "quotes"]);
    let url = node.url();
    let run = |verb: &str, flags: &[&str]| command(&world, &url, verb, flags).output().unwrap();
    failed(
        &run("read", &["quotes"]),
        1,
        "a token is needed: Authorization: Bearer TOKEN; pass it in a file: --token-file F",
    );
    failed(
        &run("send", &["quotes", "{a,1}", "--token-file", "read.token"]),
        1,
        "has the role read, this needs write",
    );
    said(&mut command(&world, &url, "send", &["quotes", "{a,1}", "--token-file", "write.token"]));
    let mut reading = command(&world, &url, "read", &["quotes", "-o", "term"]);
    assert_eq!(events(&said(reading.env("LOGMACHINE_TOKEN_FILE", "read.token"))), ["{a,1}"]);
    for (headers, status) in [
        (vec![], 401),
        (vec![("authorization", "Bearer lm_wrong".to_owned())], 401),
        (vec![("authorization", format!("Bearer {reader}"))], 200),
    ] {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(request(&url, "GET", "/api/v1/node", &headers, "").0, status);
    }
    std::fs::set_permissions(world.path("read.token"), std::fs::Permissions::from_mode(0o644))
        .unwrap();
    let refused = run("read", &["quotes", "--token-file", "read.token"]);
    failed(
        &refused,
        2,
        "token file read.token can be read by others (mode 644); run: chmod 400 read.token",
    );
    assert!(!node.diagnostics().contains(&reader) && !node.diagnostics().contains(&writer));
}

/// A reader that goes away ends what is read, also where nothing more is written.
#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let served = Served::new();
    let padding = "x".repeat(1_000);
    served.send(&(0..300).map(|n| format!("{{{n},\"{padding}\"}}")).collect::<Vec<_>>());
    let cases: [(&str, &[&str], usize); 7] = [
        ("read", &["quotes"], 1),
        ("read", &["quotes", "-o", "json"], 0),
        ("tail", &["quotes", "-n", "300"], 1),
        ("tail", &["quotes", "-n", "2", "-f"], 2),
        ("completions", &["bash"], 0),
        ("man", &[], 1),
        ("info", &[], 0),
    ];
    for (verb, flags, lines) in cases {
        let mut command = served.command(verb, flags);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        for _ in 0..lines {
            output.read_line(&mut String::new()).unwrap();
        }
        drop(output);
        let ended = wait_for("it ends", || child.try_wait().unwrap());
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!((ended.code(), &*said), (Some(0), ""), "{verb}");
    }
}

#[test]
fn entries_have_colours_only_on_a_terminal_that_takes_them() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let served = Served::new();
    served.send(&numbers(1..=1));
    for (environment, colours) in
        [(("TERM", "xterm"), true), (("TERM", "dumb"), false), (("NO_COLOR", "1"), false)]
    {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).and_then(|()| unlockpt(&ours)).unwrap();
        let name = ptsname(&ours, Vec::new()).unwrap();
        let theirs = std::fs::OpenOptions::new().write(true).open(name.to_str().unwrap()).unwrap();
        let mut command = served.command("read", &["quotes"]);
        command.env_remove("NO_COLOR").env("TERM", "xterm").env(environment.0, environment.1);
        assert_eq!(command.stdout(theirs).status().unwrap().code(), Some(0));
        drop(command);
        let mut shown = Vec::new();
        // The end is an error once nobody has the other side open.
        let _ = std::fs::File::from(ours).read_to_end(&mut shown);
        let shown = String::from_utf8(shown).unwrap();
        assert!(shown.contains("{n,1}"), "{shown:?}");
        assert_eq!(shown.contains('\u{1b}'), colours, "{environment:?}: {shown:?}");
    }
}

#[test]
fn info_says_what_there_is() {
    let served = Served::new();
    served.send(&numbers(1..=3));
    let said = served.said("info", &[]);
    for text in [
        "logmachine@127.0.0.1  version ",
        "connected nodes  0",
        "quotes\n  recorder         running\n",
        "log              3 events, ",
    ] {
        assert!(said.contains(text), "{text}: {said}");
    }
    let said = served.said("info", &["-o", "json"]);
    let all: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(all["node"]["name"], "logmachine@127.0.0.1");
    let said = served.said("info", &["quotes", "-o", "json"]);
    let one: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (&one["name"], &one["events"]),
        (&all["instances"][3]["name"], &serde_json::json!(3))
    );
    assert!(one["rates"]["events_per_second"].is_number());
    assert!(!served.said("info", &["quotes"]).contains("version"));
}

/// A report as SASL makes it when a process of `proc_lib` crashes.
#[test]
fn a_crash_report_is_laid_out_and_found_by_what_it_says() {
    let served = Served::new();
    let pid = |id: u32| format!("{{'$pid','a@host',{id},0,1700000000}}");
    let report = format!(
        "{{error_report,{},{{{},crash_report,[[{{initial_call,{{demo,init,['Argument__1']}}}},{{pid,{}}},{{registered_name,demo}},\
         {{error_info,{{error,{{badmatch,42}},[{{demo,run,1,[{{file,\"demo.erl\"}},{{line,12}}]}}]}}}},\
         {{ancestors,[demo_sup]}},{{message_queue_len,0}},{{messages,[]}},{{links,[]}},{{dictionary,[]}},{{trap_exit,false}},\
         {{status,running}},{{heap_size,233}},{{stack_size,28}},{{reductions,100}}],[]]}}}}",
        pid(50),
        pid(90),
        pid(90),
    );
    served.send(&[report, "{n,1}".to_owned()]);
    let shown = served.said("read", &["quotes", "-p", "error", "--node", "a@*"]);
    let mut lines = shown.lines();
    let head = lines.next().expect("one entry");
    assert!(head.contains("  error    a@host demo  "), "{shown}");
    for text in [
        "initial call: demo:init/1",
        "ancestors: [demo_sup]",
        "demo:run/1",
        "demo.erl:12",
        "reason: {badmatch,42}",
    ] {
        let is_said =
            lines.clone().filter(|line| line.starts_with("    ")).any(|line| line.contains(text));
        assert!(is_said, "{text}: {shown}");
    }
    assert_eq!(
        shown.matches("demo.erl:12").count(),
        1 + head.matches("demo.erl:12").count(),
        "{shown}"
    );
    for flags in [["-p", "critical"], ["--node", "b@*"]] {
        assert_eq!(served.said("read", &[&["quotes"], &flags[..]].concat()), "");
    }
}

/// A certificate that only its own authority vouches for.
#[test]
fn https_with_an_authority_of_ones_own() {
    let world = World::new();
    let mut openssl = Command::new("openssl");
    openssl.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]);
    openssl.args(["-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=logmachine"]);
    openssl.args([
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-addext",
        "basicConstraints=critical,CA:FALSE",
    ]);
    let made = openssl.current_dir(world.dir.path()).stderr(Stdio::null()).status();
    if !made.is_ok_and(|made| made.success()) {
        println!("skipped: there is no openssl on this machine");
        return;
    }
    std::fs::write(world.path("c.toml"), "[http.tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\n")
        .unwrap();
    let node =
        world.logmachine(&["--config", "c.toml", "--http", "127.0.0.1:0", "--instance", "quotes"]);
    let url = node.url();
    assert!(url.starts_with("https://"), "{url}");
    let run = |verb: &str, flags: &[&str]| command(&world, &url, verb, flags).output().unwrap();
    failed(&run("read", &["quotes"]), 1, "certificate");
    let mut sending = command(&world, &url, "send", &["quotes", "{a,1}", "--ca-file", "cert.pem"]);
    said(&mut sending);
    let mut reading = command(&world, &url, "read", &["quotes", "-o", "term"]);
    assert_eq!(events(&said(reading.env("LOGMACHINE_CA_FILE", "cert.pem"))), ["{a,1}"]);
    failed(
        &run("read", &["quotes", "--ca-file", "key.pem"]),
        2,
        "--ca-file key.pem: it holds no certificate",
    );
}

#[test]
fn shells_and_readers_of_manuals_get_what_there_is() {
    let world = World::new();
    let verbs = [
        "run",
        "check-config",
        "tail",
        "read",
        "send",
        "info",
        "token",
        "verify",
        "export",
        "import",
        "backup",
        "bench",
        "completions",
        "man",
    ];
    let manual = said(&mut world.command("man"));
    for verb in verbs {
        assert!(manual.contains(&format!("logmachine\\-{}", verb.replace('-', "\\-"))), "{verb}");
        let page = said(world.command("man").arg(verb));
        assert!(page.contains(".SH SYNOPSIS") && page.contains(".TH"), "{verb}: {page}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let script = said(world.command("completions").arg(shell));
        for verb in verbs {
            assert!(script.contains(verb), "{shell} knows nothing of {verb}");
        }
        let file = world.path(shell);
        std::fs::write(&file, script).unwrap();
        let checked = Command::new(shell).arg("-n").arg(&file).output();
        match checked {
            Ok(checked) => assert!(checked.status.success(), "{shell}: {checked:?}"),
            Err(_) => println!("skipped: there is no {shell} on this machine"),
        }
    }
}

/// Each command of the guide, as it stands there, one after the other.
#[test]
fn the_commands_of_the_guide_work() {
    let world = World::new();
    let flags = ["--http", "127.0.0.1:0", "--instance", "error_logger", "--instance", "quotes"];
    let node = world.logmachine(&flags);
    let url = node.url();
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cli.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let mut blocks = guide.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap());
    let program = Path::new(env!("CARGO_BIN_EXE_logmachine")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let mut seen = BTreeMap::new();
    let commands: String = blocks.by_ref().collect();
    for line in commands.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let verb = line.split("logmachine ").nth(1).and_then(|rest| rest.split(' ').next());
        *seen.entry(verb.unwrap_or_default().to_owned()).or_insert(0) += 1;
        // That would go on.
        if line.contains(" -f") && !line.contains("--until") {
            continue;
        }
        let mut shell = Command::new("sh");
        shell.args(["-c", line]).current_dir(world.dir.path());
        shell.env("PATH", &path).env("LOGMACHINE_URL", &url).env("HOME", world.dir.path());
        let output = shell.output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }
    for verb in ["tail", "read", "send", "info", "token", "completions", "man"] {
        assert!(seen.contains_key(verb), "the guide shows {verb}: {seen:?}");
    }
}
