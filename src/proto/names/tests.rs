use Holder::{Nobody, Other, Ours, Stale};

use super::*;
use crate::time::monotonic;

const TAKEOVER: Duration = Duration::from_secs(30);

fn node(n: usize) -> NodeName {
    NodeName::new(&format!("n{n}@h")).unwrap()
}

/// What each node knows under the first numbers; nobody under the rest.
fn survey(nodes: &[&[Holder]]) -> Vec<(NodeName, Holders)> {
    let holders = |known: &[Holder]| {
        let mut all = [Nobody; ALIASES as usize];
        all[..known.len()].copy_from_slice(known);
        all
    };
    nodes.iter().enumerate().map(|(n, known)| (node(n), holders(known))).collect()
}

/// An alias and a clock.
struct Subject {
    alias: Alias,
    now: Instant,
}

impl Subject {
    fn new() -> Self {
        Subject { alias: Alias::new(Some(TAKEOVER)), now: monotonic() }
    }

    /// Decides on these nodes' knowledge; the step is done at once.
    fn decide(&mut self, nodes: &[&[Holder]]) -> NameStep {
        let step = self.alias.decide(self.now, &survey(nodes));
        self.alias.step_over(self.now, &step);
        step
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }
}

#[test]
fn the_first_free_number_is_registered_and_settles() {
    let mut s = Subject::new();
    assert_eq!(s.decide(&[]), NameStep::Rest);
    assert_eq!(s.decide(&[&[Other], &[Other]]), NameStep::Register(1, node(0)));
    assert_eq!(s.alias.held(), None);
    assert_eq!(s.decide(&[&[Other, Ours], &[Other, Ours]]), NameStep::Rest);
    assert_eq!(s.alias.held(), Some(1));
    // Nobody is there to ask: that says nothing.
    assert_eq!(s.decide(&[]), NameStep::Rest);
    assert_eq!(s.alias.held(), Some(1));
}

#[test]
fn all_ten_taken_is_exhausted() {
    let mut s = Subject::new();
    assert_eq!(s.decide(&[&[Other; 10]]), NameStep::Exhausted);
    assert_eq!(s.alias.held(), None);
    assert_eq!(
        s.decide(&[&[[Other; 9].as_slice(), &[Nobody]].concat()]),
        NameStep::Register(9, node(0))
    );
}

#[test]
fn a_node_that_stays_unaware_is_told_with_patience_and_nothing_is_taken_away() {
    let mut s = Subject::new();
    assert_eq!(s.decide(&[&[Ours], &[Nobody]]), NameStep::Wait);
    assert_eq!(s.decide(&[&[Ours], &[Nobody]]), NameStep::Register(0, node(1)));
    assert_eq!(s.decide(&[&[Ours], &[Ours]]), NameStep::Rest);
    assert_eq!(s.alias.held(), Some(0));
}

/// The node whose link was just lost is told at once, the one that joins is left to learn.
#[test]
fn a_lost_link_needs_no_patience() {
    let mut s = Subject::new();
    assert_eq!(s.decide(&[&[Ours], &[Ours]]), NameStep::Rest);
    s.alias.link_lost(s.now, node(1));
    assert_eq!(s.decide(&[&[Ours]]), NameStep::Rest);
    assert_eq!(s.decide(&[&[Ours], &[Nobody], &[Nobody]]), NameStep::Register(0, node(1)));
    assert_eq!(s.decide(&[&[Ours], &[Ours], &[Ours]]), NameStep::Rest);
    // Long ago is not just now.
    s.alias.link_lost(s.now, node(1));
    s.pass(61);
    assert_eq!(s.decide(&[&[Ours], &[Nobody]]), NameStep::Wait);
}

#[test]
fn an_earlier_life_is_left_to_its_monitors_and_then_replaced() {
    let mut s = Subject::new();
    for _ in 1..STALE_PATIENCE {
        assert_eq!(s.decide(&[&[Stale], &[Stale]]), NameStep::Wait);
    }
    assert_eq!(s.decide(&[&[Stale], &[Nobody]]), NameStep::Register(0, node(1)));
    assert_eq!(s.decide(&[&[Stale], &[Ours]]), NameStep::Replace(0, node(0)));
}

