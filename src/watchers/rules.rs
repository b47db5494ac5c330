//! Asks the rules about every entry, and tells of their alerts: a thread that reads logs as anybody would, and writes to the
//! instance `alerts`.
//!
//! Time passes with the entries; in silence it does when the instance that is read promises that none will be stamped before a
//! moment any more.
//!
//! # Invariants
//!
//! - `exactly_once`: an alert fires once and is resolved once, whatever happens to the program. What rules tell follows from
//!   the entries they read and from the stretches that nobody watched, which are in the instance `alerts` before anybody goes
//!   on behind them; and a rule's words are numbered, so the last one in the log says which are there. What is known is stored
//!   now and then; that only saves time. Where the logs hold less than what was stored had seen, as after a loss of power, a
//!   rule goes on from its last word.

mod source;
mod words;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tracing::warn;

use super::background::{
    Background, PERIOD, RETRY, Recorded, STORE_PERIOD, Stops, behind_micros, record,
};
use super::checkpoint;
use super::explain::{Explainer, Stretches};
use super::faults::FaultWatcher;
use crate::analysis::alert_event::{AlertEvent, Phase, Silence, SilenceEvent, Unwatched};
use crate::analysis::alerts::{Alerts, Tally, Word};
use crate::analysis::rule::Rule;
use crate::analysis::silences::Silences;
use crate::etf::TermBuf;
use crate::instance::calls::Instances;
use crate::instance::read::{self, Entry};
use crate::instance::{AppendError, Instance, InstanceConfig};
use crate::metrics::RuleStats;
use crate::store::ReadError;
use crate::time::{Timestamp, monotonic};
use source::{Asked, Source};
use words::{Summary, Words};

/// The instance that is written to.
pub const INSTANCE: &str = "alerts";

/// What the file begins with in which is stored what is known.
const MAGIC: &[u8] = b"logmachine rules 1\n";

/// Alerts that are recorded at once.
const TELL_AT_ONCE: usize = 64;

/// How long somebody waits for a silence to hold, and how often they look.
const SILENCE_TIME: Duration = Duration::from_secs(5);
const SILENCE_STEP: Duration = Duration::from_millis(5);

/// The rules, and where what is known of them is stored.
#[derive(Clone, Debug, Default)]
pub struct RuleConfig {
    /// The rules.
    pub rules: Vec<Rule>,
    /// The directory; `None` without an instance to write to.
    pub dir: Option<PathBuf>,
}

impl RuleConfig {
    /// With the directory that the instance of alerts has.
    pub fn of(configs: &[InstanceConfig], rules: Vec<Rule>) -> Self {
        let alerts = configs.iter().find(|config| config.log.name == INSTANCE);
        RuleConfig { rules, dir: alerts.map(|config| config.log.dir.join("known")) }
    }
}

/// How far a rule is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Entries stamped before this have been dealt with.
    pub position: Timestamp,
    /// Keys that are known.
    pub keys: u64,
    /// Alerts that fire.
    pub firing: u64,
    /// What was counted.
    pub tally: Tally,
}

/// A rule that is looked after.
pub struct Running {
    /// The rule.
    pub rule: Rule,
    reads: Arc<Instance>,
    progress: Mutex<Progress>,
}

impl Running {
    /// How far it is.
    pub fn progress(&self) -> Progress {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// By how much what it is asked about next is older than the newest entry, in microseconds.
    pub fn behind_micros(&self) -> u64 {
        behind_micros(&self.reads, self.progress().position)
    }

    /// Its numbers.
    pub fn stats(&self) -> RuleStats {
        let Progress { keys, firing, tally, .. } = self.progress();
        RuleStats {
            taken: tally.taken,
            fired: tally.fired,
            without_key: tally.without_key,
            other: tally.other,
            over_budget: tally.over_budget,
            keys,
            firing,
            behind: self.behind_micros(),
        }
    }
}

/// All rules.
pub struct RuleWatcher {
    shared: Arc<Shared>,
    told: Arc<Instance>,
    instances: Instances,
    faults: Option<Arc<FaultWatcher>>,
    thread: Mutex<Background>,
}

#[derive(Default)]
struct Shared {
    running: Mutex<Arc<Vec<Arc<Running>>>>,
    firing: Mutex<Vec<Arc<AlertEvent>>>,
    silences: Mutex<Silences>,
    /// The last entry of the instance `alerts` that all this is from.
    learned: Mutex<Timestamp>,
}

impl RuleWatcher {
    /// Starts, if there is an instance to write to. Rules without an instance to look at are left out.
    pub fn start(
        config: RuleConfig,
        instances: &Instances,
        faults: Option<Arc<FaultWatcher>>,
    ) -> Option<Self> {
        let told = instances.get(INSTANCE)?.clone();
        let shared = Arc::<Shared>::default();
        let thread = spawn(config, &shared, instances, faults.as_ref(), true);
        let thread = Mutex::new(thread);
        Some(RuleWatcher { shared, told, instances: instances.clone(), faults, thread })
    }

