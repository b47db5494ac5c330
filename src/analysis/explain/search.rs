//! The search for what changed: the most striking change first, then what is left without it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use super::statistic::{Change, MIN_EXCESS, change};
use super::{
    Cell, Comparison, Dimension, MAX_ERROR, NONE, OTHER, Shape, Stretch, Value, Values, text,
};
use crate::analysis::fingerprint::FaultId;
use crate::analysis::kind::Level;
use crate::time::Timestamp;

/// The most findings that are told.
pub const MAX_FINDINGS: usize = 10;

/// The most moments that are given with a finding.
const MAX_SAMPLES: usize = 3;

/// The part of a fault's occurrences that makes a node its place.
const HOME_PART: f64 = 0.9;

/// What is no more probable by chance than this goes before what is, however striking that may be.
const SURE: f64 = 1e-4;

/// What is known of a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// What people call it.
    pub title: String,
    /// When it was seen for the first time ever.
    pub first_seen: Timestamp,
}

/// A version that a node began to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployed {
    /// The application.
    pub application: String,
    /// Its version.
    pub version: String,
    /// The one before.
    pub before: String,
    /// Since when.
    pub since: Timestamp,
}

/// What is known beside the occurrences.
pub trait Background {
    /// What is known of the fault with this id.
    fn fault(&self, id: &str) -> Option<Known>;

    /// The last version that a node began to run within a stretch of time, in place of another.
    fn deployed(&self, _node: &str, _from: Timestamp, _to: Timestamp) -> Option<Deployed> {
        None
    }
}

impl<F: Fn(&str) -> Option<Known>> Background for F {
    fn fault(&self, id: &str) -> Option<Known> {
        self(id)
    }
}

/// So long before a change a deployment may have brought it about; and so long after, as it takes a while to be known.
const DEPLOYED_BEFORE: Duration = Duration::from_secs(1800);
const DEPLOYED_AFTER: Duration = Duration::from_secs(5);

/// Something that changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// What the occurrences have in common: at most two values, and none if everything changed.
    pub conditions: Vec<(Dimension, String)>,
    /// What is known of the fault, if one is among the conditions.
    pub known: Option<Known>,
    /// The fault was never seen before the stretch.
    pub is_new: bool,
    /// The node that at least nine of ten of them are on, whether it is a condition or not.
    pub node: Option<String>,
    /// What that node began to run shortly before.
    pub deployed: Option<Deployed>,
    /// How many there are in the stretch, and each minute.
    pub count: u64,
    /// See `count`.
    pub per_minute: f64,
    /// How many there are in the baseline, and each minute.
    pub baseline_count: u64,
    /// See `baseline_count`.
    pub baseline_per_minute: f64,
    /// The rate in the stretch, in relation to the baseline's; `None` if there are none in the baseline.
    pub ratio: Option<f64>,
    /// The rate from `since` on, in relation to the baseline's.
    pub ratio_since: Option<f64>,
    /// They became more, not fewer.
    pub is_rise: bool,
    /// When it began: where a rise is concerned, the first of them in the first block that is part of it.
    pub since: Timestamp,
    /// A bound on the probability that chance did this to any of the values tested, from 0 to 1.
    pub significance: f64,
    /// The part of all that changed, found or not, from 0 to 1.
    pub share: f64,
    /// Up to three of them in the stretch, or before it if there are none: the first, one in the middle, a late one.
    pub samples: Vec<Timestamp>,
}

impl Finding {
    /// The fault that is among the conditions.
    pub fn fault(&self) -> Option<FaultId> {
        let is_fault = |(dimension, _): &&(Dimension, String)| *dimension == Dimension::Fault;
        FaultId::parse(&self.conditions.iter().find(is_fault)?.1)
    }
}

/// What is different.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The most striking first. None of them tells what an earlier one implies.
    pub findings: Vec<Finding>,
    /// How many occurrences there are in the stretch.
    pub count: u64,
    /// How many there are in the baseline.
    pub baseline_count: u64,
    /// Up to three sentences that say the same.
    pub text: String,
}

/// Values or pairs that may have changed, with the shapes that have them.
struct Candidate {
    conditions: Shape,
    shapes: Vec<usize>,
}

impl Candidate {
    fn given(&self) -> impl Iterator<Item = (usize, Dimension)> {
        Dimension::ALL.into_iter().enumerate().filter(|&(at, _)| self.conditions[at] != NONE)
    }

    fn has(&self, shape: &Shape) -> bool {
        self.given().all(|(at, _)| self.conditions[at] == shape[at])
    }

