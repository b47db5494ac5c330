//! Keeps a process of this node known under a global name, in every visible node.
//!
//! What to do is decided in `proto::names`; here the questions are asked and the steps taken, whenever a node
//! comes or goes, and every few seconds besides.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{Notify, broadcast, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout_at};
use tracing::{debug, error, info, warn};

use super::{Node, NodeEvent, Peer};
use crate::etf::{Pid, TermRef, encode, tag, text};
use crate::proto::NodeName;
use crate::proto::names::{ALIASES, Alias, Holder, Holders, NameStep, Pauses};
use crate::time::monotonic;

/// How often a name on which all agree is looked at.
const SETTLED: Duration = Duration::from_secs(5);

/// How often one on which they do not agree yet is.
const UNSETTLED: Duration = Duration::from_millis(300);

/// How long a survey waits for answers. Who needs longer is left out of it.
const SURVEY_TIME: Duration = Duration::from_secs(2);

/// How long a step is waited for. `global` locks every node of the cluster for it, so a frozen one holds it up until
/// the others give that one up, after a minute as a rule; asking again meanwhile would only queue.
const STEP_TIME: Duration = Duration::from_secs(120);

/// A name that is kept: `{Instance, N}` for one of our processes.
pub struct NameKeeper {
    name: GlobalName,
    conflicts: Arc<Conflicts>,
    held: watch::Sender<Held>,
    alias: Alias,
    /// Nodes that could not tell when they were asked.
    doubts: Pauses<NodeName>,
    /// The visible nodes of the last survey.
    visible: HashSet<NodeName>,
}

/// How far a name has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// No visible node knows it yet.
    Seeking,
    /// `{Instance, N}` is ours, and to stay.
    Alias(u8),
    /// All ten belong to others.
    Exhausted,
}

/// The numbers that `global` gave to other processes, until the keeper has heard.
#[derive(Debug, Default)]
pub struct Conflicts {
    numbers: AtomicU16,
    told: Notify,
}

impl Conflicts {
    /// `global_name_conflict` came for a number.
    pub fn tell(&self, number: u8) {
        if number < ALIASES {
            self.numbers.fetch_or(1 << number, Ordering::AcqRel);
            self.told.notify_one();
        }
    }

    fn take(&self) -> impl Iterator<Item = u8> + use<> {
        let numbers = self.numbers.swap(0, Ordering::AcqRel);
        (0..ALIASES).filter(move |number| numbers & (1 << number) != 0)
    }
}

impl NameKeeper {
    /// For the process `pid` of instance `instance`, which moves to a lower number that was free for `takeover`.
    pub fn new(
        node: Node,
        instance: Arc<str>,
        pid: Pid,
        takeover: Option<Duration>,
        conflicts: Arc<Conflicts>,
        held: watch::Sender<Held>,
    ) -> Self {
        NameKeeper {
            name: GlobalName { node, instance, pid },
            conflicts,
            held,
            alias: Alias::new(takeover),
            doubts: Pauses::default(),
            visible: HashSet::new(),
        }
    }

    /// Keeps the name, for ever.
    pub async fn run(mut self) {
        let mut events = self.name.node.events();
        let conflicts = self.conflicts.clone();
        let mut steps = JoinSet::new();
        loop {
            let survey = self.survey().await;
            let now = monotonic();
            let step = self.alias.decide(now, &survey);
            debug!(instance = %self.name.instance, ?step, answers = survey.len(), "global name");
            self.tell(matches!(step, NameStep::Exhausted));
            let pause = match &step {
                NameStep::Rest | NameStep::Exhausted => SETTLED,
                NameStep::Wait => UNSETTLED,
                NameStep::Register(..) | NameStep::Replace(..) | NameStep::Unregister(..) => {
                    let name = self.name.clone();
                    steps.spawn(async move {
                        name.take(&step).await;
                        step
                    });
                    SETTLED
                }
            };
            let deadlines = [self.alias.deadline(now), self.doubts.next()];
            let next = deadlines.into_iter().flatten().fold(now + pause, Instant::min);
            loop {
                tokio::select! {
                    () = sleep_until(next.into()) => break,
                    // The numbers stay where they are until they are taken.
                    () = conflicts.told.notified() => {
                        for number in conflicts.take() {
                            warn!(instance = %self.name.instance, number, "lost the global name to another process");
                            self.alias.conflict(monotonic(), number);
                        }
                        break;
                    }
                    // A step that is over stays in the set until it is taken out.
                    Some(over) = steps.join_next() => {
                        match over {
                            Ok(step) => self.alias.step_over(monotonic(), &step),
                            Err(error) => error!("step towards a global name: {error}"),
                        }
                        break;
                    }
                    // An event stays in the channel until it is received.
                    event = events.recv() => if self.take_in_all(event, &mut events) { break },
                }
            }
        }
    }

