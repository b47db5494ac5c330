//! From a term to a match specification.
//!
//! Heads become instructions in the order of the event's bytes, expressions become instructions of a stack
//! machine. Both are compiled without recursion: what is due stands on a stack of tasks.

use super::error::{CompileError, Problem};
use super::guard::Function;
use super::{Clause, Span};
use crate::etf::stream::Stream;
use crate::etf::{Term, TermRef, encode, order, tag};

/// A step of matching a head. Each consumes what is next in the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadOp {
    /// Any term.
    Any,
    /// Any term, which the slot then holds.
    Bind(u32),
    /// A term exactly equal to the slot's.
    Same(u32),
    /// A term exactly equal to the constant.
    Constant(Span),
    /// A tuple of that many elements, whose patterns follow.
    Tuple(u32),
    /// A list with an element, whose pattern follows.
    List,
    /// One more element of the list, whose pattern follows.
    Next,
    /// The end of the list.
    End,
    /// The tail of the list, which is no list; its pattern follows.
    Tail,
    /// Whatever is left of the list.
    RestAny,
    /// Whatever is left of the list, which the slot then holds.
    RestBind(u32),
    /// What is left of the list, if exactly equal to the slot's term.
    RestSame(u32),
    /// A map of at least that many pairs; a key follows.
    Map(u32),
    /// The innermost map has the key; the value's pattern follows.
    Key(Span),
    /// The end of the innermost map's pattern.
    MapEnd,
}

/// A step of evaluating an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Constant(Span),
    Slot(u32),
    /// `'$_'`
    Event,
    /// `'$$'`
    Bindings,
    /// `{node}`
    Node,
    /// `{self}`
    SelfPid,
    /// A tuple of the last values.
    Tuple(u32),
    /// A list of the last values and a tail.
    List(u32),
    /// A map of the last keys and values.
    Map(u32),
    Call(Function, u8),
    And(u32),
    Or(u32),
    /// If the last value is false, go on at the label with it; if true, drop it.
    AndAlso(u32),
    /// If the last value is true, go on at the label with it; if false, drop it.
    OrElse(u32),
    /// A guard: the last value must be true.
    Guard,
    /// The last value is not asked for.
    Drop,
}

/// What the compiler knows of a part of the specification: where it is.
type PartId = u32;

struct Compiler {
    constants: Vec<u8>,
    /// For each place, the place around it and its number there.
    places: Vec<(PartId, u32)>,
    /// The variables of the clause in ascending order: a variable's index is its slot.
    variables: Vec<u32>,
}

/// The whole specification.
const ROOT: PartId = 0;

/// Compiles a specification into clauses and the bytes of their constants.
pub(super) fn compile(spec: TermRef<'_>) -> Result<(Vec<Clause>, Vec<u8>), CompileError> {
    let mut compiler =
        Compiler { constants: Vec::new(), places: vec![(ROOT, 0)], variables: Vec::new() };
    let cells = spec.cells();
    if cells.is_empty() || !is_nil(cells.tail()) {
        return Err(compiler.error(ROOT, Problem::Spec, spec));
    }
    let mut clauses = Vec::new();
    for (n, clause) in (1..).zip(cells) {
        let place = compiler.place(ROOT, n);
        clauses.push(compiler.clause(place, clause)?);
    }
    Ok((clauses, compiler.constants))
}

fn is_nil(term: TermRef<'_>) -> bool {
    matches!(term.view(), Term::Nil)
}

/// The number of a variable: `'$0'`, `'$1'`, and so on without leading zeros.
fn variable(name: &str) -> Option<u32> {
    let digits = name.strip_prefix('$')?;
    if digits.is_empty() || digits.starts_with('0') && digits != "0" {
        return None;
    }
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().filter(|&number: &u32| i32::try_from(number).is_ok())
}

fn variable_term(term: TermRef<'_>) -> Option<u32> {
    variable(&term.as_atom()?.to_str())
}

