//! Control messages, one variant per operation that the flags we offer let a peer send.
//!
//! A packet is a control message and, for some operations, a payload. Together they are one [`Signal`].
//! Messages, the bulk of all signals, stay in place; the rare rest is copied into owned values.
//!
//! Protocol: Distribution Protocol, "Protocol between Connected Nodes", and "New Ctrlmessages" for OTP 21-24.

use super::{Flags, PacketError, packet};
use crate::etf::{Needs, Pid, Reference, TermRef, encode, walk};

mod op {
    pub(super) const LINK: i64 = 1;
    pub(super) const SEND: i64 = 2;
    pub(super) const EXIT: i64 = 3;
    pub(super) const UNLINK: i64 = 4;
    pub(super) const REG_SEND: i64 = 6;
    pub(super) const GROUP_LEADER: i64 = 7;
    pub(super) const EXIT2: i64 = 8;
    pub(super) const SEND_TT: i64 = 12;
    pub(super) const EXIT_TT: i64 = 13;
    pub(super) const REG_SEND_TT: i64 = 16;
    pub(super) const EXIT2_TT: i64 = 18;
    pub(super) const MONITOR_P: i64 = 19;
    pub(super) const DEMONITOR_P: i64 = 20;
    pub(super) const MONITOR_P_EXIT: i64 = 21;
    pub(super) const SEND_SENDER: i64 = 22;
    pub(super) const SEND_SENDER_TT: i64 = 23;
    pub(super) const PAYLOAD_EXIT: i64 = 24;
    pub(super) const PAYLOAD_EXIT_TT: i64 = 25;
    pub(super) const PAYLOAD_EXIT2: i64 = 26;
    pub(super) const PAYLOAD_EXIT2_TT: i64 = 27;
    pub(super) const PAYLOAD_MONITOR_P_EXIT: i64 = 28;
    pub(super) const SPAWN_REQUEST: i64 = 29;
    pub(super) const SPAWN_REQUEST_TT: i64 = 30;
    pub(super) const SPAWN_REPLY: i64 = 31;
    pub(super) const SPAWN_REPLY_TT: i64 = 32;
    pub(super) const ALIAS_SEND: i64 = 33;
    pub(super) const ALIAS_SEND_TT: i64 = 34;
    pub(super) const UNLINK_ID: i64 = 35;
    pub(super) const UNLINK_ID_ACK: i64 = 36;
}

/// What a message is addressed to, in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination<'a> {
    /// A pid's term.
    Pid(TermRef<'a>),
    /// A registered name's term, an atom.
    Name(TermRef<'a>),
    /// An alias's term, a reference.
    Alias(TermRef<'a>),
}

/// The process that a monitor watches: by pid or by registered name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Watched {
    Pid(Pid),
    Name(Box<str>),
}

/// What one process of the peer tells one of ours.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are the manual's")]
pub enum Signal<'a> {
    /// `SEND`, `REG_SEND`, `SEND_SENDER`, `ALIAS_SEND`.
    Message {
        to: Destination<'a>,
        message: TermRef<'a>,
        /// What it takes to decode the message.
        needs: Needs,
    },
    Link {
        from: Pid,
        to: Pid,
    },
    /// `UNLINK_ID`; the obsolete `UNLINK` has no id and wants no acknowledgement.
    Unlink {
        id: Option<u64>,
        from: Pid,
        to: Pid,
    },
    UnlinkAck {
        id: u64,
        from: Pid,
        to: Pid,
    },
    /// A link breaks: `EXIT`, `PAYLOAD_EXIT`.
    Exit {
        from: Pid,
        to: Pid,
        reason: TermRef<'a>,
    },
    /// `exit/2`: `EXIT2`, `PAYLOAD_EXIT2`.
    Exit2 {
        from: Pid,
        to: Pid,
        reason: TermRef<'a>,
    },
    Monitor {
        from: Pid,
        to: Watched,
        reference: Reference,
    },
    Demonitor {
        from: Pid,
        to: Watched,
        reference: Reference,
    },
    /// A process that one of ours monitors is gone: `MONITOR_P_EXIT`, `PAYLOAD_MONITOR_P_EXIT`.
    MonitorExit {
        to: Pid,
        reference: Reference,
        reason: TermRef<'a>,
    },
    SpawnRequest(SpawnRequest<'a>),
    /// Understood and without effect here: `GROUP_LEADER`, `SPAWN_REPLY` (we ask for no spawns).
    Ignored,
}

impl Signal<'_> {
    /// Who is to be told something later: the process that links, monitors or spawns.
    pub const fn tied(&self) -> Option<&Pid> {
        match self {
            Signal::Link { from, .. } | Signal::Monitor { from, .. } => Some(from),
            Signal::SpawnRequest(request) => Some(&request.from),
            _ => None,
        }
    }
}