    /// Takes in an event and those that follow it; whether another survey is due.
    fn take_in_all(
        &mut self,
        first: Result<NodeEvent, RecvError>,
        events: &mut broadcast::Receiver<NodeEvent>,
    ) -> bool {
        // Who lags behind looks again.
        let Ok(first) = first else { return true };
        let mut is_due = self.take_in(first);
        loop {
            match events.try_recv() {
                Ok(event) => is_due |= self.take_in(event),
                Err(TryRecvError::Empty) => return is_due,
                Err(TryRecvError::Lagged(_) | TryRecvError::Closed) => return true,
            }
        }
    }

    /// Whether the event is about a visible node.
    fn take_in(&mut self, event: NodeEvent) -> bool {
        match event {
            NodeEvent::Up(peer) => {
                self.alias.link_up(peer.name());
                self.doubts.end(peer.name());
                peer.is_visible()
            }
            NodeEvent::Down(peer, _) => {
                let was_visible = self.visible.remove(peer.name());
                if was_visible {
                    self.alias.link_lost(monotonic(), peer.name().clone());
                }
                was_visible
            }
        }
    }

    /// What each visible node that can tell knows. One that can't is asked again later, ever more rarely.
    async fn survey(&mut self) -> Vec<(NodeName, Holders)> {
        self.doubts.forget_old(monotonic());
        let mut peers = visible_peers(&self.name.node);
        self.visible = peers.iter().map(|peer| peer.name().clone()).collect();
        peers.retain(|peer| !self.doubts.is_in(peer.name()));
        let asked: Vec<_> = peers.iter().map(|peer| peer.name().clone()).collect();
        let survey = self.name.survey(peers).await;
        for node in asked {
            if survey.iter().any(|(told, _)| *told == node) {
                self.doubts.end(&node);
            } else {
                debug!(%node, instance = %self.name.instance, "does not tell who has the global name");
                self.doubts.begin(monotonic(), node);
            }
        }
        survey
    }

    /// Lets others know how far the name has come.
    fn tell(&self, is_exhausted: bool) {
        let instance = &self.name.instance;
        let held = match self.alias.held() {
            Some(number) => Held::Alias(number),
            None if is_exhausted => Held::Exhausted,
            None => Held::Seeking,
        };
        if self.held.send_replace(held) != held {
            match held {
                Held::Alias(number) => info!(%instance, "known as {{{instance},{number}}}"),
                Held::Exhausted => {
                    error!(%instance, "all ten global names {{{instance},0}} to {{{instance},9}} are taken by others; trying on");
                }
                Held::Seeking => {}
            }
        }
    }
}

/// Takes every number of `instance` back from the nodes that know it as `pid`, as at an orderly stop. A number that
/// some node says is somebody else's is left alone: it goes with our connections.
pub async fn unregister_all(node: &Node, instance: &Arc<str>, pid: &Pid) {
    let (node, instance, pid) = (node.clone(), instance.clone(), pid.clone());
    let name = GlobalName { node, instance, pid };
    let mut asked = HashSet::new();
    loop {
        let survey = name.survey(visible_peers(&name.node)).await;
        let knows = |number: u8, holder| {
            let at = usize::from(number);
            survey.iter().filter(move |(_, holders)| holders[at] == holder).map(|(node, _)| node)
        };
        let mut steps = JoinSet::new();
        for number in (0..ALIASES).filter(|number| knows(*number, Holder::Other).next().is_none()) {
            // One node tells its whole cluster; the next survey finds who is not of that.
            let via =
                knows(number, Holder::Ours).find(|via| asked.insert((number, (*via).clone())));
            if let Some(via) = via.cloned() {
                let name = name.clone();
                steps.spawn(async move { name.take(&NameStep::Unregister(number, via)).await });
            }
        }
        if steps.is_empty() {
            break;
        }
        steps.join_all().await;
    }
}

fn visible_peers(node: &Node) -> Vec<Arc<Peer>> {
    node.peers().into_iter().filter(|peer| peer.is_visible()).collect()
}

/// The names of an instance and the process they are for.
#[derive(Clone)]
struct GlobalName {
    node: Node,
    instance: Arc<str>,
    pid: Pid,
}

impl GlobalName {
    /// `{Instance, N}`.
    fn write(&self, out: &mut Vec<u8>, number: u8) {
        encode::tuple_header(out, 2);
        encode::atom(out, &self.instance);
        encode::integer(out, i64::from(number));
    }

    /// What these nodes know, as far as they tell within `SURVEY_TIME`.
    async fn survey(&self, peers: Vec<Arc<Peer>>) -> Vec<(NodeName, Holders)> {
        let deadline = monotonic() + SURVEY_TIME;
        let (sender, mut answers) = mpsc::channel(peers.len().max(1));
        for peer in peers {
            let (name, sender) = (self.clone(), sender.clone());
            // Not ended with the survey: a call cleans up when it is over. It has a deadline of its own.
            tokio::spawn(async move {
                let answer = name.whereis(&peer).await;
                let answer = answer.map(|holders| (peer.name().clone(), holders));
                let _ = sender.send(answer).await;
            });
        }
        drop(sender);
        let mut survey = Vec::new();
        while let Ok(Some(answer)) = timeout_at(deadline.into(), answers.recv()).await {
            survey.extend(answer);
        }
        survey.sort_by(|a, b| a.0.cmp(&b.0));
        survey
    }

