//! Match specifications as `ets` has them, run over an event's bytes.
//!
//! A subscriber's filter is compiled once per session and sees every event, so it must not cost more than
//! looking at the bytes it asks for: a head is matched in one pass over the event without building a tree,
//! variables are slices of the event, and only what a body puts together is copied.
//!
//! The meaning is that of `ets:match_spec_run/2` on one event, result by result. Any term may be matched
//! and any pattern may be a head, as there. An exception fails a guard, and in a body puts `'EXIT'` in the
//! place of the call. Where OTP releases differ, OTP 28 is followed: `0.0` and `-0.0` are two terms, and
//! the functions that later releases added are known whatever release the subscriber runs.
//!
//! Manual: ERTS User's Guide, "Match Specifications in Erlang", the ets part.
//!
//! # Invariants
//!
//! - `bounded`: a run takes at most [`Limits::steps`] and makes at most [`Limits::result_bytes`]; a
//!   specification has at most [`Limits::spec_bytes`].
//! - `allowance`: a run takes no step beyond what its caller allows, and looks at the event at most once more
//!   than that pays for.

mod compile;
mod error;
mod eval;
mod guard;
mod head;
mod number;
#[cfg(test)]
mod oracle_tests;
#[cfg(test)]
mod tests;

pub use error::{CompileError, Problem};
pub use number::MAX_INTEGER_BYTES;

use compile::{HeadOp, Op, compile};
use eval::Machine;

use crate::etf::{Pid, TermRef, encode};

/// How much a specification may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes of the specification's term.
    pub spec_bytes: usize,
    /// The most steps for one event. A step is one instruction, or 64 bytes that it has to look at.
    pub steps: u64,
    /// The most bytes that an event's result and everything made on the way may take.
    pub result_bytes: usize,
}

impl Default for Limits {
    /// 64 KiB; 2 million steps, which a hostile specification can make last for a second, and which are
    /// some 7 looks at all of an event of 16 MiB; 32 MiB.
    fn default() -> Self {
        Limits { spec_bytes: 64 * 1024, steps: 2_000_000, result_bytes: 32 << 20 }
    }
}

/// What a match specification makes of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No clause matches: the event is not for this subscriber.
    NoMatch,
    /// A clause matched; its result was appended.
    Result,
    /// [`Limits`] were reached before that was decided. Nothing was appended.
    Budget,
    /// The caller's allowance was used up before that was decided. Nothing was appended.
    Unfinished,
}

/// A compiled match specification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatchSpec {
    clauses: Vec<Clause>,
    constants: Vec<u8>,
    common: Common,
    limits: Limits,
}

/// Memory that one run leaves for the next, at most some `KEEP_BYTES`.
#[derive(Debug, Default)]
pub struct Scratch {
    machine: Machine,
}

/// Of the memory for what a run makes, and for its stack, more than this is given back.
const KEEP_BYTES: usize = 16 << 10;

/// Where among the constants stands what every specification may give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Common {
    yes: Span,
    no: Span,
    exit: Span,
    nil: Span,
    node: Span,
    process: Span,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Clause {
    head: Vec<HeadOp>,
    slots: usize,
    guards: Vec<Op>,
    body: Vec<Op>,
}

/// A piece of a buffer of less than 4 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    start: u32,
    end: u32,
}

impl Span {
    fn new(start: usize, end: usize) -> Self {
        let offset =
            |at| u32::try_from(at).expect("bounded: events, specs and results are limited");
        Span { start: offset(start), end: offset(end) }
    }

    fn of(self, buffer: &[u8]) -> &[u8] {
        &buffer[self.start as usize..self.end as usize]
    }
}

