//! Keeps the faults of every instance: a thread that reads the logs as anybody would, and writes what it finds to the
//! instance `faults`.
//!
//! It looks for new entries many times a second and is in nobody's way: what is recorded costs nothing more, and while the
//! machine is busy with events it falls behind, says so, and catches up.
//!
//! What it knows can be had from the logs again. It is stored now and then all the same, for that takes long. After a crash
//! it goes on from where that was stored, and what it had told since is in the instance `faults`.
//!
//! # Invariants
//!
//! - `told_first`: what is stored has been told, so nothing that was found is ever told never, or twice.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::watch;
use tracing::warn;

use super::background::{
    Background, FETCH_BYTES, PERIOD, RETRY, Recorded, STORE_PERIOD, Stops, record,
};
use super::checkpoint;
use super::deployments::{self, Asked};
use crate::analysis::deployment::Deployment;
use crate::analysis::fault::{Decision, Fault, State};
use crate::analysis::fault_event::FaultEvent;
use crate::analysis::fault_rule::FaultRule;
use crate::analysis::fingerprint::{Evidence, FaultId};
use crate::analysis::grouping::Grouping;
use crate::analysis::tracker::Tracker;
use crate::etf::{TermBuf, TermRef};
use crate::instance::calls::Instances;
use crate::instance::{AppendError, Instance, InstanceConfig};
use crate::metrics::FaultStats;
use crate::store::{Chunk, ReadError, StoreCursor};
use crate::time::{Timestamp, monotonic};

/// The instance that is written to.
pub const INSTANCE: &str = "faults";

/// What files begin with in which trackers are stored.
const MAGIC: &[u8] = b"logmachine faults 2\n";

/// By how much later than everything that is stored may have been read to, as clocks differ.
const AHEAD: Duration = Duration::from_secs(10);

/// Entries that are stamped and not committed yet are younger than this.
const UNCOMMITTED: Duration = Duration::from_secs(1);

/// How long to wait with an entry until its node has said what it runs.
const PATIENCE: Duration = Duration::from_secs(5);

/// After more waiting than this an instance's errors wait for no node for so many times as long.
const FREE_WAITING: Duration = Duration::from_secs(1);
const REST: u32 = 9;

/// How long somebody waits for a decision to be taken up.
const DECISION_TIME: Duration = Duration::from_secs(10);

/// How long a reader waits until what was recorded shows, and how often it looks.
const CATCH_UP_TIME: Duration = Duration::from_millis(500);
const CATCH_UP_STEP: Duration = Duration::from_millis(5);

/// Which instances have faults, and how they are told apart.
#[derive(Debug, Default)]
pub struct FaultConfig {
    /// The instances whose errors are looked at.
    pub instances: Vec<String>,
    /// What the operator says of grouping.
    pub rules: Vec<FaultRule>,
    /// Where what is known is stored.
    pub dir: PathBuf,
}

impl FaultConfig {
    /// What instances say of themselves.
    pub fn of(configs: &[InstanceConfig], rules: Vec<FaultRule>) -> Self {
        let of_faults = configs.iter().find(|config| config.log.name == INSTANCE);
        let wanted = configs.iter().filter(|config| config.faults && config.log.name != INSTANCE);
        FaultConfig {
            instances: wanted.map(|config| config.log.name.clone()).collect(),
            rules,
            dir: of_faults.map(|config| config.log.dir.join("known")).unwrap_or_default(),
        }
    }
}

/// Which faults are wanted, and what comes first.
#[derive(Clone, Debug)]
pub struct FaultQuery {
    /// Of this instance; `None`: of all.
    pub instance: Option<String>,
    /// In one of these states; `None`: in any.
    pub states: Option<Vec<State>>,
    /// Last seen at this moment or later.
    pub from: Timestamp,
    /// First seen at this moment or before.
    pub to: Timestamp,
    /// What comes first.
    pub sort: Sort,
    /// Only those behind this one.
    pub after: Option<(u64, FaultId)>,
    /// At most so many.
    pub limit: usize,
}

impl Default for FaultQuery {
    fn default() -> Self {
        FaultQuery {
            instance: None,
            states: None,
            from: Timestamp::MIN,
            to: Timestamp::MAX,
            sort: Sort::LastSeen,
            after: None,
            limit: 100,
        }
    }
}

