//! `logmachine explain`: what is different about a stretch of time.

use std::fmt::Write;

use clap::Args;
use indicatif::HumanCount;
use serde_json::{Value, json};

use super::Failure;
use super::client::{Address, Remote};
use super::output::{self, AnswerForm, text_of};

#[derive(Args)]
pub(super) struct Explain {
    /// The instance
    #[arg(default_value = "error_logger")]
    instance: String,
    /// Where the stretch begins: 15m (ago), today, or a date and a time
    #[arg(short, long, value_name = "T", default_value = "1h")]
    since: String,
    /// Where it ends
    #[arg(long, value_name = "T", default_value = "now")]
    until: String,
    /// Where what it is compared with begins; that ends where the stretch begins [default: as long as the stretch]
    #[arg(short, long, value_name = "T")]
    baseline: Option<String>,
    /// In which form
    #[arg(short, long, value_enum, default_value = "pretty")]
    output: AnswerForm,
    #[command(flatten)]
    remote: Remote,
}

impl Explain {
    pub(super) fn run(self) -> Result<(), Failure> {
        let client = self.remote.client()?;
        let mut address = Address::new(&["explain"])
            .with("instance", &self.instance)
            .with("from", &self.since)
            .with("to", &self.until);
        if let Some(baseline) = &self.baseline {
            address = address.with("baseline", baseline);
        }
        let answer: Value = client.get_json(&address)?;
        if !answer["findings"].is_array() {
            return Err(client.strange());
        }
        match self.output {
            AnswerForm::Json => output::write(&output::json_lines(&answer)),
            AnswerForm::Pretty => output::write(&pretty(&answer)),
        }
    }
}

/// The sentences, and then the table.
fn pretty(answer: &Value) -> String {
    let mut out = format!("{}\n", text_of(answer, "text"));
    let findings = answer["findings"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !findings.is_empty() {
        let head =
            format!("\n{:>10}  {:>10}  {:>7}  {:<8}  what\n", "now", "before", "ratio", "since");
        out.push_str(&head);
    }
    for finding in findings {
        let ratio = match finding["ratio"].as_f64() {
            Some(ratio) => format!("{ratio:.1}"),
            None => "new".to_owned(),
        };
        let count = |name: &str| HumanCount(finding[name].as_u64().unwrap_or_default()).to_string();
        let since = text_of(finding, "since");
        let clock = since.get(11..19).unwrap_or(&since).to_owned();
        writeln!(
            out,
            "{:>10}  {:>10}  {ratio:>7}  {clock:<8}  {}",
            count("count"),
            count("baseline_count"),
            what(finding),
        )
        .expect("strings take everything");
        for sample in finding["samples"].as_array().into_iter().flatten() {
            let message: String = text_of(sample, "message").chars().take(MESSAGE_CHARS).collect();
            let ts = text_of(sample, "ts");
            let ts = ts.replacen('T', " ", 1);
            writeln!(out, "            {}  {message}", ts.trim_end_matches('Z'))
                .expect("strings take everything");
        }
    }
    out
}

/// The most characters of a sample's message.
const MESSAGE_CHARS: usize = 120;

/// What the occurrences of a finding have in common.
fn what(finding: &Value) -> String {
    let conditions = finding["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    if conditions.is_empty() {
        return "everything".to_owned();
    }
    let condition = |condition: &Value| match condition["dimension"] == json!("fault") {
        true if finding["fault"].is_object() => {
            let fault = &finding["fault"];
            format!("fault {}  {}", text_of(fault, "id"), text_of(fault, "title"))
        }
        _ => format!("{} {}", text_of(condition, "dimension"), text_of(condition, "value")),
    };
    conditions.iter().map(condition).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_come_before_the_table() {
        let answer = json!({
            "text": "On b@host, `timeout calling db` happened 3 times.",
            "findings": [{
                "conditions": [{"dimension": "fault", "value": "5f0c7a9be1c2d344"}, {"dimension": "node", "value": "b@host"}],
                "fault": {"id": "5f0c7a9be1c2d344", "title": "timeout calling db"},
                "ratio": null, "count": 3, "baseline_count": 0, "since": "2026-11-22T10:31:02.123456Z",
                "samples": [{"ts": "2026-11-22T10:31:02.123456Z", "message": "no\u{1b}"}],
            }],
        });
        let text = pretty(&answer);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "On b@host, `timeout calling db` happened 3 times.");
        let line = lines[3].split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(line, "3 0 new 10:31:02 fault 5f0c7a9be1c2d344 timeout calling db, node b@host");
        assert!(lines[4].ends_with(r"no\u{1b}"), "{text}");
    }
}
