//! Follows the entries of one instance, and keeps its faults.
//!
//! What comes out follows from the entries, the decisions and the deployments, each with its stamp; it does not matter when
//! they are read, nor in which portions. So a tracker that was stored at some entry goes on there after a crash.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::fault::{Decision, Faults, News};
use super::fault_event::FaultEvent;
use super::fingerprint::{Evidence, FaultId};
use super::grouping::{Error, Grouping};
use super::occurrence::{Deaths, Occurrence};
use super::template::Kinds;
use crate::etf::TermBuf;
use crate::time::Timestamp;

/// The faults of one instance, and how far its log was read for them.
#[derive(Debug, Serialize, Deserialize)]
pub struct Tracker {
    instance: String,
    /// Entries stamped before this have been dealt with.
    position: Timestamp,
    /// Entries of the instance `faults` stamped before this are known.
    learned: Timestamp,
    deaths: Deaths,
    faults: Faults,
    /// Texts that were logged.
    texts: Kinds,
    /// What was decided, and is to be taken up when the entries of that time have been dealt with.
    decisions: VecDeque<(Timestamp, Decision)>,
    /// What was told already, by who stopped before it could be stored: how often, of a fault, and since when it was resolved.
    /// It is needed until the entries that led to it have been dealt with again, so it is stored, too.
    told: HashMap<(FaultId, Option<Timestamp>), u32>,
    /// How many entries were errors.
    pub errors: u64,
}

impl Tracker {
    /// Begins with the entry stamped `from` or later.
    pub fn new(instance: &str, from: Timestamp) -> Self {
        Tracker {
            instance: instance.to_owned(),
            position: from,
            learned: Timestamp::MIN,
            deaths: Deaths::default(),
            faults: Faults::default(),
            texts: Kinds::default(),
            decisions: VecDeque::new(),
            told: HashMap::new(),
            errors: 0,
        }
    }

    /// Entries stamped before this have been dealt with.
    pub const fn position(&self) -> Timestamp {
        self.position
    }

    /// The faults.
    pub const fn faults(&self) -> &Faults {
        &self.faults
    }

    /// The instance.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// The fault that an event tells of by itself, if it is known. Of the reports of one death that is true of those that say
    /// where it came up.
    pub fn fault_of(&self, evidence: &Evidence) -> Option<FaultId> {
        let mut text = evidence.text();
        if let Some(words) = evidence.words() {
            // One of no kind that is known would be of its own.
            text = format!("{text}|{}", self.texts.find(&text, words).unwrap_or(words));
        }
        let id = FaultId::of(&self.instance, &text);
        self.faults.get(id).map(|fault| fault.id)
    }

    /// Makes what is not stored of it.
    pub fn restore(&mut self) {
        self.deaths.restore();
        self.texts.restore();
    }

    /// Entries of the instance `faults` stamped before this are known.
    pub const fn learned(&self) -> Timestamp {
        self.learned
    }

    /// Learns of an entry of the instance `faults`, in their order, if it does not know it.
    pub fn learn(&mut self, at: Timestamp, event: &FaultEvent) {
        if at < self.learned {
            return;
        }
        match event {
            FaultEvent::Decision(decision) => self.decisions.push_back((at, decision.clone())),
            FaultEvent::News(id, news) => *self.told.entry((*id, key(news))).or_default() += 1,
        }
    }

    /// There are no others stamped before `to`.
    pub fn has_learned(&mut self, to: Timestamp) {
        self.learned = self.learned.max(to);
    }

    /// When the first thing was decided that is still to be taken up.
    pub fn undecided(&self) -> Option<Timestamp> {
        self.decisions.front().map(|(at, _)| *at)
    }

    /// Deals with an entry that is an error or not, and with all before it that are none; `tell` gets events for the instance
    /// `faults`. Costs some 2 µs for an error.
    pub fn entry(
        &mut self,
        at: Timestamp,
        error: Option<Error>,
        grouping: &Grouping,
        tell: &mut impl FnMut(TermBuf),
    ) {
        self.position = at.next();
        let Some(Error { node, evidence }) = error else { return };
        self.errors += 1;
        let mut filed = Vec::new();
        self.deaths.report(at, node.as_deref(), evidence, &mut |occurrence| filed.push(occurrence));
        filed.into_iter().for_each(|occurrence| self.file(&occurrence, grouping, tell));
    }

