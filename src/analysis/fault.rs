//! Faults: what keeps breaking, since when, in which versions, and what people decided about it.
//!
//! Everything here follows from the entries of logs and their stamps, so whoever reads the same logs again comes to the same
//! faults.
//!
//! ```text
//!                 24 h                 decided               later, or in a version it was not seen in before
//!   new ───────────────────▶ ongoing ──────────▶ resolved ─────────────▶ regressed ────▶ ongoing
//!                               ▲                                            24 h
//!                               └── expired ── muted ◀── decided
//! ```
//!
//! # Invariants
//!
//! - `bounded`: a table has at most so many faults; the one that was least recently seen goes.
//! - `once`: a fault is told of once as new, and once as regressed after each time it was resolved.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::fingerprint::{FaultId, VERSION};
use super::kind::{Kind, Level};
use super::occurrence::Occurrence;
use super::series::Series;
use crate::time::Timestamp;

/// So many faults of an instance are known at once.
pub const MAX_FAULTS: usize = 10_000;

/// For so long a fault is new, or regressed.
pub const NEWS: Duration = Duration::from_secs(24 * 3600);

/// By how much the stamps of an instance may be ahead of those of decisions; what is further ahead was made up.
const MAX_LEAD: Duration = Duration::from_secs(24 * 3600);

/// The most nodes, and the most modules, that are listed of a fault.
const MAX_LISTED: usize = 32;

/// The most versions that are remembered of a fault.
const MAX_VERSIONS: usize = 64;

/// So many timestamps of entries are kept: the first one and the latest.
const MAX_SAMPLES: usize = 5;

/// The longest title in bytes.
const MAX_TITLE_BYTES: usize = 300;

/// What is known, or was decided, about a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum State {
    /// It was first seen within the last 24 hours.
    New,
    /// It is known for longer.
    Ongoing,
    /// It came back within the last 24 hours, after it had been resolved.
    Regressed,
    /// Somebody says that it is mended.
    Resolved,
    /// Somebody does not want to hear of it for a time.
    Muted,
}

impl State {
    /// All of them.
    pub const ALL: [State; 5] =
        [State::New, State::Ongoing, State::Regressed, State::Resolved, State::Muted];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            State::New => "new",
            State::Ongoing => "ongoing",
            State::Regressed => "regressed",
            State::Resolved => "resolved",
            State::Muted => "muted",
        }
    }

    /// The state of this name.
    pub fn named(name: &str) -> Option<Self> {
        State::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A version of an application.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Version {
    /// The application's name.
    pub application: String,
    /// As its `.app` file has it.
    pub version: String,
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// What it is known by.
    pub id: FaultId,
    /// The version of the algorithm that told it from others.
    pub algorithm: u32,
    /// What people call it, on one line.
    pub title: String,
    /// What its first report was about.
    pub kind: Kind,
    /// The severest of its levels.
    pub level: Level,
    /// The modules of the team's own where it comes up.
    pub modules: BTreeSet<String>,
    /// The stamp of its first occurrence.
    pub first_seen: Timestamp,
    /// The stamp of its last one.
    pub last_seen: Timestamp,
    /// How often it occurred.
    pub count: u64,
    /// How often on which node; of further nodes it is not known.
    pub nodes: BTreeMap<String, u64>,
    /// The version of its application when it was first seen, where that is known.
    pub first_version: Option<Version>,
    /// The same when it was last seen.
    pub last_version: Option<Version>,
    /// All versions it was seen in.
    pub versions: BTreeSet<Version>,
    /// Timestamps of entries: the first one, and the latest.
    pub samples: Vec<Timestamp>,
    /// By minute, for 24 hours.
    pub minutes: Series,
    /// By hour, for 30 days.
    pub hours: Series,
    /// The state it was last given.
    state: State,
    /// Since when.
    pub since: Timestamp,
    /// Who decided that, if somebody did.
    pub by: Option<String>,
    /// Until when it is muted.
    pub until: Option<Timestamp>,
    /// Whether it is resolved in versions that it was not seen in.
    pub in_next_version: bool,
}

/// Something that is told of a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// It was never seen before.
    New,
    /// It had been resolved.
    Regressed {
        /// Since when.
        resolved: Timestamp,
    },
}

/// What somebody decided about a fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Which one.
    pub id: FaultId,
    /// The new state: ongoing, resolved or muted.
    pub state: State,
    /// Who.
    pub by: String,
    /// Until when it is muted; `None`: until somebody decides otherwise.
    pub until: Option<Timestamp>,
    /// Whether it is resolved in the next version only.
    pub in_next_version: bool,
    /// The last occurrence that was known of; its stamp may be ahead of the decision's, which another instance gave.
    pub seen: Option<Timestamp>,
}

