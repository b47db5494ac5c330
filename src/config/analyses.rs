//! `[[analysis]]`: what is computed of windows of time.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde::de;

use super::check::{self, FindKey, Section};
use super::{ConfigError, File, InstanceSection, KNOWN, Limit, MatchSpecText, OF_ANALYSIS, Span};
use crate::analysis::window::Analysis;
use crate::analysis::window_value::{MAX_ELEMENT, Value};
use crate::etf::{Term, TermRef};
use crate::instance::locator::target::ERROR_LOGGER;

/// Analyses of a configuration at most, and values of one of them: each costs time with every event.
const MAX_ANALYSES: usize = 64;
const MAX_VALUES: usize = 32;

/// How long a window may be, and how many steps of a sliding one it may be long.
const WINDOWS: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(366 * 86_400);
const MAX_PANES: u128 = 1000;

/// `[[analysis]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the keys are those of the manual's table")]
pub struct AnalysisSection {
    pub name: String,
    /// The instance whose events are looked at.
    pub from: String,
    pub match_spec: Option<MatchSpecText>,
    /// The element that is the key.
    pub by: Option<usize>,
    pub window: Span,
    pub every: Option<Span>,
    pub values: BTreeMap<String, ValueText>,
    #[serde(default)]
    pub start: StartSetting,
    /// Where `from` stands: whether there is such an instance is known only when all are.
    #[serde(skip)]
    pub(super) place: (PathBuf, usize),
}

impl AnalysisSection {
    /// Whether a key is written, of those that checks name.
    pub(super) fn has(&self, key: &str) -> bool {
        match key {
            "by" => self.by.is_some(),
            "every" => self.every.is_some(),
            _ => true,
        }
    }
}

/// Where an analysis begins when it first runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StartSetting {
    /// With the window of that moment.
    #[default]
    Now,
    /// With the oldest entry.
    Earliest,
}

/// What is computed of a window, such as `max(2)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ValueText(pub Value);

/// It says itself what is wrong with it.
impl<'de> Deserialize<'de> for ValueText {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Value::parse(&text).map(ValueText).map_err(de::Error::custom)
    }
}

/// Checks all analyses.
pub(super) fn check(file: &File, place: FindKey<'_>) -> Result<(), ConfigError> {
    let mut names = std::collections::HashSet::new();
    for (number, section) in file.analysis.iter().enumerate() {
        let wrong = |key, why| Err(check::at(place, Section::Analysis(number), key, why));
        let name = &*section.name;
        if number >= MAX_ANALYSES {
            return wrong("name", format!("there may be {MAX_ANALYSES} analyses"));
        }
        if let Err(why) = check::instance_name(name) {
            return wrong("name", why);
        }
        let configured = file.instance.iter().find(|it| it.name.as_deref() == Some(name));
        let locates = |it: &InstanceSection| matches!(it.locate_em, Some(Limit::Some(_)));
        if OF_ANALYSIS.contains(&name)
            || name == ERROR_LOGGER
            || [check::ARCHIVES, KNOWN].contains(&name)
            || configured.is_some_and(locates)
        {
            return wrong("name", format!("instance {name} is there for other events"));
        }
        if !names.insert(name) {
            return wrong("name", format!("analysis {name} is configured twice"));
        }
        let mut from = &section.from;
        for _ in &file.analysis {
            if from == name {
                return wrong("from", format!("{name} would read what it writes itself"));
            }
            let Some(next) = file.analysis.iter().find(|it| it.name == *from) else { break };
            from = &next.from;
        }
        analysis(section).or_else(|(key, why)| wrong(key, why))?;
    }
    Ok(())
}

/// An analysis by itself: the key that is wrong, and why.
fn analysis(section: &AnalysisSection) -> Result<(), (&'static str, String)> {
    let Span(window) = section.window;
    let Span(every) = section.every.unwrap_or(section.window);
    for (key, span) in [("window", window), ("every", every)] {
        if !WINDOWS.contains(&span) || span.subsec_nanos() % 1_000 != 0 {
            return Err((key, "write 1s to 366day".to_owned()));
        }
    }
    if window.as_micros() % every.as_micros() != 0 {
        return Err(("every", "a window has to be a multiple of it".to_owned()));
    }
    if window.as_micros() / every.as_micros() > MAX_PANES {
        return Err(("every", format!("a window may be {MAX_PANES} times as long at most")));
    }
    if section.by.is_some_and(|by| !(1..=MAX_ELEMENT).contains(&by)) {
        return Err(("by", format!("write the number of an element, 1 to {MAX_ELEMENT}")));
    }
    if section.values.is_empty() || section.values.len() > MAX_VALUES {
        return Err(("values", format!("write 1 to {MAX_VALUES} values, such as n = \"count\"")));
    }
    if let Some(name) = section.values.keys().find(|name| name.chars().count() > 255) {
        return Err(("values", format!("{name:?} is too long for an atom")));
    }
    let arity = section.match_spec.as_ref().and_then(|spec| elements(spec.term.as_term()));
    let Some(arity) = arity else { return Ok(()) };
    let beyond =
        |element| format!("the match spec makes {arity} elements, and none of number {element}");
    if let Some(by) = section.by.filter(|by| *by > arity) {
        return Err(("by", beyond(by)));
    }
    let mut wanted = section.values.values().filter_map(|value| value.0.element());
    wanted.find(|it| *it > arity).map_or(Ok(()), |element| Err(("values", beyond(element))))
}

/// How many elements a match spec makes of an event at most, if it says so: where each body ends with `{{...}}`.
fn elements(spec: TermRef<'_>) -> Option<usize> {
    let of_clause = |clause: TermRef<'_>| {
        let [_, _, body] = clause.as_tuple()?;
        let [tuple] = body.cells().last()?.as_tuple()?;
        match tuple.view() {
            Term::Tuple(elements) => Some(elements.len()),
            _ => None,
        }
    };
    spec.cells().map(of_clause).collect::<Option<Vec<_>>>()?.into_iter().max()
}

impl File {
    /// What the file says is to be computed.
    pub fn analyses(&self) -> Vec<Analysis> {
        let analysis = |section: &AnalysisSection| Analysis {
            name: section.name.clone(),
            from: section.from.clone(),
            spec: section.match_spec.clone().map(|it| (it.spec, it.term)),
            by: section.by,
            window: section.window.micros(),
            every: section.every.unwrap_or(section.window).micros(),
            values: section.values.iter().map(|(name, it)| (name.clone(), it.0)).collect(),
            from_earliest: section.start == StartSetting::Earliest,
        };
        self.analysis.iter().map(analysis).collect()
    }
}
