//! Which events the parameters `level`, `node`, `kind`, `module`, `pid`, `fault` and `grep` let through.

use std::fmt;
use std::sync::Arc;

use regex::Regex;

use super::error::Refusal;
use super::parameters::{Faults, Parameters};
use crate::analysis::facts::Facts;
use crate::analysis::fingerprint::FaultId;
use crate::analysis::grep;
use crate::analysis::kind::{Kind, Level};
use crate::analysis::view::View;
use crate::etf::{TermRef, text};
use crate::instance::reader::Condition;
use crate::node::listener::glob_matches;
use crate::watchers::faults::FaultWatcher;

/// As many bytes are printed and searched in the time of a step.
const BYTES_A_STEP: u64 = 4;

/// The most bytes of a text that `grep` looks through, of events of no known shape.
const MAX_TEXT_BYTES: usize = 1 << 20;

/// What the parameters ask of an event.
#[derive(Debug, Default)]
struct Filter {
    level: Option<Level>,
    node: Option<String>,
    kind: Option<Kind>,
    module: Option<String>,
    pid: Option<String>,
    fault: Option<OfFault>,
    grep: Option<Regex>,
}

/// A fault, and who knows which events are of it.
struct OfFault {
    id: FaultId,
    instance: Arc<str>,
    faults: Arc<FaultWatcher>,
}

impl fmt::Debug for OfFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.id)
    }
}

impl OfFault {
    fn find(id: &str, faults: &Faults) -> Result<Self, Refusal> {
        let found = FaultId::parse(id).zip(faults.0.clone()).and_then(|(id, faults)| {
            let (instance, _) = faults.find(id)?;
            Some(OfFault { id, instance, faults })
        });
        found.ok_or_else(|| Refusal::bad("fault", "there is no fault with this id"))
    }

    fn has(&self, event: TermRef<'_>) -> bool {
        let error = self.faults.grouping().error(event);
        error.is_some_and(|error| {
            self.faults.fault_of(&self.instance, &error.evidence) == Some(self.id)
        })
    }
}

/// What it takes to tell whose fault an error is.
const STEPS_OF_A_FAULT: u64 = 200;

/// The condition that the parameters set, if they do.
pub(super) fn condition(parameters: &Parameters) -> Result<Option<Arc<dyn Condition>>, Refusal> {
    let Parameters { level, node, kind, module, pid, fault, grep, faults, .. } = parameters;
    if [level, node, kind, module, pid, fault, grep].iter().all(|parameter| parameter.is_none()) {
        return Ok(None);
    }
    let level = level.as_deref().map(|name| {
        let names = || Level::ALL.map(Level::as_str).join(", ");
        Level::named(name).ok_or_else(|| Refusal::bad("level", format!("write one of {}", names())))
    });
    let kind = kind.as_deref().map(|name| {
        let message = "write log, crash, gen_server, supervisor, task, progress, alarm or dropped";
        Kind::named(name).ok_or_else(|| Refusal::bad("kind", message))
    });
    Ok(Some(Arc::new(Filter {
        level: level.transpose()?,
        node: node.clone(),
        kind: kind.transpose()?,
        module: module.clone(),
        pid: pid.clone(),
        fault: fault.as_deref().map(|id| OfFault::find(id, faults)).transpose()?,
        grep: grep.as_deref().map(compile).transpose()?,
    })))
}

fn compile(written: &str) -> Result<Regex, Refusal> {
    grep::compile(written).map_err(|wrong| Refusal::bad("grep", wrong))
}

impl Filter {
    /// Whether what is asked of the event without its texts holds.
    fn suits(&self, facts: &Facts<'_>, steps: &mut u64) -> bool {
        let is_level = self.level.is_none_or(|level| facts.level() >= level);
        let is_node = || {
            let suits =
                |glob: &String| facts.node().is_some_and(|node| glob_matches(glob, &node.to_str()));
            self.node.as_ref().is_none_or(suits)
        };
        let is_kind = || self.kind.is_none_or(|kind| facts.kind() == kind);
        let is_module = || {
            self.module
                .as_ref()
                .is_none_or(|name| facts.module().is_some_and(|module| module.is(name)))
        };
        let is_pid = |steps: &mut u64| {
            let Some(pid) = &self.pid else { return true };
            *steps = steps.saturating_sub(STEPS_OF_A_PID);
            facts.pid().is_some_and(|about| pid_text(*facts, about) == *pid)
        };
        is_level && is_node() && is_kind() && is_module() && is_pid(steps)
    }
}

/// The longest pid.
const MAX_PID_BYTES: usize = 4096;

/// What it takes to print a pid.
const STEPS_OF_A_PID: u64 = 10;

/// A pid as its node prints it.
fn pid_text(facts: Facts<'_>, pid: TermRef<'_>) -> String {
    let home = facts.node().map(|node| node.to_str().into_owned());
    let mut out = text::Printer::new(MAX_PID_BYTES, text::Lines::One, home.as_deref());
    out.term(pid);
    out.finish()
}

impl Condition for Filter {
    fn holds(&self, event: TermRef<'_>, steps: &mut u64) -> bool {
        *steps = steps.saturating_sub(5);
        let facts = Facts::of(event);
        let asks_facts = self.level.is_some()
            || self.node.is_some()
            || self.kind.is_some()
            || self.module.is_some()
            || self.pid.is_some();
        if asks_facts && !facts.as_ref().is_some_and(|facts| self.suits(facts, steps)) {
            return false;
        }
        if let Some(fault) = &self.fault {
            if facts.as_ref().is_none_or(|facts| facts.level() < Level::Error) {
                return false;
            }
            *steps = steps.saturating_sub(STEPS_OF_A_FAULT);
            if !fault.has(event) {
                return false;
            }
        }
        let Some(grep) = &self.grep else { return true };
        let mut search = |text: &str| {
            *steps = steps.saturating_sub(1 + text.len() as u64 / BYTES_A_STEP);
            grep.is_match(text)
        };
        match facts.map(Facts::view) {
            Some(View { message, detail, .. }) => search(&message) || search(&detail),
            None => {
                let mut text = String::new();
                text::write_term(&mut text, event, MAX_TEXT_BYTES)
                    .expect("strings take everything");
                search(&text)
            }
        }
    }
}

/// The level of an event, or else its node.
pub(super) fn value(is_level: bool, event: TermRef<'_>) -> Option<String> {
    let facts = Facts::of(event)?;
    match is_level {
        true => Some(facts.level().as_str().to_owned()),
        false => facts.node().map(|node| node.to_str().into_owned()),
    }
}