/// Work of the head's compiler.
enum HeadTask<'a> {
    Pattern(TermRef<'a>, PartId),
    /// What a list's pattern ends in.
    ListEnd(TermRef<'a>, PartId),
    Emit(HeadOp),
}

/// Work of the expressions' compiler.
enum Task<'a> {
    Expression(TermRef<'a>, PartId),
    Emit(Op),
    /// The label's place is here.
    Label(u32),
}

impl Compiler {
    fn place(&mut self, around: PartId, number: u32) -> PartId {
        let place = u32::try_from(self.places.len()).expect("bounded by the bytes of the spec");
        self.places.push((around, number));
        place
    }

    fn error(&self, place: PartId, problem: Problem, part: TermRef<'_>) -> CompileError {
        let mut path = Vec::new();
        let mut at = place;
        while at != ROOT {
            let (around, number) = self.places[at as usize];
            path.push(number);
            at = around;
        }
        path.reverse();
        CompileError { path, problem, part: part.to_bytes() }
    }

    fn constant(&mut self, term: TermRef<'_>) -> Span {
        let start = self.constants.len();
        self.constants.extend_from_slice(term.bytes());
        Span::new(start, self.constants.len())
    }

    fn clause(&mut self, place: PartId, clause: TermRef<'_>) -> Result<Clause, CompileError> {
        let [head, guards, body] =
            clause.as_tuple().ok_or_else(|| self.error(place, Problem::Clause, clause))?;
        let places = [1, 2, 3].map(|n| self.place(place, n));
        let head = self.head(places[0], head)?;
        if !is_nil(guards.cells().tail()) {
            return Err(self.error(places[1], Problem::Guards, guards));
        }
        if body.cells().is_empty() || !is_nil(body.cells().tail()) {
            return Err(self.error(places[2], Problem::Body, body));
        }
        let mut tasks = Vec::new();
        for (n, guard) in (1..).zip(guards.cells()) {
            tasks.push(Task::Expression(guard, self.place(places[1], n)));
            tasks.push(Task::Emit(Op::Guard));
        }
        let guards = self.expressions(tasks)?;
        let mut tasks = Vec::new();
        for (n, expression) in (1..).zip(body.cells()) {
            if n > 1 {
                tasks.push(Task::Emit(Op::Drop));
            }
            tasks.push(Task::Expression(expression, self.place(places[2], n)));
        }
        let body = self.expressions(tasks)?;
        let slots = self.variables.len();
        Ok(Clause { head, slots, guards, body })
    }

    fn head(&mut self, place: PartId, head: TermRef<'_>) -> Result<Vec<HeadOp>, CompileError> {
        let live = self.live(head);
        // Whether some part of the term is no constant.
        let start_of = |term: TermRef<'_>| term.bytes().as_ptr().addr();
        let is_live = |term: TermRef<'_>| {
            let start = start_of(term);
            let first = live.partition_point(|&at| at < start);
            live.get(first).is_some_and(|&at| at < start + term.bytes().len())
        };
        let mut bound = vec![false; self.variables.len()];
        let mut slot = |number: u32, variables: &[u32]| {
            let slot = variables.binary_search(&number).expect("all variables were collected");
            let again = std::mem::replace(&mut bound[slot], true);
            (again, u32::try_from(slot).expect("bounded by the bytes of the spec"))
        };
        let mut ops = Vec::new();
        let mut tasks = vec![HeadTask::Pattern(head, place)];
        while let Some(task) = tasks.pop() {
            let (term, place) = match task {
                HeadTask::Emit(op) => {
                    ops.push(op);
                    continue;
                }
                HeadTask::ListEnd(tail, place) => {
                    match variable_term(tail) {
                        Some(number) => ops.push(match slot(number, &self.variables) {
                            (true, slot) => HeadOp::RestSame(slot),
                            (false, slot) => HeadOp::RestBind(slot),
                        }),
                        None if tail.is_atom("_") => ops.push(HeadOp::RestAny),
                        None if is_nil(tail) => ops.push(HeadOp::End),
                        None => {
                            ops.push(HeadOp::Tail);
                            tasks.push(HeadTask::Pattern(tail, place));
                        }
                    }
                    continue;
                }
                HeadTask::Pattern(term, place) => (term, place),
            };
            if !is_live(term) {
                let span = self.constant(term);
                ops.push(HeadOp::Constant(span));
                continue;
            }
            let first_due = tasks.len();
            match term.view() {
                Term::Tuple(elements) => {
                    ops.push(HeadOp::Tuple(count(elements.len())));
                    for (n, element) in (1..).zip(elements) {
                        tasks.push(HeadTask::Pattern(element, self.place(place, n)));
                    }
                }
                Term::Map(pairs) => {
                    ops.push(HeadOp::Map(count(pairs.len())));
                    for (n, (key, value)) in (0..).zip(pairs) {
                        let key_place = self.place(place, 2 * n + 1);
                        if key.is_atom("_") || variable_term(key).is_some() {
                            return Err(self.error(key_place, Problem::VariableKey, key));
                        }
                        tasks.push(HeadTask::Emit(HeadOp::Key(self.constant(key))));
                        tasks.push(HeadTask::Pattern(value, self.place(place, 2 * n + 2)));
                    }
                    tasks.push(HeadTask::Emit(HeadOp::MapEnd));
                }
                Term::List(_) => {
                    let mut cells = term.cells();
                    let mut n = 0;
                    for element in cells.by_ref() {
                        n += 1;
                        let op = if n == 1 { HeadOp::List } else { HeadOp::Next };
                        tasks.push(HeadTask::Emit(op));
                        tasks.push(HeadTask::Pattern(element, self.place(place, n)));
                    }
                    tasks.push(HeadTask::ListEnd(cells.tail(), self.place(place, n + 1)));
                }
                _ => match variable_term(term) {
                    Some(number) => ops.push(match slot(number, &self.variables) {
                        (true, slot) => HeadOp::Same(slot),
                        (false, slot) => HeadOp::Bind(slot),
                    }),
                    None => ops.push(HeadOp::Any),
                },
            }
            tasks[first_due..].reverse();
        }
        // What the last patterns take whatever it is need not be looked for.
        while let Some(HeadOp::Any | HeadOp::RestAny | HeadOp::MapEnd) = ops.last() {
            ops.pop();
        }
        Ok(ops)
    }

    /// Collects the variables of a head, and the addresses of its variables, `'_'` and maps, ascending.
    fn live(&mut self, head: TermRef<'_>) -> Vec<usize> {
        let mut live = Vec::new();
        self.variables.clear();
        let mut stream = Stream::new(head);
        let mut due: u64 = 1;
        while due > 0 {
            due -= 1;
            let at = stream.left();
            due += stream.step();
            let term = TermRef::from_walked(&at[..at.len() - stream.left().len()]);
            match at[0] {
                tag::MAP_EXT => live.push(at.as_ptr().addr()),
                tag::ATOM_EXT
                | tag::ATOM_UTF8_EXT
                | tag::SMALL_ATOM_EXT
                | tag::SMALL_ATOM_UTF8_EXT => {
                    if let Some(number) = variable_term(term) {
                        self.variables.push(number);
                        live.push(at.as_ptr().addr());
                    } else if term.is_atom("_") {
                        live.push(at.as_ptr().addr());
                    }
                }
                _ => {}
            }
        }
        self.variables.sort_unstable();
        self.variables.dedup();
        live
    }

    /// Compiles tasks in their order.
    fn expressions(&mut self, mut tasks: Vec<Task<'_>>) -> Result<Vec<Op>, CompileError> {
        tasks.reverse();
        let mut ops = Vec::new();
        let mut labels: Vec<u32> = Vec::new();
        // Steps before the last label may be jumped over.
        let mut foldable_from = 0;
        while let Some(task) = tasks.pop() {
            let (term, place) = match task {
                Task::Label(label) => {
                    labels[label as usize] = count(ops.len());
                    foldable_from = ops.len();
                    continue;
                }
                Task::Emit(op) => {
                    self.emit(&mut ops, foldable_from, op);
                    continue;
                }
                Task::Expression(term, place) => (term, place),
            };
            let first_due = tasks.len();
            match term.view() {
                Term::Atom(atom) => ops.push(match &*atom.to_str() {
                    "$_" => Op::Event,
                    "$$" => Op::Bindings,
                    name => match variable(name) {
                        None => Op::Constant(self.constant(term)),
                        Some(number) => match self.variables.binary_search(&number) {
                            Ok(slot) => Op::Slot(count(slot)),
                            Err(_) => return Err(self.error(place, Problem::Unbound, term)),
                        },
                    },
                }),
                Term::List(_) => {
                    let mut cells = term.cells();
                    let mut n = 0;
                    for element in cells.by_ref() {
                        n += 1;
                        tasks.push(Task::Expression(element, self.place(place, n)));
                    }
                    tasks.push(Task::Expression(cells.tail(), self.place(place, n + 1)));
                    tasks.push(Task::Emit(Op::List(n)));
                }
                Term::Map(pairs) => {
                    let len = count(pairs.len());
                    for (n, term) in (1..).zip(pairs.flat_map(|(key, value)| [key, value])) {
                        tasks.push(Task::Expression(term, self.place(place, n)));
                    }
                    tasks.push(Task::Emit(Op::Map(len)));
                }
                Term::Tuple(_) => self.tuple(&mut tasks, &mut labels, term, place)?,
                _ => ops.push(Op::Constant(self.constant(term))),
            }
            tasks[first_due..].reverse();
        }
        for op in &mut ops {
            if let Op::AndAlso(label) | Op::OrElse(label) = op {
                *label = labels[*label as usize];
            }
        }
        Ok(ops)
    }

    /// A call, or the construction of a tuple.
    fn tuple<'a>(
        &mut self,
        tasks: &mut Vec<Task<'a>>,
        labels: &mut Vec<u32>,
        term: TermRef<'a>,
        place: PartId,
    ) -> Result<(), CompileError> {
        let Term::Tuple(mut arguments) = term.view() else {
            unreachable!("only called for tuples")
        };
        let Some(first) = arguments.next() else {
            return Err(self.error(place, Problem::Call, term));
        };
        if let (Term::Tuple(elements), true) = (first.view(), arguments.is_empty()) {
            let place = self.place(place, 1);
            let len = count(elements.len());
            for (n, element) in (1..).zip(elements) {
                tasks.push(Task::Expression(element, self.place(place, n)));
            }
            tasks.push(Task::Emit(Op::Tuple(len)));
            return Ok(());
        }
        let Some(name) = first.as_atom() else {
            return Err(self.error(place, Problem::Call, term));
        };
        let name = name.to_str();
        let arity = arguments.len();
        if (&*name, arity) == ("const", 1) {
            let constant = arguments.next().expect("counted");
            tasks.push(Task::Emit(Op::Constant(self.constant(constant))));
            return Ok(());
        }
        let jump = match &*name {
            "andalso" if arity > 0 => Some(Op::AndAlso as fn(u32) -> Op),
            "orelse" if arity > 0 => Some(Op::OrElse as fn(u32) -> Op),
            _ => None,
        };
        let op = match (&*name, arity) {
            _ if jump.is_some() => None,
            ("self", 0) => Some(Op::SelfPid),
            ("node", 0) => Some(Op::Node),
            ("and", 1..) => Some(Op::And(count(arity))),
            ("or", 1..) => Some(Op::Or(count(arity))),
            (name, arity) => match Function::find(name, arity) {
                Some(function) => Some(Op::Call(function, u8::try_from(arity).expect("at most 3"))),
                None => {
                    let problem = Problem::Function { name: name.to_owned(), arity };
                    return Err(self.error(place, problem, term));
                }
            },
        };
        let label = count(labels.len());
        for (n, argument) in (2..).zip(arguments) {
            if let Some(jump) = jump.filter(|_| n > 2) {
                tasks.push(Task::Emit(jump(label)));
            }
            tasks.push(Task::Expression(argument, self.place(place, n)));
        }
        if jump.is_some() {
            labels.push(0);
            tasks.push(Task::Label(label));
        }
        tasks.extend(op.map(Task::Emit));
        Ok(())
    }

    /// Appends a step; one that only puts constants together is done here and now.
    fn emit(&mut self, ops: &mut Vec<Op>, foldable_from: usize, op: Op) {
        let parts = match op {
            Op::Tuple(elements) => elements,
            Op::List(elements) => elements + 1,
            Op::Map(pairs) => 2 * pairs,
            _ => return ops.push(op),
        };
        let Some(first) =
            ops.len().checked_sub(parts as usize).filter(|&first| first >= foldable_from)
        else {
            return ops.push(op);
        };
        let mut term = Vec::new();
        match op {
            Op::Tuple(elements) => encode::tuple_header(&mut term, elements as usize),
            Op::List(elements) => encode::list_header(&mut term, elements as usize),
            _ => encode::map_header(&mut term, parts as usize / 2),
        }
        for constant in &ops[first..] {
            match constant {
                Op::Constant(span) => term.extend_from_slice(span.of(&self.constants)),
                _ => return ops.push(op),
            }
        }
        if matches!(op, Op::Map(_)) && !self.has_distinct_keys(&ops[first..]) {
            return ops.push(op);
        }
        let term = TermRef::from_walked(&term);
        // The parts stand last among the constants, in this order, and are not asked for any more.
        if let Some(Op::Constant(first)) = ops.get(first) {
            self.constants.truncate(first.start as usize);
        }
        ops.truncate(first);
        let span = self.constant(term);
        ops.push(Op::Constant(span));
    }
}

/// Larger keys are left to be compared when an event comes, where that is paid for in steps: keys may be maps, which
/// have to be sorted, within maps.
const MAX_FOLDED_KEY_BYTES: usize = 1024;

impl Compiler {
    /// Whether the keys among these keys and values are certain to be different, at little cost.
    fn has_distinct_keys(&self, pairs: &[Op]) -> bool {
        let mut keys = Vec::with_capacity(pairs.len() / 2);
        let mut bytes = 0;
        for key in pairs.iter().step_by(2) {
            let Op::Constant(span) = key else { return false };
            let key = span.of(&self.constants);
            bytes += key.len();
            if bytes > MAX_FOLDED_KEY_BYTES {
                return false;
            }
            keys.push(TermRef::from_walked(key));
        }
        keys.sort_by(|a, b| order::cmp_exact(*a, *b));
        keys.windows(2).all(|pair| order::cmp_exact(pair[0], pair[1]).is_ne())
    }
}

fn count(len: usize) -> u32 {
    u32::try_from(len).expect("bounded by the bytes of the spec")
}
