//! `logmachine info`: what a running node and its instances say of themselves.

use std::fmt::Write;
use std::time::Duration;

use clap::Args;
use indicatif::{BinaryBytes, HumanCount};
use serde_json::{Value, json};

use super::client::{Address, Remote};
use super::output::{self, AnswerForm, text_of};
use super::{Failure, pretty};
use crate::strangers::Plain;
use crate::time::{Clock, Timestamp, moment, monotonic, pause};

/// Over how long rates are measured.
const RATE_TIME: Duration = Duration::from_millis(500);

/// What grows with each event and its bytes.
const RATES: [(&str, &str); 3] = [
    ("events_per_second", "recorded"),
    ("bytes_per_second", "appended_bytes"),
    ("delivered_per_second", "delivered"),
];

#[derive(Args)]
pub(super) struct Info {
    /// Of this instance alone
    instance: Option<String>,
    /// In which form
    #[arg(short, long, value_enum, default_value = "pretty")]
    output: AnswerForm,
    #[command(flatten)]
    remote: Remote,
}

impl Info {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let client = self.remote.client()?;
        let instances = match &self.instance {
            Some(name) => Address::new(&["instances", name]),
            None => Address::new(&["instances"]),
        };
        let begin = monotonic();
        let before = list(client.get_json(&instances)?);
        pause(RATE_TIME);
        let mut now = list(client.get_json(&instances)?);
        let seconds = begin.elapsed().as_secs_f64();
        if now.iter().any(|instance| !instance["name"].is_string()) {
            return Err(client.strange());
        }
        for instance in &mut now {
            let earlier = before.iter().find(|before| before["name"] == instance["name"]);
            instance["rates"] = rates(earlier.unwrap_or(instance), instance, seconds);
        }
        let node = match self.instance {
            Some(_) => None,
            None => Some(client.get_json::<Value>(&Address::new(&["node"]))?),
        };
        let text = match (self.output, node) {
            (AnswerForm::Json, Some(node)) => {
                output::json_lines(&json!({"node": node, "instances": now}))
            }
            (AnswerForm::Json, None) => now.iter().map(output::json_lines).collect(),
            (AnswerForm::Pretty, node) => {
                let mut text = String::new();
                if let Some(node) = &node {
                    write_node(&mut text, node);
                }
                now.iter().for_each(|instance| write_instance(&mut text, instance));
                text
            }
        };
        output::write(&text)
    }
}

/// The instances of a list of them, or the one there is.
fn list(answer: Value) -> Vec<Value> {
    match answer.get("instances") {
        Some(Value::Array(instances)) => instances.clone(),
        _ => vec![answer],
    }
}

