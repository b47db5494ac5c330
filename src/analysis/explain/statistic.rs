//! Whether a count has changed by more than bursts account for.
//!
//! Both stretches of time are cut into blocks of one length. If nothing changed, each occurrence is in the one or the other
//! as a coin falls that knows only their lengths. Chernoff (1952) bounds the probability that `n` coins fall as unevenly as
//! the counts did: `exp(-n * D)`, where `D` is Kullback and Leibler's divergence of the found share from the due one.
//!
//! But errors come in bursts, and a burst is one coin, however many occurrences it has. How many come together is the Allan
//! factor (Allan 1966; Lowen and Teich 1996): the mean squared difference of neighbouring blocks in relation to twice the
//! mean count. It is 1 for a Poisson process at any rate, about the size of the bursts where they fit into a block, and a
//! step or a slope hardly raises it, as a variance would be raised. It is taken at several lengths, for bursts that are
//! longer than a block, and the greatest counts. `n` is the number of occurrences divided by it.
//!
//! That the change may begin with any block, and go up or down, is not counted as so many tests: the bound is loose by about
//! as much. Generated logs confirm it (`generated_tests.rs`).

/// The least change that is told: so many times as often, or one time in so many.
const MIN_RATIO: f64 = 1.5;

/// The least number of occurrences too many, or missing.
pub(super) const MIN_EXCESS: f64 = 5.0;

/// Rates drift: what is refuted is not "as often as before" but "up to so many times as often, or as rare".
const DRIFT: f64 = 1.1;

/// A change is looked for from any block of the stretch to its end, but not in less than one in so many of its blocks.
const MIN_TAIL: usize = 5;

/// At how many blocks bursts are looked for.
const BURST_BLOCKS: [usize; 4] = [1, 2, 4, 8];

/// How a count changed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    /// The block of the stretch with which the change begins.
    pub(super) start: usize,
    pub(super) is_rise: bool,
    /// `exp(-evidence)` bounds the probability that chance did this.
    pub(super) evidence: f64,
    /// The evidence if no occurrence had to do with another. It says how well the change is delimited: less for a part of
    /// what changed, and less for more than what changed.
    pub(super) contrast: f64,
}

/// The change from the baseline's blocks to the stretch's, if there is one that is large enough to tell. `pace` is how many
/// occurrences are due in each block of the stretch for one in the whole baseline.
///
/// Costs some ten operations for each block.
pub(super) fn change(baseline: &[u32], stretch: &[u32], pace: &[f64]) -> Option<Change> {
    let before = sum(baseline);
    let min_tail = stretch.len().div_ceil(MIN_TAIL);
    let (mut since, mut due) = (0.0, 0.0);
    let mut best: Option<Change> = None;
    for start in (0..stretch.len()).rev() {
        since += f64::from(stretch[start]);
        due += pace[start];
        let is_rise = since > before * due;
        let (less, more) = if is_rise { (before * due, since) } else { (since, before * due) };
        if stretch.len() - start < min_tail || more - less < MIN_EXCESS || more < less * MIN_RATIO {
            continue;
        }
        let odds = if is_rise { due * DRIFT } else { due / DRIFT };
        let all = before + since;
        let contrast = all * divergence(since / all, odds / (1.0 + odds));
        if best.is_none_or(|best| best.contrast < contrast) {
            best = Some(Change { start, is_rise, evidence: 0.0, contrast });
        }
    }
    best.map(|best| {
        // On their own, so that the change itself is no burst.
        let (head, tail) = stretch.split_at(best.start);
        let parts = [baseline, head, tail];
        let burst = BURST_BLOCKS.map(|blocks| allan_factor(parts, blocks)).into_iter();
        Change { evidence: best.contrast / burst.fold(1.0, f64::max), ..best }
    })
}

fn sum(counts: &[u32]) -> f64 {
    counts.iter().map(|&count| f64::from(count)).sum()
}

/// Kullback and Leibler's divergence between coins that fall heads with these probabilities.
fn divergence(found: f64, due: f64) -> f64 {
    let part = |found: f64, due: f64| if found > 0.0 { found * (found / due).ln() } else { 0.0 };
    part(found, due) + part(1.0 - found, 1.0 - due)
}

/// The Allan factor of counts in windows of so many blocks, over all parts that have two windows.
fn allan_factor(parts: [&[u32]; 3], blocks: usize) -> f64 {
    let (mut squares, mut all) = (0.0, 0.0);
    for part in parts.into_iter().filter(|part| part.len() >= 2 * blocks) {
        squares += squared_differences(part, blocks);
        all += sum(part);
    }
    if all == 0.0 { 0.0 } else { squares / (2.0 * blocks as f64 * all) }
}

/// The sum, over all places, of the squared difference between a window there and the next one. The counts are a ring, so
/// that each is in as many windows as any other.
fn squared_differences(counts: &[u32], blocks: usize) -> f64 {
    let at = |place: usize| f64::from(counts[place % counts.len()]);
    let mut difference: f64 = (0..blocks).map(|place| at(place + blocks) - at(place)).sum();
    let mut squares = 0.0;
    for place in 0..counts.len() {
        squares += difference * difference;
        difference += at(place) - 2.0 * at(place + blocks) + at(place + 2 * blocks);
    }
    squares
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(baseline: &[u32], stretch: &[u32]) -> Option<f64> {
        let pace = vec![1.0 / baseline.len() as f64; stretch.len()];
        change(baseline, stretch, &pace).map(|change| change.evidence)
    }

    #[test]
    fn a_burst_is_one_coin() {
        let mut burst = [0; 60];
        burst[20] = 1000;
        let evidence_of_one = evidence(&[0; 60], &burst).expect("it is large enough");
        assert!(evidence_of_one < 2.0, "{evidence_of_one}");
        let mut steady = [0; 60];
        steady.iter_mut().skip(1).step_by(2).for_each(|count| *count = 1);
        assert!(evidence(&[0; 60], &steady).expect("it is large enough") > 15.0);
    }

    #[test]
    fn a_step_is_no_burst() {
        let stretch: Vec<_> = (0..60).map(|block| if block < 40 { 10 } else { 90 }).collect();
        let change = change(&[10; 60], &stretch, &[1.0 / 60.0; 60]).expect("it is large enough");
        assert!(change.is_rise && change.start == 40);
        assert_eq!(change.evidence, change.contrast);
    }

    #[test]
    fn trifles_are_not_told() {
        assert_eq!(evidence(&[1000; 60], &[1200; 60]), None);
        assert_eq!(evidence(&[0; 60], &[0; 60]), None);
        let mut four = [0; 60];
        four[10..14].fill(1);
        assert_eq!(evidence(&[0; 60], &four), None);
        assert_eq!(evidence(&[], &[]), None);
    }
}