/// What comes first in a list of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// The one that was last seen.
    LastSeen,
    /// The one that was first seen last.
    FirstSeen,
    /// The most frequent one.
    Count,
}

impl Sort {
    /// The order of this name.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "last_seen" => Sort::LastSeen,
            "first_seen" => Sort::FirstSeen,
            "count" => Sort::Count,
            _ => return None,
        })
    }

    const fn key(self, fault: &Fault) -> u64 {
        match self {
            Sort::LastSeen => fault.last_seen.micros(),
            Sort::FirstSeen => fault.first_seen.micros(),
            Sort::Count => fault.count,
        }
    }
}

/// Why a decision was not taken up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecideError {
    /// There is no such fault, or not any more.
    #[error("there is no fault {0}")]
    Unknown(FaultId),
    /// It could not be recorded.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// It is not recorded yet, and perhaps never will be.
    #[error("the instance of faults does not record for now")]
    Stuck,
    /// It is recorded and will be taken up, but whoever keeps the faults is far behind.
    #[error("the decision is recorded; it shows once the faults have caught up")]
    Behind,
}

/// The faults of all instances.
pub struct FaultWatcher {
    shared: Arc<Shared>,
    thread: Background,
}

struct Shared {
    /// The instance `faults`.
    told: Arc<Instance>,
    watched: BTreeMap<Arc<str>, Watched>,
    grouping: Arc<Grouping>,
    /// What was decided before then has been taken up.
    decided: watch::Sender<Timestamp>,
}

/// One instance, and what is known of it.
struct Watched {
    instance: Arc<Instance>,
    /// Only the thread changes it, for some microseconds at a time.
    tracker: RwLock<Tracker>,
    /// By how much what is dealt with next is older than the newest entry.
    behind_micros: AtomicU64,
}

