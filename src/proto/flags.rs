//! Distribution flags: what a node can decode and do.
//!
//! The values are those of OTP's `dist.hrl`, which the manual's table repeats.

/// A set of distribution flags.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Flags(pub u64);

#[allow(missing_docs, reason = "the names are OTP's, without DFLAG_")]
impl Flags {
    pub const PUBLISHED: Flags = Flags(1);
    pub const EXTENDED_REFERENCES: Flags = Flags(1 << 2);
    pub const DIST_MONITOR: Flags = Flags(1 << 3);
    pub const FUN_TAGS: Flags = Flags(1 << 4);
    pub const DIST_MONITOR_NAME: Flags = Flags(1 << 5);
    pub const NEW_FUN_TAGS: Flags = Flags(1 << 7);
    pub const EXTENDED_PIDS_PORTS: Flags = Flags(1 << 8);
    pub const EXPORT_PTR_TAG: Flags = Flags(1 << 9);
    pub const BIT_BINARIES: Flags = Flags(1 << 10);
    pub const NEW_FLOATS: Flags = Flags(1 << 11);
    pub const DIST_HDR_ATOM_CACHE: Flags = Flags(1 << 13);
    pub const UTF8_ATOMS: Flags = Flags(1 << 16);
    pub const MAP_TAG: Flags = Flags(1 << 17);
    pub const BIG_CREATION: Flags = Flags(1 << 18);
    pub const EXIT_PAYLOAD: Flags = Flags(1 << 22);
    pub const HANDSHAKE_23: Flags = Flags(1 << 24);
    pub const UNLINK_ID: Flags = Flags(1 << 25);
    pub const MANDATORY_25_DIGEST: Flags = Flags(1 << 26);
    pub const SPAWN: Flags = Flags(1 << 32);
    pub const NAME_ME: Flags = Flags(1 << 33);
    pub const V4_NC: Flags = Flags(1 << 34);
    pub const ALIAS: Flags = Flags(1 << 35);
    pub const ALTACT_SIG: Flags = Flags(1 << 37);
    pub const NATIVE_RECORDS: Flags = Flags(1 << 38);

    /// What every release from OTP 23 to 29 demands of us, bit by bit: OTP 23 refuses
    /// `MANDATORY_25_DIGEST` in their place.
    const DEMANDED: Flags = Flags(0x4_0307_0F94);

    /// What this node offers. No atom cache and no fragments, so that packets carry self-contained terms;
    /// not `PUBLISHED`, so that it is hidden.
    pub const OFFERED: Flags = Flags::DEMANDED
        .with(Flags::DIST_MONITOR)
        .with(Flags::DIST_MONITOR_NAME)
        .with(Flags::EXIT_PAYLOAD)
        .with(Flags::SPAWN)
        .with(Flags::ALIAS);

    /// What `MANDATORY_25_DIGEST` stands for when a peer sends only that.
    const DIGEST_25: Flags = Flags(0x7_0F94).with(Flags::HANDSHAKE_23);

    /// What we demand of a peer: what OTP 25 demands, which is what our packets use. OTP 23 lacks `V4_NC`,
    /// `UNLINK_ID` and `ALIAS`; nodes in other languages lack monitors and more.
    const REQUIRED: Flags = Flags::DIGEST_25;

    /// What a peer has that takes part in monitoring. OTP sends no monitor signal to one that lacks either.
    pub const MONITORS: Flags = Flags::DIST_MONITOR.with(Flags::DIST_MONITOR_NAME);
}

impl Flags {
    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// This set but for those in `other`.
    #[must_use]
    pub const fn without(self, other: Flags) -> Flags {
        Flags(self.0 & !other.0)
    }

    /// Whether all of `other` is in this set.
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// A peer's flags with its digest bit written out.
    #[must_use]
    pub const fn expanded(self) -> Flags {
        if self.has(Flags::MANDATORY_25_DIGEST) { self.with(Flags::DIGEST_25) } else { self }
    }

    /// What a peer with these flags lacks to talk with us; empty if nothing.
    #[must_use]
    pub const fn missing(self) -> Flags {
        Flags::REQUIRED.without(self.expanded())
    }

    /// Whether the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl std::fmt::Debug for Flags {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demanded_bits_are_those_the_releases_were_probed_with() {
        let named = Flags::EXTENDED_REFERENCES
            .with(Flags::FUN_TAGS)
            .with(Flags::NEW_FUN_TAGS)
            .with(Flags::EXTENDED_PIDS_PORTS)
            .with(Flags::EXPORT_PTR_TAG)
            .with(Flags::BIT_BINARIES)
            .with(Flags::NEW_FLOATS)
            .with(Flags::UTF8_ATOMS)
            .with(Flags::MAP_TAG)
            .with(Flags::BIG_CREATION)
            .with(Flags::HANDSHAKE_23)
            .with(Flags::UNLINK_ID)
            .with(Flags::V4_NC);
        assert_eq!(named, Flags::DEMANDED);
        assert!(!Flags::OFFERED.has(Flags::PUBLISHED));
    }

    #[test]
    fn default_flags_of_every_release_lack_nothing() {
        for offered in [0x1_01DF_7FBC, 0xD_07DF_7FBC, 0x2D_07DF_7FBC, 0x6D_07DF_7FBC] {
            assert!(Flags(offered).missing().is_empty(), "{offered:#x}");
        }
        assert!(!Flags(0).missing().is_empty());
    }

    /// What JInterface 1.13.1, libei 5.3, `erl_dist` 0.8 and erldistpy 0.1.7 have in their sources.
    #[test]
    fn what_nodes_in_other_languages_offer_suffices() {
        for offered in [0x4_0707_0F94, 0x4_0707_4F9C, 0x14_0307_0F94, 0xC_0307_0F94] {
            assert!(Flags(offered).missing().is_empty(), "{offered:#x}");
            assert!(!Flags(offered).has(Flags::MONITORS), "{offered:#x}");
        }
    }
}
