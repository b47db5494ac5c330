//! Our handler in an event manager: `gen_event`, and `error_logger` above all.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, timeout};

use super::guest::{Beam, Code, Guest, WriteTerm, brief, error_tag, list};
use super::logger::remove_from_logger;
use super::plan::{MISSING, Plan, Tried};
use super::target::{ERROR_LOGGER, Mode, ORIGINAL_HANDLER, OWN_HANDLER};
use crate::etf::{Pid, Reference, TermBuf, TermRef, encode, order};
use crate::instance::erlang::answer;
use crate::node::{Letter, Letters, Node};
use crate::proto::control::Watched;

static EVENT_HANDLER: Beam = Beam {
    module: OWN_HANDLER,
    r23: include_bytes!("../../../erlang/priv/handlers/r23/logmachine_forwarder.beam"),
    r25: include_bytes!("../../../erlang/priv/handlers/r25/logmachine_forwarder.beam"),
};

/// How long an event manager may take to answer; one that is busy longer is asked again.
const ANSWER_TIME: Duration = Duration::from_secs(5);

/// A process of ours that owns an installed handler. When it goes, so does the handler.
struct Owner {
    node: Node,
    pid: Pid,
    letters: Letters,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.node.exit(&self.pid, answer::atom("shutdown").bytes());
    }
}

/// An installed `gen_event` handler.
struct Installed<'g> {
    guest: &'g Guest,
    owner: Owner,
    manager: Pid,
    id: TermBuf,
}

impl Drop for Installed<'_> {
    fn drop(&mut self) {
        self.guest.shared.lost(self.guest.peer.name());
    }
}

impl Guest {
    /// Installs the `gen_event` handler; ends when it is gone, or cannot be installed now.
    pub(super) async fn keep_manager(&self, plan: &mut Plan) -> Tried {
        let mut installed = match self.install_in_manager().await {
            Ok(installed) => installed,
            Err(failure) => return failure,
        };
        self.installed(plan);
        Tried::Removed(installed.gone().await)
    }

