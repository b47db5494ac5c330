//! Both sides of the handshake.
//!
//! The initiator sends its name, is told a status, and each side proves that it knows the cookie by
//! digesting the other's challenge with it. Messages here are without their two-byte length prefix.
//! A [`Handshake`] is consumed by its last step and becomes an [`Agreed`], which a connection is made of.
//!
//! The initiator is the first to give a digest away, for a challenge that the other side chose, before that side
//! has proved anything. Whoever can make us call him may pass our digest on to where the cookie opens a door. So
//! it is given only when the caller has looked once more whom it goes to ([`Step::Challenged`]).
//!
//! Protocol: Distribution Protocol, "Distribution Handshake", version 6.
//!
//! # Invariants
//!
//! - `no_reflection`: a challenge that is one of our own outstanding ones is never answered, on any connection of
//!   this node: our digest would open our own door.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use subtle::ConstantTimeEq;

use super::{Flags, HandshakeError, NodeName};
use crate::strangers::Escaped;

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

/// The challenges of a node's handshakes that are under way.
#[derive(Clone, Default)]
pub struct Challenges(Arc<Mutex<HashSet<u32>>>);

impl Challenges {
    /// Issues a challenge, which must be unpredictable; `None` if this one is outstanding already.
    pub fn issue(&self, number: u32) -> Option<Challenge> {
        let is_new = self.0.lock().expect("no panic while the set is held").insert(number);
        is_new.then(|| Challenge { number, among: self.clone() })
    }

    fn contains(&self, number: u32) -> bool {
        self.0.lock().expect("no panic while the set is held").contains(&number)
    }
}

/// A challenge of ours; outstanding until it is dropped.
pub struct Challenge {
    number: u32,
    among: Challenges,
}

impl Drop for Challenge {
    fn drop(&mut self) {
        self.among.0.lock().expect("no panic while the set is held").remove(&self.number);
    }
}

/// Whom a handshake calls.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Called {
    /// This node.
    Node(NodeName),
    /// The node that is registered with a port mapper under this name, the part before `@`.
    Alive(Box<str>),
}

impl Called {
    /// Whether `name` may be the node that was called.
    pub fn fits(&self, name: &NodeName) -> bool {
        match self {
            Called::Node(called) => called == name,
            Called::Alive(alive) => name.alive() == &**alive,
        }
    }
}

impl std::fmt::Display for Called {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Called::Node(name) => write!(f, "{name}"),
            Called::Alive(alive) => write!(f, "{}", Escaped(alive)),
        }
    }
}

/// What the peer says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The name that it gave, or that we gave it.
    pub name: NodeName,
    /// What it can do.
    pub flags: Flags,
    /// Which life of it this is.
    pub creation: u32,
}

impl PeerIdentity {
    /// Whether it was given its name by the node that it connected to.
    pub const fn is_dynamic(&self) -> bool {
        self.flags.has(Flags::NAME_ME)
    }
}

/// The handshake is over and both sides know the cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// Who is there.
    pub peer: PeerIdentity,
}

/// What to do after a message was taken.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Send these messages, then wait for the next one.
    Send(Vec<Vec<u8>>),
    /// As the acceptor: the peer has no name, only this host. Call [`Handshake::name`].
    NameMe(String),
    /// As the acceptor: look the peer up and call [`Handshake::answer`].
    Decide(PeerIdentity),
    /// As the initiator: the peer believes in a connection to us. Look whether there is one and call
    /// [`Handshake::still_calling`].
    Alive,
    /// As the initiator: the peer has said who it is and waits for our digest. Decide whether it may have it and
    /// call [`Handshake::prove`], or drop the handshake.
    Challenged(PeerIdentity),
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

/// One handshake under way.
pub struct Handshake {
    local: Local,
    /// Whom we called, as the initiator.
    called: Option<Called>,
    challenge: Challenge,
    state: State,
}

enum State {
    /// Initiator.
    AwaitStatus,
    Alive,
    AwaitChallenge,
    /// The peer's challenge.
    Challenged(PeerIdentity, u32),
    AwaitAck(PeerIdentity),
    /// Acceptor.
    AwaitName,
    Naming(Flags),
    Deciding(PeerIdentity),
    AwaitAliveReply(PeerIdentity),
    AwaitChallengeReply(PeerIdentity),
    /// Failed or finished; takes no more messages.
    Over,
}

impl Handshake {
    /// Calls a node, and gives the message to send.
    pub fn initiate(local: Local, called: Called, challenge: Challenge) -> (Self, Vec<u8>) {
        let mut message = vec![b'N'];
        message.extend_from_slice(&Flags::OFFERED.0.to_be_bytes());
        message.extend_from_slice(&local.creation.to_be_bytes());
        put_name(&mut message, &local.name);
        let called = Some(called);
        (Handshake { local, called, challenge, state: State::AwaitStatus }, message)
    }

