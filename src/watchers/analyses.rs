//! Computes what analyses ask for: a thread that reads logs as anybody would, and writes the rows of each window that is over
//! to an instance of the analysis' name.
//!
//! A window is over when an entry behind its end was read; or, in silence, when the instance it reads promises that no entry
//! will be stamped before that end any more.
//!
//! # Invariants
//!
//! - `exactly_once`: every row is recorded once, whatever happens to the program. What is known of a log follows from its
//!   entries alone, and rows come in an order, so that the last row in the instance says which are there. What is known is
//!   stored now and then, behind the rows that it has told; that only saves time. Where the logs hold less than what was
//!   stored had seen, as after a loss of power, it goes on from the last row instead.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::runtime::Handle;
use tracing::warn;

use super::background::{
    Background, FETCH_BYTES, PERIOD, RETRY, Recorded, STORE_PERIOD, Stops, behind_micros, record,
};
use super::checkpoint;
use crate::analysis::window::{Analysis, Place, Tally, Windows, Working};
use crate::etf::{TermBuf, TermRef};
use crate::instance::calls::Instances;
use crate::instance::{Instance, InstanceConfig};
use crate::metrics::AnalysisStats;
use crate::store::{ReadError, StoreCursor};
use crate::time::{Timestamp, monotonic};

/// What files begin with in which windows are stored.
const MAGIC: &[u8] = b"logmachine analysis 1\n";

/// Rows are recorded when there are so many bytes of them.
const TELL_BYTES: usize = 1 << 20;

/// An analysis, and where what is known of it is stored.
#[derive(Debug)]
pub struct AnalysisConfig {
    /// What is to be computed.
    pub analysis: Analysis,
    /// The file.
    pub stored: PathBuf,
}

impl AnalysisConfig {
    /// Those whose instance is among these.
    pub fn of(configs: &[InstanceConfig], analyses: Vec<Analysis>) -> Vec<Self> {
        let of = |analysis: Analysis| {
            let config = configs.iter().find(|config| config.log.name == analysis.name);
            // Without an instance of its name it is left out.
            let dir = config.map(|config| config.log.dir.join("known")).unwrap_or_default();
            let stored = dir.join(format!("{}.analysis", analysis.name));
            AnalysisConfig { analysis, stored }
        };
        analyses.into_iter().map(of).collect()
    }
}

/// How far an analysis is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Entries stamped before this have been dealt with.
    pub position: Timestamp,
    /// The end of the last window that was told.
    pub told: Option<Timestamp>,
    /// Rows of windows that are not over.
    pub rows: u64,
    /// What was counted.
    pub tally: Tally,
}

/// An analysis that runs.
pub struct Running {
    /// What is computed.
    pub analysis: Analysis,
    from: Arc<Instance>,
    progress: Mutex<Progress>,
}

impl Running {
    /// How far it is.
    pub fn progress(&self) -> Progress {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self, windows: &Windows) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = Progress {
            position: windows.position(),
            told: windows.told(),
            rows: windows.rows() as u64,
            tally: windows.tally(),
        };
    }

    /// By how much what it looks at next is older than the newest entry, in microseconds.
    pub fn behind_micros(&self) -> u64 {
        behind_micros(&self.from, self.progress().position)
    }

    /// Its numbers.
    pub fn stats(&self) -> AnalysisStats {
        let Progress { rows, tally, .. } = self.progress();
        AnalysisStats {
            taken: tally.taken,
            told: tally.rows,
            without_key: tally.without_key,
            other: tally.other,
            missing: tally.missing,
            not_numbers: tally.not_numbers,
            too_large: tally.too_large,
            over_budget: tally.over_budget,
            rows,
            behind: self.behind_micros(),
        }
    }
}

/// All analyses.
pub struct AnalysisWatcher {
    instances: Instances,
    at_work: Mutex<AtWork>,
}

struct AtWork {
    running: Arc<BTreeMap<Arc<str>, Arc<Running>>>,
    /// `None` if there is nothing to do.
    thread: Option<Background>,
}

impl AnalysisWatcher {
    /// Starts. Those are left out that have no instance to read, or to write to.
    pub fn start(configs: Vec<AnalysisConfig>, instances: &Instances) -> Self {
        let at_work = Mutex::new(AtWork::start(configs, instances));
        AnalysisWatcher { instances: instances.clone(), at_work }
    }