    /// One of the few tests: everything, or a level, a kind or a node.
    fn is_coarse(&self) -> bool {
        let mut given = self.given().map(|(_, dimension)| dimension);
        given.next().is_none_or(|first| first >= Dimension::Node) && given.next().is_none()
    }
}

/// What is left to explain.
struct Rest {
    /// Of those that say the same the first is told.
    candidates: Vec<Candidate>,
    /// The cells of each shape, none where it is explained.
    cells: Vec<Vec<Cell>>,
    /// How many occurrences are due in each block of the stretch for one in the baseline.
    pace: Vec<f64>,
    is_pace_told: bool,
}

/// A candidate that changed.
struct Found {
    candidate: usize,
    change: Change,
    significance: f64,
}

impl Comparison {
    /// Explains the difference; `background` says what is known beside.
    ///
    /// Costs some 25 ms for 400,000 cells, for each finding and once more.
    pub fn finish(self, background: impl Background) -> Explanation {
        let baseline_blocks = self.baseline_blocks as usize;
        let due = self.stretch.micros() as f64 / self.baseline.micros() as f64;
        let mut rest = Rest {
            candidates: candidates(&self.shapes),
            pace: vec![due / f64::from(self.stretch_blocks); self.stretch_blocks as usize],
            is_pace_told: false,
            cells: self.cells,
        };
        let frame = Frame {
            values: &self.values,
            shapes: &self.shapes,
            stretch: self.stretch,
            baseline: self.baseline,
            stretch_blocks: self.stretch_blocks,
            baseline_blocks: self.baseline_blocks,
        };
        let totals = counts(rest.cells.iter().flatten(), baseline_blocks);
        let mut findings = Vec::new();
        let mut changed = 0.0;
        while findings.len() < MAX_FINDINGS
            && let Some(found) = rest.most_striking(baseline_blocks)
        {
            let (mut finding, excess) = frame.finding(&rest, &found, &background);
            changed += excess;
            finding.share = excess;
            findings.push(finding);
            rest.explain(&found, baseline_blocks);
        }
        let (before, now) = counts(rest.cells.iter().flatten(), baseline_blocks);
        changed += (now as f64 - before as f64 * rest.pace.iter().sum::<f64>()).abs();
        findings.iter_mut().for_each(|finding: &mut Finding| finding.share /= changed.max(1.0));
        let (baseline_count, count) = totals;
        let mut explanation = Explanation { findings, count, baseline_count, text: String::new() };
        explanation.text = text::of(&explanation, self.stretch, self.baseline);
        if explanation.findings.is_empty() && count > baseline_count {
            let errors = frame.errors(&rest.cells, &background);
            explanation.text.extend(errors.map(|errors| text::errors(&errors, self.stretch)));
        }
        explanation
    }
}

/// What the errors of a stretch have in common.
pub(super) struct Errors {
    pub(super) count: u64,
    /// The fault, the module and the node of at least nine of ten of them.
    pub(super) conditions: Vec<(Dimension, String)>,
    pub(super) known: Option<Known>,
}

impl Frame<'_> {
    /// What the errors of the stretch have in common, if there are any.
    fn errors(&self, cells: &[Vec<Cell>], background: &impl Background) -> Option<Errors> {
        const LEVEL: usize = Dimension::ALL.len() - 1;
        let least = Level::Error as Value + OTHER + 1;
        let mut counts = [const { BTreeMap::<Value, u64>::new() }; 3];
        let mut count = 0;
        for (shape, number) in self.shapes.iter().filter(|(shape, _)| shape[LEVEL] >= least) {
            let in_stretch =
                cells[*number].iter().filter(|cell| cell.block >= self.baseline_blocks);
            let occurred: u64 = in_stretch.map(|cell| u64::from(cell.count)).sum();
            count += occurred;
            for (counts, value) in counts.iter_mut().zip(shape) {
                *counts.entry(*value).or_default() += occurred;
            }
        }
        let mut conditions = Vec::new();
        for (at, counts) in counts.iter().enumerate() {
            let most = counts.iter().max_by_key(|(_, count)| **count);
            let most = most.filter(|(_, most)| **most as f64 >= HOME_PART * count as f64);
            let name = most.and_then(|(value, _)| self.values[at].name(*value));
            conditions.extend(name.map(|name| (Dimension::ALL[at], name.to_owned())));
        }
        let fault = conditions.iter().find(|(dimension, _)| *dimension == Dimension::Fault);
        let known = fault.and_then(|(_, id)| background.fault(id));
        (count > 0).then_some(Errors { count, conditions, known })
    }
}

