//! Reads two stretches of a log and says what is different.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};
use tracing::{debug, error};

use super::background::FETCH_BYTES;
use super::faults::FaultWatcher;
use crate::analysis::explain::{
    Background, Comparison, Deployed, Explanation, Known, Occurrence, Stretch,
};
use crate::analysis::facts::Facts;
use crate::analysis::fingerprint::FaultId;
use crate::analysis::grouping::{Error, Grouping};
use crate::analysis::kind::{Kind, Level};
use crate::analysis::occurrence::{self, Deaths};
use crate::etf::TermRef;
use crate::instance::Instance;
use crate::instance::read::{self, ReadFailure};
use crate::instance::reader::Selection;
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

    /// What has to be another moment, where these have no length.
    pub fn wrong(from: Timestamp, baseline: Option<Timestamp>) -> &'static str {
        if baseline.is_some_and(|baseline| baseline >= from) { "baseline" } else { "from" }
    }
}

/// How many people's explanations are computed at once: each keeps a core busy.
const AT_ONCE: usize = 2;
static TURNS: Semaphore = Semaphore::const_new(AT_ONCE);

/// Says what is different. Reads every entry of both stretches, some 2 µs for each, on a thread that may block; of several
/// at once two are read, and the others wait for their turn. It ends soon after this is dropped.
///
/// # Errors
///
/// [`ReadFailure`].
pub async fn explain(
    instance: &Arc<Instance>,
    faults: Option<&Arc<FaultWatcher>>,
    stretches: Stretches,
) -> Result<Explanation, ReadFailure> {
    let turn = TURNS.acquire().await.expect("it is never closed");
    let explained = explain_within(instance, faults, stretches, u64::MAX, Some(turn)).await?;
    Ok(explained.expect("no log has so many entries"))
}

/// The same; `None` if there are more entries than that. The turn ends when the thread has ended.
async fn explain_within(
    instance: &Arc<Instance>,
    faults: Option<&Arc<FaultWatcher>>,
    stretches: Stretches,
    max_entries: u64,
    turn: Option<SemaphorePermit<'static>>,
) -> Result<Option<Explanation>, ReadFailure> {
    if let Some(faults) = faults {
        faults.catch_up().await;
    }
    let Stretches { stretch, baseline } = stretches;
    let selection =
        Selection { to: Some(stretch.to.previous()), ..Selection::starting(baseline.from) };
    read::settled(instance, &selection).await;
    let (instance, faults) = (instance.clone(), faults.cloned());
    let wanted = Arc::new(());
    let is_wanted = Arc::downgrade(&wanted);
    let reading = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        let is_wanted = || is_wanted.strong_count() > 0;
        Counting::read(&instance, faults, stretches, max_entries, is_wanted)
    });
    let explained = reading.await;
    drop(wanted);
    explained.unwrap_or_else(|failure| {
        error!("an explanation failed: {failure}");
        Err(ReadFailure::Internal)
    })
}

/// Entries that are read for the explanation of an alert, at most; of one that comes late, among many others.
const ALERT_ENTRIES: u64 = 100_000;
const LATE_ALERT_ENTRIES: u64 = 10_000;

/// For how long after one alert the next ones have the same explanation, in microseconds.
const SAME_EXPLANATION: u64 = 1_000_000;

/// Explains alerts, in a time that is bounded: where much happens, by a shorter stretch. It does one after the other, and does
/// not wait for people's turns: an alert must not be late for what somebody wants to know of a month.
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
            match explain_within(instance, self.faults.as_ref(), stretches, max_entries, None).await
            {
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
}