/// A peer asks for a process: `SPAWN_REQUEST`.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are the manual's")]
pub struct SpawnRequest<'a> {
    pub id: Reference,
    pub from: Pid,
    /// `{Module, Function, Arity}`.
    pub mfa: TermRef<'a>,
    pub options: TermRef<'a>,
    /// The argument list.
    pub arguments: TermRef<'a>,
}

/// What is left of a packet whose payload is refused.
#[derive(Clone, Debug)]
pub enum Refused<'a> {
    /// A message.
    Message {
        /// Whom it is for.
        to: Destination<'a>,
        /// The payload, from its version byte on.
        payload: &'a [u8],
    },
    /// A `SPAWN_REQUEST`.
    Spawn {
        /// What its answer has to say.
        id: Reference,
        /// Who asks.
        from: Pid,
    },
}

/// Whom a packet is for whose payload [`parse`] refused; `None` if nobody can be waiting for an answer to it.
pub fn refused(data: &[u8]) -> Option<Refused<'_>> {
    let (control, _, payload) = versioned(data).ok()?;
    let crate::etf::Term::Tuple(mut fields) = control.view() else { return None };
    let to = match fields.next()?.as_integer()? {
        op::SEND | op::SEND_TT | op::SEND_SENDER | op::SEND_SENDER_TT => {
            Destination::Pid(fields.nth(1)?)
        }
        op::REG_SEND | op::REG_SEND_TT => Destination::Name(fields.nth(2)?),
        op::SPAWN_REQUEST | op::SPAWN_REQUEST_TT => {
            let (id, from) = (fields.next()?.as_reference()?, fields.next()?.as_pid()?);
            return Some(Refused::Spawn { id, from });
        }
        _ => return None,
    };
    Some(Refused::Message { to, payload })
}

/// The operation of a packet's control message, for diagnostics.
pub fn operation(data: &[u8]) -> Option<i64> {
    let crate::etf::Term::Tuple(mut fields) = versioned(data).ok()?.0.view() else { return None };
    fields.next()?.as_integer()
}