impl Watched {
    fn tracker(&self) -> RwLockReadGuard<'_, Tracker> {
        self.tracker.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn tracker_mut(&self) -> RwLockWriteGuard<'_, Tracker> {
        self.tracker.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FaultWatcher {
    /// Starts, if there is an instance to write to, and one to look at.
    pub fn start(config: FaultConfig, instances: &Instances, asked: Option<Asked>) -> Option<Self> {
        let FaultConfig { instances: names, rules, dir } = config;
        let told = instances.get(INSTANCE)?.clone();
        let mut watched = BTreeMap::new();
        let mut learn_from = Timestamp::MAX;
        for name in &names {
            let Some(instance) = instances.get(name.as_str()) else { continue };
            let stored = checkpoint::load(MAGIC, &path(&dir, name), name);
            // Nothing would be read until then.
            let is_ahead = |of: &Instance, at: Timestamp| {
                at > of.tail().next_stamp().max(of.clock().now()).saturating_add(AHEAD)
            };
            let stored = stored.filter(|tracker: &Tracker| {
                tracker.instance() == name
                    && !is_ahead(instance, tracker.position())
                    && !is_ahead(&told, tracker.learned())
            });
            let mut tracker = stored.unwrap_or_else(|| Tracker::new(name, Timestamp::MIN));
            tracker.restore();
            learn_from = learn_from.min(tracker.learned());
            watched.insert(
                instance.name().into(),
                Watched {
                    instance: instance.clone(),
                    tracker: RwLock::new(tracker),
                    behind_micros: AtomicU64::new(0),
                },
            );
        }
        if watched.is_empty() {
            return None;
        }
        let shared = Arc::new(Shared {
            told,
            watched,
            grouping: Arc::new(Grouping::new(rules)),
            decided: watch::Sender::new(Timestamp::MIN),
        });
        let worker = Worker {
            told: shared.told.log().cursor(learn_from, false),
            nodes: instances
                .get(deployments::INSTANCE)
                .map(|nodes| nodes.log().cursor(Timestamp::MIN, false)),
            sources: shared
                .watched
                .iter()
                .map(|(name, watched)| {
                    let position = watched.tracker().position();
                    Source {
                        name: name.clone(),
                        cursor: watched.instance.log().cursor(position, false),
                        left: None,
                        is_told: true,
                        stored_at: position,
                        waiting: Waiting::default(),
                    }
                })
                .collect(),
            runtime: Handle::current(),
            dir,
            store_next: monotonic() + STORE_PERIOD,
            asked,
            shared: shared.clone(),
        };
        let thread = Background::start("faults", |stops| worker.run(&stops));
        Some(FaultWatcher { shared, thread })
    }

    /// Stops, and stores what is known. Blocks until it is stored.
    pub fn stop(&self) {
        self.thread.stop();
    }

    /// The names of the instances that have faults.
    pub fn instances(&self) -> impl Iterator<Item = &Arc<str>> {
        self.shared.watched.keys()
    }

    /// Hands out the faults that are wanted, at this moment, with their instances, until one is not taken; what
    /// [`FaultQuery::after`] is to go on there, if there is more.
    pub fn list(
        &self,
        query: &FaultQuery,
        now: Timestamp,
        mut take: impl FnMut(&str, &Fault) -> bool,
    ) -> Option<(u64, FaultId)> {
        let mut found: Vec<(Reverse<u64>, FaultId, &Watched)> = Vec::new();
        for watched in self.shared.watched.values() {
            let name = watched.instance.name();
            if query.instance.as_ref().is_some_and(|wanted| wanted != name) {
                continue;
            }
            let suits = |fault: &&Fault| {
                fault.last_seen >= query.from
                    && fault.first_seen <= query.to
                    && query.states.as_ref().is_none_or(|it| it.contains(&fault.state(now)))
            };
            let tracker = watched.tracker();
            let suiting = tracker.faults().iter().filter(suits);
            found.extend(suiting.map(|fault| (Reverse(query.sort.key(fault)), fault.id, watched)));
        }
        found.sort_unstable_by_key(|(key, id, _)| (*key, *id));
        let begin = query.after.map_or(0, |(key, id)| {
            found.partition_point(|(found, found_id, _)| (*found, *found_id) <= (Reverse(key), id))
        });
        let mut last = None;
        for (number, (Reverse(key), id, watched)) in found[begin..].iter().enumerate() {
            let tracker = watched.tracker();
            // One may have gone meanwhile.
            let Some(fault) = tracker.faults().get(*id) else { continue };
            if number >= query.limit || !take(watched.instance.name(), fault) {
                return last;
            }
            last = Some((*key, *id));
        }
        None
    }

    /// The fault that an event of an instance tells of by itself, if it is known.
    pub fn fault_of(&self, instance: &str, evidence: &Evidence) -> Option<FaultId> {
        self.shared.watched.get(instance)?.tracker().fault_of(evidence)
    }

    /// Waits until all that is in the logs by now has been looked at, but not long.
    pub async fn catch_up(&self) {
        let latest = |watched: &Watched| watched.instance.log().interval().map(|(_, last)| last);
        let targets: Vec<_> =
            self.shared.watched.values().filter_map(|it| Some((it, latest(it)?))).collect();
        let is_done = || targets.iter().all(|(it, last)| it.tracker().position() > *last);
        let until = monotonic() + CATCH_UP_TIME;
        while !is_done() && monotonic() < until {
            self.thread.wake();
            tokio::time::sleep(CATCH_UP_STEP).await;
        }
    }

    /// What tells faults apart.
    pub fn grouping(&self) -> &Arc<Grouping> {
        &self.shared.grouping
    }

    /// A fault, and the name of its instance.
    pub fn find(&self, id: FaultId) -> Option<(Arc<str>, Fault)> {
        self.shared.watched.iter().find_map(|(name, watched)| {
            Some((name.clone(), watched.tracker().faults().get(id)?.clone()))
        })
    }

    /// Records what somebody decided, and waits until it shows; the fault then.
    ///
    /// # Errors
    ///
    /// [`DecideError`].
    pub async fn decide(&self, decision: Decision) -> Result<(Arc<str>, Fault), DecideError> {
        let id = decision.id;
        let (_, fault) = self.find(id).ok_or(DecideError::Unknown(id))?;
        let decision = Decision { seen: Some(fault.last_seen), ..decision };
        let event = [decision.encode()];
        let append = tokio::time::timeout(DECISION_TIME, self.shared.told.append(&event));
        let stamped = append.await.map_err(|_| DecideError::Stuck)??;
        let mut decided = self.shared.decided.subscribe();
        self.thread.wake();
        let shows = decided.wait_for(|decided| *decided > stamped.last);
        match tokio::time::timeout(DECISION_TIME, shows).await {
            Ok(Ok(_)) => self.find(id).ok_or(DecideError::Unknown(id)),
            _ => Err(DecideError::Behind),
        }
    }

    /// The numbers of an instance's faults.
    pub fn stats(&self, instance: &str) -> Option<FaultStats> {
        let watched = self.shared.watched.get(instance)?;
        let tracker = watched.tracker();
        Some(FaultStats {
            errors: tracker.errors,
            forgotten: tracker.faults().forgotten,
            known: tracker.faults().len() as u64,
            behind: watched.behind_micros.load(Ordering::Relaxed),
        })
    }
}

fn path(dir: &Path, instance: &str) -> PathBuf {
    dir.join(format!("{instance}.checkpoint"))
}

/// What the thread owns.
struct Worker {
    shared: Arc<Shared>,
    told: Box<dyn StoreCursor>,
    nodes: Option<Box<dyn StoreCursor>>,
    sources: Vec<Source>,
    runtime: Handle,
    dir: PathBuf,
    store_next: Instant,
    asked: Option<Asked>,
}

/// An instance that is read.
struct Source {
    name: Arc<str>,
    cursor: Box<dyn StoreCursor>,
    /// What was fetched and not dealt with.
    left: Option<Chunk>,
    /// Whether all that was found has been told.
    is_told: bool,
    /// How far it had been read when it was stored.
    stored_at: Timestamp,
    waiting: Waiting,
}

impl Worker {
    fn run(mut self, stops: &Stops) {
        // What was told in earlier lives is not told again.
        while !stops.asked() && !self.learn(true) {
            std::thread::park_timeout(RETRY);
        }
        while !stops.asked() {
            let is_behind = self.pass(stops);
            if monotonic() >= self.store_next {
                self.store();
            }
            if !is_behind {
                std::thread::park_timeout(PERIOD);
            }
        }
        self.store();
    }

