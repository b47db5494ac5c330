//! `[[rule]]`: what the operator wants to be told of.

use std::fmt;
use std::path::PathBuf;

use regex::Regex;
use serde::Deserialize;

use super::check::{self, FindKey, Section};
use super::{ConfigError, File, MatchSpecText, Span, Written};
use crate::analysis::grep;
use crate::analysis::kind::Level;
use crate::analysis::rule::{
    By, Condition, Destination, FaultNews, Field, MAX_COUNT, Receiver, Rule, meaningless,
};
use crate::etf::{Term, TermRef, text};
use crate::instance::locator::target::ERROR_LOGGER;
use crate::watchers::notify::NotifyConfig;
use crate::watchers::rules;
use crate::watchers::webhook::{Secret, Template, Webhook};

/// Rules of a configuration at most: each costs time with every event.
const MAX_RULES: usize = 256;

/// Webhooks of a configuration at most.
const MAX_WEBHOOKS: usize = 64;

/// Receivers of a rule at most.
const MAX_RECEIVERS: usize = 16;

/// How long the spans of a rule may be.
const SPANS: std::ops::RangeInclusive<u64> = 1_000_000..=366 * 86_400_000_000;

/// In what time events are counted, unless it is said.
const WITHIN: u64 = 300_000_000;

/// `[[rule]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the keys are those of the manual's table")]
pub struct RuleSection {
    pub name: String,
    pub instance: Option<String>,
    pub r#match: Option<MatchSpecText>,
    pub level: Option<LevelText>,
    pub grep: Option<GrepText>,
    pub fault: Option<FaultSetting>,
    pub absent_for: Option<Span>,
    pub count: Option<usize>,
    pub within: Option<Span>,
    pub by: Option<ByText>,
    pub r#for: Option<Span>,
    pub severity: Option<LevelText>,
    pub text: Option<String>,
    #[serde(default)]
    pub notify: Vec<ReceiverText>,
    /// Where the name of the instance stands: whether there is one is known only when all are.
    #[serde(skip)]
    pub(super) place: (PathBuf, usize),
}

/// The same, of which any key may be missing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename = "RuleSection")]
#[allow(dead_code, reason = "the keys are only tried")]
pub(super) struct RuleDraft {
    name: Option<String>,
    instance: Option<String>,
    r#match: Option<MatchSpecText>,
    level: Option<LevelText>,
    grep: Option<GrepText>,
    fault: Option<FaultSetting>,
    absent_for: Option<Span>,
    count: Option<usize>,
    within: Option<Span>,
    by: Option<ByText>,
    r#for: Option<Span>,
    severity: Option<LevelText>,
    text: Option<String>,
    notify: Option<Vec<ReceiverText>>,
}

/// The name of a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LevelText(pub Level);

/// A regular expression.
#[derive(Clone, Debug)]
pub struct GrepText(pub Regex);

/// Which news of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FaultSetting {
    /// A fault that was not known.
    New,
    /// One that was resolved, and is back.
    Regressed,
}

/// What there is an alert each for: a field of the view, or 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByText(pub By);

/// Who is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiverText(pub Receiver);

/// `[[webhook]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the keys are those of the manual's table")]
pub struct WebhookSection {
    pub name: String,
    pub url: UrlText,
    pub template: Option<TemplateText>,
    pub secret: Option<SecretText>,
    #[serde(default)]
    pub allow_private: bool,
}

/// The same, of which any key may be missing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename = "WebhookSection")]
#[allow(dead_code, reason = "the keys are only tried")]
pub(super) struct WebhookDraft {
    name: Option<String>,
    url: Option<UrlText>,
    template: Option<TemplateText>,
    secret: Option<SecretText>,
    allow_private: Option<bool>,
}

/// Where a webhook is. Whether it is one that may be told is seen later.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct UrlText(pub String);

/// The path is often all the secret there is.
impl fmt::Debug for UrlText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a URL")
    }
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TemplateText(pub Template);

/// What requests are signed with.
#[derive(Clone, Debug)]
pub struct SecretText(pub Secret);

impl Written for TemplateText {
    const EXPECTED: &'static str = "\"generic\" or \"slack\"";
    fn from_text(text: &str) -> Option<Self> {
        Template::named(text).map(TemplateText)
    }
}

/// It says itself what is wrong with it, without showing it.
impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Secret::parse(&text).map(SecretText).map_err(serde::de::Error::custom)
    }
}

impl WebhookSection {
    /// Whether a key is written.
    pub(super) fn has(&self, key: &str) -> bool {
        match key {
            "template" => self.template.is_some(),
            "secret" => self.secret.is_some(),
            _ => true,
        }
    }

