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
pub enum Next<'a> {
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
pub fn next(bytes: &[u8]) -> Result<Next<'_>, PacketError> {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else {
        return Ok(Next::Incomplete { needed: 4 });
    };
    let length = u32::from_be_bytes(*length) as usize;
    if length == 0 {
        return Ok(Next::Tick);
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
        Some(data) => Ok(Next::Data(data)),
        None => Ok(Next::Incomplete { needed: 4 + length }),
    }
}

/// Appends one packet: `control` and `payload` write their terms without version bytes.
pub fn write(
    out: &mut Vec<u8>,
    control: impl FnOnce(&mut Vec<u8>),
    payload: Option<impl FnOnce(&mut Vec<u8>)>,
) {
    let start = out.len();
    out.extend_from_slice(&[0, 0, 0, 0, PASS_THROUGH, VERSION]);
    control(out);
    if let Some(payload) = payload {
        out.push(VERSION);
        payload(out);
    }
    let length = u32::try_from(out.len() - start - 4)
        .expect("bounded: what we send is at most an event, a batch or an answer");
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
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
        assert_eq!(next(&bytes).unwrap(), Next::Data(&[VERSION, 106, VERSION, 106]));
        for cut in 0..bytes.len() {
            let needed = if cut < 4 { 4 } else { bytes.len() };
            assert_eq!(next(&bytes[..cut]).unwrap(), Next::Incomplete { needed });
        }
        assert_eq!(next(&TICK).unwrap(), Next::Tick);
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
