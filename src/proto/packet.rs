//! Length-prefixed packets and ticks.
//!
//! After the handshake everything is `<<Length:32, Data:Length/binary>>`; a length of zero is a tick. With
//! the flags we offer, data is type 112 (pass-through), a control message and, for some operations, a payload,
//! each a term with its version byte.
//!
//! Protocol: Distribution Protocol, "Protocol between Connected Nodes".

use super::PacketError;
use crate::etf::tag::VERSION;

/// The type byte of a packet whose terms are self-contained.
pub const PASS_THROUGH: u8 = 112;

/// Bytes of a packet before its terms.
pub const HEAD_BYTES: usize = 5;

/// The longest packet taken from a peer, in bytes after the length field.
pub const MAX_PACKET_BYTES: usize = 128 << 20;

/// The packet at the beginning of received bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum NextPacket<'a> {
    /// More bytes are needed: this many in all, as far as is known.
    Incomplete {
        /// Bytes from the beginning of this packet.
        needed: usize,
    },
    /// The peer says that it is there.
    Tick,
    /// Control message and payload, with their version bytes.
    Data(&'a [u8]),
}

/// Reads the packet that `bytes` begin with. A packet takes `4 + data` bytes, a tick 4.
///
/// # Errors
///
/// [`PacketError::TooLarge`] and [`PacketError::PacketType`].
pub fn next(bytes: &[u8]) -> Result<NextPacket<'_>, PacketError> {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else {
        return Ok(NextPacket::Incomplete { needed: 4 });
    };
    let length = u32::from_be_bytes(*length) as usize;
    if length == 0 {
        return Ok(NextPacket::Tick);
    }
    if length > MAX_PACKET_BYTES {
        return Err(PacketError::TooLarge {
            declared_bytes: length as u64,
            limit_bytes: MAX_PACKET_BYTES as u64,
        });
    }
    if let Some(&found) = rest.first()
        && found != PASS_THROUGH
    {
        return Err(PacketError::PacketType { found, expected: PASS_THROUGH });
    }
    match rest.get(1..length) {
        Some(data) => Ok(NextPacket::Data(data)),
        None => Ok(NextPacket::Incomplete { needed: 4 + length }),
    }
}

/// Appends one packet: `control` and `payload` write their terms without version bytes.
pub fn write(
    out: &mut Vec<u8>,
    control: impl FnOnce(&mut Vec<u8>),
    payload: Option<impl FnOnce(&mut Vec<u8>)>,
) {
    let start = out.len();
    out.extend_from_slice(&OPEN);
    control(out);
    if let Some(payload) = payload {
        out.push(VERSION);
        payload(out);
    }
    close(out, start);
}

/// What a packet begins with, its length not known yet.
const OPEN: [u8; 6] = [0, 0, 0, 0, PASS_THROUGH, VERSION];

/// Writes the length of the packet that began at `start` and ends here.
fn close(out: &mut [u8], start: usize) {
    let length = u32::try_from(out.len() - start - 4)
        .expect("bounded: what we send is at most an event, a batch or an answer");
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// Packets that are alike but for one part of their message: what lies around that is written down once.
#[derive(Clone, Debug)]
pub struct Envelope {
    before: Vec<u8>,
    after: Vec<u8>,
}

impl Envelope {
    /// `control` writes the control message, `before` and `after` are the bytes of the message around the part.
    pub fn new(control: impl FnOnce(&mut Vec<u8>), before: &[u8], after: &[u8]) -> Self {
        let mut head = OPEN.to_vec();
        control(&mut head);
        head.push(VERSION);
        head.extend_from_slice(before);
        Envelope { before: head, after: after.to_vec() }
    }

    /// Begins a packet; where it begins, for [`Envelope::finish`]. What is appended next is the part.
    pub fn begin(&self, out: &mut Vec<u8>) -> usize {
        out.extend_from_slice(&self.before);
        out.len() - self.before.len()
    }

    /// Ends the packet that began at `start`.
    pub fn finish(&self, out: &mut Vec<u8>, start: usize) {
        out.extend_from_slice(&self.after);
        close(out, start);
    }
}

/// The bytes of a tick.
pub const TICK: [u8; 4] = [0; 4];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_whole_or_asks_for_the_rest() {
        let mut bytes = Vec::new();
        write(&mut bytes, |out| out.push(106), Some(|out: &mut Vec<u8>| out.push(106)));
        assert_eq!(next(&bytes).unwrap(), NextPacket::Data(&[VERSION, 106, VERSION, 106]));
        for cut in 0..bytes.len() {
            let needed = if cut < 4 { 4 } else { bytes.len() };
            assert_eq!(next(&bytes[..cut]).unwrap(), NextPacket::Incomplete { needed });
        }
        assert_eq!(next(&TICK).unwrap(), NextPacket::Tick);
    }

    #[test]
    fn an_envelope_makes_the_packets_that_are_written_whole() {
        let (mut whole, mut made) = (Vec::new(), Vec::new());
        let payload = |out: &mut Vec<u8>| out.extend([104, 2, 106, 97, 7]);
        write(&mut whole, |out| out.push(106), Some(payload));
        let envelope = Envelope::new(|out| out.push(106), &[104, 2], &[97, 7]);
        for _ in 0..2 {
            let start = envelope.begin(&mut made);
            made.push(106);
            envelope.finish(&mut made, start);
        }
        assert_eq!(made, whole.repeat(2));
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_its_bytes_come() {
        assert_eq!(
            next(&[255; 4]),
            Err(PacketError::TooLarge {
                declared_bytes: u64::from(u32::MAX),
                limit_bytes: MAX_PACKET_BYTES as u64
            })
        );
        let other = [0, 0, 0, 9, 131];
        assert_eq!(next(&other), Err(PacketError::PacketType { found: 131, expected: 112 }));
    }
}
