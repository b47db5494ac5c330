//! Matching a head: one pass over the event, pattern by pattern.

use super::compile::HeadOp;
use super::eval::{Machine, OutOfBudget, Sources, Value, looked_at};
use crate::etf::stream::{Cell, Head, Stream};
use crate::etf::{Term, TermRef, order, tag};

impl Machine {
    /// Whether the event matches; the slots are then bound.
    pub(super) fn matches(
        &mut self,
        ops: &[HeadOp],
        sources: &Sources<'_>,
    ) -> Result<bool, OutOfBudget> {
        self.chunks.clear();
        self.maps.clear();
        let mut stream = Stream::new(sources.event);
        // An element that was a byte of a string, and is therefore not in the stream.
        let mut byte: Option<u8> = None;
        for op in ops {
            self.spend(1)?;
            match *op {
                HeadOp::Any => {
                    if byte.take().is_none() {
                        self.spend(looked_at(stream.term()))?;
                    }
                }
                HeadOp::Bind(slot) => {
                    self.slots[slot as usize] = match byte.take() {
                        Some(byte) => Value::Byte(byte),
                        // The whole event needs no looking for its end.
                        None if stream.left().len() == sources.event.bytes().len() => {
                            Value::Event(sources.span_in_event(sources.event.bytes()))
                        }
                        None => {
                            let term = stream.term();
                            self.spend(looked_at(term))?;
                            Value::Event(sources.span_in_event(term.bytes()))
                        }
                    };
                }
                HeadOp::Same(slot) => {
                    let found = match byte.take() {
                        Some(byte) => Value::Byte(byte),
                        None => Value::Event(sources.span_in_event(stream.term().bytes())),
                    };
                    if !self.same(self.slots[slot as usize], found, sources)? {
                        return Ok(false);
                    }
                }
                HeadOp::Constant(span) => {
                    let constant = span.of(sources.constants);
                    let equal = match byte.take() {
                        Some(byte) => {
                            TermRef::from_walked(constant).as_integer() == Some(i64::from(byte))
                        }
                        None => self.constant(constant, &mut stream)?,
                    };
                    if !equal {
                        return Ok(false);
                    }
                }
                HeadOp::Tuple(arity) => {
                    if byte.is_some() || !is_tuple(&mut stream, arity) {
                        return Ok(false);
                    }
                }
                HeadOp::List => {
                    let list = |tag| matches!(tag, tag::LIST_EXT | tag::STRING_EXT);
                    if byte.is_some() || !list(stream.left()[0]) {
                        return Ok(false);
                    }
                    let Head::List(chunk) = stream.head() else { return Ok(false) };
                    self.chunks.push(chunk);
                    byte = self.element(&mut stream).expect("it has an element");
                }
                HeadOp::Next => match self.element(&mut stream) {
                    Some(found) => byte = found,
                    None => return Ok(false),
                },
                HeadOp::End | HeadOp::Tail => {
                    let mut chunk = self.chunks.pop().expect("compiled: a list is open");
                    let wanted = if *op == HeadOp::End { Cell::End } else { Cell::Tail };
                    if stream.cell(&mut chunk) != wanted {
                        return Ok(false);
                    }
                }
                HeadOp::RestAny | HeadOp::RestBind(_) | HeadOp::RestSame(_) => {
                    let chunk = self.chunks.pop().expect("compiled: a list is open");
                    let rest = stream.rest(chunk);
                    self.spend(rest.bytes.len() as u64 / 64)?;
                    if *op == HeadOp::RestAny {
                        continue;
                    }
                    let found = self.put_together(&rest, sources)?;
                    match *op {
                        HeadOp::RestSame(slot) => {
                            if !self.same(self.slots[slot as usize], found, sources)? {
                                return Ok(false);
                            }
                        }
                        HeadOp::RestBind(slot) => self.slots[slot as usize] = found,
                        _ => unreachable!("one of three"),
                    }
                }
                HeadOp::Map(pairs) => {
                    if byte.is_some() || !is_map(stream, pairs) {
                        return Ok(false);
                    }
                    let map = sources.span_in_event(stream.term().bytes());
                    self.maps.push(map);
                }
                HeadOp::Key(key) => {
                    let map = *self.maps.last().expect("compiled: a map is open");
                    let map = TermRef::from_walked(map.of(sources.event.bytes()));
                    self.spend(looked_at(map))?;
                    let key = TermRef::from_walked(key.of(sources.constants));
                    let Term::Map(mut pairs) = map.view() else { unreachable!("it is a map") };
                    match pairs.find(|(found, _)| order::exactly_equal(*found, key)) {
                        Some((_, value)) => stream = Stream::new(value),
                        None => return Ok(false),
                    }
                }
                HeadOp::MapEnd => {
                    let map = self.maps.pop().expect("compiled: a map is open");
                    let after = &sources.event.bytes()[map.end as usize..];
                    stream = Stream::new(TermRef::from_walked(after));
                }
            }
        }
        Ok(true)
    }

    /// Steps to the next element of the innermost list: a byte of a string, or the next term.
    #[allow(clippy::option_option, reason = "no element, an element elsewhere, or a byte")]
    fn element(&mut self, stream: &mut Stream<'_>) -> Option<Option<u8>> {
        match stream.cell(self.chunks.last_mut().expect("compiled: a list is open")) {
            Cell::Byte(byte) => Some(Some(byte)),
            Cell::Term => Some(None),
            Cell::End | Cell::Tail => None,
        }
    }

    /// Whether the next term equals the constant; it is read if so.
    fn constant(&mut self, constant: &[u8], stream: &mut Stream<'_>) -> Result<bool, OutOfBudget> {
        let next = stream.left();
        // No term's bytes begin with another term's.
        if next.starts_with(constant) {
            self.spend(constant.len() as u64 / 64)?;
            *stream = Stream::new(TermRef::from_walked(&next[constant.len()..]));
            return Ok(true);
        }
        let (next, constant) = (TermRef::from_walked(next), TermRef::from_walked(constant));
        if order::in_one_form(next, constant) {
            return Ok(false);
        }
        // `next` reaches beyond its term, which would matter for two binaries only.
        // The difference is found before the end of the shorter one.
        self.spend(constant.bytes().len() as u64 / 8)?;
        let equal = order::cmp_exact(next, constant).is_eq();
        if equal {
            stream.term();
        }
        Ok(equal)
    }
}

fn is_tuple(stream: &mut Stream<'_>, arity: u32) -> bool {
    matches!(stream.left()[0], tag::SMALL_TUPLE_EXT | tag::LARGE_TUPLE_EXT | tag::LIST_EXT)
        && matches!(stream.head(), Head::Tuple(found) if found == arity)
}

/// Whether a map of at least that many pairs is next.
fn is_map(mut stream: Stream<'_>, pairs: u32) -> bool {
    matches!(stream.left()[0], tag::MAP_EXT | tag::LIST_EXT)
        && matches!(stream.head(), Head::Map(found) if found >= pairs)
}
