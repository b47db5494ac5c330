//! `logmachine rules`: what somebody is to be told of, what would have been told, and what is to be quiet.

mod rehearsal;

use std::fmt::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use ureq::http::Method;

use super::client::{Address, Remote};
use super::output::{self, AnswerForm, text_of};
use super::{Failure, pretty};
use crate::analysis::alert_event::Phase;
use crate::analysis::rule::plain;
use crate::config::File;
use crate::etf::json as term_json;
use crate::strangers::Plain;
use crate::time::{Clock, Timestamp, moment};

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Rules {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    list: List,
}

#[derive(Subcommand)]
enum Verb {
    /// List rules and the alerts that fire: what it does without a verb
    List(List),
    /// Say when the rules of a file would have fired
    Test(Test),
    /// Have nobody told for a time
    Silence(Silence),
    /// List the silences that hold
    Silences(List),
    /// End a silence before its time
    Lift(Lift),
}

#[derive(Args)]
struct List {
    /// In which form
    #[arg(short, long, value_enum, default_value = "pretty")]
    output: AnswerForm,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args)]
struct Test {
    /// The configuration file with the rules
    file: PathBuf,
    /// From this moment on: 15m (ago), today, or a date and a time
    #[arg(short, long, value_name = "T", default_value = "24h")]
    since: String,
    /// Up to this one
    #[arg(long, value_name = "T", default_value = "now")]
    until: String,
    /// In which form
    #[arg(short, long, value_enum, default_value = "pretty")]
    output: AnswerForm,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args)]
struct Silence {
    /// Alerts of this rule
    #[arg(required_unless_present_any = ["by", "all"])]
    rule: Option<String>,
    /// Alerts of this value of the rule's `by`, as a node's name
    #[arg(long, value_name = "VALUE")]
    by: Option<String>,
    /// All alerts
    #[arg(long, conflicts_with_all = ["rule", "by"])]
    all: bool,
    /// For so long, as 2h
    #[arg(long = "for", value_name = "SPAN", required_unless_present = "until")]
    span: Option<String>,
    /// Until this moment
    #[arg(long, value_name = "T", conflicts_with = "span")]
    until: Option<String>,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args)]
struct Lift {
    /// Its id
    id: String,
    #[command(flatten)]
    remote: Remote,
}

impl Rules {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.verb.unwrap_or(Verb::List(self.list)) {
            Verb::List(list) => list.rules(),
            Verb::Test(test) => test.run(),
            Verb::Silence(silence) => silence.run(),
            Verb::Silences(list) => list.silences(),
            Verb::Lift(Lift { id, remote }) => {
                let client = remote.client()?;
                client.change(&Method::DELETE, &Address::new(&["silences", &id]), "")?;
                output::write("it is over\n")
            }
        }
    }
}

impl List {
    fn rules(self) -> Result<(), Failure> {
        let client = self.remote.client()?;
        let rules: Value = client.get_json(&Address::new(&["rules"]))?;
        let limit = Address::new(&["alerts"]).with("limit", "1000");
        let alerts: Value = client.get_json(&limit)?;
        let found = (rules["rules"].as_array(), alerts["alerts"].as_array());
        let (Some(rules), Some(firing)) = found else { return Err(client.strange()) };
        if self.output == AnswerForm::Json {
            return output::write(&output::json_lines(&json!({"rules": rules, "alerts": firing})));
        }
        let now = Clock::system().now();
        let mut text = String::new();
        if rules.is_empty() {
            text.push_str("no rules\n");
        }
        for rule in rules {
            let count = |name: &str| rule[name].as_u64().unwrap_or_default();
            let (name, condition) = (text_of(rule, "name"), text_of(rule, "condition"));
            let (now_firing, fired) = (count("firing"), count("fired"));
            line(&mut text, &format!("{name}  {condition}; firing {now_firing}, fired {fired}"));
        }
        for alert in firing {
            let at = Timestamp::from_micros(alert["micros"].as_u64().unwrap_or_default());
            let ago = pretty::ago(at, now).unwrap_or_else(|| "now".to_owned());
            let quiet = if alert["silenced"] == json!(true) { " (silenced)" } else { "" };
            let (severity, rule) = (text_of(alert, "severity"), text_of(alert, "rule"));
            let told = text_of(alert, "text");
            line(&mut text, &format!("{severity:<9}  {ago:>8}  {rule}{quiet}  {told}"));
        }
        if !alerts["next"].is_null() {
            line(&mut text, "and more");
        }
        output::write(&text)
    }

