//! Running a compiled specification: clause by clause, guards and bodies on a stack.

use super::compile::Op;
use super::guard::{Answer, Function, boolean, call};
use super::{KEEP_BYTES, MatchSpec, Outcome, Span};
use crate::etf::stream::{Chunk, Headed};
use crate::etf::{TermRef, encode, order};

/// The run reached its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OutOfBudget;

/// Why a clause gives no result.
enum Stop {
    /// A guard is not true, or raised an exception.
    Fail,
    Budget,
}

impl From<OutOfBudget> for Stop {
    fn from(OutOfBudget: OutOfBudget) -> Self {
        Stop::Budget
    }
}

/// A term, by the place where its bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Event(Span),
    Constant(Span),
    /// Put together during this run.
    Made(Span),
    /// A small integer that was an element of a string.
    Byte(u8),
}

/// What a run only reads.
pub(super) struct Sources<'a> {
    pub(super) event: TermRef<'a>,
    pub(super) constants: &'a [u8],
    spec: &'a MatchSpec,
}

impl Sources<'_> {
    fn boolean(&self, value: bool) -> Value {
        let common = &self.spec.common;
        Value::Constant(if value { common.yes } else { common.no })
    }

    /// Where a part of the event is.
    pub(super) fn span_in_event(&self, part: &[u8]) -> Span {
        span_in(self.event.bytes(), part).expect("it is a part of the event")
    }
}

/// Steps for comparing two terms. The difference lies within the shorter one, but to find it maps may have
/// to be copied and sorted.
fn comparison(a: TermRef<'_>, b: TermRef<'_>) -> u64 {
    /// What sorting may cost more than looking.
    const SORTING: u64 = 16;
    let (a, b) = (looked_at(a), looked_at(b));
    a.max(b) + SORTING * a.min(b)
}

/// A term in two pieces, by their places.
struct Pieces {
    head: [u8; 5],
    used: usize,
    rest: Option<Value>,
}

/// Where `part` lies in `buffer`, if it is a piece of it.
fn span_in(buffer: &[u8], part: &[u8]) -> Option<Span> {
    let start = part.as_ptr().addr().checked_sub(buffer.as_ptr().addr())?;
    (start + part.len() <= buffer.len()).then(|| Span::new(start, start + part.len()))
}

/// Slots that are made ready in one step.
const SLOTS_A_STEP: u64 = 16;

/// Steps for having looked at a term.
pub(super) fn looked_at(term: TermRef<'_>) -> u64 {
    term.bytes().len() as u64 / 64
}

/// The state of a run; its memory is used again.
#[derive(Debug, Default)]
pub(super) struct Machine {
    /// What is bound, by slot.
    pub(super) slots: Vec<Value>,
    /// The lists that the head's pattern is in.
    pub(super) chunks: Vec<Chunk>,
    /// The maps that the head's pattern is in.
    pub(super) maps: Vec<Span>,
    stack: Vec<Value>,
    /// The bytes of terms made during this run.
    made: Vec<u8>,
    steps_left: u64,
    /// More steps were asked for than were left: that, and not the size of what was made, ended the run.
    is_out_of_steps: bool,
    max_made: usize,
}

impl Machine {
    /// Runs `spec` on an event; also tells how many of the `allowed` steps that took.
    pub(super) fn run(
        &mut self,
        spec: &MatchSpec,
        event: TermRef<'_>,
        out: &mut Vec<u8>,
        allowed: u64,
    ) -> (Outcome, u64) {
        self.steps_left = allowed;
        self.is_out_of_steps = false;
        self.max_made = spec.limits.result_bytes.min(i32::MAX as usize);
        let outcome = match self.try_clauses(spec, event, out) {
            Ok(outcome) => outcome,
            Err(OutOfBudget) if self.is_out_of_steps => Outcome::Unfinished,
            Err(OutOfBudget) => Outcome::Budget,
        };
        self.give_back();
        (outcome, allowed - self.steps_left)
    }

