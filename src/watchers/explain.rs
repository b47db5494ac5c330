//! Reads two stretches of a log and says what is different.

use std::collections::BTreeMap;
use std::sync::Arc;

use tracing::debug;

use super::faults::FaultWatcher;
use crate::analysis::explain::{
    Background, Comparison, Deployed, Explanation, Known, Occurrence, Stretch,
};
use crate::analysis::facts::Facts;
use crate::analysis::fingerprint::FaultId;
use crate::analysis::grouping::{Error, Grouping};
use crate::analysis::kind::{Kind, Level};
use crate::analysis::occurrence::{self, Deaths};
use crate::instance::Instance;
use crate::instance::read::{self, ReadFailure};
use crate::instance::reader::{Selected, Selection, Taken};
use crate::instance::search::{Collect, Search, Step};
use crate::time::Timestamp;

/// What is compared with what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretches {
    /// The stretch that is to be explained.
    pub stretch: Stretch,
    /// What it is compared with.
    pub baseline: Stretch,
}

impl Stretches {
    /// A stretch and the one before, which begins at `baseline` or is as long; `None` if either has no length.
    pub fn new(from: Timestamp, to: Timestamp, baseline: Option<Timestamp>) -> Option<Self> {
        let length = to.micros_since(from);
        let before = baseline
            .unwrap_or_else(|| Timestamp::from_micros(from.micros().saturating_sub(length)));
        (from < to && before < from).then_some(Stretches {
            stretch: Stretch { from, to },
            baseline: Stretch { from: before, to: from },
        })
    }
}

/// Says what is different. Reads every entry of both stretches: some 2 µs for each.
///
/// # Errors
///
/// [`ReadFailure`].
pub async fn explain(
    instance: &Arc<Instance>,
    faults: Option<&Arc<FaultWatcher>>,
    stretches: Stretches,
) -> Result<Explanation, ReadFailure> {
    let explained = explain_within(instance, faults, stretches, u64::MAX).await?;
    Ok(explained.expect("no log has so many entries"))
}

/// The same; `None` if there are more entries than that.
async fn explain_within(
    instance: &Arc<Instance>,
    faults: Option<&Arc<FaultWatcher>>,
    Stretches { stretch, baseline }: Stretches,
    max_entries: u64,
) -> Result<Option<Explanation>, ReadFailure> {
    if let Some(faults) = faults {
        faults.catch_up().await;
    }
    let counting = Counting {
        instance: instance.name().to_owned(),
        comparison: Comparison::new(stretch, baseline),
        grouping: faults.map_or_else(Arc::default, |faults| faults.grouping().clone()),
        faults: faults.cloned(),
        deaths: Deaths::default(),
        entries: 0,
    };
    let selection =
        Selection { to: Some(stretch.to.previous()), ..Selection::starting(baseline.from) };
    read::settled(instance, &selection).await;
    let mut search = Search::new(instance, selection, counting)?;
    while search.step_near().await? == Step::More {
        if search.collector().entries > max_entries {
            return Ok(None);
        }
        tokio::task::consume_budget().await;
    }
    let counting = search.into_inner();
    let finish = tokio::task::spawn_blocking(move || counting.finish());
    finish.await.map(Some).map_err(|_| ReadFailure::Internal)
}

/// Entries that are read for the explanation of an alert, at most; of one that comes late, among many others.
const ALERT_ENTRIES: u64 = 100_000;
const LATE_ALERT_ENTRIES: u64 = 10_000;

/// For how long after one alert the next ones have the same explanation, in microseconds.
const SAME_EXPLANATION: u64 = 1_000_000;

/// Explains alerts, in a time that is bounded: where much happens, by a shorter stretch.
pub(super) struct Explainer {
    faults: Option<Arc<FaultWatcher>>,
    last: Option<(String, Stretches, String)>,
    /// How long stretches could be the last time, by instance.
    lengths: BTreeMap<String, u64>,
}

impl Explainer {
    pub(super) const fn new(faults: Option<Arc<FaultWatcher>>) -> Self {
        Explainer { faults, last: None, lengths: BTreeMap::new() }
    }