    /// Goes on with others. Those that are the same go on where they were. Blocks until what was known is stored.
    pub fn replace(&self, configs: Vec<AnalysisConfig>) {
        let mut at_work = self.at_work.lock().unwrap_or_else(PoisonError::into_inner);
        at_work.stop();
        *at_work = AtWork::start(configs, &self.instances);
    }

    /// Stops, and stores what is known. Blocks until it is stored.
    pub fn stop(&self) {
        self.at_work.lock().unwrap_or_else(PoisonError::into_inner).stop();
    }

    /// Whether there is one of this name.
    pub fn has(&self, name: &str) -> bool {
        self.running().contains_key(name)
    }

    /// The analyses, by name.
    pub fn running(&self) -> Arc<BTreeMap<Arc<str>, Arc<Running>>> {
        self.at_work.lock().unwrap_or_else(PoisonError::into_inner).running.clone()
    }
}

impl AtWork {
    fn start(configs: Vec<AnalysisConfig>, instances: &Instances) -> Self {
        let mut running = BTreeMap::new();
        let mut sources = Vec::new();
        for AnalysisConfig { analysis, stored } in configs {
            let found = (instances.get(&*analysis.name), instances.get(&*analysis.from));
            let (Some(told), Some(from)) = found else {
                warn!(
                    analysis = analysis.name,
                    "it has no instance: it runs from the next start on"
                );
                continue;
            };
            let this =
                Arc::new(Running { analysis, from: from.clone(), progress: Mutex::default() });
            running.insert(told.name().into(), this.clone());
            sources.push(Source {
                outbox: Outbox {
                    running: this.clone(),
                    from: from.clone(),
                    told: told.clone(),
                    runtime: Handle::current(),
                    last: None,
                    rows: Vec::new(),
                    bytes: 0,
                    is_broken: false,
                },
                running: this,
                from: from.clone(),
                stored,
                stored_at: None,
                reading: None,
                retry_at: monotonic(),
            });
        }
        // Before any event can come: that there is this analysis is remembered from here on. What fails is tried again.
        sources.iter_mut().for_each(Source::begin_or_warn);
        let thread = (!sources.is_empty())
            .then(|| Background::start("analyses", |stops| run(sources, &stops)));
        AtWork { running: Arc::new(running), thread }
    }

    fn stop(&self) {
        if let Some(thread) = &self.thread {
            thread.stop();
        }
    }
}

fn run(mut sources: Vec<Source>, stops: &Stops) {
    let mut store_next = monotonic() + STORE_PERIOD;
    while !stops.asked() {
        let mut is_behind = false;
        for source in &mut sources {
            is_behind |= source.pass(stops);
        }
        if monotonic() >= store_next {
            store_next = monotonic() + STORE_PERIOD;
            sources.iter_mut().for_each(Source::store);
        }
        if !is_behind {
            std::thread::park_timeout(PERIOD);
        }
    }
    sources.iter_mut().for_each(Source::store);
}

/// An analysis with what it reads.
struct Source {
    running: Arc<Running>,
    from: Arc<Instance>,
    outbox: Outbox,
    stored: PathBuf,
    /// How far it had read when that was stored.
    stored_at: Option<Timestamp>,
    /// `None` until it has begun.
    reading: Option<Reading>,
    /// Nothing is read before, after it has failed.
    retry_at: Instant,
}

/// A log that is read, and what is known of it.
struct Reading {
    windows: Windows,
    cursor: Box<dyn StoreCursor>,
    working: Working,
    /// Whether all entries that there were had been read at the last look.
    is_caught_up: bool,
}

impl Source {
    /// Begins, or reads a portion; whether there is more.
    fn pass(&mut self, stops: &Stops) -> bool {
        if monotonic() < self.retry_at {
            return false;
        }
        if self.reading.is_none() {
            self.begin_or_warn();
            return true;
        }
        let passed = self.read(stops);
        passed.unwrap_or_else(|error| self.failed(&error))
    }

    fn begin_or_warn(&mut self) {
        if let Err(error) = self.begin() {
            self.failed(&error);
        }
    }

    fn failed(&mut self, error: &ReadError) -> bool {
        warn!(analysis = self.running.analysis.name, %error, "it cannot read a log");
        self.retry_at = monotonic() + RETRY;
        false
    }