impl Fault {
    fn new(id: FaultId, occurrence: &Occurrence) -> Self {
        let Occurrence { at, evidence, .. } = occurrence;
        let mut title = evidence.title();
        title.truncate(title.floor_char_boundary(MAX_TITLE_BYTES));
        Fault {
            id,
            algorithm: VERSION,
            title,
            kind: evidence.kind,
            level: evidence.level,
            modules: BTreeSet::new(),
            first_seen: *at,
            last_seen: *at,
            count: 0,
            nodes: BTreeMap::new(),
            first_version: None,
            last_version: None,
            versions: BTreeSet::new(),
            samples: Vec::new(),
            minutes: Series::minutes(),
            hours: Series::hours(),
            state: State::New,
            since: *at,
            by: None,
            until: None,
            in_next_version: false,
        }
    }

    /// Its state at a moment.
    pub fn state(&self, now: Timestamp) -> State {
        let is_old = |since: Timestamp| now > since.saturating_add(NEWS);
        match self.state {
            State::New | State::Regressed if is_old(self.since) => State::Ongoing,
            State::Muted if self.until.is_some_and(|until| now >= until) => State::Ongoing,
            state => state,
        }
    }

    fn occurred(&mut self, occurrence: &Occurrence, version: Option<Version>) -> Option<News> {
        let at = occurrence.at;
        self.count += 1;
        self.last_seen = self.last_seen.max(at);
        self.level = self.level.max(occurrence.evidence.level);
        if let Some(node) = &occurrence.node {
            if let Some(count) = self.nodes.get_mut(node) {
                *count += 1;
            } else if self.nodes.len() < MAX_LISTED {
                self.nodes.insert(node.clone(), 1);
            }
        }
        if let Some(module) = occurrence.evidence.module()
            && self.modules.len() < MAX_LISTED
            && !self.modules.contains(module)
        {
            self.modules.insert(module.to_owned());
        }
        if self.samples.len() == MAX_SAMPLES {
            self.samples.remove(1);
        }
        self.samples.push(at);
        self.minutes.count(at);
        self.hours.count(at);
        let is_known_version =
            version.as_ref().is_none_or(|version| self.versions.contains(version));
        if let Some(version) = version {
            self.first_version.get_or_insert_with(|| version.clone());
            if !is_known_version && self.versions.len() < MAX_VERSIONS {
                self.versions.insert(version.clone());
            }
            self.last_version = Some(version);
        }
        let is_back = self.state == State::Resolved
            && at > self.since
            && !(self.in_next_version && is_known_version);
        is_back.then(|| self.regressed(at))
    }

    fn regressed(&mut self, at: Timestamp) -> News {
        let resolved = std::mem::replace(&mut self.since, at);
        self.state = State::Regressed;
        self.by = None;
        self.in_next_version = false;
        News::Regressed { resolved }
    }

    fn decided(&mut self, at: Timestamp, decision: &Decision) -> Option<News> {
        let seen = decision.seen.map_or(at, |seen| seen.min(at.saturating_add(MAX_LEAD)));
        let at = at.max(seen);
        self.state = decision.state;
        self.since = at;
        self.by = Some(decision.by.clone());
        self.until = decision.until;
        self.in_next_version = decision.in_next_version;
        // It came back before the word of it had got here.
        let is_back =
            decision.state == State::Resolved && !decision.in_next_version && self.last_seen > at;
        is_back.then(|| self.regressed(self.last_seen))
    }
}

/// The faults of an instance.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Faults {
    by_id: HashMap<FaultId, Fault>,
    /// The one that was least recently seen first.
    by_age: BTreeSet<(Timestamp, FaultId)>,
    /// How many went because there were too many.
    pub forgotten: u64,
}

impl Faults {
    /// Counts an occurrence of the fault `id`, in the version of its application, where that is known; what is to be told
    /// of it.
    pub fn occurred(
        &mut self,
        id: FaultId,
        occurrence: &Occurrence,
        version: Option<Version>,
    ) -> Option<News> {
        let is_new = !self.by_id.contains_key(&id);
        if is_new && self.by_id.len() >= MAX_FAULTS {
            let (_, oldest) = self.by_age.pop_first().expect("as many as faults");
            self.by_id.remove(&oldest);
            self.forgotten += 1;
        }
        let fault = self.by_id.entry(id).or_insert_with(|| Fault::new(id, occurrence));
        let before = fault.last_seen;
        let news = fault.occurred(occurrence, version);
        if !is_new {
            self.by_age.remove(&(before, id));
        }
        self.by_age.insert((fault.last_seen, id));
        if is_new { Some(News::New) } else { news }
    }

    /// Takes up what was decided at a moment; what is to be told of it. A decision about a fault that is not known is none.
    pub fn decided(&mut self, at: Timestamp, decision: &Decision) -> Option<News> {
        self.by_id.get_mut(&decision.id)?.decided(at, decision)
    }

    /// The fault with an id.
    pub fn get(&self, id: FaultId) -> Option<&Fault> {
        self.by_id.get(&id)
    }

    /// All of them, the one that was last seen first.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.by_age.iter().rev().map(|(_, id)| &self.by_id[id])
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}
