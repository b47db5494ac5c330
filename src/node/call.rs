//! `gen` calls: what others ask our processes, and what we ask theirs.
//!
//! A call is `{'$gen_call', {Pid, Tag}, Request}` and its answer `{Tag, Reply}`, sent to the pid, or, since
//! OTP 24, to the alias inside the tag.
//!
//! Source: `gen.erl` of `stdlib`.

use std::sync::Arc;
use std::time::Duration;

use super::{CallError, Letter, Node, Peer};
use crate::etf::{Pid, Reference, Term, TermRef, encode};
use crate::proto::control::{self, Watched};

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

/// Who is waiting for an answer.
#[derive(Clone, Debug)]
pub struct ReplyTo {
    pid: Pid,
    tag: Box<[u8]>,
    alias: Option<Reference>,
}

impl ReplyTo {
    /// From the second element of a `gen` call; `None` if that is no `{Pid, Tag}`.
    pub fn parse(from: TermRef<'_>) -> Option<Self> {
        let [pid, tag] = from.as_tuple()?;
        Some(ReplyTo { pid: pid.as_pid()?, tag: tag.to_bytes(), alias: alias(tag) })
    }

    /// The caller.
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
    /// Answers a call; `from` is the process that answers, `reply` writes one term.
    pub fn reply(&self, from: &Pid, to: &ReplyTo, reply: impl FnOnce(&mut Vec<u8>)) -> bool {
        let Some(peer) = self.peer(&to.pid.node) else { return false };
        let message = |out: &mut Vec<u8>| {
            encode::tuple_header(out, 2);
            out.extend_from_slice(&to.tag);
            reply(out);
        };
        peer.send(|out| match &to.alias {
            Some(alias) => control::alias_send(out, from, alias, message),
            None => control::send(out, &to.pid, message),
        })
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
    ) -> Result<Box<[u8]>, CallError> {
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
                        if let Some([tag, reply]) = TermRef::from_walked(&message).as_tuple()
                            && tag.as_reference().as_ref() == Some(&reference)
                        {
                            return Ok(reply.to_bytes());
                        }
                    }
                    Letter::Down { reason, .. } => {
                        return Err(CallError::Down(reason_text(TermRef::from_walked(&reason))));
                    }
                    Letter::Exit { .. } => {}
                }
            }
            Err(noconnection())
        };
        let result = tokio::time::timeout(CALL_TIME, answer).await;
        self.demonitor(&pid, node, &watched, &reference);
        self.exit(&pid, TermRef::NIL.bytes());
        result.unwrap_or(Err(CallError::Timeout(CALL_TIME)))
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
    ) -> Result<Box<[u8]>, CallError> {
        self.call(peer, "rex", |out| {
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
        Term::Atom(atom) => atom.to_str().into_owned(),
        _ => "an error".to_owned(),
    }
}
