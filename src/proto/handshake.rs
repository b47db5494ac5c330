//! Both sides of the handshake.
//!
//! The initiator sends its name, is told a status, and each side proves that it knows the cookie by
//! digesting the other's challenge with it. Messages here are without their two-byte length prefix.
//! A [`Handshake`] is consumed by its last step and becomes an [`Agreed`], which a connection is made of.
//!
//! Protocol: Distribution Protocol, "Distribution Handshake", version 6.

use subtle::ConstantTimeEq;

use super::{Flags, HandshakeError, NodeName};

/// The longest handshake message taken from a peer: a name of 255 UTF-8 characters and its head.
pub const MAX_MESSAGE_BYTES: usize = 1200;

/// What we say of ourselves.
#[derive(Clone)]
pub struct Local {
    /// Our name.
    pub name: NodeName,
    /// The creation that the port mapper gave us.
    pub creation: u32,
    /// The cookie. Never printed.
    pub cookie: String,
}

impl Local {
    fn digest(&self, challenge: u32) -> [u8; 16] {
        md5::compute(format!("{}{challenge}", self.cookie)).0
    }

    fn accepts(&self, digest: &[u8], challenge: u32) -> bool {
        self.digest(challenge).ct_eq(digest).into()
    }
}

/// What the peer says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub name: NodeName,
    /// What it can do.
    pub flags: Flags,
    /// Which life of it this is.
    pub creation: u32,
}

/// The handshake is over and both sides know the cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// Who is there.
    pub peer: Peer,
}

/// What to do after a message was taken.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Send these messages, then wait for the next one.
    Send(Vec<Vec<u8>>),
    /// As the acceptor: look the peer up and call [`Handshake::answer`].
    Decide(Peer),
    /// As the initiator: the peer believes in a connection to us. Look whether there is one and call
    /// [`Handshake::still_calling`].
    Alive,
    /// Send these messages; the handshake is done.
    Done(Vec<Vec<u8>>, Agreed),
}

/// The acceptor's answer to a name, from what it knows of that node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// There is no connection to it.
    Ok,
    /// Both sides called at once, and the peer's attempt goes on, as its name is the greater one.
    OkSimultaneous,
    /// Both sides called at once, and ours goes on.
    Nok,
    /// There is a connection to it already: is it really gone?
    Alive,
    /// It may not connect.
    NotAllowed,
}

/// Which status a node's call deserves, as `net_kernel` decides.
pub fn status_for(ours: &NodeName, peer: &NodeName, connected: bool, calling: bool) -> Status {
    match (connected, calling) {
        (true, _) => Status::Alive,
        (false, true) if ours > peer => Status::Nok,
        (false, true) => Status::OkSimultaneous,
        (false, false) => Status::Ok,
    }
}

/// One handshake under way.
pub struct Handshake {
    local: Local,
    /// Whom we called, if it has to be that one.
    called: Option<NodeName>,
    challenge: u32,
    state: State,
}

enum State {
    /// Initiator.
    AwaitStatus,
    Alive,
    AwaitChallenge,
    AwaitAck(Peer),
    /// Acceptor.
    AwaitName,
    Deciding(Peer),
    AwaitAliveReply(Peer),
    AwaitChallengeReply(Peer),
    /// Failed or finished; takes no more messages.
    Over,
}

impl Handshake {
    /// Calls a node, and gives the message to send. `challenge` must be unpredictable.
    pub fn initiate(local: Local, called: Option<NodeName>, challenge: u32) -> (Self, Vec<u8>) {
        let mut message = vec![b'N'];
        message.extend_from_slice(&Flags::OFFERED.0.to_be_bytes());
        message.extend_from_slice(&local.creation.to_be_bytes());
        put_name(&mut message, &local.name);
        (Handshake { local, called, challenge, state: State::AwaitStatus }, message)
    }

    /// Whom we called, if that is known.
    pub const fn called(&self) -> Option<&NodeName> {
        self.called.as_ref()
    }

