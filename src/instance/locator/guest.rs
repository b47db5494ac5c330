//! Our handlers as guests on one connected node: uploads them, installs them, notices when they are gone.
//!
//! What is called, in which order, and what is answered is written down in `erlang/HANDLERS.md`.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, sleep_until};
use tracing::{debug, info, warn};

use super::plan::{HandlerState, Plan, Tried};
use super::target::Capture;
use super::{Place, Shared};
use crate::etf::{Term, TermBuf, TermRef, encode, text};
use crate::node::{CallError, Node, Peer};
use crate::time::monotonic;

/// The version of the handlers that this program carries; see `logmachine_guest.hrl`.
const HANDLER_VERSION: i64 = 2;

/// The first OTP release with `logger`, and the first that loads the newer form of the handlers.
const OLDEST_RELEASE: u32 = 21;
const R25: u32 = 25;

/// A compiled handler, for old and for newer releases.
pub(super) struct Beam {
    pub(super) module: &'static str,
    pub(super) r23: &'static [u8],
    pub(super) r25: &'static [u8],
}

/// Whose a module on a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    /// There is none of the name.
    None,
    /// One of our handlers, of whatever version.
    Ours,
    /// Anybody else's.
    Theirs,
}

/// The name that is a lock on a node where handlers are added to `logger`, how long at most it is held, and how
/// often, at which pauses, it is tried.
const LOCK_NAME: &str = "logmachine_installing";
const LOCK_MILLIS: u64 = 5000;
const LOCK_TRIES: usize = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// One place on one node.
pub(super) struct Guest {
    pub(super) node: Node,
    pub(super) peer: Arc<Peer>,
    pub(super) instance: Arc<str>,
    pub(super) capture: Arc<Capture>,
    pub(super) shared: Arc<Shared>,
    pub(super) place: Place,
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
    fn publish(&self, state: &HandlerState) {
        let place = self.place.name(&self.capture);
        let (instance, node) = (&self.instance, self.peer.name());
        let before = self.shared.set(node, place, state.clone());
        if before.as_ref() == Some(state) {
            return;
        }
        match (before, state) {
            (_, HandlerState::Installing) => {}
            (_, HandlerState::Installed) => info!(%instance, %node, "capturing {place}"),
            (Some(HandlerState::Installed), HandlerState::Waiting(why)) => {
                info!(%instance, %node, "no longer capturing {place}, trying again: {why}");
            }
            (_, HandlerState::Waiting(why)) => {
                debug!(%instance, %node, "not capturing {place} yet: {why}");
            }
            (_, HandlerState::Refused(why)) => {
                warn!(%instance, %node, "cannot capture {place}: {why}")
            }
        }
    }

    /// Says that it is there.
    pub(super) fn installed(&self, plan: &mut Plan) {
        plan.record(monotonic(), Tried::Installed);
        self.publish(plan.state());
    }

    /// `rpc:call`; a failure to apply the function is one of the node.
    pub(super) async fn rpc(
        &self,
        module: &str,
        function: &str,
        args: impl FnOnce(&mut Vec<u8>),
    ) -> Result<TermBuf, Tried> {
        let answer = self.node.rpc(&self.peer, module, function, args).await;
        let failed = |why: &str| Tried::NotReady(format!("{module}:{function}: {why}"));
        let answer = answer.map_err(|error: CallError| failed(&error.to_string()))?;
        match answer.as_term().as_tuple() {
            Some([tag, reason]) if tag.is_atom("badrpc") => Err(failed(&brief(reason))),
            _ => Ok(answer),
        }
    }

