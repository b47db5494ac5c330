//! Global names: which node must know which of our pids, and what to register next.
//!
//! `global` keeps names in every visible node, and after a dropped link or a dead registrar these copies
//! differ and stay different. So the truth is asked for: what each visible node answers to `whereis_name` for all
//! ten numbers goes in, one step towards agreement comes out, and the next survey tells whether it helped.
//!
//! Only answers count. A node that can't tell (it doesn't run `global`, it is frozen, it answers nonsense) is left
//! out of the survey, and nothing is concluded from its silence.
//!
//! Nothing is unregistered to repair a name: registering it through a node that doesn't know it writes it into
//! every node of that cluster, with no moment in which one of them doesn't know it (`global` keeps the old entry
//! until the new one is there). A number is only unregistered once another one is known everywhere.
//!
//! # Invariants
//!
//! - `no_gap`: while we are somewhere known under some number, no step takes away the only one.
//! - `not_ours_to_take`: no step touches a number that some node says is somebody else's.
//!
//! Behaviour of `global`: `kernel`'s reference manual and `global.erl`; its partial failures were measured on OTP 23
//! to 29.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::time::{Duration, Instant};

use super::NodeName;

#[cfg(test)]
mod tests;

/// Numbers there are for an instance's name, as the original had it.
pub const ALIASES: u8 = 10;

/// How long both are kept when a lower number takes the place of a higher one: who has looked the higher one up
/// has this long to look again.
pub const OVERLAP: Duration = Duration::from_secs(60);

/// Surveys in a row in which a node does not know a name that others know, before that is repaired: a node
/// that just joined is still learning.
const PATIENCE: u32 = 2;

/// The same for a node that knows a process of an earlier life of ours: its own monitor tells it soon.
const STALE_PATIENCE: u32 = 10;

/// How long after a link was lost its node counts as having forgotten us, rather than as still learning.
const LINK_LOST: Duration = Duration::from_secs(60);

/// How long a step is waited for before another is taken beside it. `global` locks a whole cluster for each: steps
/// at once slow each other down, but one that hangs in a cluster with a frozen node must not hold up another cluster.
const STAGGER: Duration = Duration::from_secs(2);

/// How long a number that `global` took from us is not sought: it says so before all nodes know.
const DISOWNED: Duration = Duration::from_secs(5);

/// Whom a visible node knows under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Nobody.
    Nobody,
    /// Our process.
    Ours,
    /// A process of an earlier life of our node.
    Stale,
    /// Somebody else's.
    Other,
}

/// Whom a visible node knows under each number.
pub type Holders = [Holder; ALIASES as usize];

/// A number at a node.
type NumberAt = (NodeName, u8);

/// The next step towards one name that every visible node knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameStep {
    /// Nothing to do until something happens, or until [`Alias::deadline`].
    Rest,
    /// Nothing to do before another survey, soon.
    Wait,
    /// Register a number through a node that knows nobody under it.
    Register(u8, NodeName),
    /// Put our process in the place of one of an earlier life, through a node that knows that one.
    Replace(u8, NodeName),
    /// Give a number up, through a node that knows it as ours.
    Unregister(u8, NodeName),
    /// All ten are somebody else's.
    Exhausted,
}

impl NameStep {
    /// The node through which it is taken and the number, if there is something to take.
    fn place(&self) -> Option<NumberAt> {
        match self {
            NameStep::Register(number, via)
            | NameStep::Replace(number, via)
            | NameStep::Unregister(number, via) => Some((via.clone(), *number)),
            NameStep::Rest | NameStep::Wait | NameStep::Exhausted => None,
        }
    }
}

/// The alias of one instance: a number that is to stay, others on their way in or out, and how far the cluster
/// agrees.
#[derive(Debug, Default)]
pub struct Alias {
    takeover: Option<Duration>,
    /// The number that is sought, or held and to stay.
    number: Option<u8>,
    /// Every node of a survey has known it as ours, and it was not lost since.
    settled: bool,
    /// Higher numbers that are ours too, and when each is given up.
    spares: BTreeMap<u8, Instant>,
    /// Since when every survey has said that nobody has it.
    free_since: [Option<Instant>; ALIASES as usize],
    /// Until when a number is not sought.
    disowned: [Option<Instant>; ALIASES as usize],
    /// Surveys in a row in which a node did not know a number that others knew.
    unaware: HashMap<NumberAt, u32>,
    /// When the link to a node was lost.
    links_lost: HashMap<NodeName, Instant>,
    /// Nodes through which a step is being taken, and since when.
    under_way: HashMap<NodeName, Instant>,
    /// Where a step was taken and no survey has shown yet that it helped.
    tried: Pauses<NumberAt>,
}

/// What a survey says of one number.
#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    ours: bool,
    other: bool,
    /// Nobody has it, at any node.
    free: bool,
}

impl Standing {
    fn of(number: u8, survey: &[(NodeName, Holders)]) -> Self {
        let mut holders = survey.iter().map(|(_, holders)| holders[usize::from(number)]);
        Standing {
            ours: holders.clone().any(|holder| holder == Holder::Ours),
            other: holders.clone().any(|holder| holder == Holder::Other),
            free: holders.all(|holder| holder == Holder::Nobody),
        }
    }
}