    fn webhook(&self) -> Webhook {
        Webhook {
            name: self.name.clone(),
            url: self.url.0.clone(),
            template: self.template.map_or(Template::Generic, |it| it.0),
            secret: self.secret.clone().map(|it| it.0),
            allow_private: self.allow_private,
        }
    }
}

impl Written for LevelText {
    const EXPECTED: &'static str =
        "debug, info, notice, warning, error, critical, alert or emergency";
    fn from_text(text: &str) -> Option<Self> {
        Level::named(text).map(LevelText)
    }
}

impl Written for ByText {
    const EXPECTED: &'static str = "node, level, kind, module, function, pid, registered_name, reason, message, fault, or 1 for what the match spec returns";
    fn from_text(text: &str) -> Option<Self> {
        let field = Field::ALL.into_iter().find(|field| field.as_str() == text)?;
        Some(ByText(By::Field(field)))
    }
    fn from_number(number: u64) -> Option<Self> {
        (number == 1).then_some(ByText(By::Result))
    }
}

impl Written for ReceiverText {
    const EXPECTED: &'static str = "\"webhook:NAME\", \"erlang:{global, Name}\", \"erlang:{Name, 'node@host'}\", or cast: instead of erlang: for gen_server:cast";
    fn from_text(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        Some(ReceiverText(match kind {
            "webhook" if !rest.is_empty() => Receiver::Webhook(rest.to_owned()),
            "erlang" | "cast" => Receiver::Process(Destination {
                to: text::parse(rest).ok().filter(|to| is_destination(to.as_term()))?,
                is_cast: kind == "cast",
            }),
            _ => return None,
        }))
    }
}

/// `{global, Name}`, or `{Name, Node}`.
fn is_destination(term: TermRef<'_>) -> bool {
    let Some([first, second]) = term.as_tuple() else { return false };
    let Some(first) = first.as_atom() else { return false };
    let node =
        |term: TermRef<'_>| term.as_atom().is_some_and(|it| check::node_name(&it.to_str()).is_ok());
    first.is("global") && !matches!(second.view(), Term::Nil) || node(second)
}

/// It says itself what is wrong with it.
impl<'de> Deserialize<'de> for GrepText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        grep::compile(&text).map(GrepText).map_err(serde::de::Error::custom)
    }
}

impl RuleSection {
    /// The instance that it is about.
    pub(super) fn instance(&self) -> &str {
        self.instance.as_deref().unwrap_or(ERROR_LOGGER)
    }

    /// Whether a key is written, of those that checks name.
    pub(super) fn has(&self, key: &str) -> bool {
        match key {
            "instance" => self.instance.is_some(),
            "match" => self.r#match.is_some(),
            "level" => self.level.is_some(),
            "grep" => self.grep.is_some(),
            "fault" => self.fault.is_some(),
            "absent_for" => self.absent_for.is_some(),
            "count" => self.count.is_some(),
            "within" => self.within.is_some(),
            "by" => self.by.is_some(),
            "for" => self.r#for.is_some(),
            "text" => self.text.is_some(),
            "notify" => !self.notify.is_empty(),
            _ => true,
        }
    }