    /// A node answers before its `logger` is set up, and forgets what is put into that then.
    pub(super) async fn check_started(&self) -> Result<(), Tried> {
        let running = self.rpc("application", "which_applications", encode::nil).await?;
        let is_kernel = |application: TermRef<'_>| match application.view() {
            Term::Tuple(mut parts) => parts.next().is_some_and(|name| name.is_atom("kernel")),
            _ => false,
        };
        if running.as_term().cells().any(is_kernel) {
            Ok(())
        } else {
            Err(Tried::NotReady("it is starting".to_owned()))
        }
    }

    async fn release(&self) -> Result<u32, Tried> {
        let answer = self
            .rpc("erlang", "system_info", |out| {
                list(out, &[&|out| encode::atom(out, "otp_release")]);
            })
            .await?;
        let release = match answer.as_term().view() {
            Term::String(digits) => std::str::from_utf8(digits).ok().and_then(|d| d.parse().ok()),
            _ => None,
        };
        match release {
            Some(release) if release >= OLDEST_RELEASE => Ok(release),
            Some(release) => Err(Tried::Refused(format!(
                "it runs OTP {release}, the oldest supported is {OLDEST_RELEASE}"
            ))),
            None => Err(Tried::Refused("it does not tell its OTP release".to_owned())),
        }
    }

    /// Loads a handler of ours, unless the node has it, or a later one, already. A module of somebody else's
    /// that has the name stays.
    pub(super) async fn upload(&self, beam: &Beam) -> Result<(), Tried> {
        match self.code(beam.module).await? {
            Code::None => {}
            Code::Ours => {
                let version = self.rpc(beam.module, "version", encode::nil).await?;
                let version = version.as_term().as_integer();
                if version.is_some_and(|version| version >= HANDLER_VERSION) {
                    return Ok(());
                }
            }
            Code::Theirs => {
                let why = format!("it has a module {} that is not ours", beam.module);
                return Err(Tried::Refused(why));
            }
        }
        let code = if self.release().await? >= R25 { beam.r25 } else { beam.r23 };
        let load = |out: &mut Vec<u8>| {
            let module: WriteTerm<'_> = &|out| encode::atom(out, beam.module);
            let file: WriteTerm<'_> = &|out| encode::string(out, "logmachine");
            list(out, &[module, file, &|out| encode::binary(out, code)]);
        };
        let answer = self.rpc("code", "load_binary", load).await?;
        let answer = answer.as_term();
        match answer.as_tuple() {
            Some([tag, _]) if tag.is_atom("module") => {
                debug!(node = %self.peer.name(), module = beam.module, "uploaded");
                Ok(())
            }
            _ => Err(Tried::Refused(format!("loading {}: {}", beam.module, brief(answer)))),
        }
    }

    /// Whose the module of this name is on the node; it is loaded if it can be found there.
    pub(super) async fn code(&self, module: &str) -> Result<Code, Tried> {
        let answer = self.rpc("code", "ensure_loaded", |out| {
            list(out, &[&|out| encode::atom(out, module)]);
        });
        let answer = answer.await?;
        let answer = answer.as_term();
        if !matches!(answer.as_tuple(), Some([tag, _]) if tag.is_atom("module")) {
            // In embedded mode nothing is loaded on demand: what is not there now is in nobody's use.
            return match error_tag(answer).as_deref() {
                Some("nofile" | "embedded") => Ok(Code::None),
                _ => Err(Tried::Refused(format!("loading {module}: {}", brief(answer)))),
            };
        }
        let exports = self.rpc(module, "module_info", |out| {
            list(out, &[&|out| encode::atom(out, "exports")]);
        });
        let exports = exports.await?;
        let has = |name: &str, arity: i64| {
            exports.as_term().cells().any(|export| {
                matches!(export.as_tuple(), Some([found, of])
                    if found.is_atom(name) && of.as_integer() == Some(arity))
            })
        };
        // What every version of our handlers exports.
        Ok(if has("version", 0) && has("guard", 1) { Code::Ours } else { Code::Theirs })
    }

    /// The receiver, by the name that survives our restart.
    pub(super) fn write_receiver(&self, out: &mut Vec<u8>) {
        encode::tuple_header(out, 2);
        encode::atom(out, &format!(".{}.receiver.srv", self.instance));
        encode::atom(out, self.node.name().as_str());
    }

    /// Does `work` while no other logmachine does the same on this node.
    ///
    /// `logger:add_handler/3` called twice at the same time for one id answers `ok` twice and then calls that
    /// handler twice for each event, on every release. A name that a process on the node has for a moment is the
    /// lock; that process ends by itself.
    pub(super) async fn locked<T>(
        &self,
        work: impl Future<Output = Result<T, Tried>>,
    ) -> Result<T, Tried> {
        let spawn = |out: &mut Vec<u8>| {
            let millis: WriteTerm<'_> =
                &|out| list(out, &[&|out| encode::unsigned(out, LOCK_MILLIS)]);
            list(
                out,
                &[&|out| encode::atom(out, "timer"), &|out| encode::atom(out, "sleep"), millis],
            );
        };
        let holder = self.rpc("erlang", "spawn", spawn).await?;
        let write_holder: WriteTerm<'_> = &|out| out.extend_from_slice(holder.bytes());
        let mut is_ours = false;
        for _ in 0..LOCK_TRIES {
            let register = |out: &mut Vec<u8>| {
                list(out, &[&|out| encode::atom(out, LOCK_NAME), write_holder]);
            };
            // `badarg` if the name is taken.
            let answer = self.rpc("erlang", "register", register).await;
            is_ours = answer.is_ok_and(|answer| answer.as_term().is_atom("true"));
            if is_ours {
                break;
            }
            sleep(LOCK_PAUSE).await;
        }
        let result = if is_ours {
            work.await
        } else {
            Err(Tried::NotReady("another logmachine is installing its handlers".to_owned()))
        };
        let kill = |out: &mut Vec<u8>| {
            list(out, &[write_holder, &|out| encode::atom(out, "kill")]);
        };
        self.rpc("erlang", "exit", kill).await?;
        result
    }
}

/// Writes one term.
pub(super) type WriteTerm<'a> = &'a (dyn Fn(&mut Vec<u8>) + Sync);

/// A list of the terms that `elements` write.
pub(super) fn list(out: &mut Vec<u8>, elements: &[WriteTerm<'_>]) {
    encode::list(out, elements.iter(), |out, write| write(out));
}

/// The atom, or the first of the tuple, in `{error, _}`.
pub(super) fn error_tag(answer: TermRef<'_>) -> Option<String> {
    let [tag, reason] = answer.as_tuple()?;
    let reason = match reason.view() {
        Term::Tuple(mut elements) => elements.next()?,
        _ => reason,
    };
    tag.is_atom("error").then(|| reason.as_atom().map(|atom| atom.to_str().into_owned()))?
}

/// The most characters of a foreign term that diagnostics and `info` show.
const BRIEF_CHARS: usize = 200;

/// A foreign term as text.
pub(super) fn brief(reason: TermRef<'_>) -> String {
    if reason.bytes().len() > 64 * BRIEF_CHARS {
        return format!("a term of {} bytes", reason.bytes().len());
    }
    let full = text::to_text(reason);
    match full.char_indices().nth(BRIEF_CHARS) {
        Some((end, _)) => format!("{}...", &full[..end]),
        None => full,
    }
}