/// Reads the control message and payload of one packet.
///
/// # Errors
///
/// [`PacketError`]; [`PacketError::is_refused_event`] tells whether the connection can go on.
pub fn parse(data: &[u8]) -> Result<Signal<'_>, PacketError> {
    let (control, _, rest) = versioned(data).map_err(PacketError::ControlTerm)?;
    let crate::etf::Term::Tuple(mut fields) = control.view() else {
        return Err(PacketError::ControlShape { operation: None });
    };
    let operation = fields.next().and_then(TermRef::as_integer);
    let shape = PacketError::ControlShape { operation };
    let number = operation.ok_or_else(|| shape.clone())?;
    let mut field = || fields.next().ok_or_else(|| shape.clone());
    let walked = || {
        let whole = versioned(rest).and_then(|(term, needs, rest)| match rest.len() {
            0 => Ok((term, needs)),
            extra => Err(crate::etf::DecodeError::TrailingBytes { extra }),
        });
        whole.map_err(|source| PacketError::Payload { operation: number, source })
    };
    let payload = || walked().map(|(term, _)| term);
    // The end of a process counts, whatever its reason.
    let reason = || payload().unwrap_or(TermRef::from_walked(REFUSED));
    let message = |to| walked().map(|(message, needs)| Signal::Message { to, message, needs });
    let pid = |term: TermRef<'_>| term.as_pid().ok_or_else(|| shape.clone());
    let reference = |term: TermRef<'_>| term.as_reference().ok_or_else(|| shape.clone());
    let id = |term: TermRef<'_>| {
        term.as_integer().and_then(|id| u64::try_from(id).ok()).ok_or_else(|| shape.clone())
    };
    Ok(match number {
        op::SEND | op::SEND_TT | op::SEND_SENDER | op::SEND_SENDER_TT => {
            field()?;
            message(Destination::Pid(field()?))?
        }
        op::REG_SEND | op::REG_SEND_TT => {
            field()?;
            field()?;
            message(Destination::Name(field()?))?
        }
        op::ALIAS_SEND | op::ALIAS_SEND_TT => {
            field()?;
            message(Destination::Alias(field()?))?
        }
        op::LINK => Signal::Link { from: pid(field()?)?, to: pid(field()?)? },
        op::UNLINK => Signal::Unlink { id: None, from: pid(field()?)?, to: pid(field()?)? },
        op::UNLINK_ID => {
            Signal::Unlink { id: Some(id(field()?)?), from: pid(field()?)?, to: pid(field()?)? }
        }
        op::UNLINK_ID_ACK => {
            Signal::UnlinkAck { id: id(field()?)?, from: pid(field()?)?, to: pid(field()?)? }
        }
        op::EXIT => Signal::Exit { from: pid(field()?)?, to: pid(field()?)?, reason: field()? },
        op::EXIT_TT => {
            let (from, to) = (pid(field()?)?, pid(field()?)?);
            field()?;
            Signal::Exit { from, to, reason: field()? }
        }
        op::PAYLOAD_EXIT | op::PAYLOAD_EXIT_TT => {
            Signal::Exit { from: pid(field()?)?, to: pid(field()?)?, reason: reason() }
        }
        op::EXIT2 => Signal::Exit2 { from: pid(field()?)?, to: pid(field()?)?, reason: field()? },
        op::EXIT2_TT => {
            let (from, to) = (pid(field()?)?, pid(field()?)?);
            field()?;
            Signal::Exit2 { from, to, reason: field()? }
        }
        op::PAYLOAD_EXIT2 | op::PAYLOAD_EXIT2_TT => {
            Signal::Exit2 { from: pid(field()?)?, to: pid(field()?)?, reason: reason() }
        }
        op::MONITOR_P | op::DEMONITOR_P => {
            let from = pid(field()?)?;
            let watched = field()?;
            let to = match watched.as_atom() {
                Some(name) => Watched::Name(name.to_str().into()),
                None => Watched::Pid(pid(watched)?),
            };
            let reference = reference(field()?)?;
            if number == op::MONITOR_P {
                Signal::Monitor { from, to, reference }
            } else {
                Signal::Demonitor { from, to, reference }
            }
        }
        op::MONITOR_P_EXIT => {
            field()?;
            Signal::MonitorExit {
                to: pid(field()?)?,
                reference: reference(field()?)?,
                reason: field()?,
            }
        }
        op::PAYLOAD_MONITOR_P_EXIT => {
            field()?;
            Signal::MonitorExit {
                to: pid(field()?)?,
                reference: reference(field()?)?,
                reason: reason(),
            }
        }
        op::SPAWN_REQUEST | op::SPAWN_REQUEST_TT => {
            let (id, from) = (reference(field()?)?, pid(field()?)?);
            field()?;
            let (mfa, options) = (field()?, field()?);
            Signal::SpawnRequest(SpawnRequest { id, from, mfa, options, arguments: payload()? })
        }
        op::GROUP_LEADER | op::SPAWN_REPLY | op::SPAWN_REPLY_TT => Signal::Ignored,
        _ => return Err(shape),
    })
}

