//! A webhook of ours, which fails as others do.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::faults::Chance;

/// A request that came, whatever it was answered.
#[derive(Clone, Debug)]
pub(super) struct Arrived {
    pub(super) path: String,
    pub(super) id: String,
    /// Seconds, as they were written.
    pub(super) timestamp: String,
    pub(super) signature: Option<String>,
    pub(super) body: String,
}

impl Arrived {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }
}

/// It listens until the test ends.
pub(super) struct Receiver {
    pub(super) port: u16,
    /// Whether it takes everything.
    pub(super) is_kind: Arc<AtomicBool>,
    arrived: Arc<Mutex<Vec<Arrived>>>,
}

impl Receiver {
    /// One that takes everything.
    pub(super) fn start() -> Self {
        Receiver::failing(1, true)
    }

    /// One that is kind to every third request at least, and says so, breaks off, or refuses otherwise.
    pub(super) fn failing(seed: u64, is_kind: bool) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let port = listener.local_addr().expect("it listens").port();
        let receiver =
            Receiver { port, is_kind: Arc::new(AtomicBool::new(is_kind)), arrived: Arc::default() };
        let (is_kind, arrived) = (receiver.is_kind.clone(), receiver.arrived.clone());
        std::thread::spawn(move || {
            let (mut chance, mut failed) = (Chance(seed), 0);
            for stream in listener.incoming().flatten() {
                let is_kind = is_kind.load(Ordering::Relaxed) || failed == 2;
                let answer = if is_kind { 0 } else { chance.below(4) };
                // Who was killed in the middle of a request has not been here.
                if answer_one(stream, answer, &arrived).is_some() {
                    failed = if answer < 2 { 0 } else { failed + 1 };
                }
            }
        });
        receiver
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// What came there so far, in its order.
    pub(super) fn arrived(&self, path: &str) -> Vec<Arrived> {
        let arrived = self.arrived.lock().expect("no panic while it is held");
        arrived.iter().filter(|it| it.path == path).cloned().collect()
    }

    /// The ids of it, in the order of their first arrival.
    pub(super) fn ids(&self, path: &str) -> Vec<String> {
        let mut ids = Vec::new();
        for arrived in self.arrived(path) {
            if !ids.contains(&arrived.id) {
                ids.push(arrived.id);
            }
        }
        ids
    }
}

fn answer_one(stream: TcpStream, answer: usize, arrived: &Mutex<Vec<Arrived>>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end() {
            "" if line.is_empty() => return None,
            "" => break,
            line => head.push(line.to_owned()),
        }
    }
    let path = head[0].split(' ').nth(1).expect("a path").to_owned();
    assert!(head[0].starts_with("POST "), "{head:?}");
    let header = |wanted: &str| {
        let mut lines = head.iter().skip(1).filter_map(|line| line.split_once(": "));
        let found = lines.find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| value.to_owned())
    };
    let length = header("content-length").and_then(|it| it.parse().ok()).expect("a length");
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    assert_eq!(header("content-type").as_deref(), Some("application/json"));
    arrived.lock().expect("no panic while it is held").push(Arrived {
        path,
        id: header("webhook-id").expect("an id"),
        timestamp: header("webhook-timestamp").expect("a timestamp"),
        signature: header("webhook-signature"),
        body: String::from_utf8(body).expect("text"),
    });
    let said = match answer {
        0 => "HTTP/1.1 204 No Content\r\n\r\n",
        1 => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        2 => "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 5\r\n\r\nlater",
        _ => "",
    };
    // Whoever asked may be dead.
    let _ = reader.get_mut().write_all(said.as_bytes());
    Some(())
}