impl Alias {
    /// Seeks the lowest free number; moves to a lower one that has been free for `takeover`.
    pub fn new(takeover: Option<Duration>) -> Self {
        Alias { takeover, ..Alias::default() }
    }

    /// The number that is to stay, once every visible node that can tell has known it as ours.
    pub fn held(&self) -> Option<u8> {
        self.number.filter(|_| self.settled)
    }

    /// `global_name_conflict` told us that a number went to another process.
    pub fn conflict(&mut self, now: Instant, number: u8) {
        if let Some(disowned) = self.disowned.get_mut(usize::from(number)) {
            *disowned = Some(now + DISOWNED);
        }
    }

    /// The link to a visible node was lost: when it is back, it has forgotten us.
    pub fn link_lost(&mut self, now: Instant, node: NodeName) {
        self.links_lost.insert(node, now + LINK_LOST);
    }

    /// A node connected: what failed with it before says nothing any more.
    pub fn link_up(&mut self, node: &NodeName) {
        self.tried.end_all(|(via, _)| via == node);
    }

    /// A step is over. Whether it helped is for the next survey to tell; until then it is not repeated at once.
    pub fn step_over(&mut self, now: Instant, step: &NameStep) {
        if let Some(place) = step.place() {
            self.under_way.remove(&place.0);
            self.tried.begin(now, place);
        }
    }

    /// When the next survey may have to say something new though nothing happens.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let takeovers =
            self.free_since.iter().flatten().filter_map(|at| Some(*at + self.takeover?));
        let spares = self.spares.values().copied();
        takeovers.chain(spares).chain(self.tried.next()).filter(|at| *at > now).min()
    }

    /// Decides on what each visible node that can tell knows. A step that is given out is to be taken, and
    /// [`Alias::step_over`] called.
    pub fn decide(&mut self, now: Instant, survey: &[(NodeName, Holders)]) -> NameStep {
        let step = self.next_step(now, survey);
        let Some((via, _)) = step.place() else { return step };
        if !self.under_way.values().all(|begun| now >= *begun + STAGGER) {
            return NameStep::Rest;
        }
        self.under_way.insert(via, now);
        step
    }

    fn next_step(&mut self, now: Instant, survey: &[(NodeName, Holders)]) -> NameStep {
        self.links_lost.retain(|_, until| now < *until);
        self.tried.forget_old(now);
        self.unaware.retain(|(node, _), _| survey.iter().any(|(known, _)| known == node));
        for disowned in &mut self.disowned {
            *disowned = disowned.filter(|until| now < *until);
        }
        if survey.is_empty() {
            self.free_since = Default::default();
            return NameStep::Rest;
        }
        let standings: [Standing; ALIASES as usize] =
            std::array::from_fn(|number| Standing::of(number.try_into().expect("ten"), survey));
        let standing = |number: u8| standings[usize::from(number)];
        let Some(number) = self.choose(&standings) else {
            let all_taken = standings.iter().all(|standing| standing.other);
            return if all_taken { NameStep::Exhausted } else { NameStep::Wait };
        };
        self.watch_lower(now, number, &standings);
        let step = self.spread(number, survey);
        let is_everywhere = step.is_none();
        self.settled = is_everywhere || (self.settled && standing(number).ours);
        let mut rest = NameStep::Rest;
        match step {
            Some(step) if step.place().is_some() => return step,
            Some(step) => rest = step,
            None => {}
        }
        if !self.settled {
            return rest;
        }
        self.spares.retain(|spare, _| *spare != number && standings[usize::from(*spare)].ours);
        for other in 0..ALIASES {
            let Standing { ours, other: taken, .. } = standing(other);
            if other == number || !ours || taken || self.disowned[usize::from(other)].is_some() {
                continue;
            }
            let step = if other > number {
                let until = *self.spares.entry(other).or_insert(now + OVERLAP);
                if now >= until && is_everywhere {
                    // no_gap: `number` stays.
                    self.give_up(other, survey)
                } else {
                    self.spread(other, survey)
                }
            } else {
                let step = self.spread(other, survey);
                if step.is_none() {
                    self.number = Some(other);
                    self.spares.insert(number, now + OVERLAP);
                    return NameStep::Wait;
                }
                step
            };
            match step {
                Some(step) if step.place().is_some() => return step,
                Some(NameStep::Wait) => rest = NameStep::Wait,
                _ => {}
            }
        }
        self.take_lower(now, number, survey).unwrap_or(rest)
    }

    /// The number to stay with: the one there is, else one that is ours already, else the first that could be.
    fn choose(&mut self, standings: &[Standing; ALIASES as usize]) -> Option<u8> {
        let could_be = |number: &u8| {
            let at = usize::from(*number);
            !standings[at].other && self.disowned[at].is_none()
        };
        if let Some(number) = self.number.filter(could_be) {
            return Some(number);
        }
        let is_ours = |number: &u8| standings[usize::from(*number)].ours;
        let candidates = (0..ALIASES).filter(could_be);
        let chosen = candidates.clone().find(is_ours).or_else(|| candidates.clone().next());
        self.settled = false;
        self.number = chosen;
        chosen
    }

    /// Notes since when lower numbers are free.
    fn watch_lower(&mut self, now: Instant, number: u8, standings: &[Standing; ALIASES as usize]) {
        for (at, since) in self.free_since.iter_mut().enumerate() {
            let is_lower = at < usize::from(number) && self.disowned[at].is_none();
            *since = (is_lower && standings[at].free).then(|| since.unwrap_or(now));
        }
    }

    /// Registers a lower number that has been free for long enough.
    fn take_lower(
        &self,
        now: Instant,
        number: u8,
        survey: &[(NodeName, Holders)],
    ) -> Option<NameStep> {
        let takeover = self.takeover?;
        let is_due = |lower: &u8| {
            self.free_since[usize::from(*lower)].is_some_and(|since| now >= since + takeover)
        };
        let lower = (0..number).find(is_due)?;
        let (via, _) = survey.iter().find(|(node, _)| self.may_try(node, lower))?;
        Some(NameStep::Register(lower, via.clone()))
    }

    /// Gives a number up at the next node that knows it as ours.
    fn give_up(&self, number: u8, survey: &[(NodeName, Holders)]) -> Option<NameStep> {
        let knows = |holders: &Holders| holders[usize::from(number)] == Holder::Ours;
        let mut nodes = survey.iter().filter(|(_, holders)| knows(holders));
        let found = nodes.find(|(node, _)| self.may_try(node, number));
        found.map(|(node, _)| NameStep::Unregister(number, node.clone()))
    }

    /// What makes every node of the survey know `number` as ours; `None` if all do. [`NameStep::Rest`] if something is
    /// being done already, or failed and has to wait.
    fn spread(&mut self, number: u8, survey: &[(NodeName, Holders)]) -> Option<NameStep> {
        let at = usize::from(number);
        let is_known = survey.iter().any(|(_, holders)| holders[at] == Holder::Ours);
        let mut left = None;
        let mut replace = None;
        for (node, holders) in survey {
            let key = (node.clone(), number);
            let holder = holders[at];
            if holder == Holder::Ours {
                self.unaware.remove(&key);
                self.tried.end(&key);
                continue;
            }
            let surveys = self.unaware.entry(key).or_default();
            *surveys = surveys.saturating_add(1);
            let is_due = match holder {
                Holder::Stale => *surveys >= STALE_PATIENCE,
                _ => !is_known || *surveys >= PATIENCE || self.links_lost.contains_key(node),
            };
            if !is_due {
                left = Some(NameStep::Wait);
            } else if !self.may_try(node, number) {
                left = left.or(Some(NameStep::Rest));
            } else if holder == Holder::Stale {
                replace = replace.or_else(|| Some(NameStep::Replace(number, node.clone())));
            } else {
                return Some(NameStep::Register(number, node.clone()));
            }
        }
        replace.or(left)
    }

    fn may_try(&self, node: &NodeName, number: u8) -> bool {
        !self.under_way.contains_key(node) && !self.tried.is_in(&(node.clone(), number))
    }
}

