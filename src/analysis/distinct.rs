//! How many different terms there were, without keeping them.
//!
//! `HyperLogLog` (Flajolet et al. 2007) of 4,096 registers: the error is 1.6 % as a rule (one standard deviation), and 5 %
//! hardly ever. Up to 400 different ones are counted exactly, by their hashes.
//!
//! Why not a library's: those that can be stored hash with a seed of their own or with whatever the standard library has
//! this year. Here what was stored has to go on the same after an upgrade, and the same log has to give the same number.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

const BITS: u32 = 12;
const REGISTERS: usize = 1 << BITS;

/// So many are remembered one by one: about as much memory as the registers.
const EXACT: usize = 400;

/// What is remembered of terms.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Distinct {
    Exact(BTreeSet<u64>),
    /// For each register, the most leading zeros of a hash, and one.
    Registers(Vec<u8>),
}

impl Default for Distinct {
    fn default() -> Self {
        Distinct::Exact(BTreeSet::new())
    }
}

impl Distinct {
    /// One more, in its canonical form.
    pub(super) fn add(&mut self, canonical: &[u8]) {
        let digest = md5::compute(canonical).0;
        self.add_hash(u64::from_le_bytes(*digest.first_chunk().expect("16 bytes")));
    }

    fn add_hash(&mut self, hash: u64) {
        match self {
            Distinct::Exact(hashes) => {
                hashes.insert(hash);
                if hashes.len() > EXACT {
                    let hashes = std::mem::take(hashes);
                    *self = Distinct::Registers(vec![0; REGISTERS]);
                    hashes.into_iter().for_each(|hash| self.add_hash(hash));
                }
            }
            Distinct::Registers(registers) => {
                let register = usize::try_from(hash >> (64 - BITS)).expect("12 bits");
                let zeros = (hash << BITS | 1 << (BITS - 1)).leading_zeros() + 1;
                let zeros = u8::try_from(zeros).expect("at most 53");
                registers[register] = registers[register].max(zeros);
            }
        }
    }

    /// As if all that the other one has seen had been added.
    pub(super) fn merge(&mut self, other: &Distinct) {
        match (&mut *self, other) {
            (_, Distinct::Exact(hashes)) => hashes.iter().for_each(|hash| self.add_hash(*hash)),
            (Distinct::Exact(_), Distinct::Registers(_)) => {
                let mut merged = other.clone();
                merged.merge(self);
                *self = merged;
            }
            (Distinct::Registers(own), Distinct::Registers(others)) => {
                own.iter_mut().zip(others).for_each(|(own, other)| *own = (*own).max(*other));
            }
        }
    }

    /// How many there were.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub(super) fn count(&self) -> u64 {
        let registers = match self {
            Distinct::Exact(hashes) => return hashes.len() as u64,
            Distinct::Registers(registers) => registers,
        };
        let m = REGISTERS as f64;
        let sum: f64 = registers.iter().map(|zeros| (-f64::from(*zeros)).exp2()).sum();
        let estimate = 0.7213 / (1.0 + 1.079 / m) * m * m / sum;
        let empty = registers.iter().filter(|zeros| **zeros == 0).count();
        // While many are empty, those tell more.
        let is_sparse = estimate <= 2.5 * m && empty > 0;
        let estimate = if is_sparse { m * (m / empty as f64).ln() } else { estimate };
        estimate.round() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(numbers: std::ops::Range<u64>) -> Distinct {
        let mut distinct = Distinct::default();
        numbers.for_each(|number| distinct.add(&number.to_le_bytes()));
        distinct
    }

    /// The hashes are fixed, so what holds here always holds. Three times the usual error is allowed.
    #[test]
    fn it_counts_exactly_up_to_400_and_within_5_percent_beyond() {
        for count in [0, 1, 399, 400] {
            assert_eq!(of(0..count).count(), count);
        }
        for count in [401, 1000, 5000, 9000, 12_000, 50_000, 1_000_000] {
            let found = of(0..count).count();
            assert!(found.abs_diff(count) * 20 <= count, "{found} of {count}");
        }
    }

    #[test]
    fn merged_it_is_the_same_as_counted_together() {
        for (a, b) in
            [(0..100, 50..150), (0..100, 50..9000), (0..9000, 5..100), (0..5000, 4000..9000)]
        {
            let mut merged = of(a.clone());
            merged.merge(&of(b.clone()));
            assert_eq!(merged.count(), of(a.start..b.end.max(a.end)).count());
        }
    }
}