    /// Goes on with other rules. Those that are the same go on where they were. Blocks until what was known is stored.
    pub fn replace(&self, config: RuleConfig) {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        thread.stop();
        *thread = spawn(config, &self.shared, &self.instances, self.faults.as_ref(), false);
    }

    /// Stops, and stores what is known. Blocks until it is stored.
    pub fn stop(&self) {
        self.thread.lock().unwrap_or_else(PoisonError::into_inner).stop();
    }

    /// What is told from here on is stamped then, or later.
    pub fn next_stamp(&self) -> Timestamp {
        self.told.tail().next_stamp()
    }

    /// The rules, in the order of the configuration.
    pub fn running(&self) -> Arc<Vec<Arc<Running>>> {
        self.shared.running.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The alerts that fire, as they were told, by rule.
    pub fn firing(&self) -> Vec<Arc<AlertEvent>> {
        self.shared.firing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Why a silence was not set or lifted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SilenceError {
    /// There is none of that name, or not any more.
    #[error("there is no silence {0}")]
    Unknown(String),
    /// It could not be recorded.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// It is not recorded yet, and perhaps never will be.
    #[error("the instance of alerts does not record for now")]
    Stuck,
}

impl RuleWatcher {
    /// The silences that hold.
    pub fn silences(&self) -> Silences {
        self.shared.silences.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Records a silence, and waits until it holds, but not long.
    ///
    /// # Errors
    ///
    /// [`SilenceError::Append`], [`SilenceError::Stuck`].
    pub async fn silence(&self, silence: Silence) -> Result<(), SilenceError> {
        self.record(SilenceEvent::Set(silence)).await
    }

    /// Ends a silence before its time.
    ///
    /// # Errors
    ///
    /// [`SilenceError`].
    pub async fn lift(&self, id: &str, who: &str) -> Result<(), SilenceError> {
        let now = self.told.clock().now();
        if self.silences().find(id, now).is_none() {
            return Err(SilenceError::Unknown(id.to_owned()));
        }
        self.record(SilenceEvent::Lifted { id: id.to_owned(), who: who.to_owned() }).await
    }

    async fn record(&self, event: SilenceEvent) -> Result<(), SilenceError> {
        let event = [event.encode()];
        let append = tokio::time::timeout(SILENCE_TIME, self.told.append(&event));
        let stamped = append.await.map_err(|_| SilenceError::Stuck)??;
        let until = monotonic() + SILENCE_TIME;
        let has_learned =
            || *self.shared.learned.lock().unwrap_or_else(PoisonError::into_inner) >= stamped.last;
        while !has_learned() && monotonic() < until {
            self.thread.lock().unwrap_or_else(PoisonError::into_inner).wake();
            tokio::time::sleep(SILENCE_STEP).await;
        }
        Ok(())
    }
}

fn spawn(
    config: RuleConfig,
    shared: &Arc<Shared>,
    instances: &Instances,
    faults: Option<&Arc<FaultWatcher>>,
    was_away: bool,
) -> Background {
    let RuleConfig { rules, dir } = config;
    let of = |rule: Rule| {
        let Some(reads) = instances.get(rule.reads()).cloned() else {
            warn!(rule = rule.name, "there is no instance {}: it is left out", rule.reads());
            return None;
        };
        Some(Arc::new(Running { rule, reads, progress: Mutex::default() }))
    };
    let running: Arc<Vec<_>> = Arc::new(rules.into_iter().filter_map(of).collect());
    *shared.running.lock().unwrap_or_else(PoisonError::into_inner) = running.clone();
    let told = instances[INSTANCE].clone();
    let now = told.clock().now();
    let mut worker = Worker {
        shared: shared.clone(),
        instances: instances.clone(),
        explainer: Explainer::new(faults.cloned()),
        runtime: Handle::current(),
        stored: dir.unwrap_or_default().join("rules.checkpoint"),
        words: Words::new(&told, Summary::default()),
        sources: Vec::new(),
        events: Vec::new(),
        told,
        running,
        alive: Timestamp::MIN,
        is_watching: false,
        is_broken: false,
    };
    // Before any event can come: that there are these rules is remembered from here on. What fails is tried again.
    let has_begun = worker.begin_or_warn(now);
    Background::start("rules", move |stops| worker.run(&stops, now, has_begun, was_away))
}

/// What is stored. `A` is [`Alerts`], or a reference to them.
#[derive(Serialize, Deserialize)]
struct Stored<A> {
    /// When there was somebody who watched.
    alive: Timestamp,
    words: Summary,
    rules: Vec<StoredRule<A>>,
}

#[derive(Serialize, Deserialize)]
struct StoredRule<A> {
    name: String,
    definition: String,
    alerts: A,
}

/// What the thread owns.
struct Worker {
    shared: Arc<Shared>,
    instances: Instances,
    told: Arc<Instance>,
    explainer: Explainer,
    runtime: Handle,
    stored: PathBuf,
    running: Arc<Vec<Arc<Running>>>,
    words: Words,
    sources: Vec<Source>,
    /// Words on their way to the instance.
    events: Vec<AlertEvent>,
    /// The last sign of life of who watched before.
    alive: Timestamp,
    is_watching: bool,
    /// Whether a word could not be recorded before the program was to stop.
    is_broken: bool,
}

impl Worker {
    fn run(mut self, stops: &Stops, now: Timestamp, has_begun: bool, was_away: bool) {
        let mut has_begun = has_begun;
        while !has_begun {
            if stops.asked() {
                return;
            }
            std::thread::park_timeout(RETRY);
            has_begun = self.begin_or_warn(now);
        }
        if was_away && !self.tell_of_absence(now, stops) {
            return;
        }
        self.is_watching = true;
        let gaps = self.words.summary.gaps.clone();
        for asked in self.sources.iter_mut().flat_map(|source| &mut source.rules) {
            asked.alerts.unwatched(gaps.iter().copied());
        }
        self.resolve_what_has_no_rule(now, stops);
        let mut store_next = monotonic() + STORE_PERIOD;
        while !stops.asked() && !self.is_broken {
            let mut is_behind = false;
            for n in 0..self.sources.len() {
                is_behind |= self.pass(n, stops);
            }
            self.learn();
            if monotonic() >= store_next {
                store_next = monotonic() + STORE_PERIOD;
                self.store();
            }
            if !is_behind {
                std::thread::park_timeout(if self.sources.is_empty() { RETRY } else { PERIOD });
            }
        }
        self.store();
    }

    /// Reads what was told, by whomever.
    fn learn(&mut self) {
        let before = self.words.summary.learned;
        if let Err(error) = self.words.learn() {
            warn!(%error, "rules: cannot read what was told");
        }
        if self.words.summary.learned != before {
            self.publish();
        }
    }

    fn begin_or_warn(&mut self, now: Timestamp) -> bool {
        let begun = self.begin(now);
        if let Err(error) = &begun {
            warn!(%error, "rules: cannot read what was told");
        }
        begun.is_ok()
    }

    /// Finds out where each rule goes on.
    fn begin(&mut self, now: Timestamp) -> Result<(), ReadError> {
        let stored: Option<Stored<Alerts>> = checkpoint::load(MAGIC, &self.stored, INSTANCE);
        let latest = |of: &Instance| of.log().interval().map(|(_, latest)| latest);
        let is_known = stored.is_some();
        let (alive, summary, mut stored) = match stored {
            Some(Stored { alive, words, rules }) => (alive, words, rules),
            None => (Timestamp::MIN, Summary::default(), Vec::new()),
        };
        // Of a log without anything it was deleted in order.
        let has_lost_words = latest(&self.told).is_some_and(|latest| latest < summary.learned);
        let summary = if has_lost_words { Summary::default() } else { summary };
        self.words = Words::new(&self.told, summary);
        self.words.learn()?;
        // That somebody wrote to a log is a sign of life, too.
        let signs = self.instances.values().filter_map(|instance| latest(instance));
        let positions = stored.iter().map(|stored| stored.alerts.position());
        self.alive = signs.chain(positions).fold(alive, Timestamp::max).min(now);
        let mut sources: BTreeMap<String, Vec<Asked>> = BTreeMap::new();
        for running in self.running.iter() {
            let rule = &running.rule;
            let found = stored.iter().position(|stored| stored.name == rule.name);
            let stored = found.map(|found| stored.swap_remove(found));
            let latest = latest(&self.instances[rule.reads()]);
            // Where it is not known that it is a new one, all that it has said was recorded by its last word, or can be told
            // of then.
            let last = self.words.last_of(&rule.name).filter(|_| !is_known);
            let begins = last.map_or(now, |(_, at)| at.next());
            let alerts = go_on(rule, stored, &self.words, has_lost_words, latest, begins);
            let asked = Asked { running: running.clone(), alerts };
            sources.entry(rule.reads().to_owned()).or_default().push(asked);
        }
        let source = |(name, rules): (String, Vec<Asked>)| {
            Source::new(self.instances[&*name].clone(), rules)
        };
        self.sources = sources.into_iter().map(source).collect();
        self.publish();
        self.store();
        Ok(())
    }

    /// Records that nobody watched until now, or never did; false if the program is to stop before.
    fn tell_of_absence(&mut self, now: Timestamp, stops: &Stops) -> bool {
        let after = self.words.summary.gaps.last().map_or(Timestamp::MIN, |gap| gap.to);
        let gap = Unwatched { from: self.alive.max(after), to: now };
        if self.running.is_empty() || gap.from >= gap.to {
            return true;
        }
        loop {
            match record(&self.told, &self.runtime, stops, &[gap.encode()]) {
                Recorded::Done => break,
                Recorded::Failed(error) => {
                    warn!(%error, "rules: cannot record that nobody watched");
                }
                Recorded::Stopped => {}
            }
            if self.wait(stops).is_none() {
                return false;
            }
        }
        self.learn();
        true
    }

    /// Resolves the alerts of rules that there are no more.
    fn resolve_what_has_no_rule(&mut self, now: Timestamp, stops: &Stops) {
        let has_rule = |name: &str| self.running.iter().any(|it| it.rule.name == name);
        let left = self.words.firing.iter().filter(|((rule, _), _)| !has_rule(rule));
        let left: Vec<AlertEvent> = left.map(|(_, (_, alert))| (**alert).clone()).collect();
        let mut numbers: BTreeMap<String, u64> = BTreeMap::new();
        for alert in left {
            let number = numbers
                .entry(alert.rule.clone())
                .or_insert_with(|| self.words.number_of(&alert.rule));
            *number += 1;
            let text = format!("there is no such rule any more: {}", alert.text);
            self.events.push(AlertEvent {
                phase: Phase::Resolved,
                number: *number,
                at: now,
                text,
                firing_at: Some(alert.at),
                explanation: None,
                ..alert
            });
        }
        self.flush(stops);
    }

    /// Reads a portion of an instance, or sees that time passes; whether there is more.
    fn pass(&mut self, n: usize, stops: &Stops) -> bool {
        let source = &mut self.sources[n];
        if monotonic() < source.retry_at {
            return false;
        }
        let mut words = Vec::new();
        let is_behind = match source.read(&mut words) {
            Ok(is_behind) => is_behind,
            Err(error) => {
                let instance = source.instance.name();
                warn!(instance, %error, "rules: cannot read the log");
                source.retry_at = monotonic() + RETRY;
                return false;
            }
        };
        let is_caught_up = source.is_caught_up;
        for (running, word) in words {
            if stops.asked() && !is_caught_up {
                // It takes long to explain much. What is told of this again is what was not.
                self.is_broken = true;
                return false;
            }
            self.say(&running, word, is_caught_up);
            if self.events.len() >= TELL_AT_ONCE {
                self.flush(stops);
            }
        }
        self.flush(stops);
        self.sources[n].publish_now_and_then();
        is_behind
    }

    /// Puts a word into an event, if it has not been told.
    fn say(&mut self, running: &Running, word: Word, is_caught_up: bool) {
        let rule = &running.rule;
        let last = self.events.iter().rev().find(|event| event.rule == rule.name);
        let last = last.map_or_else(|| self.words.number_of(&rule.name), |event| event.number);
        if word.number <= last {
            return;
        }
        let entry = word.entry.and_then(|at| self.entry(rule, at));
        let by = rule.value(&word.key);
        let explanation =
            (word.phase == Phase::Firing).then(|| self.explain(rule, word.at, is_caught_up));
        let event = entry.as_ref().map(|entry| entry.event.as_term());
        self.events.push(AlertEvent {
            rule: rule.name.clone(),
            phase: word.phase,
            id: word.id,
            number: word.number,
            at: word.at,
            severity: rule.severity,
            instance: rule.instance.clone(),
            text: rule.words(by.as_ref().map(TermBuf::as_term), word.count, event),
            by,
            count: word.count,
            entry: word.entry,
            firing_at: word.firing_at,
            explanation: explanation.flatten(),
        });
    }

    /// An entry that a rule has taken, if the log still has it.
    fn entry(&self, rule: &Rule, at: Timestamp) -> Option<Entry> {
        let found = read::at(&self.instances[rule.reads()], at, Vec::new());
        self.runtime.block_on(found).ok()?.pop()
    }

    /// What is different in the stretch of an alert.
    fn explain(&mut self, rule: &Rule, at: Timestamp, is_caught_up: bool) -> Option<String> {
        let instance = self.instances.get(&*rule.instance)?;
        let until = at.next();
        let from = Timestamp::from_micros(until.micros().saturating_sub(rule.horizon()));
        let stretches = Stretches::new(from, until, None)?;
        self.runtime.block_on(self.explainer.within(instance, stretches, !is_caught_up))
    }

    /// Records what was said, however long that takes.
    fn flush(&mut self, stops: &Stops) {
        while !self.events.is_empty() && !self.is_broken {
            let events: Vec<_> = self.events.iter().map(AlertEvent::encode).collect();
            match record(&self.told, &self.runtime, stops, &events) {
                Recorded::Stopped => self.is_broken = true,
                Recorded::Done => {
                    self.events.clear();
                    self.learn();
                }
                Recorded::Failed(error) => {
                    warn!(%error, "rules: cannot record an alert");
                    // A part may have been recorded all the same.
                    while let Some(failed) =
                        self.wait(stops).and_then(|()| self.words.learn().err())
                    {
                        warn!(error = %failed, "rules: cannot read what was told");
                    }
                    let words = &self.words;
                    self.events.retain(|event| event.number > words.number_of(&event.rule));
                }
            }
        }
        self.events.clear();
    }

    /// Waits until what failed may be tried again; `None` if the program is to stop.
    fn wait(&mut self, stops: &Stops) -> Option<()> {
        std::thread::park_timeout(RETRY);
        self.is_broken |= stops.asked();
        (!self.is_broken).then_some(())
    }

    /// Shows what fires.
    fn publish(&self) {
        fn show<T>(shared: &Mutex<T>, it: T) {
            *shared.lock().unwrap_or_else(PoisonError::into_inner) = it;
        }
        let Words { summary, firing, .. } = &self.words;
        show(&self.shared.firing, firing.values().map(|(_, alert)| alert.clone()).collect());
        show(&self.shared.silences, summary.silences.clone());
        show(&self.shared.learned, summary.learned);
        self.sources.iter().for_each(Source::publish);
    }

    fn store(&self) {
        if self.is_broken {
            return;
        }
        let asked = self.sources.iter().flat_map(|source| &source.rules);
        let rules = asked.map(|Asked { running, alerts }| StoredRule {
            name: running.rule.name.clone(),
            definition: running.rule.definition(),
            alerts,
        });
        let alive = if self.is_watching { self.told.clock().now() } else { self.alive };
        let words = self.words.summary.clone();
        let stored = Stored { alive, words, rules: rules.collect() };
        let bytes = checkpoint::bytes(MAGIC, &stored);
        if let Err(error) = checkpoint::store(&self.stored, &bytes) {
            warn!(%error, "what is known of rules cannot be stored");
        }
    }
}

/// Where a rule goes on. `latest` is the newest entry of the instance that it looks at; `begins` is where one begins of which
/// nothing is stored.
fn go_on(
    rule: &Rule,
    stored: Option<StoredRule<Alerts>>,
    words: &Words,
    has_lost_words: bool,
    latest: Option<Timestamp>,
    begins: Timestamp,
) -> Alerts {
    let at = match stored {
        Some(StoredRule { definition, alerts, .. }) => {
            // Of a log without anything it was deleted in order.
            let is_lost = latest.is_some_and(|latest| latest < alerts.last());
            if !is_lost && !has_lost_words && definition == rule.definition() {
                return alerts;
            }
            latest.filter(|_| is_lost).map_or(alerts.position(), Timestamp::next)
        }
        None => begins,
    };
    let (number, known) = (words.number_of(&rule.name), words.firing_of(&rule.name));
    Alerts::begin(rule, at, number, known, &words.summary.gaps)
}