/// The atom `refused`, for a reason that is no term we take.
const REFUSED: &[u8] = b"w\x07refused";

/// The term after a version byte, what it needs, and what follows it.
fn versioned(bytes: &[u8]) -> Result<(TermRef<'_>, Needs, &[u8]), crate::etf::DecodeError> {
    match bytes.split_first() {
        Some((&crate::etf::tag::VERSION, term)) => {
            let walked = walk(term)?;
            let (term, rest) = term.split_at(walked.len);
            Ok((TermRef::from_walked(term), walked.needs, rest))
        }
        found => {
            Err(crate::etf::DecodeError::Version { found: found.map(|(&version, _)| version) })
        }
    }
}

const NO_PAYLOAD: Option<fn(&mut Vec<u8>)> = None;

/// `SEND` to a pid: the payload is what `message` writes, one term.
pub fn send(out: &mut Vec<u8>, to: &Pid, message: impl FnOnce(&mut Vec<u8>)) {
    packet::write(out, |out| send_head(out, to), Some(message));
}

/// The control message of `SEND` alone, for an [`Envelope`](packet::Envelope).
pub fn send_head(out: &mut Vec<u8>, to: &Pid) {
    encode::tuple_header(out, 3);
    encode::integer(out, op::SEND);
    encode::atom(out, "");
    encode::pid(out, to);
}

/// `REG_SEND` to a registered name.
pub fn reg_send(out: &mut Vec<u8>, from: &Pid, name: &str, message: impl FnOnce(&mut Vec<u8>)) {
    packet::write(out, |out| reg_send_head(out, from, name), Some(message));
}

/// The control message of `REG_SEND` alone, for an [`Envelope`](packet::Envelope).
pub fn reg_send_head(out: &mut Vec<u8>, from: &Pid, name: &str) {
    encode::tuple_header(out, 4);
    encode::integer(out, op::REG_SEND);
    encode::pid(out, from);
    encode::atom(out, "");
    encode::atom(out, name);
}

/// `ALIAS_SEND`; only to a peer with `DFLAG_ALIAS`.
pub fn alias_send(
    out: &mut Vec<u8>,
    from: &Pid,
    alias: &Reference,
    message: impl FnOnce(&mut Vec<u8>),
) {
    packet::write(
        out,
        |out| {
            encode::tuple_header(out, 3);
            encode::integer(out, op::ALIAS_SEND);
            encode::pid(out, from);
            encode::reference(out, alias);
        },
        Some(message),
    );
}

/// `LINK`.
pub fn link(out: &mut Vec<u8>, from: &Pid, to: &Pid) {
    pids(out, op::LINK, None, from, to);
}

/// `UNLINK_ID`, or `UNLINK` for a peer without `DFLAG_UNLINK_ID`.
pub fn unlink(out: &mut Vec<u8>, id: Option<u64>, from: &Pid, to: &Pid) {
    pids(out, if id.is_some() { op::UNLINK_ID } else { op::UNLINK }, id, from, to);
}

/// `UNLINK_ID_ACK`.
pub fn unlink_ack(out: &mut Vec<u8>, id: u64, from: &Pid, to: &Pid) {
    pids(out, op::UNLINK_ID_ACK, Some(id), from, to);
}

fn pids(out: &mut Vec<u8>, operation: i64, id: Option<u64>, from: &Pid, to: &Pid) {
    packet::write(
        out,
        |out| {
            encode::tuple_header(out, if id.is_some() { 4 } else { 3 });
            encode::integer(out, operation);
            if let Some(id) = id {
                encode::unsigned(out, id);
            }
            encode::pid(out, from);
            encode::pid(out, to);
        },
        NO_PAYLOAD,
    );
}

/// A link breaks: `PAYLOAD_EXIT`, or `EXIT` for a peer without `DFLAG_EXIT_PAYLOAD`.
pub fn exit(out: &mut Vec<u8>, peer: Flags, from: &Pid, to: &Pid, reason: &[u8]) {
    with_reason(out, peer, [op::PAYLOAD_EXIT, op::EXIT], 3, reason, |out| {
        encode::pid(out, from);
        encode::pid(out, to);
    });
}