    /// Asks a node for the processes of all ten names: `lists:map(fun global:whereis_name/1, Names)`. `None` if it
    /// gives anything but an answer of `global`.
    async fn whereis(&self, peer: &Arc<Peer>) -> Option<Holders> {
        let answer = self.node.rpc(peer, "lists", "map", |out| {
            encode::list_header(out, 2);
            write_fun(out, "whereis_name", 1);
            encode::list(out, 0..ALIASES, |out, number| self.write(out, number));
            encode::nil(out);
        });
        holders(answer.await.ok()?.as_term(), &self.pid)
    }

    /// Takes a step. Whether it helped is asked for afterwards.
    async fn take(&self, step: &NameStep) {
        let (number, via, function) = match step {
            NameStep::Register(number, via) => (*number, via, "register_name_external"),
            NameStep::Replace(number, via) => (*number, via, "re_register_name"),
            NameStep::Unregister(number, via) => (*number, via, "unregister_name_external"),
            NameStep::Rest | NameStep::Wait | NameStep::Exhausted => return,
        };
        let Some(peer) = self.node.peer(via.as_str()) else { return };
        let answer = self.node.rpc_within(STEP_TIME, &peer, "global", function, |out| {
            if matches!(step, NameStep::Unregister(..)) {
                encode::list(out, [number].into_iter(), |out, number| self.write(out, number));
            } else {
                self.write_registration(out, number);
            }
        });
        if matches!(step, NameStep::Unregister(..)) {
            info!(instance = %self.instance, "giving {{{},{number}}} up", self.instance);
        }
        let answer = answer.await.map(|answer| text::to_text(answer.as_term()));
        debug!(instance = %self.instance, number, node = %via, ?answer, "global:{function}");
    }

    /// `[Name, Pid, fun global:random_notify_name/3]`: who loses a conflict is told with `global_name_conflict`.
    fn write_registration(&self, out: &mut Vec<u8>, number: u8) {
        encode::list_header(out, 3);
        self.write(out, number);
        encode::pid(out, &self.pid);
        write_fun(out, "random_notify_name", 3);
        encode::nil(out);
    }
}

/// `fun global:Function/Arity`.
fn write_fun(out: &mut Vec<u8>, function: &str, arity: u8) {
    out.push(tag::EXPORT_EXT);
    encode::atom(out, "global");
    encode::atom(out, function);
    encode::integer(out, i64::from(arity));
}

/// What a node's answer says of each number; `None` if it is anything but a pid or `undefined` for each.
fn holders(answer: TermRef<'_>, ours: &Pid) -> Option<Holders> {
    let answers: Option<Vec<_>> = answer.as_list()?.map(|answer| holder(answer, ours)).collect();
    answers?.try_into().ok()
}

/// Whom an answer of `global:whereis_name/1` means.
fn holder(answer: TermRef<'_>, ours: &Pid) -> Option<Holder> {
    if answer.is_atom("undefined") {
        return Some(Holder::Nobody);
    }
    let pid = answer.as_pid()?;
    Some(if pid == *ours {
        Holder::Ours
    } else if pid.node == ours.node && pid.creation != ours.creation {
        Holder::Stale
    } else {
        Holder::Other
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_answers_of_global_are_answers() {
        let ours = Pid { node: "lm@h".into(), id: 1, serial: 0, creation: 7 };
        let stale = Pid { creation: 6, ..ours.clone() };
        let other = Pid { node: "x@h".into(), ..ours.clone() };
        let undefined = text::parse("undefined").unwrap();
        let list = |first: &[u8], len: usize| {
            let mut out = Vec::new();
            encode::list(&mut out, 0..len, |out, at| {
                out.extend_from_slice(if at == 0 { first } else { &undefined });
            });
            out
        };
        let ten = usize::from(ALIASES);
        let check = |answer: &[u8], expected: Option<Holder>| {
            let found = holders(TermRef::from_walked(answer), &ours);
            assert_eq!(found.map(|holders| holders[0]), expected);
            assert!(found.is_none_or(|holders| holders[1..] == [Holder::Nobody; 9]));
        };
        let written = |pid: &Pid| {
            let mut out = Vec::new();
            encode::pid(&mut out, pid);
            out
        };
        check(&list(&undefined, ten), Some(Holder::Nobody));
        check(&list(&written(&ours), ten), Some(Holder::Ours));
        check(&list(&written(&stale), ten), Some(Holder::Stale));
        check(&list(&written(&other), ten), Some(Holder::Other));
        for len in [0, ten - 1, ten + 1] {
            check(&list(&undefined, len), None);
        }
        for odd in ["nil", "[]", "0", "{badrpc, nodedown}", "<<\"undefined\">>", "\"undefined\""] {
            let odd = text::parse(odd).unwrap();
            check(&odd, None);
            check(&list(&odd, ten), None);
        }
    }
}
