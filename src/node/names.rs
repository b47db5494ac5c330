//! Keeps a process of this node known under a global name, in every visible node.
//!
//! What to do is decided in `proto::names`; here the questions are asked and the steps taken, whenever a node
//! comes or goes, and every few seconds besides.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, broadcast, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, error, info, warn};

use super::{CallError, Node, Peer};
use crate::etf::{Pid, TermRef, encode};
use crate::proto::NodeName;
use crate::proto::names::{Alias, Holder, Step};

/// How often a name on which all agree is looked at.
const SETTLED: Duration = Duration::from_secs(5);

/// How often one on which they do not agree yet is.
const UNSETTLED: Duration = Duration::from_millis(300);

/// A name that is kept: `{Instance, N}` for one of our processes.
pub struct Keeper {
    node: Node,
    instance: Arc<str>,
    pid: Pid,
    /// Told when `global` gave the name to another process.
    conflict: Arc<Notify>,
    held: watch::Sender<Held>,
}

/// How far a name has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// No visible node knows it yet.
    Seeking,
    /// `{Instance, N}` is ours.
    Alias(u8),
    /// All ten belong to others.
    Exhausted,
}

impl Keeper {
    /// For the process `pid` of instance `instance`.
    pub fn new(
        node: Node,
        instance: Arc<str>,
        pid: Pid,
        conflict: Arc<Notify>,
        held: watch::Sender<Held>,
    ) -> Self {
        Keeper { node, instance, pid, conflict, held }
    }

    /// Keeps the name, for ever.
    pub async fn run(self) {
        let mut alias = Alias::default();
        let mut events = self.node.events();
        let mut exhausted = false;
        loop {
            let visible: Vec<_> =
                self.node.peers().into_iter().filter(|p| p.is_visible()).collect();
            let survey = self.survey(alias.number(), visible).await;
            let step = alias.decide(&survey);
            debug!(instance = %self.instance, number = alias.number(), ?step, "global name");
            let wait = match &step {
                Step::Settled | Step::Exhausted => SETTLED,
                Step::Wait if survey.is_empty() => SETTLED,
                Step::Wait => UNSETTLED,
                Step::Try(_) => Duration::ZERO,
                step => self.take(alias.number(), step).await,
            };
            if matches!(step, Step::Exhausted) && !exhausted {
                error!(instance = %self.instance, "all ten global names {{{0},0}} to {{{0},9}} are taken by others; trying on", self.instance);
            }
            exhausted = matches!(step, Step::Exhausted);
            let held = match alias.held() {
                Some(number) => Held::Alias(number),
                None if exhausted => Held::Exhausted,
                None => Held::Seeking,
            };
            if self.held.send_replace(held) != held
                && let Held::Alias(number) = held
            {
                info!(instance = %self.instance, "known as {{{},{number}}}", self.instance);
            }
            let lost = timeout(wait, async {
                tokio::select! {
                    // Both only say that it is time to look again.
                    () = self.conflict.notified() => true,
                    event = events.recv() => {
                        if matches!(event, Err(broadcast::error::RecvError::Closed)) {
                            std::future::pending::<()>().await;
                        }
                        false
                    }
                }
            });
            if let Ok(true) = lost.await {
                warn!(instance = %self.instance, "lost the global name to another process");
                alias.lost();
            }
        }
    }

    /// Takes the name back from every node that knows it as ours, as at an orderly stop.
    pub async fn unregister(node: &Node, instance: &str, pid: &Pid, number: u8) {
        for peer in node.peers().into_iter().filter(|peer| peer.is_visible()) {
            let holder = whereis(node, &peer, instance, number, pid).await;
            if holder == Ok(Holder::Ours) {
                let _ = node
                    .rpc(&peer, "global", "unregister_name_external", |out| {
                        encode::list_header(out, 1);
                        name(out, instance, number);
                        encode::nil(out);
                    })
                    .await;
            }
        }
    }