/// A step that is not over, one that failed: no other through that node, none at all for a moment.
#[test]
fn steps_wait_for_each_other_and_failures_are_retried_ever_more_rarely() {
    let mut s = Subject::new();
    let nobody = survey(&[&[Nobody], &[Nobody]]);
    let first = NameStep::Register(0, node(0));
    assert_eq!(s.alias.decide(s.now, &nobody), NameStep::Register(0, node(0)));
    assert_eq!(s.alias.decide(s.now, &nobody), NameStep::Rest);
    s.now += STAGGER;
    assert_eq!(s.alias.decide(s.now, &nobody), NameStep::Register(0, node(1)));
    s.now += STAGGER;
    assert_eq!(s.alias.decide(s.now, &nobody), NameStep::Rest);
    let mut pauses = Vec::new();
    for _ in 0..10 {
        s.alias.step_over(s.now, &first);
        assert_eq!(s.alias.decide(s.now, &nobody), NameStep::Rest);
        let next = s.alias.deadline(s.now).expect("there will be another try");
        pauses.push((next - s.now).as_millis());
        s.now = next;
        assert_eq!(s.alias.decide(s.now, &nobody), first);
    }
    assert_eq!(pauses, [500, 1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000, 60000]);
    s.alias.step_over(s.now, &first);
    s.alias.link_up(&node(0));
    s.now += STAGGER;
    assert_eq!(s.alias.decide(s.now, &nobody), NameStep::Register(0, node(0)));
}

/// A lower number is free, is not, is again for long enough; both are ours for a minute.
#[test]
fn a_number_that_stays_free_is_taken_over_and_the_higher_one_given_up_later() {
    let mut s = Subject::new();
    assert_eq!(s.decide(&[&[Other, Ours], &[Other, Ours]]), NameStep::Rest);
    assert_eq!(s.decide(&[&[Nobody, Ours], &[Nobody, Ours]]), NameStep::Rest);
    assert_eq!(s.alias.deadline(s.now), Some(s.now + TAKEOVER));
    s.pass(29);
    // The holder comes back early, at one node already.
    assert_eq!(s.decide(&[&[Nobody, Ours], &[Other, Ours]]), NameStep::Rest);
    assert_eq!(s.alias.deadline(s.now), None);
    assert_eq!(s.decide(&[&[Nobody, Ours], &[Nobody, Ours]]), NameStep::Rest);
    s.pass(30);
    assert_eq!(s.decide(&[&[Nobody, Ours], &[Nobody, Ours]]), NameStep::Register(0, node(0)));
    assert_eq!(s.alias.held(), Some(1));
    // One node learns it later than the others.
    assert_eq!(s.decide(&[&[Ours, Ours], &[Nobody, Ours]]), NameStep::Wait);
    assert_eq!(s.alias.held(), Some(1));
    assert_eq!(s.decide(&[&[Ours, Ours], &[Ours, Ours]]), NameStep::Wait);
    assert_eq!(s.alias.held(), Some(0));
    assert_eq!(s.decide(&[&[Ours, Ours], &[Ours, Ours]]), NameStep::Rest);
    assert_eq!(s.alias.deadline(s.now), Some(s.now + OVERLAP));
    // Both are kept where they are, also after a lost link.
    s.pass(30);
    s.alias.link_lost(s.now, node(1));
    assert_eq!(s.decide(&[&[Ours, Ours], &[Nobody, Nobody]]), NameStep::Register(0, node(1)));
    assert_eq!(s.decide(&[&[Ours, Ours], &[Ours, Nobody]]), NameStep::Register(1, node(1)));
    s.pass(30);
    // Not while some node doesn't know the number that stays.
    assert_eq!(
        s.decide(&[&[Ours, Ours], &[Nobody, Ours], &[Ours, Ours]]),
        NameStep::Register(0, node(1))
    );
    assert_eq!(s.decide(&[&[Ours, Ours], &[Ours, Ours]]), NameStep::Unregister(1, node(0)));
    s.pass(1);
    assert_eq!(s.decide(&[&[Ours, Nobody], &[Ours, Nobody]]), NameStep::Rest);
    assert_eq!(s.alias.held(), Some(0));
    assert_eq!(s.alias.deadline(s.now), None);
}

#[test]
fn without_takeover_a_lower_number_stays_free() {
    let mut s = Subject::new();
    s.alias = Alias::new(None);
    s.decide(&[&[Other, Ours]]);
    for _ in 0..10 {
        s.pass(1000);
        assert_eq!(s.decide(&[&[Nobody, Ours]]), NameStep::Rest);
    }
    assert_eq!(s.alias.held(), Some(1));
}

