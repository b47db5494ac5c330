//! Messages whose payload is refused: whoever waits for an answer to one is told so.
//!
//! What is no term that every release decodes, or nests too deep, is looked at no further than its beginning. That is
//! enough to see who asks and how: the caller comes before what is asked.

use std::sync::Arc;

use super::{Node, Peer, inquiry};
use crate::etf::{TermBuf, TermRef, encode, tag};
use crate::proto::control::{self, Refused, Spawned};

/// How much of a refused message is looked at: who asks takes far less.
const MAX_HEAD_BYTES: usize = 16 << 10;

/// The longest tuple that a call comes as: `{io_request, From, ReplyAs, Request}`.
const MAX_PARTS: u8 = 4;

/// Takes the place of what cannot be read.
const REFUSED: &str = "refused";

/// Answers what the packet `data` asks, if anything, with `{error, refused}` or the like; its payload was refused.
pub(super) fn answer(node: &Node, peer: &Arc<Peer>, data: &[u8]) {
    match control::refused(data) {
        // A peer speaks for its own processes.
        Some(Refused::Spawn { id, from }) if *from.node == *peer.name().as_str() => {
            node.metrics().spawns_refused.inc();
            peer.send(|out| control::spawn_reply(out, &id, &from, &Spawned::Error(REFUSED)));
        }
        Some(Refused::Message { to, payload }) => {
            let Some(local) = node.local(to) else {
                node.metrics().messages_unaddressed.inc();
                return;
            };
            node.with(local, |process| process.refused());
            let us = node.table().pid(local);
            let Some(head) = head(payload) else { return };
            let message = head.as_term();
            match inquiry::call(message) {
                Some(to) => {
                    node.reply(&us, &to, |out| inquiry::error(out, REFUSED));
                }
                None => {
                    inquiry::answer_other(node, peer, &us, message);
                }
            }
        }
        _ => {}
    }
}

/// The tuple that a payload begins, with [`REFUSED`] for the first part that cannot be read and what follows it.
fn head(payload: &[u8]) -> Option<TermBuf> {
    let seen = &payload[..payload.len().min(MAX_HEAD_BYTES)];
    let [tag::VERSION, tag::SMALL_TUPLE_EXT, arity @ 2..=MAX_PARTS, parts @ ..] = seen else {
        return None;
    };
    let mut head = Vec::new();
    encode::tuple_header(&mut head, usize::from(*arity));
    let (mut parts, mut unread) = (parts, *arity);
    while unread > 0
        && let Ok((part, rest)) = TermRef::split_first(parts)
    {
        head.extend_from_slice(part.bytes());
        (parts, unread) = (rest, unread - 1);
    }
    (0..unread).for_each(|_| encode::atom(&mut head, REFUSED));
    Some(TermBuf::from_walked(head))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Payloads cut short at each byte, and with each part replaced by what is no term.
    #[test]
    fn the_head_of_a_message_is_one_sound_term_whatever_follows() {
        let parts: [&[u8]; 4] = [&[119, 1, b'a'], &[104, 2, 97, 1, 97, 2], &[106], &[97, 3]];
        let whole = [&[131, 104, 4][..], &parts.concat()].concat();
        for end in 0..=whole.len() {
            match head(&whole[..end]) {
                Some(head) => assert_eq!(TermRef::whole(&head).map(|_| ()), Ok(()), "{end}"),
                None => assert!(end < 3, "{end}"),
            }
        }
        for at in 0..parts.len() {
            let mut broken = parts;
            broken[at] = &[255];
            let payload = [&[131, 104, 4][..], &broken.concat()].concat();
            let head = head(&payload).unwrap();
            let found: [TermRef<'_>; 4] = TermRef::whole(&head).unwrap().as_tuple().unwrap();
            for (index, part) in found.iter().enumerate() {
                let is_as_sent = part.bytes() == parts[index];
                assert_eq!((is_as_sent, part.is_atom(REFUSED)), (index < at, index >= at));
            }
        }
        assert_eq!(head(&[131, 104, 5, 106, 106, 106, 106, 106]), None);
        assert_eq!(head(&[131, 106]), None);
    }

    /// A part that does not end where the look ends is not read, however much there is of it.
    #[test]
    fn no_more_than_the_beginning_of_a_message_is_looked_at() {
        let long = [&[109, 0, 16, 0, 0][..], &vec![0; 1 << 20]].concat();
        let payload = [&[131, 104, 2][..], &long, &[106]].concat();
        let head = head(&payload).unwrap();
        let [first, last] = TermRef::whole(&head).unwrap().as_tuple().unwrap();
        assert!(first.is_atom(REFUSED) && last.is_atom(REFUSED));
    }
}
