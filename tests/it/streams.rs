//! Server-sent events: each entry once and in order, whatever is cut, and what many streams cost.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{PATIENCE, World, free_port, wait_for};
use crate::http::{ENTRIES, Served, request};

const STREAM: &str = "/api/v1/instances/quotes/stream";

/// Numbers that follow from a seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn next(&mut self, below: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// What lies between a client and the node: each connection is cut after a number of bytes, if `cuts` says so.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    pub(crate) connections: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
}

impl Proxy {
    pub(crate) fn start(
        to: u16,
        seed: u64,
        cuts: impl Fn(&mut Random) -> Option<u64> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let (connections, is_over) =
            (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (counted, over) = (connections.clone(), is_over.clone());
        std::thread::spawn(move || {
            let mut random = Random(seed);
            for client in listener.incoming().map_while(Result::ok) {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                counted.fetch_add(1, Ordering::Relaxed);
                let left = cuts(&mut random);
                // A node that is away refuses: so does the proxy.
                let Ok(node) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)) else { continue };
                std::thread::spawn(move || carry(client, node, left));
            }
        });
        Proxy { port, connections, is_over }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

/// Carries bytes both ways; at most `left` of them to the client.
fn carry(mut client: TcpStream, mut node: TcpStream, left: Option<u64>) {
    let (mut up, mut down) =
        (client.try_clone().expect("a socket"), node.try_clone().expect("a socket"));
    let upward = std::thread::spawn(move || {
        let _ = std::io::copy(&mut up, &mut down);
        let _ = down.shutdown(Shutdown::Write);
    });
    let _ = match left {
        Some(left) => std::io::copy(&mut (&mut node).take(left), &mut client),
        None => std::io::copy(&mut node, &mut client),
    };
    let _ = (client.shutdown(Shutdown::Both), node.shutdown(Shutdown::Both));
    let _ = upward.join();
}

/// Follows until `count` events have come, connecting again with the last id seen.
fn follow(port: u16, node_port: u16, count: usize) -> Vec<u64> {
    let (mut seen, mut last): (Vec<u64>, Option<String>) = (Vec::new(), None);
    let deadline = Instant::now() + 4 * PATIENCE;
    while seen.len() < count {
        assert!(Instant::now() < deadline, "{} of {count} have come", seen.len());
        let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { continue };
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let id = last.as_ref().map_or(String::new(), |last| format!("Last-Event-ID: {last}\r\n"));
        // To a client this old an answer is no chunks.
        let head = format!(
            "GET {STREAM}?from=earliest HTTP/1.0\r\nHost: 127.0.0.1:{node_port}\r\n{id}\r\n"
        );
        if stream.write_all(head.as_bytes()).is_err() {
            continue;
        }
        let (mut id, mut event) = (None, None);
        let mut lines = BufReader::new(stream);
        let mut line = String::new();
        while seen.len() < count {
            line.clear();
            match lines.read_line(&mut line) {
                // What is not a whole line is nothing.
                Ok(bytes) if bytes > 0 && line.ends_with('\n') => {}
                _ => break,
            }
            if let Some(text) = line.strip_prefix("id: ") {
                id = Some(text.trim().to_owned());
            } else if let Some(json) = line.strip_prefix("data: ") {
                let entry: serde_json::Value =
                    serde_json::from_str(json).expect("whole lines are JSON");
                event = Some(entry["event"].as_u64().expect("a number"));
            } else if line == "\n"
                && let Some(number) = event.take()
            {
                last = id.take();
                seen.push(number);
            }
        }
    }
    seen
}

/// Appends numbers, so many a second, for a while; how many.
pub(crate) fn append_numbers(port: u16, rate: u64, seconds: u64) -> usize {
    let (count, batch) = (rate * seconds, (rate / 100).clamp(1, 500));
    let begin = Instant::now();
    let mut next = 0;
    while next < count {
        let numbers = next..(next + batch).min(count);
        let numbers = numbers.map(|number| number.to_string()).collect::<Vec<_>>().join(",");
        let body = format!("{{\"events\":[{numbers}]}}");
        let answer = request(
            port,
            "POST",
            ENTRIES,
            &[("Content-Type", "application/json")],
            body.as_bytes(),
        );
        assert_eq!(answer.status, 200, "{}", answer.text());
        next += batch;
        let due = begin + Duration::from_micros(next * 1_000_000 / rate);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    usize::try_from(count).expect("not so many")
}

/// At three rates, connections cut after few and many bytes, so that hundreds of streams begin anew.
#[test]
fn a_stream_that_is_cut_goes_on_with_each_entry_once() {
    for (rate, seconds, most) in [(20, 4, 2_000), (2_000, 3, 60_000), (50_000, 2, 2_000_000)] {
        let world = World::new();
        let served = Served::start(&world, &[]);
        let (count, port) = (usize::try_from(rate * seconds).expect("few"), served.port);
        let proxy = Proxy::start(port, rate, move |random| Some(300 + random.next(most)));
        let followers: Vec<_> = (0..3)
            .map(|_| {
                let by = proxy.port;
                std::thread::spawn(move || follow(by, port, count))
            })
            .collect();
        assert_eq!(append_numbers(port, rate, seconds), count);
        for follower in followers {
            let seen = follower.join().expect("it saw all");
            assert!(
                seen.iter().copied().eq(0..count as u64),
                "rate {rate}: not each once, in order"
            );
        }
        assert!(proxy.connections.load(Ordering::Relaxed) > 6, "rate {rate}: nothing was cut");
    }
}

/// The node is killed while it is followed and appended to, and started again on the same port.
#[test]
fn a_stream_goes_on_where_it_was_after_a_kill() {
    let world = World::new();
    let port = free_port();
    let sync = world.path("c.toml");
    std::fs::write(&sync, "[[instance]]\nname = \"quotes\"\nsync = \"always\"\n").unwrap();
    let flags = ["--config", "c.toml"];
    let mut served = Served::start_at(&world, port, &flags);
    let follower = std::thread::spawn(move || follow(port, port, 500));
    let mut next = 0;
    for round in 0..5 {
        for _ in 0..100 {
            let body = next.to_string();
            let answer = request(
                port,
                "POST",
                ENTRIES,
                &[("Content-Type", "application/json")],
                body.as_bytes(),
            );
            assert_eq!(answer.status, 200, "{}", answer.text());
            next += 1;
        }
        if round < 4 {
            served.program.kill();
            served = Served::start_at(&world, port, &flags);
        }
    }
    assert!(follower.join().expect("it saw all").into_iter().eq(0..500));
}

/// As many as there are: nothing comes behind the last one.
#[test]
fn a_stream_ends_at_its_limit_and_says_so() {
    let world = World::new();
    let served = Served::start(&world, &[]);
    append_numbers(served.port, 10, 1);
    let path = format!("{STREAM}?from=earliest&limit=10");
    let answer = request(served.port, "GET", &path, &[], b"").text();
    assert_eq!(answer.matches("data: {\"ts\"").count(), 10, "{answer}");
    assert!(answer.ends_with("event: end\ndata: {}\n\n"), "{answer}");
}

/// A page whose `EventSource` connects by way of a proxy that cuts it off; it reports what it saw.
#[test]
fn a_browser_that_is_cut_off_goes_on_by_itself() {
    const PAGE: &str = "<script>\
        const seen = []; const source = new EventSource('/api/v1/instances/quotes/stream?from=earliest');\
        source.onmessage = (message) => { seen.push(JSON.parse(message.data).event);\
            if (seen.length === 2000) { source.close(); fetch('/seen', {method: 'POST', body: JSON.stringify(seen)}); } };\
        </script>";
    let found = Command::new("chromium")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if found.is_err() {
        println!("skipped: chromium is not installed");
        return;
    }
    let world = World::new();
    let served = Served::start(&world, &[]);
    let node_port = served.port;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let (report, reported) = std::sync::mpsc::channel();
    let streams = Arc::new(AtomicU64::new(0));
    let counted = streams.clone();
    // The page and the node's routes under one address, as a proxy in front of both would have them.
    std::thread::spawn(move || {
        let mut random = Random(7);
        for mut client in listener.incoming().map_while(Result::ok) {
            let (report, left) = (report.clone(), 5_000 + random.next(60_000));
            let counted = counted.clone();
            std::thread::spawn(move || {
                let mut reader = BufReader::new(client.try_clone().expect("a socket"));
                let (mut first, mut head, mut length) = (String::new(), String::new(), 0);
                let _ = reader.read_line(&mut first);
                loop {
                    let mut line = String::new();
                    if reader.read_line(&mut line).is_err() || line.trim().is_empty() {
                        break;
                    }
                    let lower = line.to_ascii_lowercase();
                    if let Some(bytes) = lower.strip_prefix("content-length:") {
                        length = bytes.trim().parse().expect("a number");
                    }
                    if !lower.starts_with("host:") && !lower.starts_with("connection:") {
                        head.push_str(&line);
                    }
                }
                if first.starts_with("GET /api/") {
                    counted.fetch_add(1, Ordering::Relaxed);
                    let mut node =
                        TcpStream::connect((Ipv4Addr::LOCALHOST, node_port)).expect("it listens");
                    let head = format!(
                        "{first}Host: 127.0.0.1:{node_port}\r\nConnection: close\r\n{head}\r\n"
                    );
                    node.write_all(head.as_bytes()).expect("it reads");
                    carry(client, node, Some(left));
                    return;
                }
                let mut body = vec![0; length];
                let _ = reader.read_exact(&mut body);
                if first.starts_with("POST /seen") {
                    let _ = report.send(body);
                }
                let page = if first.starts_with("GET / ") { PAGE } else { "" };
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{page}",
                    page.len()
                );
                let _ = client.write_all(answer.as_bytes());
            });
        }
    });
    let mut browser = Command::new("chromium");
    browser.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
    ]);
    browser.arg(format!("--user-data-dir={}", world.path("browser").display()));
    browser.args(["--remote-debugging-port=0", &format!("http://127.0.0.1:{port}/")]);
    let mut browser = browser.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it runs");
    assert_eq!(append_numbers(node_port, 500, 4), 2000);
    let seen = reported.recv_timeout(2 * PATIENCE);
    let _ = browser.kill();
    let _ = browser.wait();
    let seen: Vec<u64> = serde_json::from_slice(&seen.expect("the page reports")).expect("numbers");
    assert!(seen.into_iter().eq(0..2000), "each once, in order");
    assert!(streams.load(Ordering::Relaxed) > 3, "it was cut off");
}