    fn begin(&mut self) -> Result<(), ReadError> {
        let analysis = &self.running.analysis;
        let last = self.outbox.last_told()?;
        let stored: Option<(String, Windows)> =
            checkpoint::load(MAGIC, &self.stored, &analysis.name);
        let latest = self.from.log().interval().map(|(_, latest)| latest);
        let now = self.from.clock().now();
        let windows = go_on(analysis, stored, last.as_ref(), latest, now);
        self.running.show(&windows);
        self.outbox.last = last;
        self.reading = Some(Reading {
            cursor: self.from.log().cursor(windows.position(), false),
            windows,
            working: Working::default(),
            is_caught_up: false,
        });
        // It may be long until a window ends that says since when there is this analysis.
        self.store();
        Ok(())
    }

    fn read(&mut self, stops: &Stops) -> Result<bool, ReadError> {
        let analysis = &self.running.analysis;
        let reading = self.reading.as_mut().expect("it has begun");
        let Reading { windows, cursor, working, is_caught_up } = reading;
        let now = self.from.clock().now();
        // Asked before the log is looked at: what is there then is all that there will be.
        let is_due = *is_caught_up && windows.due(analysis).is_some_and(|due| due <= now);
        let over = is_due.then(|| analysis.step(now)).filter(|over| {
            let outstanding = self.from.tail().outstanding(over.previous());
            outstanding.is_none()
        });
        let chunk = cursor.next(FETCH_BYTES)?;
        let outbox = &mut self.outbox;
        let mut tell = |place, row| outbox.push(place, row, stops);
        match &chunk {
            None => {
                cursor.let_go(None);
                if let Some(over) = over {
                    windows.pass(analysis, over, &mut tell);
                }
            }
            Some(chunk) => {
                for entry in chunk.entries() {
                    let event = TermRef::from_walked(entry.event);
                    windows.entry(analysis, working, entry.timestamp, event, &mut tell);
                }
            }
        }
        *is_caught_up = chunk.is_none();
        outbox.flush(stops);
        self.running.show(windows);
        Ok(chunk.is_some())
    }

    /// Stores what is known, if it is more than was stored.
    fn store(&mut self) {
        let Some(Reading { windows, .. }) = &self.reading else { return };
        let is_new = self.stored_at != Some(windows.position());
        if self.outbox.is_broken || !is_new {
            return;
        }
        self.stored_at = Some(windows.position());
        let analysis = &self.running.analysis;
        let bytes = checkpoint::bytes(MAGIC, &(analysis.definition(), windows));
        if let Err(error) = checkpoint::store(&self.stored, &bytes) {
            warn!(analysis = analysis.name, %error, "what is known of it cannot be stored");
        }
    }
}

/// What to begin with: what was stored, as far as it can be used. `last` is the last row that was told, `latest` the newest
/// entry of the instance that is read.
fn go_on(
    analysis: &Analysis,
    stored: Option<(String, Windows)>,
    last: Option<&Place>,
    latest: Option<Timestamp>,
    now: Timestamp,
) -> Windows {
    let told = last.map(|last| last.end);
    match (stored, last) {
        // What was computed so far was something else.
        (Some((definition, windows)), _) if definition != analysis.definition() => {
            Windows::after(windows.ended().max(told.unwrap_or_default()), analysis)
        }
        (Some((_, windows)), last) => {
            // Of a log without anything it was deleted in order.
            let is_lost = latest.is_some_and(|latest| latest < windows.last())
                || told.is_some_and(|told| Some(told) < windows.told());
            match last {
                _ if !is_lost => windows,
                Some(last) => Windows::from_told(last, analysis),
                None => Windows::after(windows.ended(), analysis),
            }
        }
        (None, Some(last)) => Windows::from_told(last, analysis),
        (None, None) if analysis.from_earliest => Windows::after(Timestamp::MIN, analysis),
        (None, None) => Windows::after(now, analysis),
    }
}

/// Rows on their way to the instance.
struct Outbox {
    running: Arc<Running>,
    from: Arc<Instance>,
    /// Where they go.
    told: Arc<Instance>,
    runtime: Handle,
    /// The last row that was there when it was looked at: all before are there, too.
    last: Option<Place>,
    rows: Vec<(Place, TermBuf)>,
    bytes: usize,
    /// Whether a row could not be recorded before the program was to stop.
    is_broken: bool,
}

