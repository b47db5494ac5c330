//! One death, one occurrence, however many report it.
//!
//! A server that crashes is reported by itself, by `proc_lib` and by its supervisor. Reports belong together if they are of the
//! same process and come soon after each other. The one that tells most decides which fault it is; where the first does
//! not tell where it came up, the others are waited for.
//!
//! Time is what stamps say, so whoever reads the same log comes to the same occurrences.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::Hash;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::fingerprint::{Evidence, Process};
use super::kind::Kind;
use crate::time::Timestamp;

/// Reports of one death come within this time.
const JOIN_WITHIN: Duration = Duration::from_secs(5);

/// So long a report that does not tell where it came up waits for one that does.
const WAIT: Duration = Duration::from_millis(500);

/// Reports that name no process are of a death of the same reason within this time.
const SAME_REASON_WITHIN: Duration = Duration::from_secs(1);

/// A supervisor reports a child that did not start within this time, whatever it says of the reason.
const NOT_STARTED_WITHIN: Duration = Duration::from_millis(100);

/// So many deaths are remembered; where more come within the time above, the oldest are taken for complete.
const MAX_DEATHS: usize = 10_000;

/// One time that a fault occurred.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occurrence {
    /// The stamp of its first report.
    pub at: Timestamp,
    /// The node it happened on.
    pub node: Option<String>,
    /// The report that tells most of it.
    pub evidence: Evidence,
}

/// Deaths whose reports may not all have come.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Deaths {
    /// By number, counted up.
    recent: VecDeque<Death>,
    /// How many went before the first of `recent`.
    gone: u64,
    #[serde(skip)]
    by_process: HashMap<(Option<String>, Process), u64>,
    #[serde(skip)]
    by_reason: HashMap<(Option<String>, String), u64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Death {
    at: Timestamp,
    node: Option<String>,
    process: Option<Process>,
    shape: String,
    /// Which sorts of reports there were.
    kinds: BTreeSet<Kind>,
    /// The supervisors that have reported it.
    supervisors: BTreeSet<Process>,
    /// What it will be filed as; `None` once it was.
    waiting: Option<Evidence>,
}

impl Deaths {
    /// Takes a report; `file` gets what is complete by it.
    pub fn report(
        &mut self,
        at: Timestamp,
        node: Option<&str>,
        evidence: Evidence,
        file: &mut impl FnMut(Occurrence),
    ) {
        self.pass(at, file);
        let node = node.map(ToOwned::to_owned);
        if !evidence.is_death {
            return file(Occurrence { at, node, evidence });
        }
        if let Some(death) = self.same_death(at, &node, &evidence) {
            death.kinds.insert(evidence.kind);
            death.supervisors.extend(evidence.supervisor);
            if let Some(waiting) = &mut death.waiting {
                waiting.learn(evidence);
                if death.is_complete() {
                    file(death.filed().expect("it was waiting"));
                }
            }
            return;
        }
        let number = self.gone + self.recent.len() as u64;
        if let Some(process) = evidence.process {
            self.by_process.insert((node.clone(), process), number);
        }
        self.by_reason.insert((node.clone(), evidence.shape.clone()), number);
        let mut death = Death {
            at,
            node,
            process: evidence.process,
            shape: evidence.shape.clone(),
            kinds: BTreeSet::from([evidence.kind]),
            supervisors: evidence.supervisor.into_iter().collect(),
            waiting: Some(evidence),
        };
        if death.is_complete() {
            file(death.filed().expect("it was waiting"));
        }
        self.recent.push_back(death);
    }