/// A thousand streams at once, most of which read nothing for a while; then all of them see what came.
#[test]
fn a_thousand_streams_cost_little_and_each_sees_everything() {
    let world = World::new();
    let served = Served::start(&world, &[]);
    let port = served.port;
    let before = served.program.peak_memory_kib();
    let head = format!("GET {STREAM} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n\r\n");
    let mut streams: Vec<_> = (0..1000)
        .map(|_| {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens");
            stream.write_all(head.as_bytes()).expect("it reads");
            stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
            BufReader::new(stream)
        })
        .collect();
    for stream in &mut streams {
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            assert!(stream.read_line(&mut line).expect("an answer") > 0);
        }
    }
    wait_for("all are counted", || {
        (served.get("/api/v1/node")["http"]["streams"] == 1000).then_some(())
    });
    append_numbers(port, 2_000, 3);
    let seen = |stream: &mut BufReader<TcpStream>| {
        let mut numbers = Vec::new();
        for line in stream.lines().map(|line| line.expect("it goes on")) {
            if let Some(json) = line.strip_prefix("data: ") {
                let entry: serde_json::Value = serde_json::from_str(json).expect("JSON");
                numbers.push(entry["event"].as_u64().expect("a number"));
                if numbers.len() == 6_000 {
                    break;
                }
            }
        }
        numbers
    };
    for stream in &mut streams {
        assert!(seen(stream).into_iter().eq(0..6_000));
    }
    let grown = served.program.peak_memory_kib().saturating_sub(before);
    assert!(grown < 400 << 10, "1,000 streams took {grown} KiB");
    drop(streams);
    append_numbers(port, 10, 1);
    wait_for("none is left", || (served.get("/api/v1/node")["http"]["streams"] == 0).then_some(()));
}