    fn try_clauses(
        &mut self,
        spec: &MatchSpec,
        event: TermRef<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Outcome, OutOfBudget> {
        if u32::try_from(event.bytes().len()).is_err() {
            return Err(OutOfBudget);
        }
        // To find where a part of the event ends costs up to one look at all of it, before it is paid for.
        if looked_at(event) > self.steps_left {
            return Err(self.out_of_steps());
        }
        let sources = Sources { event, constants: &spec.constants, spec };
        for clause in &spec.clauses {
            self.made.clear();
            self.stack.clear();
            self.slots.clear();
            self.spend(clause.slots as u64 / SLOTS_A_STEP)?;
            self.slots.resize(clause.slots, Value::Byte(0));
            if !self.matches(&clause.head, &sources)? {
                continue;
            }
            let tried = self
                .evaluate(&clause.guards, &sources, true)
                .and_then(|()| self.evaluate(&clause.body, &sources, false));
            match tried {
                Ok(()) => {
                    let result = self.stack.pop().expect("compiled: a body leaves its value");
                    let result = self.resolve(result, &sources).bytes();
                    if result.len() > self.max_made {
                        return Err(OutOfBudget);
                    }
                    out.extend_from_slice(result);
                    return Ok(Outcome::Result);
                }
                Err(Stop::Fail) => {}
                Err(Stop::Budget) => return Err(OutOfBudget),
            }
        }
        Ok(Outcome::NoMatch)
    }

    /// Gives memory back that one event needed and the next hardly will.
    fn give_back(&mut self) {
        if self.made.capacity() > KEEP_BYTES {
            self.made = Vec::new();
        }
        for values in [&mut self.stack, &mut self.slots] {
            if values.capacity() * size_of::<Value>() > KEEP_BYTES {
                *values = Vec::new();
            }
        }
    }

    pub(super) fn spend(&mut self, steps: u64) -> Result<(), OutOfBudget> {
        if steps > self.steps_left {
            return Err(self.out_of_steps());
        }
        self.steps_left -= steps;
        Ok(())
    }

    fn out_of_steps(&mut self) -> OutOfBudget {
        self.steps_left = 0;
        self.is_out_of_steps = true;
        OutOfBudget
    }

    fn resolve<'v>(&'v self, value: Value, sources: &Sources<'v>) -> TermRef<'v> {
        match value {
            Value::Event(span) => TermRef::from_walked(span.of(sources.event.bytes())),
            Value::Constant(span) => TermRef::from_walked(span.of(sources.constants)),
            Value::Made(span) => TermRef::from_walked(span.of(&self.made)),
            Value::Byte(byte) => TermRef::byte(byte),
        }
    }

    /// Whether two values are exactly equal.
    pub(super) fn same(
        &mut self,
        a: Value,
        b: Value,
        sources: &Sources<'_>,
    ) -> Result<bool, OutOfBudget> {
        let (a, b) = (self.resolve(a, sources), self.resolve(b, sources));
        let steps = 1 + comparison(a, b);
        if steps > self.steps_left {
            return Err(self.out_of_steps());
        }
        let same = order::exactly_equal(a, b);
        self.spend(steps)?;
        Ok(same)
    }

    fn evaluate(&mut self, ops: &[Op], sources: &Sources<'_>, guard: bool) -> Result<(), Stop> {
        const DUE: &str = "compiled: each step finds its values";
        let mut at = 0;
        while let Some(&op) = ops.get(at) {
            at += 1;
            self.spend(1)?;
            let value = match op {
                Op::Constant(span) => Some(Value::Constant(span)),
                Op::Slot(slot) => Some(self.slots[slot as usize]),
                Op::Event => Some(Value::Event(sources.span_in_event(sources.event.bytes()))),
                Op::Node => Some(Value::Constant(sources.spec.common.node)),
                Op::SelfPid => Some(Value::Constant(sources.spec.common.process)),
                Op::Bindings => {
                    let first = self.stack.len();
                    for slot in 0..self.slots.len() {
                        self.stack.push(self.slots[slot]);
                    }
                    self.stack.push(Value::Constant(sources.spec.common.nil));
                    Some(self.list(first, sources)?)
                }
                Op::Tuple(elements) => {
                    let first = self.stack.len() - elements as usize;
                    let start = self.made.len();
                    encode::tuple_header(&mut self.made, elements as usize);
                    Some(self.container(start, first, sources)?)
                }
                Op::List(elements) => {
                    let first = self.stack.len() - elements as usize - 1;
                    Some(self.list(first, sources)?)
                }
                Op::Map(pairs) => {
                    let first = self.stack.len() - 2 * pairs as usize;
                    self.drop_repeated_keys(first, sources)?;
                    let start = self.made.len();
                    let pairs = (self.stack.len() - first) / 2;
                    encode::map_header(&mut self.made, pairs);
                    Some(self.container(start, first, sources)?)
                }
                Op::Call(function, arity) => {
                    let first = self.stack.len() - usize::from(arity);
                    let value = self.call(function, first, sources)?;
                    self.stack.truncate(first);
                    value
                }
                Op::And(count) | Op::Or(count) => {
                    let first = self.stack.len() - count as usize;
                    let all = matches!(op, Op::And(_));
                    let mut result = Some(all);
                    for &value in &self.stack[first..] {
                        result = match boolean(self.resolve(value, sources)) {
                            Some(value) if value != all => result.map(|_| value),
                            Some(_) => result,
                            None => None,
                        };
                    }
                    self.stack.truncate(first);
                    result.map(|result| sources.boolean(result))
                }
                Op::AndAlso(target) | Op::OrElse(target) => {
                    let decides = matches!(op, Op::OrElse(_));
                    let value = self.stack.pop().expect(DUE);
                    match boolean(self.resolve(value, sources)) {
                        Some(found) if found != decides => continue,
                        found => {
                            at = target as usize;
                            found.map(|_| value)
                        }
                    }
                }
                Op::Guard => {
                    let value = self.stack.pop().expect(DUE);
                    if boolean(self.resolve(value, sources)) != Some(true) {
                        return Err(Stop::Fail);
                    }
                    continue;
                }
                Op::Drop => {
                    self.stack.pop();
                    continue;
                }
            };
            let value = match value {
                Some(value) => value,
                None if guard => return Err(Stop::Fail),
                None => Value::Constant(sources.spec.common.exit),
            };
            self.stack.push(value);
        }
        Ok(())
    }

    /// Calls a function with the values from `first` on; `None` is an exception.
    fn call(
        &mut self,
        function: Function,
        first: usize,
        sources: &Sources<'_>,
    ) -> Result<Option<Value>, Stop> {
        // No function takes more than three arguments.
        let mut arguments = [TermRef::NIL; 3];
        let values = &self.stack[first..];
        for (argument, &value) in arguments.iter_mut().zip(values) {
            *argument = self.resolve(value, sources);
        }
        let arguments = &arguments[..values.len()];
        let mut steps = match arguments {
            [a, b] if function.compares() => comparison(*a, *b),
            _ if function.walks() => arguments.iter().map(|a| looked_at(*a)).sum(),
            _ => 0,
        };
        if steps > self.steps_left {
            return Err(self.out_of_steps().into());
        }
        let answer = call(function, arguments, &mut steps);
        let start = self.made.len();
        // What is made is written once the arguments, which may lie there too, are no longer looked at.
        let value = match answer {
            None => None,
            Some(Answer::Boolean(value)) => Some(sources.boolean(value)),
            Some(Answer::Term(term)) => Some(self.locate(term.bytes(), sources)),
            Some(Answer::Number(number)) => {
                number.write(&mut self.made);
                Some(Value::Made(Span::new(start, self.made.len())))
            }
            Some(Answer::Atom(name)) => {
                let name = name.to_str().into_owned();
                encode::atom(&mut self.made, &name);
                Some(Value::Made(Span::new(start, self.made.len())))
            }
            Some(Answer::Headed(pieces)) => {
                let pieces = self.pieces(&pieces, sources);
                Some(self.join(pieces, sources)?)
            }
        };
        self.spend(steps)?;
        if self.made.len() > self.max_made {
            return Err(Stop::Budget);
        }
        Ok(value)
    }

    /// The value whose bytes these are: a piece of one of the sources, or one byte of a string.
    fn locate(&self, bytes: &[u8], sources: &Sources<'_>) -> Value {
        if let Some(span) = span_in(sources.event.bytes(), bytes) {
            Value::Event(span)
        } else if let Some(span) = span_in(&self.made, bytes) {
            Value::Made(span)
        } else if let Some(span) = span_in(sources.constants, bytes) {
            Value::Constant(span)
        } else {
            Value::Byte(*bytes.last().expect("terms are not empty"))
        }
    }

    /// A term in two pieces as a head and the place of the rest.
    fn pieces(&self, headed: &Headed<'_>, sources: &Sources<'_>) -> Pieces {
        let rest = (!headed.bytes.is_empty()).then(|| self.locate(headed.bytes, sources));
        Pieces { head: headed.head_bytes(), used: headed.head().len(), rest }
    }

    /// Puts a term in two pieces of the event together.
    pub(super) fn put_together(
        &mut self,
        headed: &Headed<'_>,
        sources: &Sources<'_>,
    ) -> Result<Value, OutOfBudget> {
        let pieces = self.pieces(headed, sources);
        self.join(pieces, sources)
    }

    fn join(&mut self, pieces: Pieces, sources: &Sources<'_>) -> Result<Value, OutOfBudget> {
        if let (0, Some(rest)) = (pieces.used, pieces.rest) {
            return Ok(rest);
        }
        let start = self.made.len();
        self.made.extend_from_slice(&pieces.head[..pieces.used]);
        if let Some(rest) = pieces.rest {
            self.append(rest, sources)?;
        }
        Ok(Value::Made(Span::new(start, self.made.len())))
    }

    /// Copies a value's bytes to the end of what was made.
    fn append(&mut self, value: Value, sources: &Sources<'_>) -> Result<(), OutOfBudget> {
        let len = self.resolve(value, sources).bytes().len();
        self.spend(len as u64 / 64)?;
        if self.made.len() + len > self.max_made {
            return Err(OutOfBudget);
        }
        match value {
            Value::Event(span) => self.made.extend_from_slice(span.of(sources.event.bytes())),
            Value::Constant(span) => self.made.extend_from_slice(span.of(sources.constants)),
            Value::Made(span) => {
                self.made.extend_from_within(span.start as usize..span.end as usize);
            }
            Value::Byte(byte) => self.made.extend_from_slice(TermRef::byte(byte).bytes()),
        }
        Ok(())
    }

    /// Completes the container whose head was made at `start` with the values from `first` on.
    fn container(
        &mut self,
        start: usize,
        first: usize,
        sources: &Sources<'_>,
    ) -> Result<Value, OutOfBudget> {
        for at in first..self.stack.len() {
            self.append(self.stack[at], sources)?;
        }
        self.stack.truncate(first);
        Ok(Value::Made(Span::new(start, self.made.len())))
    }

    /// A list of the values from `first` on, of which the last is the tail.
    fn list(&mut self, first: usize, sources: &Sources<'_>) -> Result<Value, OutOfBudget> {
        let elements = self.stack.len() - first - 1;
        if elements == 0 {
            return Ok(self.stack.pop().expect("the tail"));
        }
        let start = self.made.len();
        encode::list_header(&mut self.made, elements);
        self.container(start, first, sources)
    }

    /// Of equal keys among the keys and values from `first` on, the last stays.
    fn drop_repeated_keys(
        &mut self,
        first: usize,
        sources: &Sources<'_>,
    ) -> Result<(), OutOfBudget> {
        let mut key = first;
        while key < self.stack.len() {
            let mut repeated = false;
            for later in (key + 2..self.stack.len()).step_by(2) {
                repeated |= self.same(self.stack[key], self.stack[later], sources)?;
            }
            if repeated {
                self.stack.drain(key..key + 2);
            } else {
                key += 2;
            }
        }
        Ok(())
    }
}
