//! What is different about a stretch of time, in comparison with an earlier one.
//!
//! When errors rise, somebody has to find out of which fault, on which node, in which module, among thousands of values and
//! pairs of values of which some always differ by chance. [`Comparison`] counts occurrences by their values and by blocks of
//! time; then `search.rs` takes the one value or pair whose change
//! stands out most, takes its occurrences away, and looks again at what is left, until chance may have done the rest.
//!
//! What chance does is estimated for each value from its own bursts (`statistic.rs` says how). As many values are tested,
//! some would seem to have changed: the bound on the probability is multiplied by the number of those tested, anew in each
//! round (Bonferroni 1936, step by step after Holm 1979). Half of [`MAX_ERROR`] goes to the few tests of everything, a
//! level, a kind or a node, half to the many of modules, faults and pairs.
//!
//! # Invariants
//!
//! - `bounded`: at most [`MAX_VALUES`] values of each dimension, 2 * [`MAX_SHAPES`] and a few shapes, and about
//!   [`MAX_CELLS`] cells are kept, however many occurrences there are: some 20 MB and the names. A stretch with a much
//!   longer baseline, of which all combinations occur all the time, takes 60 MB.

#[cfg(test)]
mod generated_tests;
mod search;
mod statistic;
mod text;

use std::collections::HashMap;

use super::kind::{Kind, Level};
use crate::time::Timestamp;

pub use search::{Background, Deployed, Explanation, Finding, Known, MAX_FINDINGS};

/// A stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Its first moment.
    pub from: Timestamp,
    /// The first moment after it.
    pub to: Timestamp,
}

impl Stretch {
    fn micros(self) -> u64 {
        self.to.micros_since(self.from).max(1)
    }

    fn per_minute(self, count: u64) -> f64 {
        count as f64 * 60e6 / self.micros() as f64
    }

    /// Which of so many blocks of it a moment is in.
    fn block(self, at: Timestamp, blocks: u32) -> Option<u32> {
        if at < self.from || self.to <= at {
            return None;
        }
        let since = u128::from(at.micros_since(self.from));
        u32::try_from(since * u128::from(blocks) / u128::from(self.micros())).ok()
    }
}

/// What is counted of one occurrence. Several reports of one crash are one occurrence.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "as in a view")]
pub struct Occurrence<'a> {
    pub at: Timestamp,
    pub level: Level,
    pub kind: Kind,
    pub node: Option<&'a str>,
    pub module: Option<&'a str>,
    /// The id of the fault that it is an occurrence of.
    pub fault: Option<&'a str>,
}

/// What occurrences are compared by; the most telling first, which is named where several say the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "as in a view")]
pub enum Dimension {
    Fault,
    Module,
    Node,
    Kind,
    Level,
}

impl Dimension {
    /// All of them.
    pub const ALL: [Dimension; 5] =
        [Self::Fault, Self::Module, Self::Node, Self::Kind, Self::Level];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Dimension::Fault => "fault",
            Dimension::Module => "module",
            Dimension::Node => "node",
            Dimension::Kind => "kind",
            Dimension::Level => "level",
        }
    }

    /// The pairs that are compared. A fault is of one module, kind and level, and so no pair with them.
    const PAIRS: [[Dimension; 2]; 6] = [
        [Self::Fault, Self::Node],
        [Self::Module, Self::Node],
        [Self::Node, Self::Kind],
        [Self::Node, Self::Level],
        [Self::Module, Self::Kind],
        [Self::Module, Self::Level],
    ];
}

/// How likely it is, at most, that anything is told though nothing has changed; as far as bursts are short.
pub const MAX_ERROR: f64 = 0.05;

/// The most values of each dimension that are told apart.
pub const MAX_VALUES: usize = 10_000;

/// The most shapes, which are combinations of values; then faults are no longer told apart in new ones, up to as many
/// again, and then nothing but kinds and levels.
pub const MAX_SHAPES: usize = 10_000;

/// The most cells, each the count of a shape in a block, of 16 bytes; then blocks become twice as long.
pub const MAX_CELLS: usize = 500_000;

/// How many blocks the stretch is cut into, unless the baseline is much longer.
const STRETCH_BLOCKS: u64 = 64;

/// Enough for a day before an hour.
const MAX_BASELINE_BLOCKS: u64 = 1440;

/// Fewer say nothing of bursts. All numbers of blocks begin as multiples of it, to be halved.
const MIN_BLOCKS: u32 = 8;

/// A value's number in its dimension, the same as long as a comparison lives.
type Value = u32;

/// The occurrence has no value.
const NONE: Value = 0;