    /// Is called by a node. `challenge` must be unpredictable.
    pub fn accept(local: Local, challenge: u32) -> Self {
        Handshake { local, called: None, challenge, state: State::AwaitName }
    }

    /// Takes the peer's next message.
    ///
    /// # Errors
    ///
    /// [`HandshakeError`]; the handshake is over.
    pub fn handle(&mut self, message: &[u8]) -> Result<Step, HandshakeError> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::AwaitStatus => self.status(message),
            State::AwaitChallenge => self.challenged(message),
            State::AwaitAck(peer) => match message {
                [b'a', digest @ ..] if self.local.accepts(digest, self.challenge) => {
                    Ok(Step::Done(Vec::new(), Agreed { peer }))
                }
                [b'a', ..] => Err(HandshakeError::Cookie { peer: peer.name.to_string() }),
                _ => Err(unexpected("challenge ack", message)),
            },
            State::AwaitName => {
                let peer = parse_name(message)?;
                self.state = State::Deciding(peer.clone());
                Ok(Step::Decide(peer))
            }
            State::AwaitAliveReply(peer) => match message {
                b"strue" => Ok(Step::Send(vec![self.challenge_for(peer)])),
                b"sfalse" => Err(HandshakeError::Refused { status: "false".into() }),
                _ => Err(unexpected("status", message)),
            },
            State::AwaitChallengeReply(peer) => {
                let Some((&[b'r', a, b, c, d], digest)) = message.split_first_chunk::<5>() else {
                    return Err(unexpected("challenge reply", message));
                };
                if !self.local.accepts(digest, self.challenge) {
                    return Err(HandshakeError::Cookie { peer: peer.name.to_string() });
                }
                let mut ack = vec![b'a'];
                ack.extend_from_slice(&self.local.digest(u32::from_be_bytes([a, b, c, d])));
                Ok(Step::Done(vec![ack], Agreed { peer }))
            }
            State::Alive | State::Deciding(_) | State::Over => Err(unexpected("no", message)),
        }
    }

    /// Answers [`Step::Alive`]: whether we go on calling, because the connection that the peer believes in is gone.
    /// The messages to send.
    ///
    /// # Errors
    ///
    /// [`HandshakeError::Refused`] with status `alive` when we do not; send the messages all the same.
    pub fn still_calling(
        &mut self,
        is_calling: bool,
    ) -> (Vec<Vec<u8>>, Result<(), HandshakeError>) {
        if is_calling {
            self.state = State::AwaitChallenge;
            return (vec![b"strue".to_vec()], Ok(()));
        }
        self.state = State::Over;
        (vec![b"sfalse".to_vec()], Err(HandshakeError::Refused { status: "alive".into() }))
    }

    /// Answers the name that [`Step::Decide`] gave, as the acceptor: the messages to send.
    ///
    /// # Errors
    ///
    /// [`HandshakeError::Refused`] when `status` ends the handshake; send the messages all the same.
    pub fn answer(&mut self, status: Status) -> (Vec<Vec<u8>>, Result<(), HandshakeError>) {
        let State::Deciding(peer) = std::mem::replace(&mut self.state, State::Over) else {
            return (Vec::new(), Err(unexpected("name", b"")));
        };
        let text = match status {
            Status::Ok => "ok",
            Status::OkSimultaneous => "ok_simultaneous",
            Status::Nok => "nok",
            Status::Alive => "alive",
            Status::NotAllowed => "not_allowed",
        };
        let mut messages = vec![format!("s{text}").into_bytes()];
        match status {
            Status::Ok | Status::OkSimultaneous => messages.push(self.challenge_for(peer)),
            Status::Alive => self.state = State::AwaitAliveReply(peer),
            Status::Nok | Status::NotAllowed => {
                return (messages, Err(HandshakeError::Refused { status: text.into() }));
            }
        }
        (messages, Ok(()))
    }

    /// Our challenge to a peer whose name was accepted.
    fn challenge_for(&mut self, peer: Peer) -> Vec<u8> {
        let mut message = vec![b'N'];
        message.extend_from_slice(&Flags::OFFERED.0.to_be_bytes());
        message.extend_from_slice(&self.challenge.to_be_bytes());
        message.extend_from_slice(&self.local.creation.to_be_bytes());
        put_name(&mut message, &self.local.name);
        self.state = State::AwaitChallengeReply(peer);
        message
    }

    fn status(&mut self, message: &[u8]) -> Result<Step, HandshakeError> {
        let Some(status) = message.strip_prefix(b"s") else {
            return Err(unexpected("status", message));
        };
        match status {
            b"ok" | b"ok_simultaneous" => {
                self.state = State::AwaitChallenge;
                Ok(Step::Send(Vec::new()))
            }
            b"alive" => {
                self.state = State::Alive;
                Ok(Step::Alive)
            }
            status => {
                let status = String::from_utf8_lossy(&status[..status.len().min(32)]).into_owned();
                Err(HandshakeError::Refused { status })
            }
        }
    }

    fn challenged(&mut self, message: &[u8]) -> Result<Step, HandshakeError> {
        let Some((head, name)) = message.split_first_chunk::<19>() else {
            return Err(unexpected("challenge", message));
        };
        if head[0] != b'N' {
            return Err(unexpected("challenge", message));
        }
        let word =
            |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let flags = Flags(u64::from(word(1)) << 32 | u64::from(word(5)));
        let peer = checked_peer(name, head[17], head[18], flags, word(13))?;
        if let Some(called) = &self.called
            && *called != peer.name
        {
            return Err(HandshakeError::OtherNode {
                called: called.to_string(),
                answered: peer.name.to_string(),
            });
        }
        let mut reply = vec![b'r'];
        reply.extend_from_slice(&self.challenge.to_be_bytes());
        reply.extend_from_slice(&self.local.digest(word(9)));
        self.state = State::AwaitAck(peer);
        Ok(Step::Send(vec![reply]))
    }
}