    async fn install_in_manager(&self) -> Result<Installed<'_>, Tried> {
        self.check_started().await?;
        let handler = self.choose_handler().await?;
        if self.capture.is_error_logger() {
            self.start_error_logger().await?;
            if self.capture.mode == Mode::GenEvent {
                // Of an earlier life with another configuration.
                remove_from_logger(&self.node, &self.peer, &self.logger_id()).await;
            }
        }
        let manager = self.find_manager().await?;
        let (pid, letters) = self.node.spawn_mailbox();
        let mut owner = Owner { node: self.node.clone(), pid, letters };
        let watched = Watched::Pid(manager.clone());
        let monitor = owner.node.monitor(&owner.pid, &manager.node, &watched);
        monitor.ok_or_else(|| Tried::NotReady("noconnection".to_owned()))?;
        let id = self.handler_id(handler);
        let present = owner.ask(&manager, |out| encode::atom(out, "which_handlers")).await?;
        let present = present.as_term();
        // A manager takes the same id twice, so what an earlier life left goes first.
        owner.delete_all(&manager, present, id.bytes()).await?;
        if handler == OWN_HANDLER {
            let first = self.handler_id(ORIGINAL_HANDLER);
            if count(present, first.bytes()) > 0 && self.code(ORIGINAL_HANDLER).await? == Code::Ours
            {
                owner.delete_all(&manager, present, first.bytes()).await?;
            }
        }
        let us = owner.pid.clone();
        let answer = owner
            .ask(&manager, |out| {
                encode::tuple_header(out, 4);
                encode::atom(out, "add_sup_handler");
                out.extend_from_slice(id.bytes());
                self.write_handler_args(out, handler);
                encode::pid(out, &us);
            })
            .await?;
        let answer = answer.as_term();
        if !answer.is_atom("ok") {
            let why = format!("adding the handler: {}", brief(answer));
            let is_error = matches!(answer.as_tuple(), Some([tag, _]) if tag.is_atom("error"));
            return Err(if is_error { Tried::Refused(why) } else { Tried::NotReady(why) });
        }
        let gap = self.shared.captured(self.peer.name(), &manager);
        let installed = Installed { guest: self, owner, manager, id };
        if self.capture.is_error_logger() && self.logger_has(ERROR_LOGGER).await == Some(false) {
            return Err(Tried::NotReady("error_logger is being restarted".to_owned()));
        }
        if let Some(since) = gap {
            self.shared.report_gap(self.peer.name(), since);
        }
        Ok(installed)
    }

    /// The module to install: ours, uploaded, or the one that the configuration names, which has to be on the
    /// node, because its code is the user's.
    async fn choose_handler(&self) -> Result<&str, Tried> {
        let handler = self.capture.handler.as_str();
        let is_theirs = match handler {
            OWN_HANDLER => false,
            ORIGINAL_HANDLER => self.code(handler).await? == Code::Theirs,
            _ if self.code(handler).await? == Code::None => {
                return Err(Tried::Missing(format!("there is no module {handler}")));
            }
            _ => true,
        };
        if is_theirs {
            return Ok(handler);
        }
        self.upload(&EVENT_HANDLER).await?;
        Ok(OWN_HANDLER)
    }

    /// Since OTP 21 `error_logger` runs, and is fed, only once somebody asks for it.
    async fn start_error_logger(&self) -> Result<(), Tried> {
        if self.logger_has(ERROR_LOGGER).await == Some(true) {
            return Ok(());
        }
        self.locked(async {
            let id: WriteTerm<'_> = &|out| encode::atom(out, ERROR_LOGGER);
            let config: WriteTerm<'_> = &|out| {
                encode::map_header(out, 2);
                encode::atom(out, "level");
                encode::atom(out, "info");
                encode::atom(out, "filter_default");
                encode::atom(out, "log");
            };
            if self.logger_has(ERROR_LOGGER).await == Some(true) {
                return Ok(());
            }
            let add = |out: &mut Vec<u8>| list(out, &[id, id, config]);
            let mut answer = self.rpc("logger", "add_handler", add).await?;
            if is_leftover(answer.as_term()) {
                // It was stopped, not killed: its supervisor neither restarts it nor lets it be started.
                let sup: WriteTerm<'_> = &|out| encode::atom(out, "logger_sup");
                self.rpc("supervisor", "delete_child", |out| list(out, &[sup, id])).await?;
                answer = self.rpc("logger", "add_handler", add).await?;
            }
            let answer = answer.as_term();
            if answer.is_atom("ok") {
                return Ok(());
            }
            if error_tag(answer).as_deref() == Some("already_exist") {
                return self.check_listed(ERROR_LOGGER).await;
            }
            // Its supervisor is not there yet, or is restarting it.
            Err(Tried::NotReady(format!("starting error_logger: {}", brief(answer))))
        })
        .await
    }

    /// The manager's pid: the one registered on the node, or, if it is allowed to be a global name, the one
    /// that `global` knows, if it runs on this node.
    async fn find_manager(&self) -> Result<Pid, Tried> {
        let name = &self.capture.target.manager;
        let ask = async |module, function| {
            let answer = self.rpc(module, function, |out| {
                list(out, &[&|out| encode::atom(out, name)]);
            });
            let answer = answer.await?;
            let found = answer.as_term().as_pid();
            Ok(found.filter(|pid| *pid.node == *self.peer.name().as_str()))
        };
        if let Some(pid) = ask("erlang", "whereis").await? {
            return Ok(pid);
        }
        if self.capture.target.is_global
            && let Some(pid) = ask("global", "whereis_name").await?
        {
            return Ok(pid);
        }
        let why = format!("no process is registered as {name}");
        Err(if self.capture.is_error_logger() { Tried::NotReady(why) } else { Tried::Missing(why) })
    }

    /// `{Handler, OurNode}`, or `{Handler, {OurNode, Instance}}` where another instance has the first.
    fn handler_id(&self, handler: &str) -> TermBuf {
        TermBuf::written(|out| {
            encode::tuple_header(out, 2);
            encode::atom(out, handler);
            if self.capture.is_shared {
                encode::tuple_header(out, 2);
                encode::atom(out, self.node.name().as_str());
                encode::atom(out, &self.instance);
            } else {
                encode::atom(out, self.node.name().as_str());
            }
        })
    }

    /// Our handler takes options; others take the receiver alone, as the original passed it.
    fn write_handler_args(&self, out: &mut Vec<u8>, handler: &str) {
        if handler != OWN_HANDLER {
            return self.write_receiver(out);
        }
        let is_error_logger = self.capture.is_error_logger();
        encode::map_header(out, if is_error_logger { 3 } else { 1 });
        encode::atom(out, "receiver");
        self.write_receiver(out);
        if is_error_logger {
            encode::atom(out, "local_only");
            encode::boolean(out, true);
            encode::atom(out, "level");
            encode::atom(out, self.capture.logger_level.name());
        }
    }
}

