//! The connected state, one half for each direction: received bytes in, packets out; and when it is time to tick.
//!
//! A tick says that a silent side is there. As OTP's `net_kernel` has it, a quarter of `net_ticktime` without sending is
//! ended by one, and a peer from which nothing came for all of it is down.
//!
//! Protocol: Distribution Protocol, "Protocol between Connected Nodes".
//!
//! # Invariants
//!
//! - `bounded_buffer`: the buffer grows only as bytes arrive, so a peer that announces a large packet costs
//!   no more memory than it sends.

use std::time::{Duration, Instant};

use super::control::{self, Destination, Signal};
use super::packet::{self, NextPacket};
use super::{PacketError, Remote};
use crate::etf::TermRef;

/// Bytes asked of the socket at once. Large, so that a burst of small casts is one read.
pub const READ_BYTES: usize = 256 * 1024;

/// The receiving half.
#[derive(Debug)]
pub struct Inbound {
    bytes: Vec<u8>,
    /// Where the packets begin that were not taken yet.
    start: usize,
    net_ticktime: Duration,
    last_received: Instant,
}

/// What a packet is.
#[derive(Debug)]
pub enum Received<'a> {
    /// The peer says that it is there.
    Tick,
    /// A message to a process.
    Message(Destination<'a>, TermRef<'a>),
    /// Anything else that one process tells another.
    Signal(Signal<'a>),
    /// A message or request whose payload is no term that we take. The connection goes on; [`control::refused`] tells who
    /// may be waiting for an answer.
    Refused(PacketError),
}

/// One packet of those received.
#[derive(Debug)]
pub struct Packet<'a> {
    /// What it is.
    pub received: Received<'a>,
    /// Its control message and payload, with their version bytes; empty for a tick.
    pub data: &'a [u8],
    /// Where the next one begins.
    pub end: usize,
}

impl Inbound {
    /// Nothing was received yet.
    pub fn new(net_ticktime: Duration, now: Instant) -> Self {
        Inbound { bytes: Vec::new(), start: 0, net_ticktime, last_received: now }
    }

    /// The buffer to append received bytes to. What was taken before is dropped first.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        self.bytes.drain(..self.start);
        self.start = 0;
        if self.bytes.is_empty() && self.bytes.capacity() > 4 * READ_BYTES {
            // A large packet has passed; its memory goes back.
            self.bytes = Vec::new();
        }
        // Doubling what has arrived keeps a large packet's cost linear.
        self.bytes.reserve_exact(READ_BYTES.max(self.bytes.len()));
        &mut self.bytes
    }

    /// Something came by `now`, or until now it was us who did not read: that is not the peer's silence.
    pub fn heard(&mut self, now: Instant) {
        self.last_received = now;
    }

    /// When the peer is down, if nothing comes until then.
    pub fn down_at(&self) -> Instant {
        self.last_received + self.net_ticktime
    }

    /// How long the peer may be silent.
    pub const fn patience(&self) -> Duration {
        self.net_ticktime
    }

    /// Where the packets that were not taken yet begin, for [`Inbound::packet_at`].
    pub const fn start(&self) -> usize {
        self.start
    }

    /// The packet at `position`; `None` if bytes of it are missing. What a message tells of what `remote` can decode is
    /// noted there.
    ///
    /// Takes `&self`, so that many packets can be looked at together; [`Inbound::consume`] ends that.
    ///
    /// # Errors
    ///
    /// [`PacketError`]: the connection cannot go on.
    pub fn packet_at(
        &self,
        position: usize,
        remote: &Remote,
    ) -> Result<Option<Packet<'_>>, PacketError> {
        let data = match packet::next(&self.bytes[position..])? {
            NextPacket::Incomplete { .. } => return Ok(None),
            NextPacket::Tick => {
                let end = position + packet::TICK.len();
                return Ok(Some(Packet { received: Received::Tick, data: &[], end }));
            }
            NextPacket::Data(data) => data,
        };
        let received = match control::parse(data) {
            Ok(Signal::Message { to, message, needs }) => {
                remote.abilities().learn(needs, message);
                Received::Message(to, message)
            }
            Ok(signal) => Received::Signal(signal),
            Err(error) if error.is_refused_event() => Received::Refused(error),
            Err(error) => return Err(error),
        };
        Ok(Some(Packet { received, data, end: position + packet::HEAD_BYTES + data.len() }))
    }

    /// Forgets everything before `position`.
    pub fn consume(&mut self, position: usize) {
        debug_assert!(position <= self.bytes.len());
        self.start = position;
    }
}

/// The sending half's clock.
#[derive(Clone, Copy, Debug)]
pub struct Outbound {
    net_ticktime: Duration,
    last_sent: Instant,
}

impl Outbound {
    /// Nothing was sent yet.
    pub const fn new(net_ticktime: Duration, now: Instant) -> Self {
        Outbound { net_ticktime, last_sent: now }
    }

    /// When a tick is due, if nothing is sent until then.
    pub fn tick_at(&self) -> Instant {
        self.last_sent + self.net_ticktime / 4
    }

    /// Packets, or a tick, were sent.
    pub fn sent(&mut self, now: Instant) {
        self.last_sent = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etf::encode;
    use crate::proto::{Flags, NodeName, handshake};
    use crate::time::monotonic;

    fn remote() -> Remote {
        let name = NodeName::new("r@h").expect("a name");
        Remote::new(handshake::PeerIdentity { name, flags: Flags::OFFERED, creation: 1 })
    }

    fn inbound() -> Inbound {
        Inbound::new(Duration::from_secs(60), monotonic())
    }

    #[test]
    fn packets_come_out_however_the_bytes_are_cut() {
        let from = crate::etf::Pid { node: "r@h".into(), id: 1, serial: 0, creation: 1 };
        let mut wire = Vec::new();
        for n in 0..50 {
            control::reg_send(&mut wire, &from, "x", |out| encode::integer(out, n));
            wire.extend(packet::TICK);
        }
        let remote = remote();
        for step in [1, 2, 3, 7, 64, wire.len()] {
            let mut inbound = inbound();
            let (mut seen, mut ticks) = (Vec::new(), 0);
            for part in wire.chunks(step) {
                inbound.buffer().extend_from_slice(part);
                let mut at = inbound.start();
                while let Some(packet) = inbound.packet_at(at, &remote).unwrap() {
                    match packet.received {
                        Received::Message(_, message) => seen.extend(message.as_integer()),
                        Received::Tick => ticks += 1,
                        other => panic!("{other:?}"),
                    }
                    at = packet.end;
                }
                inbound.consume(at);
            }
            assert_eq!((seen, ticks), ((0..50).collect(), 50), "{step}");
        }
    }

    #[test]
    fn a_large_announcement_reserves_nothing() {
        let mut inbound = inbound();
        inbound.buffer().extend_from_slice(&[7, 0, 0, 0, 112]);
        assert!(matches!(inbound.packet_at(0, &remote()), Ok(None)));
        assert!(inbound.buffer().capacity() < 2 * READ_BYTES, "bounded_buffer");
    }
}