/// A signal that says why, in its payload or as its last element. The operation and its number of elements are
/// those with a payload, then those without.
fn with_reason(
    out: &mut Vec<u8>,
    peer: Flags,
    [with_payload, without]: [i64; 2],
    elements: usize,
    reason: &[u8],
    write: impl FnOnce(&mut Vec<u8>),
) {
    let has_payload = peer.has(Flags::EXIT_PAYLOAD);
    packet::write(
        out,
        |out| {
            encode::tuple_header(out, if has_payload { elements } else { elements + 1 });
            encode::integer(out, if has_payload { with_payload } else { without });
            write(out);
            if !has_payload {
                out.extend_from_slice(reason);
            }
        },
        has_payload.then_some(|out: &mut Vec<u8>| out.extend_from_slice(reason)),
    );
}

/// `MONITOR_P`.
pub fn monitor(out: &mut Vec<u8>, from: &Pid, to: &Watched, reference: &Reference) {
    monitoring(out, op::MONITOR_P, from, to, reference);
}

/// `DEMONITOR_P`.
pub fn demonitor(out: &mut Vec<u8>, from: &Pid, to: &Watched, reference: &Reference) {
    monitoring(out, op::DEMONITOR_P, from, to, reference);
}

fn monitoring(out: &mut Vec<u8>, operation: i64, from: &Pid, to: &Watched, reference: &Reference) {
    packet::write(
        out,
        |out| {
            encode::tuple_header(out, 4);
            encode::integer(out, operation);
            encode::pid(out, from);
            watched(out, to);
            encode::reference(out, reference);
        },
        NO_PAYLOAD,
    );
}

/// The monitored process `from` is gone, for the monitor's owner `to`: `PAYLOAD_MONITOR_P_EXIT`, or
/// `MONITOR_P_EXIT` for a peer without `DFLAG_EXIT_PAYLOAD`.
pub fn monitor_exit(
    out: &mut Vec<u8>,
    peer: Flags,
    from: &Watched,
    to: &Pid,
    reference: &Reference,
    reason: &[u8],
) {
    let operations = [op::PAYLOAD_MONITOR_P_EXIT, op::MONITOR_P_EXIT];
    with_reason(out, peer, operations, 4, reason, |out| {
        watched(out, from);
        encode::pid(out, to);
        encode::reference(out, reference);
    });
}

fn watched(out: &mut Vec<u8>, watched: &Watched) {
    match watched {
        Watched::Pid(pid) => encode::pid(out, pid),
        Watched::Name(name) => encode::atom(out, name),
    }
}

/// What a spawn request comes to.
#[derive(Clone, Debug)]
pub enum Spawned<'a> {
    /// The process exists; whether it is linked to and monitored by the one who asked.
    Process {
        /// The process that was spawned.
        pid: &'a Pid,
        /// A link was asked for and is in force.
        linked: bool,
        /// A monitor was asked for and is in force.
        monitored: bool,
    },
    /// It does not: an error atom.
    Error(&'a str),
}