/// How fast numbers have grown.
fn rates(before: &Value, now: &Value, seconds: f64) -> Value {
    let grown = |name: &str| {
        let grown = number(now, name).saturating_sub(number(before, name));
        #[expect(clippy::cast_precision_loss, reason = "a rate to three digits")]
        let rate = grown as f64 / seconds;
        json!((rate * 10.0).round() / 10.0)
    };
    RATES
        .into_iter()
        .map(|(rate, name)| (rate.to_owned(), grown(name)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn write_node(out: &mut String, node: &Value) {
    let up = Duration::from_secs(number(node, "uptime_seconds"));
    line(
        out,
        0,
        &text_of(node, "name"),
        &format!(
            "version {}, up {}, port mapper: {}",
            text_of(node, "version"),
            humantime::format_duration(up),
            text_of(node, "port_mapper").replace('_', " "),
        ),
    );
    let peers = array(node, "peers");
    line(out, 1, "connected nodes", &peers.len().to_string());
    for peer in peers {
        let counters = &peer["counters"];
        let hidden = if peer["visible"] == json!(false) { ", hidden" } else { "" };
        line(
            out,
            2,
            &text_of(peer, "name"),
            &format!(
                "{}{hidden}; {} in {} packets received, {} sent",
                text_of(peer, "address"),
                bytes(counters, "received_bytes"),
                count(counters, "received"),
                bytes(counters, "sent_bytes"),
            ),
        );
    }
}

fn write_instance(out: &mut String, instance: &Value) {
    line(out, 0, &text_of(instance, "name"), "");
    let recording = &instance["recording"];
    let reason = recording["reason"].as_str().map(|reason| format!(": {}", Plain(reason)));
    line(
        out,
        1,
        "recorder",
        &format!("{}{}", text_of(recording, "state"), reason.unwrap_or_default()),
    );
    let alias = match &instance["global_alias"] {
        Value::Null if instance["global_aliases_exhausted"] == json!(true) => {
            "none: all ten belong to others".to_owned()
        }
        Value::Null => "none yet".to_owned(),
        alias => format!("{{{},{}}}", text_of(alias, "instance"), number(alias, "number")),
    };
    line(out, 1, "global name", &alias);
    let log = format!(
        "{} events, {} in {} segments and {} archives, {}",
        count(instance, "events"),
        bytes(instance, "bytes"),
        count(instance, "segments"),
        count(instance, "archives"),
        text_of(instance, "data_dir"),
    );
    line(out, 1, "log", &log);
    line(out, 1, "interval", &interval(&instance["interval"]));
    let cache = format!(
        "{} events, {} in RAM, {}",
        count(instance, "cache_events"),
        bytes(instance, "cache_bytes"),
        interval(&instance["cache_interval"])
    );
    line(out, 1, "cache", &cache);
    let rates = &instance["rates"];
    let rate = |name: &str| rates[name].as_f64().unwrap_or_default();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate is not negative"
    )]
    let byte_rate = BinaryBytes(rate("bytes_per_second") as u64);
    line(
        out,
        1,
        "rates",
        &format!(
            "{:.1} events/s, {byte_rate}/s recorded, {:.1} events/s delivered",
            rate("events_per_second"),
            rate("delivered_per_second"),
        ),
    );
    line(
        out,
        1,
        "since start",
        &format!(
            "{} events received, {} recorded, {} delivered, {} dropped, {} refused",
            count(instance, "received"),
            count(instance, "recorded"),
            count(instance, "delivered"),
            count(instance, "dropped"),
            count(instance, "refused"),
        ),
    );
    let wrong = ["damaged", "missing", "unreadable"];
    let wrong: Vec<_> = wrong
        .iter()
        .filter(|name| number(instance, name) > 0)
        .map(|name| format!("{} {name}", count(instance, name)))
        .collect();
    if !wrong.is_empty() {
        line(out, 1, "DAMAGE", &format!("{}; see `logmachine verify`", wrong.join(", ")));
    }
    let sessions = array(instance, "sessions");
    line(out, 1, "sessions", &sessions.len().to_string());
    for session in sessions {
        let lag = Duration::from_micros(number(session, "lag"));
        let behind = match lag.is_zero() {
            true => String::new(),
            false => format!(", {} behind", humantime::format_duration(lag)),
        };
        let sent = format!("{} entries sent{behind}", count(session, "sent"));
        line(out, 2, &text_of(session, "subscriber"), &sent);
    }
    let handlers = array(instance, "handlers");
    line(out, 1, "handlers", &handlers.len().to_string());
    for handler in handlers {
        let reason = handler["reason"].as_str().map(|reason| format!(": {}", Plain(reason)));
        let state = format!("{}{}", text_of(handler, "state"), reason.unwrap_or_default());
        let place = format!("{} at {}", text_of(handler, "place"), text_of(handler, "node"));
        line(out, 2, &place, &state);
    }
}

/// A line with what it is about in a column of its own.
fn line(out: &mut String, depth: usize, about: &str, said: &str) {
    let indent = 2 * depth;
    let text = match said {
        "" => format!("{:indent$}{about}", ""),
        said if depth == 1 => format!("{:indent$}{about:<15}  {said}", ""),
        said => format!("{:indent$}{about}  {said}", ""),
    };
    writeln!(out, "{text}").expect("strings take everything");
}

fn interval(interval: &Value) -> String {
    let now = Clock::system().now();
    let moment = |name: &str| {
        let moment: Option<Timestamp> =
            interval[name].as_str().and_then(|text| moment::parse(text, now).ok());
        moment.map_or_else(
            || "?".to_owned(),
            |moment| match pretty::ago(moment, now) {
                Some(ago) => format!("{} ({ago})", pretty::time(moment)),
                None => pretty::time(moment),
            },
        )
    };
    match interval.is_null() {
        true => "empty".to_owned(),
        false => format!("{} to {}", moment("first"), moment("last")),
    }
}

fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or_default()
}

fn count(value: &Value, name: &str) -> String {
    HumanCount(number(value, name)).to_string()
}

fn bytes(value: &Value, name: &str) -> String {
    BinaryBytes(number(value, name)).to_string()
}

fn array<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map(Vec::as_slice).unwrap_or_default()
}