fn put_name(message: &mut Vec<u8>, name: &NodeName) {
    let len = u16::try_from(name.as_str().len()).expect("names fit atoms");
    message.extend_from_slice(&len.to_be_bytes());
    message.extend_from_slice(name.as_str().as_bytes());
}

fn parse_name(message: &[u8]) -> Result<Peer, HandshakeError> {
    let Some((head, name)) = message.split_first_chunk::<15>() else {
        return Err(unexpected("name", message));
    };
    if head[0] != b'N' {
        return Err(unexpected("name", message));
    }
    let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let flags = Flags(u64::from(word(1)) << 32 | u64::from(word(5)));
    checked_peer(name, head[13], head[14], flags, word(9))
}

/// A peer whose name is sound and whose flags suffice. Bytes after the name are for later protocol versions.
fn checked_peer(
    name: &[u8],
    len_high: u8,
    len_low: u8,
    flags: Flags,
    creation: u32,
) -> Result<Peer, HandshakeError> {
    let name = name
        .get(..usize::from(u16::from_be_bytes([len_high, len_low])))
        .and_then(|name| std::str::from_utf8(name).ok())
        .and_then(NodeName::new)
        .ok_or(HandshakeError::Name)?;
    let missing = flags.missing();
    if !missing.is_empty() {
        return Err(HandshakeError::Flags { peer: name.to_string(), missing });
    }
    Ok(Peer { name, flags: flags.expanded(), creation })
}