/// `SPAWN_REPLY` to `to`, who asked under `id`.
pub fn spawn_reply(out: &mut Vec<u8>, id: &Reference, to: &Pid, spawned: &Spawned<'_>) {
    packet::write(
        out,
        |out| {
            encode::tuple_header(out, 5);
            encode::integer(out, op::SPAWN_REPLY);
            encode::reference(out, id);
            encode::pid(out, to);
            match spawned {
                Spawned::Process { pid, linked, monitored } => {
                    encode::integer(out, i64::from(*linked) | i64::from(*monitored) << 1);
                    encode::pid(out, pid);
                }
                Spawned::Error(error) => {
                    encode::integer(out, 0);
                    encode::atom(out, error);
                }
            }
        },
        NO_PAYLOAD,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pid(id: u32) -> Pid {
        Pid { node: "a@b".into(), id, serial: 0, creation: 7 }
    }

    fn reference() -> Reference {
        Reference::new("a@b".into(), 7, [1, 2, 3].into_iter())
    }

    /// Writes with one side of the module, reads with the other.
    fn check(write: impl FnOnce(&mut Vec<u8>), expected: &str) {
        let mut bytes = Vec::new();
        write(&mut bytes);
        let packet::NextPacket::Data(data) = packet::next(&bytes).unwrap() else {
            panic!("no data")
        };
        let text = format!("{:?}", parse(data).unwrap());
        assert!(text.starts_with(expected), "{text}");
    }

    #[test]
    fn what_is_written_is_read_back() {
        check(|out| link(out, &pid(1), &pid(2)), "Link { from: <a@b.1.0>/7, to: <a@b.2.0>/7 }");
        check(|out| unlink(out, Some(9), &pid(1), &pid(2)), "Unlink { id: Some(9), from: <a@b.1");
        check(|out| unlink(out, None, &pid(1), &pid(2)), "Unlink { id: None, from: <a@b.1");
        check(|out| unlink_ack(out, 9, &pid(1), &pid(2)), "UnlinkAck { id: 9");
        for peer in [Flags::EXIT_PAYLOAD, Flags(0)] {
            let exited = "Exit { from: <a@b.1.0>/7, to: <a@b.2.0";
            check(|out| exit(out, peer, &pid(1), &pid(2), &[106]), exited);
            let name = Watched::Name("x".into());
            check(
                |out| monitor_exit(out, peer, &name, &pid(1), &reference(), &[106]),
                "MonitorExit { to: <a@b.1.0>/7",
            );
        }
        check(|out| send(out, &pid(1), encode::nil), "Message { to: Pid(");
        check(|out| reg_send(out, &pid(1), "x", encode::nil), "Message { to: Name(");
        check(|out| alias_send(out, &pid(1), &reference(), encode::nil), "Message { to: Alias(");
        let name = Watched::Name("x".into());
        check(
            |out| monitor(out, &pid(1), &name, &reference()),
            "Monitor { from: <a@b.1.0>/7, to: Name(\"x\")",
        );
        check(|out| demonitor(out, &pid(1), &name, &reference()), "Demonitor {");
        let spawned = Spawned::Error("notsup");
        check(|out| spawn_reply(out, &reference(), &pid(1), &spawned), "Ignored");
    }

    #[test]
    fn a_damaged_payload_costs_the_event_and_a_damaged_control_message_the_connection() {
        let mut bytes = Vec::new();
        send(&mut bytes, &pid(1), |out| out.extend([104, 9, 106]));
        let packet::NextPacket::Data(data) = packet::next(&bytes).unwrap() else {
            panic!("no data")
        };
        assert!(parse(data).unwrap_err().is_refused_event());
        let packet::NextPacket::Data(data) = packet::next(&[0, 0, 0, 3, 112, 131, 106]).unwrap()
        else {
            panic!("no data")
        };
        assert_eq!(parse(data).unwrap_err(), PacketError::ControlShape { operation: None });
        assert!(!parse(&[131, 104, 200]).unwrap_err().is_refused_event());
    }

    /// Else a link or monitor would never fire.
    #[test]
    fn a_damaged_reason_still_ends_a_process() {
        let (reason, damaged) = (TermRef::from_walked(REFUSED), &[104, 9, 106]);
        let name = Watched::Name("x".into());
        let mut packets = [Vec::new(), Vec::new()];
        exit(&mut packets[0], Flags::EXIT_PAYLOAD, &pid(1), &pid(2), damaged);
        monitor_exit(&mut packets[1], Flags::EXIT_PAYLOAD, &name, &pid(1), &reference(), damaged);
        for bytes in packets {
            let packet::NextPacket::Data(data) = packet::next(&bytes).unwrap() else {
                panic!("no data")
            };
            match parse(data).unwrap() {
                Signal::Exit { reason: found, .. } | Signal::MonitorExit { reason: found, .. } => {
                    assert_eq!(found, reason);
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
