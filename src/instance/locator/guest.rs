//! Our handlers as guests on one connected node: uploads them, installs them, notices when they are gone.
//!
//! What is called, in which order, and what is answered is written down in `erlang/HANDLERS.md`.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep_until, timeout};
use tracing::{debug, info, warn};

use super::plan::{MISSING, Outcome, Plan, State};
use super::target::{Capture, ERROR_LOGGER, Mode, OWN_HANDLER};
use super::{Place, Shared};
use crate::etf::{Pid, Reference, Term, TermRef, encode, order, text};
use crate::instance::calls::term;
use crate::node::{CallError, Letter, Node, Peer};
use crate::proto::control::Watched;
use crate::time::monotonic;

/// The version of the handlers that this program carries; see `logmachine_guest.hrl`.
const HANDLER_VERSION: i64 = 1;

/// The first OTP release with `logger`, and the first that loads the newer form of the handlers.
const OLDEST_RELEASE: u32 = 21;
const R25: u32 = 25;

/// A compiled handler, for old and for newer releases.
struct Beam {
    module: &'static str,
    r23: &'static [u8],
    r25: &'static [u8],
}

static EVENT_HANDLER: Beam = Beam {
    module: OWN_HANDLER,
    r23: include_bytes!("../../../erlang/priv/handlers/r23/logmachine_event_handler.beam"),
    r25: include_bytes!("../../../erlang/priv/handlers/r25/logmachine_event_handler.beam"),
};

static LOGGER_HANDLER: Beam = Beam {
    module: "logmachine_logger_handler",
    r23: include_bytes!("../../../erlang/priv/handlers/r23/logmachine_logger_handler.beam"),
    r25: include_bytes!("../../../erlang/priv/handlers/r25/logmachine_logger_handler.beam"),
};

/// How long an event manager may take to answer; one that is busy longer is asked again.
const ANSWER_TIME: Duration = Duration::from_secs(5);

/// How often it is looked whether `logger` still has what was put into it: it does not tell.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// One place on one node.
pub(super) struct Guest {
    pub(super) node: Node,
    pub(super) peer: Arc<Peer>,
    pub(super) instance: Arc<str>,
    pub(super) capture: Arc<Capture>,
    pub(super) shared: Arc<Shared>,
    pub(super) place: Place,
}

/// Why a try failed.
type Failure = Outcome;

/// A process of ours that owns an installed handler. When it goes, so does the handler.
struct Owner {
    node: Node,
    pid: Pid,
    letters: mpsc::Receiver<Letter>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.node.exit(&self.pid, &term(|out| encode::atom(out, "shutdown")));
    }
}

/// An installed `gen_event` handler.
struct Installed<'g> {
    guest: &'g Guest,
    owner: Owner,
    manager: Pid,
    id: Vec<u8>,
}

impl Drop for Installed<'_> {
    fn drop(&mut self) {
        self.guest.shared.lost(self.guest.peer.name());
    }
}

impl Guest {
    /// Keeps the handler installed, for ever.
    pub(super) async fn run(self) {
        let mut plan = Plan::new();
        loop {
            self.publish(plan.state());
            if let Some(due) = plan.due() {
                sleep_until(due.into()).await;
                plan.begin();
                self.publish(plan.state());
            }
            let outcome = match self.place {
                Place::Manager => self.keep_manager(&mut plan).await,
                Place::Logger => self.keep_logger(&mut plan).await,
            };
            plan.record(monotonic(), outcome);
        }
    }

    /// Shows how far it is, and tells the operator what is new.
    fn publish(&self, state: &State) {
        let place = self.place.name(&self.capture);
        let (instance, node) = (&self.instance, self.peer.name());
        if self.shared.set(node, place, state.clone()) {
            match state {
                State::Installing => {}
                State::Installed => info!(%instance, %node, "capturing {place}"),
                State::Waiting(why) => debug!(%instance, %node, "not capturing {place} yet: {why}"),
                State::Refused(why) => warn!(%instance, %node, "cannot capture {place}: {why}"),
            }
        }
    }