/// All that may have changed. Of those with the same shapes only the first is kept: a fault rather than its module.
fn candidates(shapes: &HashMap<Shape, usize>) -> Vec<Candidate> {
    let [fault, others @ ..] = Dimension::ALL.map(|dimension| vec![dimension]);
    let pairs = Dimension::PAIRS.map(|pair| pair.to_vec());
    let mut shapes: Vec<_> = shapes.iter().map(|(shape, &at)| (*shape, at)).collect();
    shapes.sort_unstable();
    let mut seen = HashSet::new();
    let mut candidates = Vec::new();
    for dimensions in [fault, vec![]].into_iter().chain(others).chain(pairs) {
        let mut found: BTreeMap<Shape, Vec<usize>> = BTreeMap::new();
        for &(shape, at) in &shapes {
            let mut conditions = [NONE; Dimension::ALL.len()];
            dimensions.iter().for_each(|&d| conditions[d as usize] = shape[d as usize]);
            if dimensions.iter().all(|&d| shape[d as usize] > OTHER) {
                found.entry(conditions).or_default().push(at);
            }
        }
        let new = found.into_iter().filter(|(_, shapes)| seen.insert(shapes.clone()));
        candidates.extend(new.map(|(conditions, shapes)| Candidate { conditions, shapes }));
    }
    candidates
}

impl Rest {
    /// The cells that a candidate has left.
    fn cells(&self, candidate: usize) -> impl Iterator<Item = &Cell> {
        self.candidates[candidate].shapes.iter().flat_map(|&shape| &self.cells[shape])
    }

    /// The candidate that stands out most among those that changed.
    fn most_striking(&self, baseline_blocks: usize) -> Option<Found> {
        let mut changes = Vec::new();
        let (mut coarse, mut fine) = (0u32, 0u32);
        let mut blocks = vec![0u32; baseline_blocks + self.pace.len()];
        for (at, candidate) in self.candidates.iter().enumerate() {
            blocks.fill(0);
            let mut count = 0u64;
            for cell in self.cells(at) {
                let block = &mut blocks[cell.block as usize];
                *block = block.saturating_add(cell.count);
                count += u64::from(cell.count);
            }
            if (count as f64) < MIN_EXCESS || (self.is_pace_told && candidate.given().count() == 0)
            {
                continue;
            }
            *(if candidate.is_coarse() { &mut coarse } else { &mut fine }) += 1;
            let (baseline, stretch) = blocks.split_at(baseline_blocks);
            if let Some(change) = change(baseline, stretch, &self.pace) {
                changes.push((at, change));
            }
        }
        let found = changes.into_iter().filter_map(|(candidate, change)| {
            let tests = if self.candidates[candidate].is_coarse() { coarse } else { fine };
            let significance = (-change.evidence).exp() * f64::from(2 * tests);
            (significance <= MAX_ERROR).then_some(Found { candidate, change, significance })
        });
        // Of equals the first.
        found.rev().max_by(|a, b| {
            let key = |found: &Found| (found.significance <= SURE, found.change.contrast);
            key(a).partial_cmp(&key(b)).expect("numbers")
        })
    }

    /// Takes away what was found: the occurrences, or if everything changed, the pace.
    fn explain(&mut self, found: &Found, baseline_blocks: usize) {
        if self.candidates[found.candidate].given().count() > 0 {
            for &shape in &self.candidates[found.candidate].shapes {
                self.cells[shape].clear();
            }
            return;
        }
        self.is_pace_told = true;
        let start = baseline_blocks + found.change.start;
        let mut parts = [0.0; 3];
        for cell in self.cells(found.candidate) {
            let block = cell.block as usize;
            parts[usize::from(block >= baseline_blocks) + usize::from(block >= start)] +=
                f64::from(cell.count);
        }
        let [baseline, head, tail] = parts;
        let blocks = self.pace.len();
        for (block, pace) in self.pace.iter_mut().enumerate() {
            let (count, blocks) = match block < found.change.start {
                true => (head, found.change.start),
                false => (tail, blocks - found.change.start),
            };
            *pace = count / blocks as f64 / f64::max(baseline, 1.0);
        }
    }
}

/// What findings are told with.
struct Frame<'a> {
    values: &'a [Values; Dimension::ALL.len()],
    shapes: &'a HashMap<Shape, usize>,
    stretch: Stretch,
    baseline: Stretch,
    stretch_blocks: u32,
    baseline_blocks: u32,
}