/// Clients that break the rules, while events come in and somebody follows: those are not disturbed.
#[test]
fn clients_that_break_the_rules_are_answered_or_closed_and_disturb_nobody() {
    let world = World::new();
    let served = Served::start(&world, &[]);
    let port = served.port;
    let follower = std::thread::spawn(move || follow(port, port, 3_000));
    let appending = std::thread::spawn(move || append_numbers(port, 1_000, 3));
    // Idle ones, more than there are places for, and some that send a byte now and then.
    let mut idle = Vec::new();
    for number in 0..3_000_u32 {
        let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { continue };
        if number % 3 == 0 {
            let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ");
        }
        idle.push(stream);
    }
    let host = format!("Host: 127.0.0.1:{port}\r\n");
    let huge = format!("GET / HTTP/1.1\r\n{host}X: {}\r\n\r\n", "x".repeat(1 << 20));
    let many = format!("GET / HTTP/1.1\r\n{host}{}\r\n", "X: y\r\n".repeat(5_000));
    let chunks = format!(
        "POST {ENTRIES} HTTP/1.1\r\n{host}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n1\r\n"
    );
    let endless = format!(
        "POST {ENTRIES} HTTP/1.1\r\n{host}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\n1"
    );
    let both = format!(
        "POST {ENTRIES} HTTP/1.1\r\n{host}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    );
    let paths = [
        "/../../etc/passwd",
        "//api/v1/node",
        "/api/v1/instances/%00/entries",
        "/api/v1/instances/%FF/entries",
        "/%2e%2e/",
        "/api/v1/instances/a%2Fb",
    ];
    let mut odd: Vec<Vec<u8>> =
        [huge, many, chunks, endless, both].into_iter().map(String::into_bytes).collect();
    odd.extend(paths.map(|path| {
        format!("GET {path} HTTP/1.1\r\n{host}Connection: close\r\n\r\n").into_bytes()
    }));
    odd.push(b"\xff\xfe\x00\x01\r\n\r\n".to_vec());
    odd.push(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff".to_vec());
    odd.push(b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_vec());
    odd.push(b"GET http://evil.example/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".to_vec());
    for bytes in &odd {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let text = String::from_utf8_lossy(&answer);
        let status = text.split(' ').nth(1).unwrap_or_default().to_owned();
        let is_refused =
            answer.is_empty() || status.starts_with('4') || !text.starts_with("HTTP/1.");
        assert!(
            is_refused,
            "{:?}: {text}",
            String::from_utf8_lossy(&bytes[..bytes.len().min(100)])
        );
    }
    assert_eq!(appending.join().expect("it was not disturbed"), 3_000);
    assert!(follower.join().expect("it was not disturbed").into_iter().eq(0..3_000));
    let memory = served.program.peak_memory_kib();
    assert!(memory < 600 << 10, "{memory} KiB");
    drop(idle);
    assert_eq!(served.get("/healthz")["status"], "ok");
}