    /// Whom we called; `None` if we are called.
    pub const fn called(&self) -> Option<&Called> {
        self.called.as_ref()
    }

    /// Is called by a node.
    pub fn accept(local: Local, challenge: Challenge) -> Self {
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
                [b'a', digest @ ..] if self.local.accepts(digest, self.challenge.number) => {
                    Ok(Step::Done(Vec::new(), Agreed { peer }))
                }
                [b'a', ..] => Err(HandshakeError::Cookie { peer: peer.name.to_string() }),
                _ => Err(unexpected("challenge ack", message)),
            },
            State::AwaitName => match parse_name(message)? {
                Caller::Named(peer) => Ok(self.decide(peer)),
                Caller::Nameless { host, flags } => {
                    self.state = State::Naming(flags);
                    Ok(Step::NameMe(host))
                }
            },
            State::AwaitAliveReply(peer) => match message {
                b"strue" => Ok(Step::Send(vec![self.challenge_for(peer)])),
                b"sfalse" => Err(HandshakeError::Refused { status: "false".into() }),
                _ => Err(unexpected("status", message)),
            },
            State::AwaitChallengeReply(peer) => {
                let Some((&[b'r', a, b, c, d], digest)) = message.split_first_chunk::<5>() else {
                    return Err(unexpected("challenge reply", message));
                };
                if !self.local.accepts(digest, self.challenge.number) {
                    return Err(HandshakeError::Cookie { peer: peer.name.to_string() });
                }
                let mut ack = vec![b'a'];
                ack.extend_from_slice(&self.digest_for(&peer, u32::from_be_bytes([a, b, c, d]))?);
                Ok(Step::Done(vec![ack], Agreed { peer }))
            }
            State::Alive
            | State::Challenged(..)
            | State::Naming(_)
            | State::Deciding(_)
            | State::Over => Err(unexpected("no", message)),
        }
    }

    fn decide(&mut self, peer: PeerIdentity) -> Step {
        self.state = State::Deciding(peer.clone());
        Step::Decide(peer)
    }

    /// Answers [`Step::NameMe`]: what the peer is to be called as long as it is connected.
    ///
    /// # Errors
    ///
    /// [`HandshakeError::Message`] if it did not ask.
    pub fn name(&mut self, name: NodeName, creation: u32) -> Result<Step, HandshakeError> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Naming(flags) => Ok(self.decide(PeerIdentity { name, flags, creation })),
            _ => Err(unexpected("no", b"")),
        }
    }

    /// What it means if the peer closes the connection now, where that means anything.
    pub fn if_closed(&self) -> Option<HandshakeError> {
        match &self.state {
            State::AwaitAck(peer) => {
                Some(HandshakeError::CookieRefused { peer: peer.name.to_string() })
            }
            _ => None,
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
        let mut messages = vec![match status {
            Status::Ok if peer.is_dynamic() => named(&peer),
            _ => format!("s{text}").into_bytes(),
        }];
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
    fn challenge_for(&mut self, peer: PeerIdentity) -> Vec<u8> {
        let mut message = vec![b'N'];
        // A node that was given its name looks for the flag in what both sides have.
        let named = if peer.is_dynamic() { Flags::NAME_ME } else { Flags(0) };
        message.extend_from_slice(&Flags::OFFERED.with(named).0.to_be_bytes());
        message.extend_from_slice(&self.challenge.number.to_be_bytes());
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
                let status = String::from_utf8_lossy(&status[..status.len().min(32)]);
                Err(HandshakeError::Refused { status: Escaped(&status).to_string() })
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
            && !called.fits(&peer.name)
        {
            return Err(HandshakeError::OtherNode {
                called: called.to_string(),
                answered: peer.name.to_string(),
            });
        }
        self.state = State::Challenged(peer.clone(), word(9));
        Ok(Step::Challenged(peer))
    }

    /// Answers [`Step::Challenged`]: gives the peer our digest. The message to send.
    ///
    /// # Errors
    ///
    /// [`HandshakeError::Reflected`]; the handshake is over.
    pub fn prove(&mut self) -> Result<Vec<Vec<u8>>, HandshakeError> {
        let State::Challenged(peer, theirs) = std::mem::replace(&mut self.state, State::Over)
        else {
            return Err(unexpected("challenge", b""));
        };
        let mut reply = vec![b'r'];
        reply.extend_from_slice(&self.challenge.number.to_be_bytes());
        reply.extend_from_slice(&self.digest_for(&peer, theirs)?);
        self.state = State::AwaitAck(peer);
        Ok(vec![reply])
    }

    /// The digest of a peer's challenge; never of one of ours (`no_reflection`).
    fn digest_for(&self, peer: &PeerIdentity, theirs: u32) -> Result<[u8; 16], HandshakeError> {
        if self.challenge.among.contains(theirs) {
            return Err(HandshakeError::Reflected { peer: peer.name.to_string() });
        }
        Ok(self.local.digest(theirs))
    }
}

fn put_name(message: &mut Vec<u8>, name: &NodeName) {
    let len = u16::try_from(name.as_str().len()).expect("names fit atoms");
    message.extend_from_slice(&len.to_be_bytes());
    message.extend_from_slice(name.as_str().as_bytes());
}

/// The status that gives a peer its name.
fn named(peer: &PeerIdentity) -> Vec<u8> {
    let mut message = b"snamed:".to_vec();
    put_name(&mut message, &peer.name);
    message.extend_from_slice(&peer.creation.to_be_bytes());
    message
}

/// Who calls.
enum Caller {
    Named(PeerIdentity),
    /// A node that wants to be given a name; it says on which host it is.
    Nameless {
        host: String,
        flags: Flags,
    },
}

fn parse_name(message: &[u8]) -> Result<Caller, HandshakeError> {
    let Some((head, name)) = message.split_first_chunk::<15>() else {
        return Err(unexpected("name", message));
    };
    if head[0] != b'N' {
        return Err(unexpected("name", message));
    }
    let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let flags = Flags(u64::from(word(1)) << 32 | u64::from(word(5)));
    if !flags.has(Flags::NAME_ME) {
        return checked_peer(name, head[13], head[14], flags, word(9)).map(Caller::Named);
    }
    let host = checked_text(name, head[13], head[14])?;
    let some_name = NodeName::new(&format!("_@{host}")).ok_or(HandshakeError::Name)?;
    let flags = checked_flags(&some_name, flags)?;
    Ok(Caller::Nameless { host: host.to_owned(), flags })
}

/// A peer whose name is sound and whose flags suffice. Bytes after the name are for later protocol versions.
fn checked_peer(
    name: &[u8],
    len_high: u8,
    len_low: u8,
    flags: Flags,
    creation: u32,
) -> Result<PeerIdentity, HandshakeError> {
    let name = checked_text(name, len_high, len_low)?;
    let name = NodeName::new(name).ok_or(HandshakeError::Name)?;
    // Only who asked for a name has been given one.
    let flags = checked_flags(&name, flags)?.without(Flags::NAME_ME);
    Ok(PeerIdentity { name, flags, creation })
}

fn checked_text(bytes: &[u8], len_high: u8, len_low: u8) -> Result<&str, HandshakeError> {
    let text = bytes.get(..usize::from(u16::from_be_bytes([len_high, len_low])));
    text.and_then(|text| std::str::from_utf8(text).ok()).ok_or(HandshakeError::Name)
}

fn checked_flags(peer: &NodeName, flags: Flags) -> Result<Flags, HandshakeError> {
    let missing = flags.missing();
    if !missing.is_empty() {
        return Err(HandshakeError::Flags { peer: peer.to_string(), missing });
    }
    Ok(flags.expanded())
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

    /// A challenge of a node that has no others.
    fn challenge(number: u32) -> Challenge {
        Challenges::default().issue(number).unwrap()
    }

    /// Runs both sides against each other; what each came to.
    fn run(
        initiator: Local,
        acceptor: Local,
        called: &str,
        status: Status,
    ) -> (Result<Agreed, HandshakeError>, Result<Agreed, HandshakeError>) {
        let called = Called::Node(NodeName::new(called).unwrap());
        let (mut a, first) = Handshake::initiate(initiator, called, challenge(1));
        let mut b = Handshake::accept(acceptor, challenge(2));
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
                    Ok(Step::Alive | Step::Challenged(_)) => {
                        unreachable!("only an initiator is told")
                    }
                    Ok(Step::NameMe(_)) => unreachable!("the initiator has a name"),
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
                    Ok(Step::Challenged(_)) => to_b.extend(a.prove().unwrap()),
                    Ok(Step::Decide(_) | Step::NameMe(_)) => {
                        unreachable!("only an acceptor decides")
                    }
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

    /// `no_reflection`: we call a relay and it calls us; it hands us back the challenge that we gave it. Both of our
    /// handshakes could be made to answer it: the calling one, and the called one in its acknowledgement.
    #[test]
    fn a_challenge_of_our_own_is_not_answered_on_any_connection() {
        let challenges = Challenges::default();
        let mut called = Handshake::accept(local("us@h", "c"), challenges.issue(77).unwrap());
        let (_, name) =
            Handshake::initiate(local("relay@h", "?"), Called::Alive("us".into()), challenge(1));
        assert!(matches!(called.handle(&name), Ok(Step::Decide(_))));
        let (messages, _) = called.answer(Status::Ok);
        // The relay sends our own challenge under its name.
        let mut reflected = messages[1].clone();
        reflected.truncate(17);
        reflected.extend_from_slice(b"\0\x07relay@h");
        let calling = |number| {
            let (mut calling, _) = Handshake::initiate(
                local("us@h", "c"),
                Called::Alive("relay".into()),
                challenges.issue(number).unwrap(),
            );
            calling.handle(b"sok").unwrap();
            assert!(matches!(calling.handle(&reflected), Ok(Step::Challenged(_))));
            calling.prove()
        };
        let error = HandshakeError::Reflected { peer: "relay@h".into() };
        assert_eq!(calling(78).unwrap_err(), error);
        // Nor is the challenge answered after the cookie was proved.
        let mut reply = vec![b'r', 0, 0, 0, 77];
        reply.extend_from_slice(&local("us@h", "c").digest(77));
        assert_eq!(called.handle(&reply).unwrap_err(), error);
        // When the handshake is over, its challenge opens nothing any more.
        drop(called);
        assert!(calling(79).is_ok());
        assert!(challenges.0.lock().unwrap().is_empty());
    }

    /// Nothing leaves before the caller has decided.
    #[test]
    fn the_digest_is_given_only_when_asked_for() {
        let (mut a, first) =
            Handshake::initiate(local("a@h", "c"), Called::Alive("b".into()), challenge(1));
        let mut b = Handshake::accept(local("b@h", "c"), challenge(2));
        b.handle(&first).unwrap();
        let (messages, _) = b.answer(Status::Ok);
        assert_eq!(a.handle(&messages[0]).unwrap(), Step::Send(Vec::new()));
        let Step::Challenged(peer) = a.handle(&messages[1]).unwrap() else {
            panic!("it decides first")
        };
        assert_eq!(peer.name.as_str(), "b@h");
        assert!(a.handle(b"a").is_err(), "no message is due");
    }

    #[test]
    fn a_registered_name_is_held_against_the_name_in_the_handshake() {
        let name = NodeName::new("b@h").unwrap();
        assert!(Called::Alive("b".into()).fits(&name));
        assert!(!Called::Alive("b@h".into()).fits(&name));
        assert!(!Called::Alive("c".into()).fits(&name));
    }

    /// The messages are those of OTP 25's `dist_util`: `recv_status` takes the name, `do_setnode` asserts the flag.
    #[test]
    fn a_nameless_node_is_told_its_name_and_that_it_was_given() {
        let mut acceptor = Handshake::accept(local("b@h", "c"), challenge(2));
        let mut name = vec![b'N'];
        name.extend(0x2_0707_0F94u64.to_be_bytes());
        name.extend([0, 0, 0, 0, 0, 2, b'h', b'1']);
        assert_eq!(acceptor.handle(&name), Ok(Step::NameMe("h1".into())));
        let given = NodeName::new("X@h1").unwrap();
        let Ok(Step::Decide(peer)) = acceptor.name(given.clone(), 9) else { panic!("to decide") };
        assert_eq!((&peer.name, peer.creation), (&given, 9));
        let (messages, result) = acceptor.answer(Status::Ok);
        assert_eq!(result, Ok(()));
        assert_eq!(messages[0], b"snamed:\x00\x04X@h1\x00\x00\x00\x09");
        let flags = Flags(u64::from_be_bytes(messages[1][1..9].try_into().unwrap()));
        assert_eq!(flags, Flags::OFFERED.with(Flags::NAME_ME));
        assert!(acceptor.name(given, 9).is_err());
        for host in [&b"h\n"[..], b"a@h", b""] {
            let mut name = name[..13].to_vec();
            name.extend([0, u8::try_from(host.len()).unwrap()]);
            name.extend(host);
            let answer = Handshake::accept(local("b@h", "c"), challenge(2)).handle(&name);
            assert_eq!(answer, Err(HandshakeError::Name), "{host:?}");
        }
    }

    #[test]
    fn garbage_is_an_error_at_every_step() {
        for garbage in [&b""[..], b"N", b"GET / HTTP/1.1", &[255; 600]] {
            assert!(matches!(
                Handshake::accept(local("b@h", "c"), challenge(1)).handle(garbage).unwrap_err(),
                HandshakeError::Message { .. } | HandshakeError::Name
            ));
            let called = Called::Alive("b".into());
            let (mut a, _) = Handshake::initiate(local("a@h", "c"), called, challenge(1));
            assert!(matches!(a.handle(garbage).unwrap_err(), HandshakeError::Message { .. }));
        }
    }
}