    /// All entries that there are have been dealt with, and none stamped before `now` will come any more.
    pub fn pass(&mut self, now: Timestamp, grouping: &Grouping, tell: &mut impl FnMut(TermBuf)) {
        let mut filed = Vec::new();
        self.deaths.pass(now, &mut |occurrence| filed.push(occurrence));
        filed.into_iter().for_each(|occurrence| self.file(&occurrence, grouping, tell));
        self.decide(Timestamp::MAX, tell);
        if self.deaths.next_deadline().is_none() {
            // What it was told of is known by now, or lost.
            self.told.clear();
        }
    }

    fn file(
        &mut self,
        occurrence: &Occurrence,
        grouping: &Grouping,
        tell: &mut impl FnMut(TermBuf),
    ) {
        self.decide(occurrence.at, tell);
        let Occurrence { at, node, evidence } = occurrence;
        let mut text = evidence.text();
        if let Some(words) = evidence.words() {
            text = format!("{text}|{}", self.texts.learn(&text, words));
        }
        let id = FaultId::of(&self.instance, &text);
        let version = grouping.inventory().version(node.as_deref(), evidence.module(), *at);
        if let Some(news) = self.faults.occurred(id, occurrence, version) {
            self.tell(id, node.as_deref(), &news, tell);
        }
    }

    /// Takes up what was decided before `at`.
    fn decide(&mut self, at: Timestamp, tell: &mut impl FnMut(TermBuf)) {
        while let Some((when, _)) = self.decisions.front()
            && *when < at
        {
            let (when, decision) = self.decisions.pop_front().expect("it was seen");
            if let Some(news) = self.faults.decided(when, &decision) {
                self.tell(decision.id, None, &news, tell);
            }
        }
    }

    fn tell(
        &mut self,
        id: FaultId,
        node: Option<&str>,
        news: &News,
        tell: &mut impl FnMut(TermBuf),
    ) {
        if let Entry::Occupied(mut told) = self.told.entry((id, key(news))) {
            *told.get_mut() -= 1;
            if *told.get() == 0 {
                told.remove();
            }
            return;
        }
        let fault = self.faults.get(id).expect("it occurred");
        tell(fault.tell(&self.instance, node, news));
    }
}

