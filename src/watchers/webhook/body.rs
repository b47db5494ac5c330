//! What is said of an alert: as JSON for programs, and as a message of Slack.

use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::analysis::alert_event::{AlertEvent, Phase};
use crate::etf::json::to_json;
use crate::etf::text;
use crate::outgoing::escape;
use crate::time::moment::rfc3339;

/// The longest text of a section, in Slack's characters. Longer ones are refused.
const MAX_SECTION: usize = 3000;

/// The parts of a section that are as long as somebody made them; together with the rest they fit.
const MAX_NAME: usize = 200;
const MAX_BY_BYTES: usize = 300;
const MAX_TEXT: usize = 2000;

/// The longest text of a notification.
const MAX_SHORT_TEXT: usize = 300;

/// Where the console shows what led to the alert.
pub(super) fn link(public_url: &str, alert: &AlertEvent) -> String {
    let mut link = format!("{}/?instance=", public_url.trim_end_matches('/'));
    escape(&mut link, &alert.instance);
    link.push_str(&format!("&to={}", alert.at.micros()));
    link
}

/// All that is known.
#[derive(Serialize)]
struct Generic<'a> {
    id: String,
    rule: &'a str,
    state: &'static str,
    severity: &'static str,
    instance: &'a str,
    by: Option<Box<RawValue>>,
    text: &'a str,
    count: u64,
    at: String,
    micros: u64,
    firing_at: Option<String>,
    entry: Option<String>,
    explanation: Option<&'a str>,
    url: Option<&'a str>,
}

pub(super) fn generic(alert: &AlertEvent, link: Option<&str>) -> String {
    let by = alert.by.as_ref().map(|by| to_json(by.as_term()));
    let generic = Generic {
        id: alert.id.to_string(),
        rule: &alert.rule,
        state: alert.phase.as_str(),
        severity: alert.severity.as_str(),
        instance: &alert.instance,
        by: by.map(|by| RawValue::from_string(by).expect("it was written as JSON")),
        text: &alert.text,
        count: alert.count,
        at: rfc3339(alert.at),
        micros: alert.at.micros(),
        firing_at: alert.firing_at.map(rfc3339),
        entry: alert.entry.map(rfc3339),
        explanation: alert.explanation.as_deref(),
        url: link,
    };
    serde_json::to_string(&generic).expect("it has nothing that JSON has not")
}

/// A message in Block Kit, with the short text that notifications show.
pub(super) fn slack(alert: &AlertEvent, link: Option<&str>) -> String {
    let state = match alert.phase {
        Phase::Firing => "Firing",
        Phase::Resolved => "Resolved",
    };
    let (rule, severity) = (for_slack(&alert.rule, MAX_NAME), alert.severity.as_str());
    let text = for_slack(&alert.text, MAX_TEXT);
    let instance = for_slack(&alert.instance, MAX_NAME);
    let (count, at) = (alert.count, rfc3339(alert.at));
    let mut main = format!("*{state}: {rule}* ({severity})\n{text}\nevents of {instance}: {count}");
    if let Some(by) = &alert.by {
        let mut shown = String::new();
        text::write_term(&mut shown, by.as_term(), MAX_BY_BYTES).expect("strings take everything");
        main.push_str(&format!("\nby: {}", for_slack(&shown, MAX_BY_BYTES)));
    }
    main.push_str(&format!("\nat: {at}"));

    let mut blocks = vec![section(&main)];
    if let Some(explanation) = alert.explanation.as_deref().filter(|text| !text.is_empty()) {
        blocks.push(section(&for_slack(explanation, MAX_SECTION)));
    }
    if let Some(link) = link {
        blocks.push(section(&format!("<{}|Show it in logmachine>", for_slack(link, MAX_SECTION))));
    }
    let short = format!("{state}: {rule}: {}", for_slack(&alert.text, MAX_SHORT_TEXT));
    json!({"text": short, "blocks": blocks}).to_string()
}

/// `verbatim`: what looks like a name or a channel is not made one.
fn section(text: &str) -> serde_json::Value {
    json!({"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": true}})
}