/// It has one of those beyond [`MAX_VALUES`].
const OTHER: Value = 1;

/// Values of all dimensions, in the order of [`Dimension::ALL`]. Of a condition, [`NONE`] where any value will do.
type Shape = [Value; Dimension::ALL.len()];

/// The values of a dimension.
#[derive(Debug, Default)]
struct Values {
    numbers: HashMap<Box<str>, Value>,
    names: Vec<Box<str>>,
}

impl Values {
    fn number(&mut self, name: Option<&str>) -> Value {
        let Some(name) = name else { return NONE };
        if let Some(&number) = self.numbers.get(name) {
            return number;
        }
        if self.names.len() == MAX_VALUES {
            return OTHER;
        }
        self.names.push(name.into());
        let number = Value::try_from(self.names.len()).expect("bounded: checked above") + OTHER;
        self.numbers.insert(name.into(), number);
        number
    }

    fn name(&self, number: Value) -> Option<&str> {
        let at = number.checked_sub(OTHER + 1)?;
        self.names.get(at as usize).map(|name| &**name)
    }
}

/// The occurrences of a shape in a block.
#[derive(Clone, Copy, Debug)]
struct Cell {
    /// Of the baseline, and then of the stretch.
    block: u32,
    count: u32,
    first: Timestamp,
}

/// Counts the occurrences of two stretches of time.
#[derive(Debug)]
pub struct Comparison {
    stretch: Stretch,
    baseline: Stretch,
    stretch_blocks: u32,
    baseline_blocks: u32,
    values: [Values; Dimension::ALL.len()],
    shapes: HashMap<Shape, usize>,
    /// Of each shape, in the order of blocks.
    cells: Vec<Vec<Cell>>,
    cell_count: usize,
}

impl Comparison {
    /// Compares a stretch with a baseline, which should not overlap; their lengths may differ.
    pub fn new(stretch: Stretch, baseline: Stretch) -> Self {
        let block_micros =
            (stretch.micros() / STRETCH_BLOCKS).max(baseline.micros() / MAX_BASELINE_BLOCKS).max(1);
        let blocks = |of: Stretch| {
            let blocks = of.micros().div_ceil(block_micros).next_multiple_of(MIN_BLOCKS.into());
            u32::try_from(blocks).expect("bounded: by the blocks of either")
        };
        let mut values: [Values; Dimension::ALL.len()] = Default::default();
        let [.., kinds, levels] = &mut values;
        Kind::ALL.iter().for_each(|kind| _ = kinds.number(Some(kind.as_str())));
        Level::ALL.iter().for_each(|level| _ = levels.number(Some(level.as_str())));
        Comparison {
            stretch,
            baseline,
            stretch_blocks: blocks(stretch),
            baseline_blocks: blocks(baseline),
            values,
            shapes: HashMap::new(),
            cells: Vec::new(),
            cell_count: 0,
        }
    }

    /// Counts an occurrence, in any order; ignores what is in neither stretch.
    ///
    /// Costs some 250 ns.
    pub fn add(&mut self, occurrence: &Occurrence<'_>) {
        let at = occurrence.at;
        let in_stretch = || self.stretch.block(at, self.stretch_blocks);
        let Some(block) = self
            .baseline
            .block(at, self.baseline_blocks)
            .or_else(|| Some(self.baseline_blocks + in_stretch()?))
        else {
            return;
        };
        let [faults, modules, nodes, ..] = &mut self.values;
        let shape = [
            faults.number(occurrence.fault),
            modules.number(occurrence.module),
            nodes.number(occurrence.node),
            occurrence.kind as Value + OTHER + 1,
            occurrence.level as Value + OTHER + 1,
        ];
        let shape = self.shape(shape);
        let cells = &mut self.cells[shape];
        match cells.binary_search_by_key(&block, |cell| cell.block) {
            Ok(found) => {
                cells[found].count = cells[found].count.saturating_add(1);
                cells[found].first = cells[found].first.min(at);
            }
            Err(place) => {
                cells.insert(place, Cell { block, count: 1, first: at });
                self.cell_count += 1;
                if self.cell_count > MAX_CELLS && self.stretch_blocks >= 2 * MIN_BLOCKS {
                    self.coarsen();
                }
            }
        }
    }