/// How often a handler's id is among those that a manager has.
fn count(present: TermRef<'_>, id: &[u8]) -> usize {
    let id = TermRef::from_walked(id);
    present.cells().filter(|&found| order::exactly_equal(found, id)).count()
}

impl Owner {
    /// Takes away what the manager has under this id.
    async fn delete_all(
        &mut self,
        manager: &Pid,
        present: TermRef<'_>,
        id: &[u8],
    ) -> Result<(), Tried> {
        for _ in 0..count(present, id) {
            let delete = |out: &mut Vec<u8>| {
                encode::tuple_header(out, 3);
                encode::atom(out, "delete_handler");
                out.extend_from_slice(id);
                encode::atom(out, "replaced");
            };
            self.ask(manager, delete).await?;
        }
        Ok(())
    }

    /// Calls the manager as `gen_event` does: `{Us, {Us, Ref}, Request}`, answered by `{Ref, Answer}`.
    async fn ask(
        &mut self,
        manager: &Pid,
        request: impl FnOnce(&mut Vec<u8>),
    ) -> Result<TermBuf, Tried> {
        let reference: Reference = self.node.make_reference();
        let us = &self.pid;
        self.node.send(manager, |out| {
            encode::tuple_header(out, 3);
            encode::pid(out, us);
            encode::tuple_header(out, 2);
            encode::pid(out, us);
            encode::reference(out, &reference);
            request(out);
        });
        let answer = async {
            while let Some(letter) = self.letters.recv().await {
                match letter {
                    Letter::Message(message) => {
                        if let Some([tag, answer]) = message.as_term().as_tuple()
                            && tag.as_reference().as_ref() == Some(&reference)
                        {
                            return Ok(answer.to_buf());
                        }
                    }
                    Letter::Exit { reason, .. } | Letter::Down { reason, .. } => {
                        let why = brief(reason.as_term());
                        return Err(Tried::NotReady(format!("the event manager is gone: {why}")));
                    }
                }
            }
            Err(Tried::NotReady("noconnection".to_owned()))
        };
        timeout(ANSWER_TIME, answer).await.unwrap_or_else(|_| {
            Err(Tried::NotReady(format!("the event manager gave no answer in {ANSWER_TIME:?}")))
        })
    }
}

impl Installed<'_> {
    /// Waits until the handler is gone; why it is.
    async fn gone(&mut self) -> String {
        let mut ticks = interval(MISSING);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // Receiving a letter drops nothing when it loses the race.
                letter = self.owner.letters.recv() => match letter {
                    Some(Letter::Message(message)) => {
                        if let Some(why) = self.removal(message.as_term()) {
                            return why;
                        }
                    }
                    Some(Letter::Exit { reason, .. } | Letter::Down { reason, .. }) => {
                        let why = brief(reason.as_term());
                        return format!("the event manager is gone: {why}");
                    }
                    None => return "noconnection".to_owned(),
                },
                // A tick that is lost to a letter comes again.
                _ = ticks.tick(), if self.guest.capture.is_error_logger() => {
                    // Removed from logger, it would be an event manager without events.
                    if self.guest.logger_has(ERROR_LOGGER).await == Some(false) {
                        return "error_logger was removed from logger".to_owned();
                    }
                }
            }
        }
    }

    /// The reason in `{gen_event_EXIT, Handler, Reason}`.
    fn removal(&self, message: TermRef<'_>) -> Option<String> {
        let [tag, handler, reason] = message.as_tuple()?;
        let ours = self.id.as_term();
        (tag.is_atom("gen_event_EXIT") && order::exactly_equal(handler, ours))
            .then(|| format!("the handler was removed from {}: {}", self.manager, brief(reason)))
    }
}

/// Whether `error_logger` could not be started because the supervisor remembers one that was.
fn is_leftover(answer: TermRef<'_>) -> bool {
    let why = answer.as_tuple().and_then(|[_, reason]| reason.as_tuple());
    why.is_some_and(|[_, why]| why.is_atom("already_present"))
}
