//! What a node decodes.
//!
//! A node drops the whole connection over one term that it cannot decode. What it can is told by its flags, but for one
//! thing: a node checks identifiers that name itself more strictly than those of others, and only some releases give
//! themselves wide ones. OTP 25 and 27 have the same flags, so whether a node is of that kind shows when it sends such an
//! identifier of its own.
//!
//! Found by asking each release; `tests/it/terms.rs` asks again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{AtomRef, Needs, Term, TermRef, decode};

/// What one node decodes.
#[derive(Debug)]
pub struct Abilities {
    /// The node's name.
    pub node: Arc<str>,
    /// Which life of it.
    pub creation: u32,
    /// Whether it has `DFLAG_V4_NC`.
    pub v4_nc: bool,
    /// Whether it has `DFLAG_NATIVE_RECORDS`.
    pub native_records: bool,
    /// Whether it tells `0.0` from `-0.0` as keys of a map.
    pub distinct_keys: bool,
    /// Whether it is known to give itself wide identifiers.
    pub wide: AtomicBool,
}

impl Abilities {
    /// Whether the node can decode `bytes`: one term that it may be sent, and nothing else.
    ///
    /// Costs a walk.
    pub fn decode(&self, bytes: &[u8]) -> bool {
        // It may have been put together from terms of the greatest depth.
        decode::walk_within(usize::MAX, bytes).is_ok_and(|walked| {
            walked.len == bytes.len() && self.meet(walked.needs, TermRef::from_walked(bytes))
        })
    }

    fn meet(&self, needs: Needs, term: TermRef<'_>) -> bool {
        let wide = self.wide.load(Ordering::Relaxed);
        (self.v4_nc || !needs.v4_nc)
            && (self.native_records || !needs.native_records)
            && (self.distinct_keys || !needs.distinct_keys)
            // Creation 0 stands for any.
            && !(needs.wide && self.finds_itself(term, &[self.creation, 0], wide))
    }

    /// Learns from a term that the node sent.
    pub fn learn(&self, needs: Needs, sent: TermRef<'_>) {
        let is_new = needs.v4_nc && self.v4_nc && !self.wide.load(Ordering::Relaxed);
        if is_new && self.finds_itself(sent, &[self.creation], false) {
            self.wide.store(true, Ordering::Relaxed);
        }
    }

    /// Whether the term holds an identifier of the node, of one of these creations, that it would not decode if it gave,
    /// or did not give, itself `wide` ones.
    fn finds_itself(&self, term: TermRef<'_>, creations: &[u32], wide: bool) -> bool {
        let mut found = false;
        decode::identifiers(term, &mut |identifier| {
            let (node, creation): (AtomRef<'_>, u32) = match identifier {
                Term::Pid { node, creation, .. }
                | Term::Port { node, creation, .. }
                | Term::Reference { node, creation, .. } => (node, creation),
                _ => return,
            };
            let is_itself = creations.contains(&creation) && node.is(&self.node);
            found |= is_itself && !is_own(identifier, wide);
        });
        found
    }
}

/// Whether a node decodes this identifier though it names itself: whether that is one that it could have given.
fn is_own(identifier: Term<'_>, wide: bool) -> bool {
    match identifier {
        Term::Pid { id, .. } if wide => id >> 28 == 0,
        Term::Pid { id, serial, .. } => id >> 15 == 0 && serial >> 13 == 0,
        Term::Port { id, .. } => id >> if wide { 60 } else { 28 } == 0,
        Term::Reference { ids, .. } => {
            let words = ids.iter();
            (wide || words.len() <= 3) && words.take(1).all(|first| first >> 18 == 0)
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etf::{Pid, encode, walk};

    fn pid(node: &str, id: u32, creation: u32) -> Vec<u8> {
        let mut out = Vec::new();
        encode::pid(&mut out, &Pid { node: node.into(), id, serial: 0, creation });
        out
    }

    fn abilities(v4_nc: bool) -> Abilities {
        let (native_records, distinct_keys, wide) = (false, false, false.into());
        Abilities { node: "a@b".into(), creation: 5, v4_nc, native_records, distinct_keys, wide }
    }

    /// OTP 25 and 27 have the same flags; only the newer one gives itself ids of more than 15 bits.
    #[test]
    fn a_node_that_shows_a_wide_pid_of_its_own_is_sent_them() {
        let (wide, others) = (pid("a@b", 0x8000, 5), pid("c@d", 0x8000, 5));
        let learn = |abilities: &Abilities, term: &[u8]| {
            abilities.learn(walk(term).expect("a term").needs, TermRef::from_walked(term));
        };
        let peer = abilities(true);
        assert!(peer.decode(&others) && !peer.decode(&wide));
        // Anybody may have made these up, and a node of OTP 25 passes them on.
        for term in [&others, &pid("a@b", 0x8000, 0), &pid("a@b", 0x8000, 4), &pid("a@b", 1, 5)] {
            learn(&peer, term);
            assert!(!peer.decode(&wide));
        }
        assert!(peer.decode(&pid("a@b", 0x8000, 4)), "an earlier life's");
        learn(&peer, &wide);
        assert!(peer.decode(&wide) && !peer.decode(&pid("a@b", 0x1000_0000, 5)));
        let old = abilities(false);
        learn(&old, &wide);
        assert!(!old.decode(&others) && old.decode(&pid("c@d", 0x7fff, 5)));
    }
}