    /// Where a shape is, or the one that it is counted as.
    fn shape(&mut self, shape: Shape) -> usize {
        let [_, module, node, kind, level] = shape;
        let limits = [
            (shape, MAX_SHAPES),
            ([OTHER, module, node, kind, level], 2 * MAX_SHAPES),
            ([OTHER, OTHER, OTHER, kind, level], usize::MAX),
        ];
        for (shape, limit) in limits {
            if let Some(&found) = self.shapes.get(&shape) {
                return found;
            }
            if self.cells.len() < limit {
                self.shapes.insert(shape, self.cells.len());
                self.cells.push(Vec::new());
                return self.cells.len() - 1;
            }
        }
        unreachable!("the last has no limit")
    }

    /// Makes blocks twice as long.
    fn coarsen(&mut self) {
        let (before, now) = (self.baseline_blocks, self.baseline_blocks.div_ceil(2));
        for cells in &mut self.cells {
            for cell in cells.iter_mut() {
                cell.block = match cell.block.checked_sub(before) {
                    Some(block) => now + block / 2,
                    None => cell.block / 2,
                };
            }
            cells.dedup_by(|next, cell| {
                let is_same = next.block == cell.block;
                if is_same {
                    cell.count = cell.count.saturating_add(next.count);
                    cell.first = cell.first.min(next.first);
                }
                is_same
            });
        }
        self.baseline_blocks = now;
        self.stretch_blocks = self.stretch_blocks.div_ceil(2);
        self.cell_count = self.cells.iter().map(Vec::len).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: u64 = 64_000_000;

    fn comparison() -> Comparison {
        let [start, middle, end] = [0, LENGTH, 2 * LENGTH].map(Timestamp::from_micros);
        Comparison::new(Stretch { from: middle, to: end }, Stretch { from: start, to: middle })
    }

    fn add(comparison: &mut Comparison, micros: u64, module: &str, fault: &str) {
        comparison.add(&Occurrence {
            at: Timestamp::from_micros(micros),
            level: Level::Error,
            kind: Kind::Crash,
            node: Some("a@host"),
            module: Some(module),
            fault: Some(fault),
        });
    }

    /// `bounded`: more values, shapes and cells than are kept.
    #[test]
    fn nothing_grows_without_end_and_everything_is_counted() {
        let mut many = comparison();
        let all = 1_000_000;
        for at in 0..all {
            let value = (at % 15_000).to_string();
            add(&mut many, at * 2 * LENGTH / all, &value, &value);
        }
        assert!(many.values.iter().all(|values| values.names.len() <= MAX_VALUES));
        assert!(many.cells.len() <= 2 * MAX_SHAPES + 1);
        assert!(many.cell_count <= MAX_CELLS);
        assert!(many.stretch_blocks < 64, "blocks became longer");
        assert!(many.cells.iter().all(|cells| cells.is_sorted_by_key(|cell| cell.block)));
        let explanation = many.finish(|_: &str| None);
        assert_eq!((explanation.baseline_count, explanation.count), (all / 2, all / 2));
        assert_eq!(explanation.findings, []);
    }

    #[test]
    fn a_finding_tells_counts_rates_and_moments() {
        let mut some = comparison();
        for second in 0..128 {
            add(&mut some, second * 1_000_000, "shop", "1");
            if second >= 96 {
                add(&mut some, second * 1_000_000 + 7, "shop", "2");
            }
        }
        // In neither stretch.
        add(&mut some, 2 * LENGTH, "shop", "2");
        let explanation = some.finish(|_: &str| None);
        let [finding] = &explanation.findings[..] else { panic!("{explanation:?}") };
        assert_eq!(finding.conditions, [(Dimension::Fault, "2".to_owned())]);
        assert_eq!((finding.count, finding.baseline_count, finding.ratio), (32, 0, None));
        assert!((finding.per_minute - 30.0).abs() < 1e-9 && finding.is_rise && !finding.is_new);
        assert!(finding.significance < 1e-6 && (finding.share - 1.0).abs() < 1e-9);
        assert_eq!(finding.since, Timestamp::from_micros(96_000_007));
        assert_eq!(finding.samples.len(), 3);
        assert_eq!(finding.node.as_deref(), Some("a@host"));
    }

    /// No event before, none after, none at all, and stretches without length.
    #[test]
    fn emptiness_is_compared_as_well() {
        assert_eq!(comparison().finish(|_: &str| None).findings, []);
        for from in [0, LENGTH] {
            let mut some = comparison();
            for at in 0..1000 {
                add(&mut some, from + at * LENGTH / 1000, "shop", "1");
            }
            assert_eq!(some.finish(|_: &str| None).findings.len(), 1);
        }
        let moment = Stretch { from: Timestamp::MAX, to: Timestamp::MAX };
        assert_eq!(Comparison::new(moment, moment).finish(|_: &str| None).findings, []);
    }
}