impl MatchSpec {
    /// Compiles the term of a match specification.
    ///
    /// Costs some 100 ns an element, and memory of a few times the term.
    ///
    /// # Errors
    ///
    /// [`CompileError`], with the offending part, where `ets:match_spec_compile/1` would raise `badarg`,
    /// and if the term has more than [`Limits::spec_bytes`].
    pub fn compile(spec: TermRef<'_>, limits: Limits) -> Result<MatchSpec, CompileError> {
        let bytes = spec.bytes().len();
        if bytes > limits.spec_bytes {
            let problem = Problem::TooLarge { bytes, limit: limits.spec_bytes };
            return Err(CompileError { path: vec![], problem, part: TermRef::NIL.to_bytes() });
        }
        let (mut clauses, mut constants) = compile(spec)?;
        let nowhere = Pid { node: "nonode@nohost".into(), id: 0, serial: 0, creation: 0 };
        let mut add = |write: &dyn Fn(&mut Vec<u8>)| {
            let start = constants.len();
            write(&mut constants);
            Span::new(start, constants.len())
        };
        let common = Common {
            yes: add(&|out| encode::atom(out, "true")),
            no: add(&|out| encode::atom(out, "false")),
            exit: add(&|out| encode::atom(out, "EXIT")),
            nil: add(&encode::nil),
            node: add(&|out| encode::atom(out, &nowhere.node)),
            process: add(&|out| encode::pid(out, &nowhere)),
        };
        clauses.shrink_to_fit();
        constants.shrink_to_fit();
        Ok(MatchSpec { clauses, constants, common, limits })
    }

    /// The memory that it takes, in bytes: some 2 KB for a usual one, up to 1 MiB for the largest.
    pub fn memory_bytes(&self) -> usize {
        let ops = |clause: &Clause| {
            clause.head.capacity() * size_of::<HeadOp>()
                + (clause.guards.capacity() + clause.body.capacity()) * size_of::<Op>()
        };
        size_of::<MatchSpec>()
            + self.constants.capacity()
            + self.clauses.capacity() * size_of::<Clause>()
            + self.clauses.iter().map(ops).sum::<usize>()
    }

    /// Sets the process that `{self}` gives, and with it the node that `{node}` gives.
    #[must_use]
    pub fn for_process(mut self, process: &Pid) -> MatchSpec {
        let start = self.constants.len();
        encode::atom(&mut self.constants, &process.node);
        let middle = self.constants.len();
        encode::pid(&mut self.constants, process);
        self.common.node = Span::new(start, middle);
        self.common.process = Span::new(middle, self.constants.len());
        self
    }

    /// Whether every event matches and is its own result, as `[{'$1',[],['$1']}]` says.
    pub fn is_identity(&self) -> bool {
        let Some(clause) = self.clauses.first() else { return false };
        let takes_all = matches!(*clause.head, [] | [HeadOp::Bind(_)]);
        let gives_all = match *clause.body {
            [Op::Event] => true,
            [Op::Slot(_)] => matches!(*clause.head, [HeadOp::Bind(_)]),
            _ => false,
        };
        takes_all && gives_all && clause.guards.is_empty()
    }

    /// Runs the specification on an event, and appends the result's term (without a version byte) to `out`.
    ///
    /// Costs what the patterns and guards look at, and a copy of the result; no allocation but the growth
    /// of `scratch` and `out`, unless integers beyond 64 bits are computed with or maps are compared.
    pub fn run(&self, scratch: &mut Scratch, event: TermRef<'_>, out: &mut Vec<u8>) -> Outcome {
        let mut allowance = self.limits.steps;
        self.run_within(scratch, event, out, &mut allowance)
    }

    /// The same, in at most `allowance` steps, which is lowered by those taken (`allowance`).
    pub fn run_within(
        &self,
        scratch: &mut Scratch,
        event: TermRef<'_>,
        out: &mut Vec<u8>,
        allowance: &mut u64,
    ) -> Outcome {
        let start = out.len();
        let allowed = self.limits.steps.min(*allowance);
        let (outcome, taken) = scratch.machine.run(self, event, out, allowed);
        *allowance -= taken;
        if outcome != Outcome::Result {
            out.truncate(start);
        }
        match outcome {
            Outcome::Unfinished if allowed == self.limits.steps => Outcome::Budget,
            outcome => outcome,
        }
    }
}