    /// Reads what there is, a portion of each instance; whether there is more.
    fn pass(&mut self, stops: &Stops) -> bool {
        let has_learned = self.learn(false);
        let mut is_behind = false;
        for n in 0..self.sources.len() {
            is_behind |= self.read(n, stops);
        }
        let undecided =
            self.shared.watched.values().filter_map(|it| it.tracker().undecided()).min();
        if has_learned && let Some(learned) = undecided.or_else(|| self.told.position()) {
            self.shared.decided.send_replace(learned);
        }
        is_behind
    }

    /// Learns what runs where, and what was decided; and, if this is the first time, what was told. Whether it could.
    fn learn(&mut self, is_first: bool) -> bool {
        if let Some(nodes) = &mut self.nodes {
            let grouping = &self.shared.grouping;
            let read = read_all(&mut **nodes, |at, event| {
                if let Some(deployment) = Deployment::decode(event) {
                    grouping.learn(at, &deployment);
                }
            });
            if let Err(error) = read {
                warn!(%error, "faults: cannot read what runs where");
            }
        }
        let watched = &self.shared.watched;
        let read = read_all(&mut *self.told, |at, event| match FaultEvent::decode(event) {
            None => {}
            // Our own words.
            Some(FaultEvent::News(..)) if !is_first => {}
            // Whose fault it is they know themselves.
            Some(event) => watched.values().for_each(|it| it.tracker_mut().learn(at, &event)),
        });
        if let Err(error) = &read {
            warn!(%error, "faults: cannot read what was decided");
        }
        if let Some(learned) = self.told.position() {
            watched.values().for_each(|it| it.tracker_mut().has_learned(learned));
        }
        read.is_ok()
    }