    /// What each visible node knows. One that does not answer is left out: it will come or go.
    async fn survey(&self, number: u8, visible: Vec<Arc<Peer>>) -> Vec<(NodeName, Holder)> {
        let mut questions = JoinSet::new();
        for peer in visible {
            let (node, instance, pid) =
                (self.node.clone(), self.instance.clone(), self.pid.clone());
            questions.spawn(async move {
                let holder = whereis(&node, &peer, &instance, number, &pid).await;
                (peer.name().clone(), holder)
            });
        }
        let mut survey = Vec::new();
        while let Some(answer) = questions.join_next().await {
            match answer {
                Ok((node, Ok(holder))) => survey.push((node, holder)),
                Ok((node, Err(error))) => {
                    debug!(%node, "does not tell who {}: {error}", self.instance)
                }
                Err(error) => error!("question about a global name: {error}"),
            }
        }
        survey.sort_by(|a, b| a.0.cmp(&b.0));
        survey
    }

    /// Takes a step through `global` of other nodes; how long to wait before looking whether it helped.
    async fn take(&self, number: u8, step: &Step) -> Duration {
        let (unregister, register) = match step {
            Step::Register(via) => (None, Some(via)),
            Step::Clear(via) => (Some(via), None),
            Step::Repair(aware, unaware) => {
                // A cluster of its own just has to be told; within one cluster this answers `no`.
                if self.register(number, unaware).await {
                    return Duration::ZERO;
                }
                info!(instance = %self.instance, node = %unaware, "node does not know {{{},{number}}}: registering anew", self.instance);
                (Some(aware), Some(unaware))
            }
            _ => return UNSETTLED,
        };
        if let Some(via) = unregister {
            self.global(via, "unregister_name_external", |out| {
                encode::list_header(out, 1);
                name(out, &self.instance, number);
                encode::nil(out);
            })
            .await;
        }
        match register {
            Some(via) if !self.register(number, via).await => UNSETTLED,
            _ => Duration::ZERO,
        }
    }

    async fn register(&self, number: u8, via: &NodeName) -> bool {
        let answer = self
            .global(via, "register_name_external", |out| {
                encode::list_header(out, 3);
                name(out, &self.instance, number);
                encode::pid(out, &self.pid);
                // `fun global:random_notify_name/3`: the loser is told with `global_name_conflict`.
                out.push(crate::etf::tag::EXPORT_EXT);
                encode::atom(out, "global");
                encode::atom(out, "random_notify_name");
                encode::integer(out, 3);
                encode::nil(out);
            })
            .await;
        answer.is_some_and(|answer| TermRef::from_walked(&answer).is_atom("yes"))
    }

    async fn global(
        &self,
        via: &NodeName,
        function: &str,
        args: impl FnOnce(&mut Vec<u8>),
    ) -> Option<Box<[u8]>> {
        let peer = self.node.peer(via.as_str())?;
        let answer = self.node.rpc(&peer, "global", function, args).await;
        answer.inspect_err(|error| debug!(node = %via, "global:{function} failed: {error}")).ok()
    }
}

/// `{Instance, N}`.
fn name(out: &mut Vec<u8>, instance: &str, number: u8) {
    encode::tuple_header(out, 2);
    encode::atom(out, instance);
    encode::integer(out, i64::from(number));
}

/// Asks `peer` for the process of a name.
async fn whereis(
    node: &Node,
    peer: &Arc<Peer>,
    instance: &str,
    number: u8,
    ours: &Pid,
) -> Result<Holder, CallError> {
    let answer = node.rpc(peer, "global", "whereis_name", |out| {
        encode::list_header(out, 1);
        name(out, instance, number);
        encode::nil(out);
    });
    let answer = answer.await?;
    Ok(match TermRef::from_walked(&answer).as_pid() {
        None => Holder::Nobody,
        Some(pid) if pid == *ours => Holder::Ours,
        Some(pid) if pid.node == ours.node && pid.creation != ours.creation => Holder::Stale,
        Some(_) => Holder::Other,
    })
}