/// Since when the fault was resolved that is told of; `None` for a new one.
const fn key(news: &News) -> Option<Timestamp> {
    match news {
        News::New => None,
        News::Regressed { resolved } => Some(*resolved),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::fault::{MAX_FAULTS, NEWS, State};
    use crate::etf::text;

    const SECOND: u64 = 1_000_000;

    /// An error that function `f` of `shop` logged.
    fn error(function: &str) -> TermBuf {
        let event = format!(
            "{{log,'a@host',error,{{\"failed: ~p\",[1]}},#{{mfa => {{shop,{function},1}}}}}}"
        );
        text::parse(&event).unwrap()
    }

    /// A tracker, and what it has told.
    struct Told {
        tracker: Tracker,
        grouping: Grouping,
        told: Vec<TermBuf>,
        /// The last occurrence that whoever decides knows of.
        seen: Option<u64>,
    }

    impl Told {
        fn new() -> Self {
            let tracker = Tracker::new("error_logger", Timestamp::MIN);
            Told { tracker, grouping: Grouping::default(), told: Vec::new(), seen: None }
        }

        fn entry(&mut self, seconds: u64, function: &str) {
            let at = Timestamp::from_micros(seconds * SECOND);
            let tell = &mut |event| self.told.push(event);
            let error = self.grouping.error(error(function).as_term());
            self.tracker.entry(at, error, &self.grouping, tell);
        }

        fn decide(&mut self, seconds: u64, id: FaultId, state: State) {
            let by = "ann".to_owned();
            let until = Some(Timestamp::from_micros((seconds + 100) * SECOND));
            let until = until.filter(|_| state == State::Muted);
            let seen = self.seen.map(|seconds| Timestamp::from_micros(seconds * SECOND));
            let decision = Decision { id, state, by, until, in_next_version: false, seen };
            let at = Timestamp::from_micros(seconds * SECOND);
            self.tracker.learn(at, &FaultEvent::Decision(decision));
        }

        fn pass(&mut self, seconds: u64) {
            let tell = &mut |event| self.told.push(event);
            self.tracker.pass(Timestamp::from_micros(seconds * SECOND), &self.grouping, tell);
        }

        fn only(&self) -> FaultId {
            self.tracker.faults().iter().next().unwrap().id
        }

        fn state(&self, seconds: u64) -> State {
            let fault = self.tracker.faults().get(self.only()).unwrap();
            fault.state(Timestamp::from_micros(seconds * SECOND))
        }

        fn states(&self) -> Vec<String> {
            let state = |event: &TermBuf| {
                let [_, _, state, _] = event.as_term().as_tuple().unwrap();
                state.as_atom().unwrap().to_str().into_owned()
            };
            self.told.iter().map(state).collect()
        }
    }

    #[test]
    fn a_fault_goes_from_state_to_state_and_is_told_of_once_each() {
        let day = NEWS.as_secs();
        let mut told = Told::new();
        told.entry(1000, "f");
        told.entry(1001, "f");
        assert_eq!((told.state(1001), told.state(1000 + day + 1)), (State::New, State::Ongoing));
        told.decide(1002, told.only(), State::Resolved);
        told.pass(1003);
        assert_eq!(told.state(1003), State::Resolved);
        told.entry(1004, "f");
        told.entry(1005, "f");
        assert_eq!(
            (told.state(1005), told.state(1004 + day + 1)),
            (State::Regressed, State::Ongoing)
        );
        told.decide(1006, told.only(), State::Muted);
        told.pass(1007);
        told.entry(1008, "f");
        assert_eq!((told.state(1008), told.state(1107)), (State::Muted, State::Ongoing));
        assert_eq!(told.states(), ["new", "regressed"]);
        assert_eq!(told.tracker.faults().iter().next().unwrap().count, 5);
    }

    /// The word of a decision takes its time; what came meanwhile is not forgotten.
    #[test]
    fn what_comes_back_before_the_decision_is_known_has_come_back() {
        let mut told = Told::new();
        told.entry(1000, "f");
        told.entry(1002, "f");
        told.decide(1001, told.only(), State::Resolved);
        told.pass(1003);
        assert_eq!(
            (told.state(1003), told.states()),
            (State::Regressed, vec!["new".into(), "regressed".into()])
        );
    }

    /// Stamps of one instance may be ahead of another's, where decisions are.
    #[test]
    fn what_was_known_when_it_was_resolved_has_not_come_back() {
        let mut told = Told::new();
        told.entry(1000, "f");
        told.entry(1008, "f");
        told.seen = Some(1008);
        told.decide(1001, told.only(), State::Resolved);
        told.pass(1003);
        assert_eq!(told.state(1009), State::Resolved);
        told.entry(1010, "f");
        assert_eq!((told.state(1010), told.states().len()), (State::Regressed, 2));
    }

    /// Anybody may write a decision.
    #[test]
    fn what_is_to_be_seen_in_a_hundred_years_hides_nothing_for_long() {
        let day = NEWS.as_secs();
        let mut told = Told::new();
        told.entry(1000, "f");
        told.seen = Some(4_000_000_000);
        told.decide(1001, told.only(), State::Resolved);
        told.entry(1002 + day, "f");
        assert_eq!(told.state(1002 + day), State::Regressed);
    }

    /// `once`: stored at any entry, and read again from there with what was told since, it comes to the same.
    #[test]
    fn whoever_goes_on_from_what_was_stored_tells_nothing_twice() {
        let script = |told: &mut Told, from: u64| {
            for second in from..1040 {
                told.entry(second, if second % 3 == 0 { "f" } else { "g" });
                if second % 10 == 7 {
                    let id = told.only();
                    told.decide(second, id, State::Resolved);
                }
            }
        };
        let mut whole = Told::new();
        script(&mut whole, 1000);
        assert!(whole.told.len() > 4, "{:?}", whole.states());
        for stop in 1001..1040 {
            let mut first = Told::new();
            for second in 1000..stop {
                first.entry(second, if second % 3 == 0 { "f" } else { "g" });
                if second % 10 == 7 {
                    let id = first.only();
                    first.decide(second, id, State::Resolved);
                }
            }
            let stored = postcard::to_allocvec(&first.tracker).unwrap();
            // It has gone on and told all, and was killed before it could store that.
            let mut tracker: Tracker = postcard::from_bytes(&stored).unwrap();
            tracker.restore();
            let told_since = &whole.told[first.told.len()..];
            for event in told_since {
                let event = FaultEvent::decode(event.as_term()).unwrap();
                tracker.learn(Timestamp::MAX, &event);
            }
            let mut again =
                Told { tracker, grouping: Grouping::default(), told: Vec::new(), seen: None };
            script(&mut again, stop);
            assert_eq!(again.states(), Vec::<String>::new(), "stopped at {stop}");
            let counts = |told: &Told| -> Vec<u64> {
                told.tracker.faults().iter().map(|fault| fault.count).collect()
            };
            assert_eq!(counts(&again), counts(&whole));
        }
    }

    /// `bounded`: one more than there may be.
    #[test]
    fn the_least_recently_seen_fault_goes() {
        let mut told = Told::new();
        for number in 0..=MAX_FAULTS as u64 {
            told.entry(1000 + number, &format!("f{number}"));
        }
        assert_eq!((told.tracker.faults().len(), told.tracker.faults().forgotten), (MAX_FAULTS, 1));
        assert!(told.tracker.faults().iter().all(|fault| !fault.title.ends_with("shop:f0/1")));
    }

    const EVENT: &str = "{log,n@h,error,{\"lost ~p\",[1]},#{mfa => {shop,find,1}}}";

    fn at(micros: u64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    /// Deals with one entry at each of these moments; what is told.
    fn told(tracker: &mut Tracker, moments: &[u64]) -> Vec<FaultEvent> {
        let (event, mut told) = (text::parse(EVENT).unwrap(), Vec::new());
        for moment in moments {
            let error = Grouping::default().error(event.as_term());
            tracker.entry(at(*moment), error, &Grouping::default(), &mut |event| {
                told.push(FaultEvent::decode(event.as_term()).unwrap());
            });
        }
        told
    }

    /// Each stop stores what is known, wherever in what came before the last crash it is by then.
    #[test]
    fn a_stop_before_all_was_read_again_has_nothing_told_twice() {
        let mut first = Tracker::new("x", Timestamp::MIN);
        let mut words = told(&mut first, &[10]);
        let FaultEvent::News(id, News::New) = words[0] else { panic!("{words:?}") };
        let decision = Decision {
            id,
            state: State::Resolved,
            by: "ann".to_owned(),
            until: None,
            in_next_version: false,
            seen: None,
        };
        words.push(FaultEvent::Decision(decision));
        first.learn(at(20), &words[1]);
        words.extend(told(&mut first, &[30]));
        assert_eq!(words[2..], [FaultEvent::News(id, News::Regressed { resolved: at(20) })]);
        for stops_after in 0..2 {
            let mut next = Tracker::new("x", Timestamp::MIN);
            for (moment, word) in [11, 20, 31].into_iter().zip(&words) {
                next.learn(at(moment), word);
            }
            next.has_learned(at(32));
            let moments = [10, 30];
            assert_eq!(told(&mut next, &moments[..stops_after]), []);
            let stored = postcard::to_allocvec(&next).unwrap();
            let mut last: Tracker = postcard::from_bytes(&stored).unwrap();
            last.restore();
            assert_eq!(told(&mut last, &moments[stops_after..]), []);
            last.pass(at(40), &Grouping::default(), &mut |event| panic!("{event:?}"));
            assert!(last.told.is_empty());
            assert_eq!(last.faults().get(id).unwrap().count, 2);
        }
    }
}