fn unexpected(due: &'static str, message: &[u8]) -> HandshakeError {
    HandshakeError::Message { due, found_bytes: message.len(), first: message.first().copied() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(name: &str, cookie: &str) -> Local {
        Local { name: NodeName::new(name).unwrap(), creation: 5, cookie: cookie.into() }
    }

    /// Runs both sides against each other; what each came to.
    fn run(
        initiator: Local,
        acceptor: Local,
        called: &str,
        status: Status,
    ) -> (Result<Agreed, HandshakeError>, Result<Agreed, HandshakeError>) {
        let (mut a, first) = Handshake::initiate(initiator, NodeName::new(called), 1);
        let mut b = Handshake::accept(acceptor, 2);
        let (mut done_a, mut done_b) = (None, None);
        let mut to_b = std::collections::VecDeque::from([first]);
        let mut to_a = std::collections::VecDeque::new();
        loop {
            if let Some(message) = to_b.pop_front() {
                match b.handle(&message) {
                    Ok(Step::Send(messages)) => to_a.extend(messages),
                    Ok(Step::Decide(_)) => {
                        let (messages, result) = b.answer(status);
                        to_a.extend(messages);
                        if let Err(error) = result {
                            done_b = Some(Err(error));
                        }
                    }
                    Ok(Step::Alive) => unreachable!("only an initiator is told"),
                    Ok(Step::Done(messages, agreed)) => {
                        to_a.extend(messages);
                        done_b = Some(Ok(agreed));
                    }
                    Err(error) => done_b = Some(Err(error)),
                }
            } else if let Some(message) = to_a.pop_front() {
                match a.handle(&message) {
                    Ok(Step::Send(messages)) => to_b.extend(messages),
                    Ok(Step::Done(_, agreed)) => done_a = Some(Ok(agreed)),
                    Ok(Step::Alive) => to_b.extend(a.still_calling(true).0),
                    Ok(Step::Decide(_)) => unreachable!("only an acceptor decides"),
                    Err(error) => done_a = Some(Err(error)),
                }
            } else {
                break;
            }
        }
        let closed = || Err(HandshakeError::Message { due: "any", found_bytes: 0, first: None });
        (done_a.unwrap_or_else(closed), done_b.unwrap_or_else(closed))
    }

    #[test]
    fn two_nodes_with_one_cookie_agree() {
        for status in [Status::Ok, Status::OkSimultaneous, Status::Alive] {
            let (a, b) = run(local("a@h", "c"), local("b@h", "c"), "b@h", status);
            assert_eq!(a.unwrap().peer.name.as_str(), "b@h");
            assert_eq!(b.unwrap().peer.name.as_str(), "a@h");
        }
    }

    #[test]
    fn another_cookie_is_refused_by_the_acceptor() {
        let (_, b) = run(local("a@h", "x"), local("b@h", "c"), "b@h", Status::Ok);
        assert_eq!(b.unwrap_err(), HandshakeError::Cookie { peer: "a@h".into() });
    }

    #[test]
    fn the_initiator_notices_who_answers_and_who_refuses() {
        let (a, _) = run(local("a@h", "c"), local("b@h", "c"), "z@h", Status::Ok);
        assert!(matches!(a.unwrap_err(), HandshakeError::OtherNode { .. }));
        let (a, b) = run(local("a@h", "c"), local("b@h", "c"), "b@h", Status::Nok);
        assert!(a.unwrap_err().is_simultaneous());
        assert!(b.unwrap_err().is_simultaneous());
    }

    #[test]
    fn status_is_what_net_kernel_would_say() {
        let (a, b) = (NodeName::new("a@h").unwrap(), NodeName::new("b@h").unwrap());
        assert_eq!(status_for(&a, &b, false, false), Status::Ok);
        assert_eq!(status_for(&a, &b, false, true), Status::OkSimultaneous);
        assert_eq!(status_for(&b, &a, false, true), Status::Nok);
        assert_eq!(status_for(&b, &a, true, false), Status::Alive);
    }

    #[test]
    fn garbage_is_an_error_at_every_step() {
        for garbage in [&b""[..], b"N", b"GET / HTTP/1.1", &[255; 600]] {
            assert!(matches!(
                Handshake::accept(local("b@h", "c"), 1).handle(garbage).unwrap_err(),
                HandshakeError::Message { .. } | HandshakeError::Name
            ));
            let (mut a, _) = Handshake::initiate(local("a@h", "c"), None, 1);
            assert!(matches!(a.handle(garbage).unwrap_err(), HandshakeError::Message { .. }));
        }
    }
}
