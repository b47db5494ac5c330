//! `logmachine faults`: what keeps breaking, and what people decide about it.

use std::fmt::Write;

use clap::{Args, Subcommand, ValueEnum, value_parser};
use indicatif::HumanCount;
use serde_json::{Value, json};
use ureq::http::Method;

use super::client::{Address, Client, Remote};
use super::output::{self, AnswerForm, Output, text_of};
use super::selection::Entry;
use super::{Failure, pretty};
use crate::strangers::Plain;
use crate::time::{Clock, Timestamp};

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Faults {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    list: List,
}

#[derive(Subcommand)]
enum Verb {
    /// List faults: what it does without a verb
    List(List),
    /// Show one, with entries of it
    Show(Show),
    /// Say that one is mended: it is told of when it comes back
    Resolve(Resolve),
    /// Say that nobody wants to hear of one
    Mute(Mute),
    /// Take back that one is resolved or muted
    Reopen(Reopen),
}

#[derive(Args)]
struct List {
    /// In these states: new, ongoing, regressed, resolved, muted; several with commas between them
    #[arg(short, long, value_name = "STATES")]
    state: Option<String>,
    /// Of this instance alone
    #[arg(short, long)]
    instance: Option<String>,
    /// Last seen at or after this moment: 15m (ago), today, or a date and a time
    #[arg(long, value_name = "T")]
    since: Option<String>,
    /// First seen at or before this moment
    #[arg(long, value_name = "T")]
    until: Option<String>,
    /// What comes first
    #[arg(long, value_enum, default_value = "last-seen")]
    sort: Sort,
    /// At most so many
    #[arg(short = 'n', long, value_name = "N", default_value = "100", value_parser = value_parser!(u32).range(1..=MAX_LINES))]
    lines: u32,
    /// In which form
    #[arg(short, long, value_enum, default_value = "pretty")]
    output: AnswerForm,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Clone, Copy, ValueEnum)]
enum Sort {
    /// The one that was last seen
    LastSeen,
    /// The one that was last seen for the first time
    FirstSeen,
    /// The most frequent one
    Count,
}

#[derive(Args)]
struct Show {
    /// Its id
    id: String,
    /// In which form
    #[arg(short, long, value_enum, default_value = "pretty")]
    output: AnswerForm,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args)]
struct Resolve {
    /// Its id
    id: String,
    /// In the versions that it was not seen in: it may go on to occur where the others run
    #[arg(long)]
    in_next_version: bool,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args)]
struct Mute {
    /// Its id
    id: String,
    /// For so long, as 2h [default: until somebody decides otherwise]
    #[arg(long = "for", value_name = "SPAN")]
    span: Option<String>,
    /// Until this moment
    #[arg(long, value_name = "T", conflicts_with = "span")]
    until: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args)]
struct Reopen {
    /// Its id
    id: String,
    #[command(flatten)]
    remote: Remote,
}

impl Faults {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.verb.unwrap_or(Verb::List(self.list)) {
            Verb::List(list) => list.run(),
            Verb::Show(show) => show.run(),
            Verb::Resolve(Resolve { id, in_next_version, remote }) => {
                let decision = json!({"state": "resolved", "in_next_version": in_next_version});
                decide(&remote, &id, &decision)
            }
            Verb::Mute(Mute { id, span, until, remote }) => {
                decide(&remote, &id, &json!({"state": "muted", "for": span, "until": until}))
            }
            Verb::Reopen(Reopen { id, remote }) => {
                decide(&remote, &id, &json!({"state": "ongoing"}))
            }
        }
    }
}

/// So many the API lists at once.
const MAX_LINES: i64 = 10_000;

impl List {
    fn run(self) -> Result<(), Failure> {
        let client = self.remote.client()?;
        let sort = match self.sort {
            Sort::LastSeen => "last_seen",
            Sort::FirstSeen => "first_seen",
            Sort::Count => "count",
        };
        let given = [
            ("state", &self.state),
            ("instance", &self.instance),
            ("from", &self.since),
            ("to", &self.until),
        ];
        let mut address = Address::new(&["faults"]).with("sort", sort);
        address = address.with("limit", &self.lines.to_string());
        for (name, value) in given {
            if let Some(value) = value {
                address = address.with(name, value);
            }
        }
        let answer: Value = client.get_json(&address)?;
        let Some(faults) = answer["faults"].as_array() else { return Err(client.strange()) };
        match self.output {
            AnswerForm::Json => output::write(&output::json_lines(&answer)),
            AnswerForm::Pretty => {
                let mut text = String::new();
                if faults.is_empty() {
                    text.push_str("no faults\n");
                }
                let now = Clock::system().now();
                faults.iter().for_each(|fault| write_line(&mut text, fault, now));
                if !answer["next"].is_null() {
                    let more = i64::from(self.lines) * 10;
                    let hint = match more <= MAX_LINES {
                        true => format!("-n {more}"),
                        false => "choose with --state, --instance or --since".to_owned(),
                    };
                    writeln!(text, "and more: {hint}").expect("strings take everything");
                }
                output::write(&text)
            }
        }
    }
}