impl Counting {
    /// Reads both stretches; `None` if there are more entries than that.
    fn read(
        instance: &Instance,
        faults: Option<Arc<FaultWatcher>>,
        Stretches { stretch, baseline }: Stretches,
        max_entries: u64,
        is_wanted: impl Fn() -> bool,
    ) -> Result<Option<Explanation>, ReadFailure> {
        let mut counting = Counting {
            instance: instance.name().to_owned(),
            comparison: Comparison::new(stretch, baseline),
            grouping: faults.as_ref().map_or_else(Arc::default, |it| it.grouping().clone()),
            faults,
            deaths: Deaths::default(),
        };
        let mut cursor = instance.log().cursor(baseline.from, false);
        let mut entries = 0;
        'both: while let Some(chunk) = cursor.next(FETCH_BYTES)? {
            if !is_wanted() {
                return Err(ReadFailure::Unwanted);
            }
            for entry in chunk.entries() {
                if entry.timestamp >= stretch.to {
                    break 'both;
                }
                entries += 1;
                if entries > max_entries {
                    return Ok(None);
                }
                counting.take(entry.timestamp, TermRef::from_walked(entry.event));
            }
        }
        Ok(Some(counting.finish()))
    }

    fn take(&mut self, at: Timestamp, event: TermRef<'_>) {
        if let Some(Error { node, evidence }) = self.grouping.error(event) {
            let mut filed = Vec::new();
            self.deaths.report(at, node.as_deref(), evidence, &mut |occurrence| {
                filed.push(occurrence);
            });
            filed.iter().for_each(|occurrence| self.count(occurrence));
            return;
        }
        let facts = Facts::of(event);
        let node = facts.and_then(|facts| facts.node()).map(|node| node.to_str());
        let module = facts.and_then(|facts| facts.module()).map(|module| module.to_str());
        self.comparison.add(&Occurrence {
            at,
            level: facts.map_or(Level::Info, |facts| facts.level()),
            kind: facts.map_or(Kind::Log, |facts| facts.kind()),
            node: node.as_deref(),
            module: module.as_deref(),
            fault: None,
        });
    }

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

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::*;
    use crate::instance::budget::{Budget, Limits};
    use crate::instance::{InstanceConfig, OpenedInstance};
    use crate::node::{Node, NodeConfig};
    use crate::proto::NodeName;
    use crate::proto::handshake::Local;
    use crate::time::Clock;

    #[test]
    fn stretches_have_a_length() {
        let at = Timestamp::from_micros;
        let found = Stretches::new(at(100), at(160), None).unwrap();
        assert_eq!((found.baseline.from, found.baseline.to), (at(40), at(100)));
        let found = Stretches::new(at(100), at(160), Some(at(10))).unwrap();
        assert_eq!((found.baseline.from, found.stretch.to), (at(10), at(160)));
        assert_eq!(Stretches::new(at(100), at(100), None), None);
        assert_eq!(Stretches::wrong(at(100), None), "from");
        assert_eq!(Stretches::new(at(100), at(160), Some(at(100))), None);
        assert_eq!(Stretches::wrong(at(100), Some(at(100))), "baseline");
        assert_eq!(Stretches::new(at(0), at(160), None), None, "nothing was before");
    }

    /// Some errors in a log, and the stretch that they are in.
    async fn some_errors(dir: &std::path::Path) -> (Arc<Instance>, Stretches) {
        let name = NodeName::new("logmachine@h").expect("a name");
        let local = Local { name, creation: 1, cookie: "cookie".into() };
        let node = Node::new(local, NodeConfig::default());
        let config = InstanceConfig::new("error_logger", dir);
        let opened = OpenedInstance::open(config, Clock::system(), true).expect("the log opens");
        let instance = opened.start(&node, &Budget::new(Limits::default(), 1));
        let event = "{log,a@h,error,{\"lost ~p\",[1]},#{mfa => {shop,find,1}}}";
        let events = vec![crate::etf::text::parse(event).expect("a term"); 1000];
        let stamped = instance.append(&events).await.expect("they are recorded");
        let stretches =
            Stretches::new(stamped.first, stamped.last.next(), None).expect("it has a length");
        (instance, stretches)
    }

    /// The test is on the one thread that the runtime has, and looks once each.
    #[tokio::test]
    async fn others_run_while_an_explanation_is_computed_and_two_are_at_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let (instance, stretches) = some_errors(dir.path()).await;
        let begin = || {
            let mut explanation = Box::pin(explain(&instance, None, stretches));
            let mut context = Context::from_waker(Waker::noop());
            assert!(explanation.as_mut().poll(&mut context).is_pending());
            explanation
        };
        let mut all = Vec::new();
        for _ in 0..AT_ONCE {
            all.push(TURNS.acquire().await.expect("it is never closed"));
        }
        let waits = begin();
        drop(all);
        assert_eq!(waits.await.expect("it is explained").count, 1000);
        // Whoever goes away gives the turn back.
        for _ in 0..3 * AT_ONCE {
            drop(begin());
        }
        assert_eq!(begin().await.expect("it is explained").count, 1000);
        let unwanted = Counting::read(&instance, None, stretches, u64::MAX, || false);
        assert!(matches!(unwanted, Err(ReadFailure::Unwanted)));
        let too_many = Counting::read(&instance, None, stretches, 999, || true);
        assert!(matches!(too_many, Ok(None)));
    }
}