/// Two lower numbers are free since different moments: each is taken when it is due, the lowest first.
#[test]
fn several_lower_numbers_are_taken_over_one_after_the_other() {
    let mut s = Subject::new();
    s.decide(&[&[Other, Other, Ours]]);
    assert_eq!(s.decide(&[&[Other, Nobody, Ours]]), NameStep::Rest);
    s.pass(20);
    assert_eq!(s.decide(&[&[Nobody, Nobody, Ours]]), NameStep::Rest);
    s.pass(10);
    assert_eq!(s.decide(&[&[Nobody, Nobody, Ours]]), NameStep::Register(1, node(0)));
    assert_eq!(s.decide(&[&[Nobody, Ours, Ours]]), NameStep::Wait);
    assert_eq!(s.decide(&[&[Nobody, Ours, Ours]]), NameStep::Rest);
    s.pass(20);
    assert_eq!(s.decide(&[&[Nobody, Ours, Ours]]), NameStep::Register(0, node(0)));
    assert_eq!(s.decide(&[&[Ours, Ours, Ours]]), NameStep::Wait);
    assert_eq!(s.alias.held(), Some(0));
    s.pass(40);
    assert_eq!(s.decide(&[&[Ours, Ours, Ours]]), NameStep::Unregister(2, node(0)));
    assert_eq!(s.decide(&[&[Ours, Ours]]), NameStep::Rest);
    s.pass(20);
    assert_eq!(s.decide(&[&[Ours, Ours]]), NameStep::Unregister(1, node(0)));
    assert_eq!(s.decide(&[&[Ours]]), NameStep::Rest);
    // Both free for long at once: the lowest alone.
    let mut s = Subject::new();
    s.decide(&[&[Other, Other, Ours]]);
    s.decide(&[&[Nobody, Nobody, Ours]]);
    s.pass(30);
    assert_eq!(s.decide(&[&[Nobody, Nobody, Ours]]), NameStep::Register(0, node(0)));
    assert_eq!(s.decide(&[&[Ours, Nobody, Ours]]), NameStep::Wait);
    assert_eq!(s.decide(&[&[Ours, Nobody, Ours]]), NameStep::Rest);
    assert_eq!(s.alias.held(), Some(0));
}

/// `global` gives the lower number to another during the minute: the higher one is kept, and not given up.
#[test]
fn a_conflict_during_the_minute_leaves_the_other_number() {
    let mut s = Subject::new();
    s.decide(&[&[Other, Ours]]);
    s.decide(&[&[Nobody, Ours]]);
    s.pass(30);
    assert_eq!(s.decide(&[&[Nobody, Ours]]), NameStep::Register(0, node(0)));
    assert_eq!(s.decide(&[&[Ours, Ours]]), NameStep::Wait);
    assert_eq!(s.alias.held(), Some(0));
    s.pass(10);
    s.alias.conflict(s.now, 0);
    // Nodes do not know yet.
    assert_eq!(s.decide(&[&[Ours, Ours]]), NameStep::Rest);
    assert_eq!(s.alias.held(), Some(1));
    assert_eq!(s.decide(&[&[Other, Ours]]), NameStep::Rest);
    s.pass(1000);
    assert_eq!(s.decide(&[&[Other, Ours]]), NameStep::Rest);
    assert_eq!(s.alias.held(), Some(1));
    // The higher one goes instead: the lower one stays.
    s.decide(&[&[Nobody, Ours]]);
    s.pass(30);
    assert_eq!(s.decide(&[&[Nobody, Ours]]), NameStep::Register(0, node(0)));
    assert_eq!(s.decide(&[&[Ours, Ours]]), NameStep::Wait);
    s.alias.conflict(s.now, 1);
    assert_eq!(s.decide(&[&[Ours, Ours]]), NameStep::Rest);
    assert_eq!(s.decide(&[&[Ours, Other]]), NameStep::Rest);
    s.pass(1000);
    assert_eq!(s.decide(&[&[Ours, Other]]), NameStep::Rest);
    assert_eq!(s.alias.held(), Some(0));
}

/// Our only number is lost: the first free one is sought, and a number that somebody has is never touched.
#[test]
fn a_conflict_makes_us_look_from_the_start() {
    let mut s = Subject::new();
    s.decide(&[&[Other, Ours]]);
    s.alias.conflict(s.now, 1);
    assert_eq!(s.decide(&[&[Nobody, Ours]]), NameStep::Register(0, node(0)));
    assert_eq!(s.decide(&[&[Ours, Other]]), NameStep::Rest);
    assert_eq!(s.alias.held(), Some(0));
    // The two clusters that we are in don't agree and never will: another number, free in both.
    assert_eq!(s.decide(&[&[Ours, Other], &[Other, Nobody]]), NameStep::Register(2, node(0)));
    assert_eq!(s.decide(&[&[Ours, Other, Ours], &[Other, Nobody, Ours]]), NameStep::Rest);
    assert_eq!(s.alias.held(), Some(2));
    s.pass(1000);
    assert_eq!(s.decide(&[&[Ours, Other, Ours], &[Other, Nobody, Ours]]), NameStep::Rest);
    // Nonsense from a peer is no number.
    s.alias.conflict(s.now, 200);
}