/// Text as Slack wants it, at most `max` of its characters: what would be markup is escaped, and the rest is cut.
fn for_slack(text: &str, max: usize) -> String {
    let (mut shown, mut length) = (String::new(), 0);
    for c in text.chars() {
        let mut buffer = [0; 4];
        let escaped = match c {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            _ => c.encode_utf8(&mut buffer),
        };
        // It is not said what a character is: this is the most that it can be.
        length += escaped.encode_utf16().count();
        if length >= max {
            shown.push('…');
            break;
        }
        shown.push_str(escaped);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::alert_event::AlertId;
    use crate::analysis::kind::Level;
    use crate::etf::text::parse;
    use crate::time::Timestamp;

    fn alert() -> AlertEvent {
        let at = Timestamp::from_micros(1_795_343_462_123_456);
        AlertEvent {
            rule: "too many".into(),
            phase: Phase::Resolved,
            id: AlertId::parse("00f0345979ddc09c").unwrap(),
            number: 1,
            at,
            severity: Level::Critical,
            instance: "a&b/ö".into(),
            by: Some(parse("{a, 1.0}").unwrap()),
            text: "<!channel> & more".into(),
            count: 17,
            entry: Some(at),
            firing_at: Some(at),
            explanation: Some("a fault is new".into()),
        }
    }

    #[test]
    fn a_generic_body_has_all_that_is_known() {
        let alert = alert();
        let link = link("https://logs.example/", &alert);
        assert_eq!(link, "https://logs.example/?instance=a%26b%2F%C3%B6&to=1795343462123456");
        let expected = [
            r#"{"id":"00f0345979ddc09c","rule":"too many","state":"resolved","severity":"critical","#,
            r#""instance":"a&b/ö","by":{"$tuple":[{"$atom":"a"},1.0]},"text":"<!channel> & more","#,
            r#""count":17,"at":"2026-11-22T10:31:02.123456Z","micros":1795343462123456,"#,
            r#""firing_at":"2026-11-22T10:31:02.123456Z","entry":"2026-11-22T10:31:02.123456Z","#,
            r#""explanation":"a fault is new","#,
            r#""url":"https://logs.example/?instance=a%26b%2F%C3%B6&to=1795343462123456"}"#,
        ];
        assert_eq!(generic(&alert, Some(&link)), expected.concat());
        let least =
            AlertEvent { by: None, entry: None, firing_at: None, explanation: None, ..alert };
        let body: serde_json::Value = serde_json::from_str(&generic(&least, None)).unwrap();
        for key in ["by", "entry", "firing_at", "explanation", "url"] {
            assert!(body.as_object().unwrap()[key].is_null(), "{key}");
        }
    }

    /// A term as deep as there are.
    #[test]
    fn whatever_an_alert_is_of_can_be_said() {
        let deep = format!("{}1{}", "{".repeat(1000), "}".repeat(1000));
        let alert = AlertEvent { by: Some(parse(&deep).unwrap()), ..alert() };
        assert_eq!(generic(&alert, None).matches("$tuple").count(), 1000);
        assert!(slack(&alert, None).len() < MAX_SECTION);
    }

    #[test]
    fn nothing_in_a_message_of_slack_is_markup_but_ours() {
        let alert = alert();
        let link = link("https://logs.example", &alert);
        let body: serde_json::Value = serde_json::from_str(&slack(&alert, Some(&link))).unwrap();
        assert_eq!(body["text"], "Resolved: too many: &lt;!channel&gt; &amp; more");
        let text = |n: usize| body["blocks"][n]["text"]["text"].as_str().unwrap();
        assert_eq!(
            text(0),
            "*Resolved: too many* (critical)\n&lt;!channel&gt; &amp; more\nevents of a&amp;b/ö: 17\nby: {a,1.0}\nat: 2026-11-22T10:31:02.123456Z"
        );
        assert_eq!(text(1), "a fault is new");
        let to = "https://logs.example/?instance=a%26b%2F%C3%B6&amp;to=1795343462123456";
        assert_eq!(text(2), format!("<{to}|Show it in logmachine>"));
    }

    /// Everything that somebody else writes is as long as can be.
    #[test]
    fn a_message_keeps_within_the_limits_of_slack() {
        let long = "<😀".repeat(5000);
        let by = format!("<<\"{}\">>", "&".repeat(5000));
        let alert = AlertEvent {
            rule: long.clone(),
            instance: long.clone(),
            text: long.clone(),
            explanation: Some(long),
            by: Some(parse(&by).unwrap()),
            ..alert()
        };
        let body: serde_json::Value = serde_json::from_str(&slack(&alert, None)).unwrap();
        assert!(body["text"].as_str().unwrap().encode_utf16().count() < 600);
        for block in body["blocks"].as_array().unwrap() {
            let text = block["text"]["text"].as_str().unwrap();
            assert!(text.encode_utf16().count() <= MAX_SECTION && text.contains('…'));
            assert!(!text.contains('<') && !text.contains("&l…"), "{text}");
        }
    }

    #[test]
    fn text_is_cut_between_characters() {
        for (text, max, expected) in [
            ("abc", 4, "abc"),
            ("abcd", 4, "abc…"),
            ("a<b", 4, "a…"),
            ("a<b", 7, "a&lt;b"),
            ("a😀b", 3, "a…"),
            ("", 4, ""),
        ] {
            assert_eq!(for_slack(text, max), expected);
        }
    }
}