    /// Nothing stamped before `now` will come any more: files what has waited long enough.
    pub fn pass(&mut self, now: Timestamp, file: &mut impl FnMut(Occurrence)) {
        let age = |then: Timestamp| Duration::from_micros(now.micros_since(then));
        for death in &mut self.recent {
            // In the order they began.
            if age(death.at) < WAIT {
                break;
            }
            if let Some(occurrence) = death.filed() {
                file(occurrence);
            }
        }
        while let Some(death) = self.recent.front()
            && (age(death.at) > JOIN_WITHIN || self.recent.len() >= MAX_DEATHS)
        {
            let mut death = self.recent.pop_front().expect("it was seen");
            if let Some(occurrence) = death.filed() {
                file(occurrence);
            }
            let number = self.gone;
            self.gone += 1;
            if let Some(process) = death.process {
                forget(&mut self.by_process, (death.node.clone(), process), number);
            }
            forget(&mut self.by_reason, (death.node, death.shape), number);
        }
    }

    /// When the next one is filed if nothing comes.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let waiting = self.recent.iter().find(|death| death.waiting.is_some())?;
        Some(waiting.at.saturating_add(WAIT))
    }

    /// What is not stored of it.
    pub fn restore(&mut self) {
        for (number, death) in (self.gone..).zip(&self.recent) {
            if let Some(process) = death.process {
                self.by_process.insert((death.node.clone(), process), number);
            }
            self.by_reason.insert((death.node.clone(), death.shape.clone()), number);
        }
    }

    /// The death that a report is of, if there was one before.
    fn same_death(
        &mut self,
        at: Timestamp,
        node: &Option<String>,
        evidence: &Evidence,
    ) -> Option<&mut Death> {
        let is_supervisor = evidence.kind == Kind::Supervisor;
        let reason = || self.by_reason.get(&(node.clone(), evidence.shape.clone())).copied();
        let process = evidence
            .process
            .and_then(|process| self.by_process.get(&(node.clone(), process)).copied());
        let (number, within) = match process {
            Some(number) => (number, JOIN_WITHIN),
            None if evidence.process.is_some() && !evidence.is_carried => return None,
            None => match reason() {
                Some(number) => (number, SAME_REASON_WITHIN),
                // Elixir writes the reason as a text. Who did not start has just said so.
                None if is_supervisor => {
                    let open = |death: &Death| {
                        death.node == *node && !death.kinds.contains(&Kind::Supervisor)
                    };
                    let place = self.recent.iter().rposition(open)?;
                    (self.gone + place as u64, NOT_STARTED_WITHIN)
                }
                None => return None,
            },
        };
        let death = self.recent.get_mut(usize::try_from(number.checked_sub(self.gone)?).ok()?)?;
        // From the first report on, so that what goes on failing is not one long death.
        let is_near = Duration::from_micros(at.micros_since(death.at)) <= within;
        // A second report of the same sort is of another death; but each supervisor up the tree may have a word, and the one
        // of a process that is known more than one.
        let is_same = match (is_supervisor, process) {
            (true, Some(_)) => true,
            (true, None) => evidence.supervisor.is_none_or(|it| !death.supervisors.contains(&it)),
            (false, _) => evidence.is_carried || !death.kinds.contains(&evidence.kind),
        };
        // What was only logged tells of the same if it says the same.
        let is_logged = evidence.kind == Kind::Log || death.kinds.contains(&Kind::Log);
        (is_near && is_same && (!is_logged || death.shape == evidence.shape)).then_some(death)
    }
}

impl Death {
    /// Whether there is nothing to wait for.
    fn is_complete(&self) -> bool {
        self.waiting.as_ref().is_some_and(|evidence| !evidence.is_partial)
    }

    fn filed(&mut self) -> Option<Occurrence> {
        let evidence = self.waiting.take()?;
        Some(Occurrence { at: self.at, node: self.node.clone(), evidence })
    }
}

/// Forgets under which number something was, unless it has another one by now.
fn forget<K: Hash + Eq>(numbers: &mut HashMap<K, u64>, key: K, number: u64) {
    if let Entry::Occupied(entry) = numbers.entry(key)
        && *entry.get() == number
    {
        entry.remove();
    }
}