    fn silences(self) -> Result<(), Failure> {
        let client = self.remote.client()?;
        let answer: Value = client.get_json(&Address::new(&["silences"]))?;
        let Some(silences) = answer["silences"].as_array() else { return Err(client.strange()) };
        if self.output == AnswerForm::Json {
            return output::write(&output::json_lines(&answer));
        }
        let mut text = String::new();
        if silences.is_empty() {
            text.push_str("no silences\n");
        }
        silences.iter().for_each(|silence| write_silence(&mut text, silence));
        output::write(&text)
    }
}

fn line(out: &mut String, said: &str) {
    writeln!(out, "{said}").expect("strings take everything");
}

/// `ID  until WHEN  RULE of VALUE, by WHO: REASON`
fn write_silence(out: &mut String, silence: &Value) {
    let of = match (silence["rule"].as_str(), silence["by"].as_str()) {
        (None, None) => "everything".to_owned(),
        (Some(rule), None) => Plain(rule).to_string(),
        (None, Some(by)) => format!("all of {}", Plain(by)),
        (Some(rule), Some(by)) => format!("{} of {}", Plain(rule), Plain(by)),
    };
    let (id, until) = (text_of(silence, "id"), text_of(silence, "until"));
    let mut said = format!("{id}  until {until}  {of}, by {}", text_of(silence, "who"));
    if silence["reason"].as_str().is_some_and(|reason| !reason.is_empty()) {
        said.push_str(&format!(": {}", text_of(silence, "reason")));
    }
    line(out, &said);
}

impl Silence {
    fn run(self) -> Result<(), Failure> {
        let client = self.remote.client()?;
        let mut body = json!({"reason": self.reason});
        let given =
            [("rule", &self.rule), ("by", &self.by), ("for", &self.span), ("until", &self.until)];
        for (name, value) in given {
            if let Some(value) = value {
                body[name] = json!(value);
            }
        }
        let address = Address::new(&["silences"]);
        let answer = client.change(&Method::POST, &address, &body.to_string())?;
        let silence: Value = serde_json::from_str(&answer).map_err(|_| client.strange())?;
        let mut text = String::new();
        write_silence(&mut text, &silence);
        output::write(&text)
    }
}

impl Test {
    fn run(self) -> Result<(), Failure> {
        let file = File::read(&self.file).map_err(Failure::usage)?;
        let rules = file.rules();
        if rules.is_empty() {
            let none = format!("{}: there is no [[rule]] in it", self.file.display());
            return Err(Failure::usage(none));
        }
        let now = Clock::system().now();
        let moment = |flag: &str, text: &str| {
            moment::parse(text, now).map_err(|wrong| Failure::usage(format!("{flag}: {wrong}")))
        };
        let (since, until) = (moment("--since", &self.since)?, moment("--until", &self.until)?);
        if since >= until {
            return Err(Failure::usage("--since: it has to be before --until"));
        }
        let client = self.remote.client()?;
        let words = rehearsal::rehearse(&client, &rules, since, until)?;
        let mut text = String::new();
        for said in &words {
            let rule = &rules[said.rule];
            match self.output {
                AnswerForm::Json => {
                    let by = said.by.as_ref().map(|by| term_json::to_json(by.as_term()));
                    let by: Option<Value> = by.and_then(|by| serde_json::from_str(&by).ok());
                    let alert = json!({
                        "rule": rule.name, "state": said.word.phase.as_str(),
                        "severity": rule.severity.as_str(), "at": moment::rfc3339(said.word.at),
                        "micros": said.word.at.micros(), "by": by, "count": said.word.count,
                        "text": said.text,
                    });
                    line(&mut text, &alert.to_string());
                }
                AnswerForm::Pretty => {
                    let at = moment::rfc3339(said.word.at).replacen('T', " ", 1);
                    let at = at.trim_end_matches('Z').to_owned();
                    let what = match (said.word.phase, &said.by) {
                        (Phase::Firing, _) => Plain(&said.text).to_string(),
                        (Phase::Resolved, Some(by)) => Plain(&plain(by.as_term())).to_string(),
                        (Phase::Resolved, None) => String::new(),
                    };
                    let said =
                        format!("{at}  {:<8}  {}  {what}", said.word.phase.as_str(), rule.name);
                    line(&mut text, said.trim_end());
                }
            }
        }
        if self.output == AnswerForm::Pretty {
            for (number, rule) in rules.iter().enumerate() {
                let fired = words
                    .iter()
                    .filter(|it| it.rule == number && it.word.phase == Phase::Firing)
                    .count();
                line(&mut text, &format!("{}: fired {fired} times", rule.name));
            }
        }
        output::write(&text)
    }
}