    /// Deals with the next entries of an instance; whether there are more.
    fn read(&mut self, n: usize, stops: &Stops) -> bool {
        let source = &mut self.sources[n];
        let watched = &self.shared.watched[&source.name];
        let (now, started) = (watched.instance.clock().now(), monotonic());
        let chunk = match source.left.take() {
            Some(chunk) => Ok(Some(chunk)),
            None => source.cursor.next(FETCH_BYTES),
        };
        let chunk = match chunk {
            Ok(chunk) => chunk,
            Err(error) => {
                warn!(instance = %source.name, %error, "faults: cannot read the log");
                std::thread::park_timeout(RETRY);
                return false;
            }
        };
        let mut news = Vec::new();
        let mut tell = |event| news.push(event);
        let grouping = &*self.shared.grouping;
        let mut is_waiting = false;
        match &chunk {
            None => {
                source.cursor.let_go(None);
                let passed = now.saturating_sub(UNCOMMITTED);
                watched.tracker_mut().pass(passed, grouping, &mut tell);
            }
            Some(chunk) => {
                let (mut dealt_with, mut last) = (0, None);
                for entry in chunk.entries() {
                    let at = entry.timestamp;
                    if let Some(error) = grouping.error(TermRef::from_walked(entry.event)) {
                        let is_asked = self.asked.as_ref().is_some_and(|asked| {
                            error.node.as_ref().is_some_and(|node| asked.is_being_asked(node))
                        });
                        is_waiting = source.waiting.must_wait(started, is_asked);
                        if is_waiting {
                            break;
                        }
                        // For each by itself: who looks at faults waits no longer than that.
                        watched.tracker_mut().entry(at, Some(error), grouping, &mut tell);
                    }
                    last = Some(at);
                    dealt_with += 1;
                }
                if let Some(last) = last {
                    watched.tracker_mut().entry(last, None, grouping, &mut tell);
                }
                source.left = chunk.clone().without_first(dealt_with);
            }
        }
        let latest = watched.instance.log().interval().map_or(Timestamp::MIN, |(_, last)| last);
        let behind = match &chunk {
            Some(_) => latest.next().micros_since(watched.tracker().position()),
            None => 0,
        };
        watched.behind_micros.store(behind, Ordering::Relaxed);
        source.is_told &= tell_all(&self.shared.told, &self.runtime, stops, &news);
        chunk.is_some() && !is_waiting
    }

