//! `gen` calls: what others ask our processes, and what we ask theirs.
//!
//! A call is `{'$gen_call', {Pid, Tag}, Request}` and its answer `{Tag, Reply}`, sent to the pid, or, since
//! OTP 24, to the alias inside the tag.
//!
//! Source: `gen.erl` of `stdlib`.

use std::sync::Arc;
use std::time::Duration;

use super::{CallError, Letter, Node, Peer};
use crate::etf::{Pid, Reference, Term, TermBuf, TermRef, encode};
use crate::proto::Flags;
use crate::proto::control::{self, Watched};
use crate::strangers::Escaped;

/// How long we wait for other nodes' answers.
const CALL_TIME: Duration = Duration::from_secs(5);

/// What a message to a `gen_server` is.
#[derive(Clone, Copy, Debug)]
pub enum Gen<'a> {
    /// `gen_server:cast/2`.
    Cast(TermRef<'a>),
    /// `gen_server:call/2,3`: who asks, as sent, and what.
    Call(TermRef<'a>, TermRef<'a>),
    /// `sys` and `gen_server:stop/1`: who asks, and what.
    System(TermRef<'a>, TermRef<'a>),
    /// Anything else.
    Info(TermRef<'a>),
}

impl<'a> Gen<'a> {
    /// Tells what `message` is.
    pub fn parse(message: TermRef<'a>) -> Self {
        if let Term::Tuple(mut elements) = message.view()
            && let Some(tag) = elements.next().and_then(TermRef::as_atom)
        {
            match elements.len() {
                1 if tag.is("$gen_cast") => {
                    return Gen::Cast(elements.next().expect("counted"));
                }
                2 if tag.is("$gen_call") => {
                    let [from, request] = elements.exactly().expect("counted");
                    return Gen::Call(from, request);
                }
                2 if tag.is("system") => {
                    let [from, request] = elements.exactly().expect("counted");
                    return Gen::System(from, request);
                }
                _ => {}
            }
        }
        Gen::Info(message)
    }
}

/// The longest tag a caller may wait with: it comes back with the answer. Those of `gen` are references.
const MAX_TAG_BYTES: usize = 4096;

/// The longest answer that says again what it was asked.
const MAX_TOLD_BYTES: usize = 16 << 10;

/// Who is waiting for an answer.
#[derive(Clone, Debug)]
pub struct ReplyTo {
    pid: Pid,
    tag: TermBuf,
    alias: Option<Reference>,
}

impl ReplyTo {
    /// From the second element of a `gen` call; `None` if that is no `{Pid, Tag}`, or an absurd one.
    pub fn parse(from: TermRef<'_>) -> Option<Self> {
        let [pid, tag] = from.as_tuple()?;
        if tag.bytes().len() > MAX_TAG_BYTES {
            return None;
        }
        Some(ReplyTo { pid: pid.as_pid()?, tag: tag.to_buf(), alias: alias(tag) })
    }

    /// Who asked without `gen`, and waits for `{Tag, Reply}`.
    pub fn tagged(pid: Pid, tag: &str) -> Self {
        let tag = TermBuf::written(|out| encode::atom(out, tag));
        ReplyTo { pid, tag, alias: None }
    }

    /// Who called, to whom the answer goes.
    pub const fn pid(&self) -> &Pid {
        &self.pid
    }
}

/// The alias in `[alias | Ref]` or `[[alias | Ref] | _]`.
fn alias(tag: TermRef<'_>) -> Option<Reference> {
    let Term::List(list) = tag.view() else { return None };
    let head = list.elements().next()?;
    if head.is_atom("alias") && list.elements().len() == 1 {
        return list.tail().as_reference();
    }
    let Term::List(inner) = head.view() else { return None };
    (inner.elements().next()?.is_atom("alias")).then(|| inner.tail().as_reference())?
}

impl Node {
    /// Answers a call; `from` is the process that answers, `write` writes one term. See [`Node::reply_with`].
    pub fn reply(&self, from: &Pid, to: &ReplyTo, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut answer = Vec::new();
        write(&mut answer);
        self.reply_with(from, to, &answer)
    }

    /// Answers a call with a term.
    ///
    /// The answer is `{error, undecodable}` where the caller's node cannot decode it, and there is none if that node
    /// cannot even decode who asks: somebody else asked in its name. Costs a walk over the answer and a copy.
    pub fn reply_with(&self, from: &Pid, to: &ReplyTo, answer: &[u8]) -> bool {
        let Some(peer) = self.peer(&to.pid.node) else { return false };
        let mut caller = Vec::new();
        encode::pid(&mut caller, &to.pid);
        if !peer.abilities().decode(&caller) || !peer.abilities().decode(to.tag.bytes()) {
            return false;
        }
        let is_decodable = peer.abilities().decode(answer);
        let message = |out: &mut Vec<u8>| {
            encode::tuple_header(out, 2);
            out.extend_from_slice(to.tag.bytes());
            if is_decodable {
                out.extend_from_slice(answer);
            } else {
                encode::tuple_header(out, 2);
                encode::atom(out, "error");
                encode::atom(out, "undecodable");
            }
        };
        let alias = to.alias.as_ref().filter(|_| peer.flags().has(Flags::ALIAS));
        peer.send(|out| match alias {
            Some(alias) => control::alias_send(out, from, alias, message),
            None => control::send(out, &to.pid, message),
        })
    }

    /// Answers what is no call of `gen` with a message, unless it is long or the asker's node cannot decode it: whoever
    /// asked may have asked in that node's name, and brought what is said again. False if nothing was sent.
    pub(super) fn tell(&self, to: &Pid, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        let Some(peer) = self.peer(&to.node) else { return false };
        let (mut pid, mut message) = (Vec::new(), Vec::new());
        encode::pid(&mut pid, to);
        write(&mut message);
        let abilities = peer.abilities();
        message.len() <= MAX_TOLD_BYTES
            && abilities.decode(&pid)
            && abilities.decode(&message)
            && peer.send(|out| control::send(out, to, |out| out.extend_from_slice(&message)))
    }

    /// Calls the process registered as `name` on a connected node; its reply, as a term.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub async fn call(
        &self,
        peer: &Arc<Peer>,
        name: &str,
        request: impl FnOnce(&mut Vec<u8>),
    ) -> Result<TermBuf, CallError> {
        self.call_within(CALL_TIME, peer, name, request).await
    }

    async fn call_within(
        &self,
        patience: Duration,
        peer: &Arc<Peer>,
        name: &str,
        request: impl FnOnce(&mut Vec<u8>),
    ) -> Result<TermBuf, CallError> {
        let (pid, mut letters) = self.spawn_mailbox();
        let node = peer.name().as_str();
        let watched = Watched::Name(name.into());
        let noconnection = || CallError::Down("noconnection".into());
        let Some(reference) = self.monitor(&pid, node, &watched) else {
            self.exit(&pid, TermRef::NIL.bytes());
            return Err(noconnection());
        };
        self.send_to_name(&pid, name, node, |out| {
            encode::tuple_header(out, 3);
            encode::atom(out, "$gen_call");
            encode::tuple_header(out, 2);
            encode::pid(out, &pid);
            encode::reference(out, &reference);
            request(out);
        });
        let answer = async {
            while let Some(letter) = letters.recv().await {
                match letter {
                    Letter::Message(message) => {
                        if let Some([tag, reply]) = message.as_term().as_tuple()
                            && tag.as_reference().as_ref() == Some(&reference)
                        {
                            return Ok(reply.to_buf());
                        }
                    }
                    Letter::Down { reason, .. } => {
                        return Err(CallError::Down(reason_text(reason.as_term())));
                    }
                    Letter::Exit { .. } => {}
                }
            }
            Err(noconnection())
        };
        let result = tokio::time::timeout(patience, answer).await;
        self.demonitor(&pid, node, &watched, &reference);
        self.exit(&pid, TermRef::NIL.bytes());
        result.unwrap_or(Err(CallError::Timeout(patience)))
    }

    /// `rpc:call(Node, M, F, Args)`; `args` writes the argument list, the result is the function's, or
    /// `{badrpc, Reason}`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub async fn rpc(
        &self,
        peer: &Arc<Peer>,
        module: &str,
        function: &str,
        args: impl FnOnce(&mut Vec<u8>),
    ) -> Result<TermBuf, CallError> {
        self.rpc_within(CALL_TIME, peer, module, function, args).await
    }

    /// The same, for what takes its time.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub async fn rpc_within(
        &self,
        patience: Duration,
        peer: &Arc<Peer>,
        module: &str,
        function: &str,
        args: impl FnOnce(&mut Vec<u8>),
    ) -> Result<TermBuf, CallError> {
        self.call_within(patience, peer, "rex", |out| {
            encode::tuple_header(out, 5);
            encode::atom(out, "call");
            encode::atom(out, module);
            encode::atom(out, function);
            args(out);
            // A node without processes of its own for input and output borrows the other's `user`.
            encode::atom(out, "user");
        })
        .await
    }
}

/// An exit reason for our diagnostics: its atom, or what kind of term it is.
fn reason_text(reason: TermRef<'_>) -> String {
    match reason.view() {
        Term::Atom(atom) => Escaped(&atom.to_str()).to_string(),
        _ => "an error".to_owned(),
    }
}