impl Frame<'_> {
    /// A finding, but for its share; and how many occurrences were too many, or missing.
    fn finding(&self, rest: &Rest, found: &Found, background: &impl Background) -> (Finding, f64) {
        let Found { candidate, change, significance } = *found;
        let baseline_blocks = self.baseline_blocks as usize;
        let start =
            self.baseline_blocks + u32::try_from(change.start).expect("bounded: by the blocks");
        let (baseline_count, count) = counts(rest.cells(candidate), baseline_blocks);
        let (_, since) = counts(rest.cells(candidate), start as usize);
        let conditions: Vec<_> = rest.candidates[candidate]
            .given()
            .filter_map(|(at, dimension)| {
                let name = self.values[at].name(rest.candidates[candidate].conditions[at])?;
                Some((dimension, name.to_owned()))
            })
            .collect();
        let known = match conditions.first() {
            Some((Dimension::Fault, id)) => background.fault(id),
            _ => None,
        };
        let per_minute = self.stretch.per_minute(count);
        let baseline_per_minute = self.baseline.per_minute(baseline_count);
        let begin = self.stretch.from.micros()
            + self.stretch.micros() / u64::from(self.stretch_blocks) * change.start as u64;
        let tail = Stretch { from: Timestamp::from_micros(begin), to: self.stretch.to };
        let ratio =
            |per_minute: f64| (baseline_count > 0).then_some(per_minute / baseline_per_minute);
        let first =
            rest.cells(candidate).filter(|cell| cell.block >= start).map(|cell| cell.first).min();
        let due: f64 = rest.pace.iter().sum();
        let since_moment = first.filter(|_| change.is_rise).unwrap_or(tail.from);
        let node = self.home(rest, candidate, change.is_rise);
        let deployed = node.as_ref().and_then(|node| {
            let from = since_moment.saturating_sub(DEPLOYED_BEFORE);
            background.deployed(node, from, since_moment.saturating_add(DEPLOYED_AFTER))
        });
        let finding = Finding {
            deployed,
            is_new: known.as_ref().is_some_and(|known| known.first_seen >= self.stretch.from),
            node,
            conditions,
            known,
            count,
            per_minute,
            baseline_count,
            baseline_per_minute,
            ratio: ratio(per_minute),
            ratio_since: ratio(tail.per_minute(since)),
            is_rise: change.is_rise,
            since: since_moment,
            significance,
            share: 0.0,
            samples: samples(rest.cells(candidate), self.baseline_blocks),
        };
        (finding, (count as f64 - baseline_count as f64 * due).abs())
    }

    /// The node that most occurrences are on; before, if they became fewer.
    fn home(&self, rest: &Rest, candidate: usize, is_rise: bool) -> Option<String> {
        let candidate = &rest.candidates[candidate];
        let node = Dimension::Node as usize;
        let mut by_node: BTreeMap<Value, u64> = BTreeMap::new();
        for (shape, at) in self.shapes {
            if candidate.has(shape) {
                let (before, now) = counts(rest.cells[*at].iter(), self.baseline_blocks as usize);
                *by_node.entry(shape[node]).or_default() += if is_rise { now } else { before };
            }
        }
        let all: u64 = by_node.values().sum();
        let (&most, &count) = by_node.iter().max_by_key(|&(_, &count)| count)?;
        let is_home = count as f64 >= HOME_PART * all as f64;
        self.values[node].name(most).filter(|_| is_home).map(str::to_owned)
    }
}

/// Moments of occurrences in the stretch, or else in the baseline.
fn samples<'a>(cells: impl Iterator<Item = &'a Cell>, baseline_blocks: u32) -> Vec<Timestamp> {
    let (now, before): (Vec<&Cell>, Vec<_>) = cells.partition(|cell| cell.block >= baseline_blocks);
    let chosen = if now.is_empty() { before } else { now };
    let mut all: Vec<_> = chosen.into_iter().map(|cell| cell.first).collect();
    all.sort_unstable();
    all.dedup();
    match all[..] {
        [first, .., last] if all.len() > MAX_SAMPLES => vec![first, all[all.len() / 2], last],
        _ => all,
    }
}

/// How many occurrences are in the baseline and in the stretch.
fn counts<'a>(cells: impl Iterator<Item = &'a Cell>, baseline_blocks: usize) -> (u64, u64) {
    cells.fold((0, 0), |(before, now), cell| match (cell.block as usize) < baseline_blocks {
        true => (before + u64::from(cell.count), now),
        false => (before, now + u64::from(cell.count)),
    })
}