impl Outbox {
    fn push(&mut self, place: Place, row: TermBuf, stops: &Stops) {
        if self.last.as_ref() >= Some(&place) {
            return;
        }
        self.bytes += row.bytes().len();
        self.rows.push((place, row));
        if self.bytes >= TELL_BYTES {
            self.flush(stops);
        }
    }

    /// Records what there is, however long that takes.
    fn flush(&mut self, stops: &Stops) {
        self.bytes = 0;
        while !self.rows.is_empty() && !self.is_broken {
            let events: Vec<_> = self.rows.iter().map(|(_, row)| row.clone()).collect();
            match record(&self.told, &self.runtime, stops, &events) {
                Recorded::Done => return self.rows.clear(),
                Recorded::Failed(error) => {
                    warn!(analysis = self.told.name(), %error, "cannot record a window");
                }
                Recorded::Stopped => {}
            }
            if stops.asked() {
                self.is_broken = true;
                break;
            }
            std::thread::park_timeout(RETRY);
            // Some of it may have been recorded all the same.
            if let Ok(last) = self.last_told() {
                self.rows.retain(|(place, _)| Some(place) > last.as_ref());
                self.last = last.max(self.last.take());
            }
        }
        self.rows.clear();
    }

    /// The last row in the log. One of a window that cannot be over yet is none of ours, whoever cast it: it would silence
    /// the analysis until then.
    fn last_told(&self) -> Result<Option<Place>, ReadError> {
        let now = self.from.tail().next_stamp().max(self.from.clock().now());
        let mut cursor = self.told.log().backward_cursor(Timestamp::MAX, Timestamp::MIN, false);
        while let Some(chunk) = cursor.next(FETCH_BYTES / 16)? {
            let places = chunk
                .entries()
                .filter_map(|entry| self.running.analysis.place(TermRef::from_walked(entry.event)));
            if let Some(last) = places.filter(|place| place.end <= now).last() {
                return Ok(Some(last));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::window::Key;
    use crate::analysis::window_value::Value;

    const MINUTE: u64 = 60_000_000;

    fn analysis() -> Analysis {
        Analysis {
            name: "candles".to_owned(),
            from: "quotes".to_owned(),
            spec: None,
            by: None,
            window: MINUTE,
            every: MINUTE,
            values: vec![("n".to_owned(), Value::Count)],
            from_earliest: false,
        }
    }

    fn at(minutes: u64) -> Timestamp {
        Timestamp::from_micros(minutes * MINUTE)
    }

    /// What was stored when so many minutes were over.
    fn stored(minutes: u64) -> Windows {
        let mut windows = Windows::after(Timestamp::MIN, &analysis());
        let working = &mut Working::default();
        let entry = at(minutes).previous();
        windows.entry(&analysis(), working, entry, TermRef::NIL, &mut |_, _| {});
        windows.pass(&analysis(), at(minutes), &mut |_, _| {});
        windows
    }

    fn place(minutes: u64) -> Place {
        Place { end: at(minutes), key: Key::Other }
    }

    /// `exactly_once`: each state of the two logs and of the file that a crash can leave.
    #[test]
    fn it_goes_on_where_the_logs_say() {
        let definition = || analysis().definition();
        let full = || Some((definition(), stored(10)));
        let begins = |stored, last: Option<u64>, latest: Option<u64>| {
            let last = last.map(place);
            let latest = latest.map(|minutes| at(minutes).previous());
            go_on(&analysis(), stored, last.as_ref(), latest, at(20)).position()
        };
        // As it was stored; the more so if more was told since.
        assert_eq!(begins(full(), Some(10), Some(10)), at(10));
        assert_eq!(begins(full(), Some(12), Some(12)), at(10));
        // Rows, or entries, are gone that were seen.
        assert_eq!(begins(full(), Some(8), Some(10)), at(7));
        assert_eq!(begins(full(), Some(10), Some(9)), at(9));
        assert_eq!(begins(full(), None, Some(9)), at(10));
        // Deleted in order.
        assert_eq!(begins(full(), None, None), at(10));
        // Nothing was stored, or it cannot be read.
        assert_eq!(begins(None, Some(8), Some(10)), at(7));
        assert_eq!(begins(None, None, Some(10)), at(20));
        // Another analysis of that name.
        assert_eq!(begins(Some((String::new(), stored(10))), Some(12), Some(12)), at(12));
    }
}