/// A number whose registration was done long after it was given up on is ours, and goes its way.
#[test]
fn a_registration_that_comes_late_is_noticed() {
    let mut s = Subject::new();
    assert_eq!(s.decide(&[&[Nobody]]), NameStep::Register(0, node(0)));
    // It hangs; the number is taken meanwhile, the next one registered.
    assert_eq!(s.decide(&[&[Other]]), NameStep::Register(1, node(0)));
    assert_eq!(s.decide(&[&[Other, Ours]]), NameStep::Rest);
    assert_eq!(s.decide(&[&[Other, Ours, Ours]]), NameStep::Rest);
    s.pass(60);
    assert_eq!(s.decide(&[&[Other, Ours, Ours]]), NameStep::Unregister(2, node(0)));
    assert_eq!(s.alias.held(), Some(1));
}

/// `global` of one cluster: who has which number.
#[derive(Default)]
struct Cluster([Option<usize>; ALIASES as usize]);

impl Cluster {
    fn survey(&self, us: usize) -> Vec<(NodeName, Holders)> {
        let holders = self.0.map(|holder| match holder {
            None => Nobody,
            Some(holder) if holder == us => Ours,
            Some(_) => Other,
        });
        vec![(node(0), holders)]
    }

    fn take(&mut self, us: usize, step: &NameStep) {
        match step {
            NameStep::Register(number, _) => {
                self.0[usize::from(*number)].get_or_insert(us);
            }
            NameStep::Unregister(number, _) => {
                assert_eq!(self.0[usize::from(*number)], Some(us), "not_ours_to_take");
                self.0[usize::from(*number)] = None;
            }
            _ => {}
        }
    }
}

/// Three of us; the one with number 0 goes. Both others want its number at the same moment, decided on the same
/// survey; later the loser takes the winner's old one. In every second both are somewhere known.
#[test]
fn two_that_want_the_same_number_end_with_a_number_each_and_are_never_without() {
    for order in [[1, 2], [2, 1]] {
        let mut cluster = Cluster([None; ALIASES as usize]);
        cluster.0[..3].copy_from_slice(&[Some(0), Some(1), Some(2)]);
        let mut now = monotonic();
        let mut aliases =
            [Alias::new(None), Alias::new(Some(TAKEOVER)), Alias::new(Some(TAKEOVER))];
        for us in order {
            assert_eq!(aliases[us].decide(now, &cluster.survey(us)), NameStep::Rest);
        }
        cluster.0[0] = None;
        for _ in 0..300 {
            now += Duration::from_secs(1);
            let steps = order.map(|us| (us, aliases[us].decide(now, &cluster.survey(us))));
            for (us, step) in steps {
                cluster.take(us, &step);
                aliases[us].step_over(now, &step);
            }
            for us in order {
                assert!(cluster.0.contains(&Some(us)), "no_gap");
                let held = aliases[us].held().expect("settled");
                assert_eq!(cluster.0[usize::from(held)], Some(us));
            }
        }
        let [winner, loser] = order;
        assert_eq!(cluster.0[..3], [Some(winner), Some(loser), None], "{order:?}");
    }
}

/// A node that says `yes` and still knows nobody: it is not asked in a loop.
#[test]
fn a_step_that_does_not_help_is_repeated_ever_more_rarely() {
    let mut s = Subject::new();
    let mut registered = 0;
    for _ in 0..3000 {
        registered +=
            usize::from(s.decide(&[&[Ours], &[Nobody]]) == NameStep::Register(0, node(1)));
        s.now += Duration::from_millis(100);
    }
    assert!((8..=12).contains(&registered), "{registered} times in five minutes");
    assert_eq!(s.alias.held(), None);
}

#[test]
fn pauses_double_and_are_forgotten() {
    let now = monotonic();
    let mut pauses = Pauses::default();
    assert!(!pauses.is_in(&1));
    pauses.begin(now, 1);
    pauses.forget_old(now);
    assert!(pauses.is_in(&1) && !pauses.is_in(&2));
    let end = pauses.next().unwrap();
    pauses.forget_old(end);
    assert!(!pauses.is_in(&1));
    pauses.begin(end, 1);
    assert_eq!(pauses.next(), Some(end + 2 * FIRST_PAUSE));
    pauses.forget_old(end + 2 * LONGEST_PAUSE);
    pauses.begin(end, 1);
    assert_eq!(pauses.next(), Some(end + FIRST_PAUSE));
}