    /// A rule by itself: the key that is wrong, and why.
    fn check(&self) -> Result<(), (&'static str, String)> {
        if self.name.is_empty() || self.name.chars().count() > 255 {
            return Err((
                "name",
                "write a name of 1 to 255 characters: it becomes an atom".to_owned(),
            ));
        }
        if self.instance() == rules::INSTANCE {
            return Err(("instance", "rules write it: an alert would raise an alert".to_owned()));
        }
        let spans = [("absent_for", self.absent_for), ("within", self.within), ("for", self.r#for)];
        for (key, span) in spans {
            if span.is_some_and(|span| !SPANS.contains(&span.micros())) {
                return Err((key, "write 1s to 366day".to_owned()));
            }
        }
        if self.count.is_some_and(|count| !(1..=MAX_COUNT).contains(&count)) {
            return Err(("count", format!("write 1 to {MAX_COUNT}")));
        }
        if self.absent_for.is_some() {
            for key in ["count", "within", "fault"] {
                if self.has(key) {
                    return Err((key, "it does not go with absent_for".to_owned()));
                }
            }
        }
        let asks = ["match", "level", "grep", "fault", "absent_for", "count"];
        if !asks.iter().any(|key| self.has(key)) {
            return Err(("name", format!("say what the rule looks at: {}", asks.join(", "))));
        }
        match self.by {
            Some(ByText(By::Result)) if self.r#match.is_none() => {
                return Err((
                    "by",
                    "1 is what the match spec returns, and there is none".to_owned(),
                ));
            }
            Some(ByText(By::Field(field))) => {
                if self.fault.is_some() && !field.is_of_faults() {
                    return Err((
                        "by",
                        "of a fault there is node, level, kind, message or fault".to_owned(),
                    ));
                }
                if self.fault.is_none() && field == Field::Fault {
                    return Err((
                        "by",
                        "fault goes with fault = \"new\" or \"regressed\"".to_owned(),
                    ));
                }
            }
            _ => {}
        }
        if let Some(name) = self.text.iter().flat_map(|text| meaningless(text)).next() {
            return Err((
                "text",
                format!("${name} means nothing; there is $message, $count, $by and $node"),
            ));
        }
        if self.notify.len() > MAX_RECEIVERS {
            return Err(("notify", format!("{MAX_RECEIVERS} at most")));
        }
        Ok(())
    }

    fn rule(&self) -> Rule {
        let condition = match self.absent_for {
            Some(after) => Condition::Absent { after: after.micros() },
            None => Condition::Count {
                count: self.count.unwrap_or(1),
                within: self.within.map_or(WITHIN, Span::micros),
            },
        };
        Rule {
            name: self.name.clone(),
            instance: self.instance().to_owned(),
            spec: self.r#match.clone().map(|it| (it.spec, it.term)),
            level: self.level.map(|it| it.0),
            grep: self.grep.clone().map(|it| it.0),
            fault: self.fault.map(|it| match it {
                FaultSetting::New => FaultNews::New,
                FaultSetting::Regressed => FaultNews::Regressed,
            }),
            condition,
            hold: self.r#for.map_or(0, Span::micros),
            by: self.by.map(|it| it.0),
            severity: self.severity.map_or(Level::Error, |it| it.0),
            text: self.text.clone(),
            notify: self.notify.iter().map(|it| it.0.clone()).collect(),
        }
    }
}

/// Checks all rules.
pub(super) fn check(file: &File, place: FindKey<'_>) -> Result<(), ConfigError> {
    let mut names = std::collections::HashSet::new();
    for (number, section) in file.rule.iter().enumerate() {
        let wrong = |key: &'static str, why| Err(check::at(place, Section::Rule(number), key, why));
        if number >= MAX_RULES {
            return wrong("name", format!("there may be {MAX_RULES} rules"));
        }
        if !names.insert(&section.name) {
            return wrong("name", format!("rule {} is there twice", section.name));
        }
        section.check().or_else(|(key, why)| wrong(key, why))?;
        for ReceiverText(receiver) in &section.notify {
            if let Receiver::Webhook(name) = receiver
                && !file.webhook.iter().any(|webhook| webhook.name == *name)
            {
                return wrong("notify", format!("there is no [[webhook]] named {name}"));
            }
        }
    }
    webhooks(file, place)
}

fn webhooks(file: &File, place: FindKey<'_>) -> Result<(), ConfigError> {
    let mut names = std::collections::HashSet::new();
    for (number, section) in file.webhook.iter().enumerate() {
        let wrong =
            |key: &'static str, why| Err(check::at(place, Section::Webhook(number), key, why));
        if number >= MAX_WEBHOOKS {
            return wrong("name", format!("there may be {MAX_WEBHOOKS} webhooks"));
        }
        if section.name.trim().is_empty() {
            return wrong("name", "a webhook needs a name, for rules to call it".to_owned());
        }
        if !names.insert(&section.name) {
            return wrong("name", format!("webhook {} is there twice", section.name));
        }
        let checked = Webhook::check_url(&section.url.0, section.allow_private);
        checked.or_else(|why| wrong("url", why))?;
    }
    let Some(url) = &file.http.public_url else { return Ok(()) };
    public_url(url).map_err(|why| check::at(place, Section::Http, "public_url", why))
}

/// What links begin with.
fn public_url(url: &str) -> Result<(), String> {
    let wrong = || {
        format!(
            "{url:?}: write http://HOST or https://HOST, and what comes before the console's own paths"
        )
    };
    let uri: axum::http::Uri = url.parse().map_err(|_| wrong())?;
    let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
    let is_plain = uri.query().is_none() && !url.contains(['#', '@']);
    (is_http && is_plain).then_some(()).ok_or_else(wrong)
}

impl File {
    /// What the file says is to be told of.
    pub fn rules(&self) -> Vec<Rule> {
        self.rule.iter().map(RuleSection::rule).collect()
    }

    /// Who can be told.
    pub fn notify(&self) -> NotifyConfig {
        NotifyConfig {
            webhooks: self.webhook.iter().map(WebhookSection::webhook).collect(),
            public_url: self.http.public_url.clone(),
        }
    }
}