    /// What is different in these stretches, or in their last parts.
    pub(super) async fn within(
        &mut self,
        instance: &Arc<Instance>,
        wanted: Stretches,
        is_late: bool,
    ) -> Option<String> {
        let name = instance.name();
        let to = wanted.stretch.to;
        let length = |it: Stretches| it.stretch.to.micros_since(it.stretch.from);
        if let Some((of, last, text)) = &self.last
            && of == name
            && length(*last) == length(wanted)
            && last.stretch.to <= to
            && to.micros_since(last.stretch.to) < SAME_EXPLANATION
        {
            return Some(text.clone());
        }
        let max_entries = if is_late { LATE_ALERT_ENTRIES } else { ALERT_ENTRIES };
        let known = self.lengths.get(name).map_or(u64::MAX, |length| length.saturating_mul(4));
        let mut micros = length(wanted).min(known);
        loop {
            let from = Timestamp::from_micros(to.micros().saturating_sub(micros));
            let stretches = Stretches::new(from, to, None)?;
            match explain_within(instance, self.faults.as_ref(), stretches, max_entries).await {
                Ok(Some(Explanation { text, .. })) => {
                    self.lengths.insert(name.to_owned(), micros);
                    self.last = Some((name.to_owned(), wanted, text.clone()));
                    return Some(text);
                }
                Ok(None) => micros /= 4,
                Err(error) => {
                    debug!(instance = name, %error, "an alert is not explained");
                    return None;
                }
            }
        }
    }
}

/// Counts occurrences.
struct Counting {
    instance: String,
    comparison: Comparison,
    grouping: Arc<Grouping>,
    faults: Option<Arc<FaultWatcher>>,
    deaths: Deaths,
    entries: u64,
}

impl Counting {
    fn finish(mut self) -> Explanation {
        let mut rest = Vec::new();
        self.deaths.pass(Timestamp::MAX, &mut |occurrence| rest.push(occurrence));
        rest.iter().for_each(|occurrence| self.count(occurrence));
        self.comparison.finish(Knowledge(self.faults))
    }

    /// Counts one occurrence of an error.
    fn count(&mut self, occurrence: &occurrence::Occurrence) {
        let occurrence::Occurrence { at, node, evidence } = occurrence;
        let fault = self.faults.as_ref().and_then(|it| it.fault_of(&self.instance, evidence));
        let fault = fault.map(|id| id.to_string());
        self.comparison.add(&Occurrence {
            at: *at,
            level: evidence.level,
            kind: evidence.kind,
            node: node.as_deref(),
            module: evidence.module(),
            fault: fault.as_deref(),
        });
    }
}

/// What is known of faults and deployments.
struct Knowledge(Option<Arc<FaultWatcher>>);

impl Background for Knowledge {
    fn fault(&self, id: &str) -> Option<Known> {
        let (_, fault) = self.0.as_ref()?.find(FaultId::parse(id)?)?;
        Some(Known { title: fault.title, first_seen: fault.first_seen })
    }

    fn deployed(&self, node: &str, from: Timestamp, to: Timestamp) -> Option<Deployed> {
        self.0.as_ref()?.grouping().inventory().deployed(node, from, to)
    }
}

impl Collect for Counting {
    fn take(&mut self, entry: &Selected<'_>) -> Taken {
        self.entries += 1;
        if let Some(Error { node, evidence }) = self.grouping.error(entry.event) {
            let mut filed = Vec::new();
            self.deaths.report(entry.timestamp, node.as_deref(), evidence, &mut |occurrence| {
                filed.push(occurrence);
            });
            filed.iter().for_each(|occurrence| self.count(occurrence));
            return Taken::More;
        }
        let facts = Facts::of(entry.event);
        let node = facts.and_then(|facts| facts.node()).map(|node| node.to_str());
        let module = facts.and_then(|facts| facts.module()).map(|module| module.to_str());
        self.comparison.add(&Occurrence {
            at: entry.timestamp,
            level: facts.map_or(Level::Info, |facts| facts.level()),
            kind: facts.map_or(Kind::Log, |facts| facts.kind()),
            node: node.as_deref(),
            module: module.as_deref(),
            fault: None,
        });
        Taken::More
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_have_a_length() {
        let at = Timestamp::from_micros;
        let found = Stretches::new(at(100), at(160), None).unwrap();
        assert_eq!((found.baseline.from, found.baseline.to), (at(40), at(100)));
        let found = Stretches::new(at(100), at(160), Some(at(10))).unwrap();
        assert_eq!((found.baseline.from, found.stretch.to), (at(10), at(160)));
        assert_eq!(Stretches::new(at(100), at(100), None), None);
        assert_eq!(Stretches::new(at(100), at(160), Some(at(100))), None);
        assert_eq!(Stretches::new(at(0), at(160), None), None, "nothing was before");
    }
}
