//! The connected state: received bytes in, packets out; and when to tick.
//!
//! # Invariants
//!
//! - `bounded_buffer`: the buffer grows only as bytes arrive, so a peer that announces a large packet costs
//!   no more memory than it sends.

use std::time::{Duration, Instant};

use super::PacketError;
use super::packet::{self, Next};

/// Bytes asked of the socket at once. Large, so that a burst of small casts is one read.
pub const READ_BYTES: usize = 256 * 1024;

/// Bytes received from a peer that have not been taken as packets yet.
#[derive(Debug, Default)]
pub struct Input {
    bytes: Vec<u8>,
    start: usize,
}

impl Input {
    /// An empty input.
    pub fn new() -> Self {
        Input::default()
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

    /// Where the packets not yet taken begin, for [`Input::packet_at`].
    pub const fn start(&self) -> usize {
        self.start
    }

    /// The packet at `position`, and where the next one begins; `None` if bytes are missing.
    ///
    /// Takes `&self`, so that many packets can be looked at together; [`Input::consume`] ends that.
    ///
    /// # Errors
    ///
    /// [`PacketError`]: the connection cannot go on.
    pub fn packet_at(&self, position: usize) -> Result<Option<(Next<'_>, usize)>, PacketError> {
        let next = packet::next(&self.bytes[position..])?;
        let len = match &next {
            Next::Incomplete { .. } => return Ok(None),
            Next::Tick => packet::TICK.len(),
            Next::Data(data) => 5 + data.len(),
        };
        Ok(Some((next, position + len)))
    }

    /// Forgets everything before `position`.
    pub fn consume(&mut self, position: usize) {
        debug_assert!(position <= self.bytes.len());
        self.start = position;
    }
}

/// When to say that we are there, and when to give the peer up.
///
/// As OTP's `net_kernel` does: a quarter of `net_ticktime` without sending is ended by a tick, and a peer from
/// which nothing came for all of it is down.
#[derive(Clone, Copy, Debug)]
pub struct TickTime(Duration);

impl TickTime {
    /// From `net_ticktime`.
    pub const fn new(net_ticktime: Duration) -> Self {
        TickTime(net_ticktime)
    }

    /// When a tick is due, if nothing is sent after `last_sent`.
    pub fn tick_at(self, last_sent: Instant) -> Instant {
        last_sent + self.0 / 4
    }

    /// When the peer is down, if nothing comes after `last_received`.
    pub fn down_at(self, last_received: Instant) -> Instant {
        last_received + self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_come_out_however_the_bytes_are_cut() {
        let mut wire = Vec::new();
        for n in 0..50u8 {
            packet::write(&mut wire, |out| out.extend([97, n]), None::<fn(&mut Vec<u8>)>);
            wire.extend(packet::TICK);
        }
        for step in [1, 2, 3, 7, 64, wire.len()] {
            let mut input = Input::new();
            let mut seen = Vec::new();
            for part in wire.chunks(step) {
                input.buffer().extend_from_slice(part);
                let mut at = input.start();
                while let Some((next, end)) = input.packet_at(at).unwrap() {
                    if let Next::Data(data) = next {
                        seen.push(data[2]);
                    }
                    at = end;
                }
                input.consume(at);
            }
            assert_eq!(seen, (0..50).collect::<Vec<u8>>(), "{step}");
        }
    }

    #[test]
    fn a_large_announcement_reserves_nothing() {
        let mut input = Input::new();
        input.buffer().extend_from_slice(&[7, 0, 0, 0, 112]);
        assert!(matches!(input.packet_at(0), Ok(None)));
        assert!(input.buffer().capacity() < 2 * READ_BYTES, "bounded_buffer");
    }
}