    /// Stores what is known, of the instances of which more is known than was stored.
    fn store(&mut self) {
        self.store_next = monotonic() + STORE_PERIOD;
        // So that what was told is behind what is stored.
        if !self.learn(false) {
            return;
        }
        for source in self.sources.iter_mut().filter(|source| source.is_told) {
            let tracker = self.shared.watched[&source.name].tracker();
            if tracker.position() == source.stored_at {
                continue;
            }
            let (bytes, position) = (checkpoint::bytes(MAGIC, &*tracker), tracker.position());
            drop(tracker);
            match checkpoint::store(&path(&self.dir, &source.name), &bytes) {
                Ok(()) => source.stored_at = position,
                Err(error) => {
                    warn!(instance = %source.name, %error, "faults: what is known of them cannot be stored");
                }
            }
        }
    }
}

/// Writes events to the instance `faults`, however long that takes; false if the program is to stop before.
fn tell_all(told: &Instance, runtime: &Handle, stops: &Stops, news: &[TermBuf]) -> bool {
    if news.is_empty() {
        return true;
    }
    loop {
        match record(told, runtime, stops, news) {
            Recorded::Done => return true,
            Recorded::Failed(error) => warn!(%error, "faults: cannot record what is new"),
            Recorded::Stopped => return false,
        }
        if stops.asked() {
            return false;
        }
        std::thread::park_timeout(RETRY);
    }
}

/// All entries that a cursor has not handed out.
fn read_all(
    cursor: &mut dyn StoreCursor,
    mut take: impl FnMut(Timestamp, TermRef<'_>),
) -> Result<(), ReadError> {
    while let Some(chunk) = cursor.next(FETCH_BYTES)? {
        for entry in chunk.entries() {
            take(entry.timestamp, TermRef::from_walked(entry.event));
        }
    }
    cursor.let_go(None);
    Ok(())
}

/// How long the errors of an instance wait for what their nodes run: a tenth of the time at most, whoever comes and goes.
#[derive(Debug, Default)]
struct Waiting {
    /// Since when the next one waits.
    since: Option<Instant>,
    /// For how long it was waited, and until when, since there was a rest.
    waited: Duration,
    until: Option<Instant>,
}

impl Waiting {
    /// Whether an error waits, whose node may be about to say what it runs.
    fn must_wait(&mut self, now: Instant, is_asked: bool) -> bool {
        if let Some(since) = self.since {
            let waited = now.saturating_duration_since(since);
            if is_asked && waited < PATIENCE {
                return true;
            }
            self.since = None;
            self.waited += waited;
            self.until = Some(now);
            return false;
        }
        if !is_asked {
            return false;
        }
        if self.until.is_none_or(|until| now >= until + REST * self.waited) {
            self.waited = Duration::ZERO;
        }
        if self.waited > FREE_WAITING {
            return false;
        }
        self.since = Some(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etf::text;
    use crate::instance::OpenedInstance;
    use crate::instance::budget::{Budget, Limits};
    use crate::node::{Node, NodeConfig};
    use crate::proto::NodeName;
    use crate::proto::handshake::Local;
    use crate::time::Clock;

    /// What was stored says that all was read until in a hundred years; whoever lists takes one at a time.
    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_stored_in_the_future_is_not_used_and_a_list_goes_on_where_it_ended() {
        let dir = tempfile::tempdir().unwrap();
        let name = NodeName::new("logmachine@h").unwrap();
        let local = Local { name, creation: 1, cookie: "cookie".into() };
        let node = Node::new(local, NodeConfig::default());
        let budget = Budget::new(Limits::default(), 1);
        let open = |name: &str| {
            let config = InstanceConfig::new(name, &dir.path().join(name));
            let opened = OpenedInstance::open(config, Clock::system(), true).unwrap();
            (Arc::from(name), opened.start(&node, &budget))
        };
        let instances: Instances = Arc::new([INSTANCE, "quotes"].map(open).into());
        let known = dir.path().join("known");
        let future = Tracker::new("quotes", Timestamp::from_micros(5_000_000_000_000_000));
        checkpoint::store(&path(&known, "quotes"), &checkpoint::bytes(MAGIC, &future)).unwrap();
        let error =
            |n: u32| format!("{{log,a@h,error,{{\"~p\",[1]}},#{{mfa => {{shop,f{n},1}}}}}}");
        let errors: Vec<_> = (0..5).map(|n| text::parse(&error(n)).unwrap()).collect();
        instances["quotes"].append(&errors).await.unwrap();
        let config = FaultConfig { instances: vec!["quotes".into()], rules: vec![], dir: known };
        let faults = FaultWatcher::start(config, &instances, None).unwrap();
        while faults.stats("quotes").unwrap().known < 5 {
            faults.catch_up().await;
        }
        let (mut query, mut seen) = (FaultQuery::default(), Vec::new());
        loop {
            let mut is_first = true;
            let next = faults.list(&query, Timestamp::MAX, |instance, fault| {
                assert_eq!(instance, "quotes");
                std::mem::take(&mut is_first) && {
                    seen.push(fault.last_seen);
                    true
                }
            });
            if next.is_none() {
                break;
            }
            query.after = next;
        }
        assert!(seen.len() == 5 && seen.is_sorted_by(|a, b| a > b), "{seen:?}");
        tokio::task::spawn_blocking(move || faults.stop()).await.unwrap();
    }

    /// A node that is always about to answer: an error every 10 ms for an hour, and every answer after so many milliseconds.
    #[test]
    fn a_tenth_of_the_time_is_spent_waiting_whoever_comes_and_goes() {
        let begin = monotonic();
        for answers_after in [u64::MAX, 4_000, 900, 300] {
            let (mut waiting, mut waited) = (Waiting::default(), 0);
            let mut asked_at = 0;
            for now in (0..3_600_000).step_by(10) {
                let is_asked = now - asked_at < answers_after;
                if waiting.must_wait(begin + Duration::from_millis(now), is_asked) {
                    waited += 10;
                }
                if !is_asked {
                    asked_at = now;
                }
            }
            assert!((100_000..=365_000).contains(&waited), "{answers_after}: {waited} ms");
        }
    }

    #[test]
    fn who_answers_at_once_is_waited_for_each_time() {
        let begin = monotonic();
        let mut waiting = Waiting::default();
        for second in 0..3600 {
            let at = |millis| begin + Duration::from_secs(second) + Duration::from_millis(millis);
            assert!(waiting.must_wait(at(0), true), "second {second}");
            assert!(!waiting.must_wait(at(50), false));
        }
        assert!(waiting.must_wait(begin + Duration::from_secs(3601), true));
        assert!(!waiting.must_wait(begin + Duration::from_secs(3601) + PATIENCE, true));
        assert!(!waiting.must_wait(begin + Duration::from_secs(3607), true));
        assert!(waiting.must_wait(begin + Duration::from_secs(3606) + REST * PATIENCE, true));
    }
}
