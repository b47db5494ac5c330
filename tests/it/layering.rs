//! Modules use only modules to their left, and no more of the world than they should.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Layers from left to right, as `src/lib.rs` says. Those of the last one may use each other.
const LAYERS: [&[&str]; 12] = [
    &["time"],
    &["metrics", "diagnostics", "planted"],
    &["strangers", "outgoing"],
    &["etf"],
    &["event_log", "match_spec", "proto"],
    &["store"],
    &["node"],
    &["instance"],
    &["analysis"],
    &["watchers"],
    &["api"],
    &["app", "config", "cli", "main", "lib"],
];

/// What may be named only in some places: the words, the modules that may, and why nobody else.
const KEPT_APART: [(&[&str], &[&str], &str); 6] = [
    (
        &["tokio", "socket2", "TcpStream", "TcpListener", "UdpSocket"],
        &[
            "strangers",
            "event_log",
            "store",
            "node",
            "instance",
            "watchers",
            "api",
            "app",
            "cli",
            "main",
        ],
        "they decide, without sockets and tasks",
    ),
    (
        &["SystemTime", "Instant::now", "Clock"],
        &[
            "time",
            "event_log",
            "store",
            "node",
            "instance",
            "analysis",
            "watchers",
            "api",
            "app",
            "cli",
        ],
        "they are told the time",
    ),
    (
        &["event_log"],
        &["event_log", "store", "app", "config", "cli", "lib"],
        "they know a store, and not which",
    ),
    (
        &["clap", "clap_complete", "clap_mangen", "indicatif"],
        &["cli"],
        "a library has no command line",
    ),
    (&["ureq"], &["outgoing", "watchers", "cli"], "they ask nobody"),
    (&["std::net"], &["proto", "node", "api", "app", "config", "cli"], "they know no network"),
];

/// Names of `std::net` that are values and not sockets.
const ADDRESSES: [&str; 5] = ["IpAddr", "Ipv4Addr", "Ipv6Addr", "SocketAddr", "AddrParseError"];

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Each file of the program: its path below `src`, the module of the crate it is part of, and its code without comments.
fn files() -> Vec<(String, String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let read = |file: PathBuf| {
        let path = file.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        let module = path.split(['/', '.']).next().unwrap().to_owned();
        let text = fs::read_to_string(&file).unwrap();
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        (path, module, code.collect::<Vec<_>>().join("\n"))
    };
    files.into_iter().map(read).collect()
}

/// The modules of the crate that code names: `crate::a`, and `crate::{a, b::{c, d}}`.
fn used(code: &str) -> BTreeSet<String> {
    let name = |text: &str| -> String {
        text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let mut used = BTreeSet::new();
    for part in code.split("crate::").skip(1) {
        let Some(group) = part.strip_prefix('{') else {
            used.insert(name(part));
            continue;
        };
        let (mut depth, mut item) = (0, String::new());
        for c in group.chars() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    used.insert(name(item.trim()));
                    item.clear();
                    continue;
                }
                _ => {}
            }
            item.push(c);
        }
        used.insert(name(item.trim()));
    }
    used.retain(|name| name.chars().next().is_some_and(|c| c.is_lowercase()));
    used
}

#[test]
fn what_code_uses_is_seen_in_every_form() {
    let code =
        "use crate::etf; pub(in crate::node) use crate::{time, proto::{self, a, b}, node::c,};";
    assert_eq!(Vec::from_iter(used(code)), ["etf", "node", "proto", "time"]);
}

#[test]
fn no_module_uses_one_beside_it_or_to_its_right() {
    let (mut checked, mut wrong) = (0, Vec::new());
    for (path, user, code) in files() {
        let Some(own) = layer(&user) else {
            wrong.push(format!("{path}: {user} has no layer"));
            continue;
        };
        for used in used(&code) {
            let Some(other) = layer(&used) else {
                wrong.push(format!("{path} uses {used}, which has no layer"));
                continue;
            };
            checked += 1;
            if used != user && other >= own && own != LAYERS.len() - 1 {
                wrong.push(format!("{path} uses {used}"));
            }
        }
    }
    assert!(checked > 100, "the check sees uses");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Tests may use what they need to stand in for the world.
#[test]
fn what_decides_knows_no_sockets_clocks_or_command_lines() {
    let is_word = |code: &str, at: usize, word: &str| {
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        !code[..at].ends_with(is_part) && !code[at + word.len()..].starts_with(is_part)
    };
    let (mut seen, mut wrong) = (0, Vec::new());
    for (path, module, code) in files() {
        let code = code.split("#[cfg(test)]\nmod").next().unwrap();
        if path.contains("test") || path.contains("simulation") {
            continue;
        }
        for (words, allowed, why) in KEPT_APART {
            for word in words {
                for (at, _) in code.match_indices(word).filter(|(at, _)| is_word(code, *at, word)) {
                    seen += 1;
                    let names_addresses = *word == "std::net"
                        && ADDRESSES
                            .iter()
                            .any(|name| code[at..].starts_with(&format!("std::net::{name}")));
                    if !allowed.contains(&&*module) && !names_addresses {
                        wrong.push(format!("{path} names {word}: {why}"));
                    }
                }
            }
        }
    }
    assert!(seen > 100, "the check sees words");
    assert!(wrong.is_empty(), "{wrong:#?}");
}