impl Show {
    fn run(self) -> Result<(), Failure> {
        let client = self.remote.client()?;
        let fault: Value = client.get_json(&Address::new(&["faults", &self.id]))?;
        match self.output {
            AnswerForm::Json => output::write(&output::json_lines(&fault)),
            AnswerForm::Pretty => {
                let mut text = String::new();
                write_whole(&mut text, &fault, Clock::system().now());
                output::write(&text)?;
                let mut entries = Output::new(output::Form::Pretty);
                for entry in fault["entries"].as_array().into_iter().flatten() {
                    let json = entry.to_string();
                    entries.entry(&Entry::parse(&json)?)?;
                }
                entries.finish(None)
            }
        }
    }
}

/// Sends a decision, and prints what became of the fault.
fn decide(remote: &Remote, id: &str, decision: &Value) -> Result<(), Failure> {
    let client: Client = remote.client()?;
    let answer =
        client.change(&Method::PATCH, &Address::new(&["faults", id]), &decision.to_string())?;
    if answer.is_empty() {
        return output::write("recorded; it shows once the faults have caught up\n");
    }
    let fault: Value = serde_json::from_str(&answer).map_err(|_| client.strange())?;
    let mut text = String::new();
    write_line(&mut text, &fault, Clock::system().now());
    output::write(&text)
}

/// `ID  STATE  COUNT  LAST HOUR  WHEN  TITLE`
fn write_line(out: &mut String, fault: &Value, now: Timestamp) {
    let hour = fault["last_hour"].as_array();
    let hour: Vec<u64> = hour.into_iter().flatten().filter_map(Value::as_u64).collect();
    writeln!(
        out,
        "{}  {:<9}  {:>9}  {}  {:>8}  {}",
        text_of(fault, "id"),
        text_of(fault, "state"),
        HumanCount(fault["count"].as_u64().unwrap_or_default()).to_string(),
        bars(&hour),
        ago(fault, "last_seen_micros", now),
        text_of(fault, "title"),
    )
    .expect("strings take everything");
}

fn write_whole(out: &mut String, fault: &Value, now: Timestamp) {
    let mut line = |about: &str, said: &str| {
        if !said.is_empty() {
            writeln!(out, "  {about:<11}  {said}").expect("strings take everything");
        }
    };
    let by = fault["by"].as_str().map(|by| format!(" by {}", Plain(by))).unwrap_or_default();
    let until = fault["until"].as_str().map(|it| format!(" until {}", Plain(it)));
    let next = if fault["in_next_version"] == json!(true) { " in the next version" } else { "" };
    let state = format!(
        "{}{next}{by} since {}{}",
        text_of(fault, "state"),
        text_of(fault, "state_since"),
        until.unwrap_or_default()
    );
    let seen = |moment: &str, version: &str| {
        let version = &fault[version];
        let version = version["application"].as_str().map(|_| {
            format!(" in {} {}", text_of(version, "application"), text_of(version, "version"))
        });
        let ago = ago(fault, &format!("{moment}_micros"), now);
        format!("{} ({ago}){}", text_of(fault, moment), version.unwrap_or_default())
    };
    line("state", &state);
    line("first seen", &seen("first_seen", "first_version"));
    line("last seen", &seen("last_seen", "last_version"));
    let count = HumanCount(fault["count"].as_u64().unwrap_or_default());
    line("occurrences", &format!("{count}, level {}", text_of(fault, "level")));
    let nodes = fault["nodes"].as_object().into_iter().flatten();
    let nodes: Vec<_> = nodes.map(|(node, count)| format!("{} ({count})", Plain(node))).collect();
    line("nodes", &nodes.join(", "));
    let modules = fault["modules"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let modules: Vec<_> = modules.map(|module| Plain(module).to_string()).collect();
    line("modules", &modules.join(", "));
    line("instance", &text_of(fault, "instance"));
    let title = format!("{}  {}\n", text_of(fault, "id"), text_of(fault, "title"));
    out.insert_str(0, &title);
}

/// Counts of an hour as 12 bars of five minutes.
fn bars(minutes: &[u64]) -> String {
    const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    const MINUTES: usize = 5;
    let sums: Vec<u64> = minutes.chunks(MINUTES).map(|part| part.iter().sum()).collect();
    let most = sums.iter().copied().max().unwrap_or_default().max(1);
    let bar = |sum: &u64| {
        let height = (sum * 8).div_ceil(most);
        BARS[usize::try_from(height).unwrap_or_default()]
    };
    sums.iter().map(bar).collect()
}

fn ago(fault: &Value, name: &str, now: Timestamp) -> String {
    let at = Timestamp::from_micros(fault[name].as_u64().unwrap_or_default());
    pretty::ago(at, now).unwrap_or_else(|| "now".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_high_as_counts() {
        let mut minutes = [0; 60];
        (minutes[0], minutes[59]) = (1, 16);
        assert_eq!(bars(&minutes), "▁          █");
        assert_eq!(bars(&[0; 10]), "  ");
    }
}