/// What is left in peace for a while, each time twice as long.
#[derive(Debug)]
pub struct Pauses<K>(HashMap<K, Pause>);

#[derive(Debug)]
struct Pause {
    until: Instant,
    length: Duration,
    is_over: bool,
}

impl<K> Default for Pauses<K> {
    fn default() -> Self {
        Pauses(HashMap::new())
    }
}

/// The first pause.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// The longest one, and how long it is remembered after it is over.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

impl<K: Eq + Hash> Pauses<K> {
    /// The first pause, or the next.
    pub fn begin(&mut self, now: Instant, what: K) {
        let length = match self.0.get(&what) {
            Some(pause) => (pause.length * 2).min(LONGEST_PAUSE),
            None => FIRST_PAUSE,
        };
        self.0.insert(what, Pause { until: now + length, length, is_over: false });
    }

    /// None is deserved any more.
    pub fn end(&mut self, what: &K) {
        self.0.remove(what);
    }

    fn end_all(&mut self, whose: impl Fn(&K) -> bool) {
        self.0.retain(|what, _| !whose(what));
    }

    /// Whether there is a pause, as of the last [`Pauses::forget_old`].
    pub fn is_in(&self, what: &K) -> bool {
        self.0.get(what).is_some_and(|pause| !pause.is_over)
    }

    /// When the next pause ends.
    pub fn next(&self) -> Option<Instant> {
        self.0.values().filter(|pause| !pause.is_over).map(|pause| pause.until).min()
    }

    /// Ends the pauses whose time has come, and forgets those that ended long ago.
    pub fn forget_old(&mut self, now: Instant) {
        self.0.retain(|_, pause| now < pause.until + LONGEST_PAUSE);
        for pause in self.0.values_mut() {
            pause.is_over = now >= pause.until;
        }
    }
}