    fn installed(&self, plan: &mut Plan) {
        plan.record(monotonic(), Outcome::Installed);
        self.publish(plan.state());
    }

    /// Installs the `gen_event` handler; ends when it is gone, or cannot be installed now.
    async fn keep_manager(&self, plan: &mut Plan) -> Outcome {
        let mut installed = match self.install_in_manager().await {
            Ok(installed) => installed,
            Err(failure) => return failure,
        };
        self.installed(plan);
        Outcome::Removed(installed.gone().await)
    }

    /// Installs the `logger` handler; ends when it is gone, or cannot be installed now.
    async fn keep_logger(&self, plan: &mut Plan) -> Outcome {
        if let Err(failure) = self.install_in_logger().await {
            return failure;
        }
        self.installed(plan);
        let mut ticks = interval(LOOK_AGAIN);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if self.logger_has(&self.logger_id()).await == Some(false) {
                return Outcome::Removed("removed from logger".to_owned());
            }
        }
    }

    // The node.

    /// `rpc:call`; a failure to apply the function is one of the node.
    async fn rpc(
        &self,
        module: &str,
        function: &str,
        args: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Box<[u8]>, Failure> {
        let answer = self.node.rpc(&self.peer, module, function, args).await;
        let failed = |why: &str| Outcome::NotReady(format!("{module}:{function}: {why}"));
        let answer = answer.map_err(|error: CallError| failed(&error.to_string()))?;
        match TermRef::from_walked(&answer).as_tuple() {
            Some([tag, reason]) if tag.is_atom("badrpc") => Err(failed(&brief(reason))),
            _ => Ok(answer),
        }
    }

    /// A node answers before its `logger` is set up, and forgets what is put into that then.
    async fn check_started(&self) -> Result<(), Failure> {
        let running = self.rpc("application", "which_applications", encode::nil).await?;
        let is_kernel = |application: TermRef<'_>| match application.view() {
            Term::Tuple(mut parts) => parts.next().is_some_and(|name| name.is_atom("kernel")),
            _ => false,
        };
        if TermRef::from_walked(&running).cells().any(is_kernel) {
            Ok(())
        } else {
            Err(Outcome::NotReady("it is starting".to_owned()))
        }
    }

    async fn release(&self) -> Result<u32, Failure> {
        let answer = self
            .rpc("erlang", "system_info", |out| {
                list(out, &[&|out| encode::atom(out, "otp_release")]);
            })
            .await?;
        let release = match TermRef::from_walked(&answer).view() {
            Term::String(digits) => std::str::from_utf8(digits).ok().and_then(|d| d.parse().ok()),
            _ => None,
        };
        match release {
            Some(release) if release >= OLDEST_RELEASE => Ok(release),
            Some(release) => Err(Outcome::Refused(format!(
                "it runs OTP {release}, the oldest supported is {OLDEST_RELEASE}"
            ))),
            None => Err(Outcome::Refused("it does not tell its OTP release".to_owned())),
        }
    }

    /// Loads a handler of ours, unless the node has it, or a later one, already.
    async fn upload(&self, beam: &Beam) -> Result<(), Failure> {
        let version = self.node.rpc(&self.peer, beam.module, "version", encode::nil).await;
        let version = version.map_err(|error| Outcome::NotReady(error.to_string()))?;
        let version = TermRef::from_walked(&version).as_integer();
        if version.is_some_and(|version| version >= HANDLER_VERSION) {
            return Ok(());
        }
        let code = if self.release().await? >= R25 { beam.r25 } else { beam.r23 };
        let answer = self
            .rpc("code", "load_binary", |out| {
                list(
                    out,
                    &[
                        &|out| encode::atom(out, beam.module),
                        &|out| encode::string(out, "logmachine"),
                        &|out| encode::binary(out, code),
                    ],
                );
            })
            .await?;
        let answer = TermRef::from_walked(&answer);
        match answer.as_tuple() {
            Some([tag, _]) if tag.is_atom("module") => {
                debug!(node = %self.peer.name(), module = beam.module, "uploaded");
                Ok(())
            }
            _ => Err(Outcome::Refused(format!("loading {}: {}", beam.module, brief(answer)))),
        }
    }

    /// The receiver, by the name that survives our restart.
    fn write_receiver(&self, out: &mut Vec<u8>) {
        encode::tuple_header(out, 2);
        encode::atom(out, &format!(".{}.receiver.srv", self.instance));
        encode::atom(out, self.node.name().as_str());
    }

    // gen_event.

    async fn install_in_manager(&self) -> Result<Installed<'_>, Failure> {
        self.check_started().await?;
        if self.capture.handler == OWN_HANDLER {
            self.upload(&EVENT_HANDLER).await?;
        } else {
            self.check_users_handler().await?;
        }
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
        monitor.ok_or_else(|| Outcome::NotReady("noconnection".to_owned()))?;
        let id = self.handler_id();
        let ours = TermRef::from_walked(&id);
        let present = owner.ask(&manager, |out| encode::atom(out, "which_handlers")).await?;
        let present = TermRef::from_walked(&present).cells();
        let stale = present.filter(|&found| order::exactly_equal(found, ours)).count();
        // A manager takes the same id twice, so what an earlier life left goes first.
        for _ in 0..stale {
            owner
                .ask(&manager, |out| {
                    encode::tuple_header(out, 3);
                    encode::atom(out, "delete_handler");
                    out.extend_from_slice(&id);
                    encode::atom(out, "replaced");
                })
                .await?;
        }
        let us = owner.pid.clone();
        let answer = owner
            .ask(&manager, |out| {
                encode::tuple_header(out, 4);
                encode::atom(out, "add_sup_handler");
                out.extend_from_slice(&id);
                self.write_handler_args(out);
                encode::pid(out, &us);
            })
            .await?;
        let answer = TermRef::from_walked(&answer);
        if !answer.is_atom("ok") {
            let why = format!("adding the handler: {}", brief(answer));
            let is_error = matches!(answer.as_tuple(), Some([tag, _]) if tag.is_atom("error"));
            return Err(if is_error { Outcome::Refused(why) } else { Outcome::NotReady(why) });
        }
        let gap = self.shared.captured(self.peer.name(), &manager);
        let installed = Installed { guest: self, owner, manager, id };
        if self.capture.is_error_logger() && self.logger_has(ERROR_LOGGER).await == Some(false) {
            return Err(Outcome::NotReady("error_logger is being restarted".to_owned()));
        }
        if let Some(since) = gap {
            self.shared.report_gap(self.peer.name(), since);
        }
        Ok(installed)
    }

    /// A module that the configuration names has to be on the node: its code is the user's.
    async fn check_users_handler(&self) -> Result<(), Failure> {
        let handler = &self.capture.handler;
        let answer = self.rpc("code", "ensure_loaded", |out| {
            list(out, &[&|out| encode::atom(out, handler)]);
        });
        let answer = answer.await?;
        let answer = TermRef::from_walked(&answer);
        match answer.as_tuple() {
            Some([tag, _]) if tag.is_atom("module") => Ok(()),
            _ => Err(Outcome::Missing(format!("loading {handler}: {}", brief(answer)))),
        }
    }

    /// Since OTP 21 `error_logger` runs, and is fed, only once somebody asks for it.
    async fn start_error_logger(&self) -> Result<(), Failure> {
        let answer = self
            .rpc("logger", "add_handler", |out| {
                list(
                    out,
                    &[
                        &|out| encode::atom(out, ERROR_LOGGER),
                        &|out| encode::atom(out, ERROR_LOGGER),
                        &|out| {
                            encode::map_header(out, 2);
                            encode::atom(out, "level");
                            encode::atom(out, "info");
                            encode::atom(out, "filter_default");
                            encode::atom(out, "log");
                        },
                    ],
                );
            })
            .await?;
        let answer = TermRef::from_walked(&answer);
        if answer.is_atom("ok") {
            return Ok(());
        }
        if error_tag(answer).as_deref() == Some("already_exist") {
            return self.check_listed(ERROR_LOGGER).await;
        }
        // Its supervisor is not there yet, or is restarting it.
        Err(Outcome::NotReady(format!("starting error_logger: {}", brief(answer))))
    }

    /// The manager's pid: the one registered on the node, or, if it is allowed to be a global name, the one
    /// that `global` knows, if it runs on this node.
    async fn find_manager(&self) -> Result<Pid, Failure> {
        let name = &self.capture.target.manager;
        let ask = async |module, function| {
            let answer = self.rpc(module, function, |out| {
                list(out, &[&|out| encode::atom(out, name)]);
            });
            let answer = answer.await?;
            let found = TermRef::from_walked(&answer).as_pid();
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
        Err(if self.capture.is_error_logger() {
            Outcome::NotReady(why)
        } else {
            Outcome::Missing(why)
        })
    }

    /// `{Handler, OurNode}`, or `{Handler, {OurNode, Instance}}` where another instance has the first.
    fn handler_id(&self) -> Vec<u8> {
        term(|out| {
            encode::tuple_header(out, 2);
            encode::atom(out, &self.capture.handler);
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
    fn write_handler_args(&self, out: &mut Vec<u8>) {
        if self.capture.handler != OWN_HANDLER {
            return self.write_receiver(out);
        }
        encode::map_header(out, 2);
        encode::atom(out, "receiver");
        self.write_receiver(out);
        encode::atom(out, "local_only");
        encode::boolean(out, self.capture.is_error_logger());
    }

    // logger.

    /// The `logger` handler's id, always the same for this instance of this node.
    fn logger_id(&self) -> String {
        logger_id(&self.instance, &self.node)
    }

    async fn install_in_logger(&self) -> Result<(), Failure> {
        self.check_started().await?;
        self.upload(&LOGGER_HANDLER).await?;
        let id = self.logger_id();
        // One from an earlier life goes on without missing an event.
        let answer = self
            .rpc("logger", "update_handler_config", |out| {
                list(
                    out,
                    &[&|out| encode::atom(out, &id), &|out| encode::atom(out, "config"), &|out| {
                        self.write_logger_options(out)
                    }],
                );
            })
            .await?;
        let answer = TermRef::from_walked(&answer);
        if answer.is_atom("ok") {
            return self.check_listed(&id).await;
        }
        if error_tag(answer).as_deref() != Some("not_found") {
            return Err(Outcome::NotReady(format!("updating the handler: {}", brief(answer))));
        }
        let answer = self
            .rpc("logger", "add_handler", |out| {
                list(
                    out,
                    &[
                        &|out| encode::atom(out, &id),
                        &|out| encode::atom(out, LOGGER_HANDLER.module),
                        &|out| {
                            encode::map_header(out, 3);
                            encode::atom(out, "level");
                            encode::atom(out, "all");
                            encode::atom(out, "filter_default");
                            encode::atom(out, "log");
                            encode::atom(out, "config");
                            self.write_logger_options(out);
                        },
                    ],
                );
            })
            .await?;
        let answer = TermRef::from_walked(&answer);
        if answer.is_atom("ok") {
            return Ok(());
        }
        Err(Outcome::NotReady(format!("adding the handler: {}", brief(answer))))
    }

    fn write_logger_options(&self, out: &mut Vec<u8>) {
        let forward = self.capture.mode == Mode::Logger;
        encode::map_header(out, 2);
        encode::atom(out, "receiver");
        self.write_receiver(out);
        encode::atom(out, "error_logger");
        encode::atom(out, if forward { "forward" } else { "skip" });
    }

    /// `logger` can know a handler's configuration and yet not call it, when its list was changed by others at
    /// the same time. Such a handler is removed, to be added anew.
    async fn check_listed(&self, id: &str) -> Result<(), Failure> {
        if self.logger_has(id).await != Some(false) {
            return Ok(());
        }
        remove_from_logger(&self.node, &self.peer, id).await;
        Err(Outcome::NotReady(format!("logger did not call its handler {id}")))
    }

    /// Whether `logger` has a handler of this id; `None` if it does not say.
    async fn logger_has(&self, id: &str) -> Option<bool> {
        let answer = self.rpc("logger", "get_handler_ids", encode::nil).await.ok()?;
        Some(TermRef::from_walked(&answer).as_list()?.any(|found| found.is_atom(id)))
    }
}

impl Owner {
    /// Calls the manager as `gen_event` does: `{Us, {Us, Ref}, Request}`, answered by `{Ref, Answer}`.
    async fn ask(
        &mut self,
        manager: &Pid,
        request: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Box<[u8]>, Failure> {
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
                        if let Some([tag, answer]) = TermRef::from_walked(&message).as_tuple()
                            && tag.as_reference().as_ref() == Some(&reference)
                        {
                            return Ok(answer.to_bytes());
                        }
                    }
                    Letter::Exit { reason, .. } | Letter::Down { reason, .. } => {
                        let why = brief(TermRef::from_walked(&reason));
                        return Err(Outcome::NotReady(format!("the event manager is gone: {why}")));
                    }
                }
            }
            Err(Outcome::NotReady("noconnection".to_owned()))
        };
        timeout(ANSWER_TIME, answer).await.unwrap_or_else(|_| {
            Err(Outcome::NotReady(format!("the event manager gave no answer in {ANSWER_TIME:?}")))
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
                // Receiving from a channel drops nothing when it loses the race.
                letter = self.owner.letters.recv() => match letter {
                    Some(Letter::Message(message)) => {
                        if let Some(why) = self.removal(TermRef::from_walked(&message)) {
                            return why;
                        }
                    }
                    Some(Letter::Exit { reason, .. } | Letter::Down { reason, .. }) => {
                        let why = brief(TermRef::from_walked(&reason));
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
        let ours = TermRef::from_walked(&self.id);
        (tag.is_atom("gen_event_EXIT") && order::exactly_equal(handler, ours))
            .then(|| format!("the handler was removed from {}: {}", self.manager, brief(reason)))
    }
}

/// `'logmachine.INSTANCE.NODE'`.
pub(super) fn logger_id(instance: &str, node: &Node) -> String {
    // An atom has no more characters.
    format!("logmachine.{instance}.{}", node.name()).chars().take(255).collect()
}

/// Takes a `logger` handler away; it is gone also if the node does not answer any more, only later.
pub(super) async fn remove_from_logger(node: &Node, peer: &Arc<Peer>, id: &str) {
    let removed = node.rpc(peer, "logger", "remove_handler", |out| {
        list(out, &[&|out| encode::atom(out, id)]);
    });
    if let Err(error) = removed.await {
        debug!(node = %peer.name(), "logger:remove_handler: {error}");
    }
}

/// Writes one term.
type Write<'a> = &'a dyn Fn(&mut Vec<u8>);

/// A list of the terms that `elements` write.
fn list(out: &mut Vec<u8>, elements: &[Write<'_>]) {
    encode::list(out, elements.iter(), |out, write| write(out));
}

/// The atom, or the first of the tuple, in `{error, _}`.
fn error_tag(answer: TermRef<'_>) -> Option<String> {
    let [tag, reason] = answer.as_tuple()?;
    let reason = match reason.view() {
        Term::Tuple(mut elements) => elements.next()?,
        _ => reason,
    };
    tag.is_atom("error").then(|| reason.as_atom().map(|atom| atom.to_str().into_owned()))?
}

/// The most characters of a foreign term that diagnostics and `info` show.
const BRIEF_CHARS: usize = 200;

fn brief(reason: TermRef<'_>) -> String {
    if reason.bytes().len() > 64 * BRIEF_CHARS {
        return format!("a term of {} bytes", reason.bytes().len());
    }
    let full = text::to_text(reason);
    match full.char_indices().nth(BRIEF_CHARS) {
        Some((end, _)) => format!("{}...", &full[..end]),
        None => full,
    }
}
