//! Breaking a printed term over lines.
//!
//! Layout: `io_lib_pretty` of OTP 23 to 29, which lay out alike.

use super::line::{Full, Kind, Node};

/// Where a line is broken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Page {
    /// The column that it begins in, from 1.
    pub(super) column: i64,
    /// The length of a line, in characters.
    pub(super) line_length: i64,
}

impl Page {
    /// Whether a line of so many characters stays as it is.
    pub(super) const fn fits(self, chars: i64) -> bool {
        self.line_length == 0 || chars < self.line_length - self.column
    }
}

/// Appends `line`, which has these parts, broken over lines.
///
/// # Errors
///
/// [`Full`] if `out` got longer than `limit_bytes`: it is then cut to that.
pub(super) fn lay_out(
    out: &mut String,
    line: &str,
    nodes: &[Node],
    page: Page,
    limit_bytes: usize,
) -> Result<(), Full> {
    let column = page.column.max(1);
    let mut layout = Layout {
        line,
        nodes,
        line_length: page.line_length,
        width: nodes[0].len,
        indent: 1,
        out: None,
        limit_bytes,
    };
    // Elements stand below the tag of their tuple, or else this far to the right of it.
    for indent in [-1, 4] {
        layout.indent = indent;
        if layout.run(column) == Ok(true) {
            break;
        }
        layout.indent = 1;
    }
    layout.out = Some(out);
    layout.run(column).map(|_| ())
}

/// One attempt to break a line: a trial, which says whether the indentation is any good, or with output.
struct Layout<'a> {
    line: &'a str,
    nodes: &'a [Node],
    line_length: i64,
    /// The most characters in a line, indentation aside: those of the whole term.
    width: i64,
    /// How far to the right of a tag its tuple's elements stand; -1: right of the tag.
    indent: i64,
    out: Option<&'a mut String>,
    limit_bytes: usize,
}

/// A part that is broken, with the rest of its elements.
#[derive(Clone, Copy)]
enum Broken {
    Elements {
        next: usize,
        end: usize,
        /// The column of elements that begin a line, and of the next one.
        start: i64,
        column: i64,
        /// Closing characters that will follow the last element.
        closing: i64,
        /// Characters of the line so far.
        used: i64,
        is_first: bool,
        kind: Kind,
    },
    Value {
        node: usize,
        column: i64,
        closing: i64,
    },
}

impl Layout<'_> {
    /// Prints all; `Ok(false)` if a trial found that the indentation leaves too little room.
    fn run(&mut self, column: i64) -> Result<bool, Full> {
        let mut stack = Vec::new();
        let mut is_good = self.part(&mut stack, 0, column, 0, 0)?;
        while is_good {
            let Some(broken) = stack.pop() else { break };
            is_good = match broken {
                Broken::Value { node, column, closing } => {
                    let column = column + self.value_indent();
                    self.write(" =>")?;
                    self.new_line(column)?;
                    self.part(&mut stack, node, column, closing, 0)?
                }
                Broken::Elements { .. } => self.element(&mut stack, broken)?,
            };
        }
        Ok(is_good)
    }

    const fn is_trial(&self) -> bool {
        self.out.is_none()
    }

    const fn value_indent(&self) -> i64 {
        if self.indent > 0 { self.indent } else { 4 }
    }

    const fn fits(&self, node: Node, column: i64, closing: i64, used: i64) -> bool {
        node.len < self.line_length - column - closing && node.len + used + closing <= self.width
    }

    /// Prints a part, or opens it.
    fn part(
        &mut self,
        stack: &mut Vec<Broken>,
        at: usize,
        column: i64,
        closing: i64,
        used: i64,
    ) -> Result<bool, Full> {
        let node = self.nodes[at];
        if node.kind == Kind::Text || self.fits(node, column, closing, used) {
            self.copy(node)?;
            return Ok(true);
        }
        let mut elements = |next, start, column, used, is_first| {
            let end = node.next;
            stack.push(Broken::Elements {
                next,
                end,
                start,
                column,
                closing,
                used,
                is_first,
                kind: node.kind,
            });
        };
        match node.kind {
            Kind::Text | Kind::Dots | Kind::Tail | Kind::Pair | Kind::Field => {
                unreachable!("no part by itself")
            }
            Kind::Binary => self.binary(node, column + 2, closing, used)?,
            Kind::List => {
                elements(at + 1, column + 1, column + 1, used + 1, true);
                self.write("[")?;
            }
            Kind::Tuple => {
                elements(at + 1, column + 1, column + 1, used + 1, true);
                self.write("{")?;
            }
            Kind::Map => {
                let used = used + if self.is_trial() { 2 } else { 1 };
                elements(at + 1, column + 2, column + 2, used, true);
                self.write("#{")?;
            }
            Kind::Record => {
                let name = self.nodes[at + 1];
                if name.next == node.next || self.nodes[name.next].kind == Kind::Dots {
                    self.copy(node)?;
                    return Ok(true);
                }
                let used = used + name.len + 1;
                let Some((start, used, is_below)) = self.beside(name.len + 1, column, used) else {
                    return Ok(false);
                };
                elements(name.next, start, start, used, true);
                self.copy(name)?;
                self.write("{")?;
                if is_below {
                    self.new_line(start)?;
                }
            }
            Kind::TaggedTuple => {
                let tag = self.nodes[at + 1];
                let beside = column + tag.len + 2;
                if self.indent > 0 && tag.len + 2 > self.indent {
                    let start = column + self.indent;
                    if self.is_trial()
                        && self.width + start > self.line_length
                        && start > self.line_length / 2
                    {
                        return Ok(false);
                    }
                    elements(tag.next, start, beside, used + 1 + tag.len, false);
                    self.write("{")?;
                    self.copy(tag)?;
                } else {
                    if self.is_trial()
                        && self.width + beside >= self.line_length
                        && beside >= self.line_length / 2
                    {
                        return Ok(false);
                    }
                    elements(tag.next, beside, beside, used + 1 + tag.len + 1, true);
                    self.write("{")?;
                    self.copy(tag)?;
                    self.write(",")?;
                }
            }
        }
        Ok(true)
    }

    /// Where what follows a record's or a field's name goes, how much of the line is used there, and whether it is on a
    /// line of its own; nowhere if a trial finds that there is too little room.
    const fn beside(&self, name: i64, column: i64, used: i64) -> Option<(i64, i64, bool)> {
        let is_below = self.indent > 0 && name > self.indent;
        let column = column + if is_below { self.indent } else { name };
        if self.is_trial()
            && self.width + column > self.line_length
            && column > self.line_length / 2
        {
            return None;
        }
        Some((column, if is_below { 0 } else { used }, is_below))
    }

    /// Prints the next element of a broken part, or closes that.
    fn element(&mut self, stack: &mut Vec<Broken>, broken: Broken) -> Result<bool, Full> {
        let Broken::Elements { next, end, start, column, closing, used, is_first, kind } = broken
        else {
            unreachable!("called for elements only")
        };
        if next == end {
            self.write(if kind == Kind::List { "]" } else { "}" })?;
            return Ok(true);
        }
        let node = self.nodes[next];
        let rest = |column, used| Broken::Elements {
            next: node.next,
            end,
            start,
            column,
            closing,
            used,
            is_first: false,
            kind,
        };
        match node.kind {
            Kind::Dots => {
                stack.push(rest(column, used));
                if !is_first {
                    self.write(if kind == Kind::List { "|" } else { "," })?;
                }
                self.write("...")?;
                return Ok(true);
            }
            Kind::Tail => {
                stack.push(rest(column, used));
                self.write("|")?;
                let tail = self.nodes[next + 1];
                let closing = closing + 1;
                if tail.kind == Kind::Text
                    && tail.len + 1 < self.line_length - column - closing
                    && tail.len + 1 + used + closing <= self.width
                {
                    self.copy(tail)?;
                    return Ok(true);
                }
                self.new_line(start)?;
                let column = if self.is_trial() { column } else { start };
                return self.part(stack, next + 1, column, closing, 0);
            }
            _ => {}
        }
        let is_followed =
            node.next != end && !matches!(self.nodes[node.next].kind, Kind::Dots | Kind::Tail);
        let closing = if is_followed { 0 } else { closing + 1 };
        // What stands in one line and needs no brackets may be followed by more.
        let is_plain = match node.kind {
            Kind::Pair => {
                let key = self.nodes[next + 1];
                key.kind == Kind::Text && self.nodes[key.next].kind == Kind::Text
            }
            Kind::Field => self.nodes[self.nodes[next + 1].next].kind == Kind::Text,
            kind => kind == Kind::Text,
        };
        if !is_first {
            self.write(",")?;
            let len = node.len + 1;
            // Even a closing bracket that isn't this part's wants its place.
            let after = closing.max(1);
            if is_plain
                && len < self.line_length - column - after
                && used + len + after <= self.width
            {
                stack.push(rest(column + len, used + len));
                self.copy(node)?;
                return Ok(true);
            }
            self.new_line(start)?;
        }
        let before = if is_first { used } else { 0 };
        let at = if is_first { column } else { start };
        let fits = self.fits(node, at, closing, before);
        let taken = if fits && is_plain { node.len } else { self.line_length };
        let used = if !is_first || node.kind == Kind::Pair && !self.is_trial() {
            taken
        } else {
            used + taken
        };
        stack.push(rest(at + taken, used));
        if matches!(node.kind, Kind::Pair | Kind::Field) && fits {
            self.copy(node)?;
            return Ok(true);
        }
        if node.kind == Kind::Field {
            let name = self.nodes[next + 1];
            let len = name.len + 3;
            let Some((column, used, is_below)) = self.beside(len, at, before + len) else {
                return Ok(false);
            };
            self.copy(name)?;
            if is_below {
                self.write(" =")?;
                self.new_line(column)?;
            } else {
                self.write(" = ")?;
            }
            return self.part(stack, name.next, column, closing, used);
        }
        if node.kind == Kind::Pair {
            let value = self.nodes[next + 1].next;
            stack.push(Broken::Value { node: value, column: at, closing });
            return self.part(stack, next + 1, at, closing, before);
        }
        self.part(stack, next, at, closing, before)
    }

    /// A binary of numbers, with as many in a line as have room.
    fn binary(&mut self, node: Node, column: i64, closing: i64, used: i64) -> Result<(), Full> {
        if self.is_trial() {
            return Ok(());
        }
        let room = (self.line_length - column).min(self.width - 4 - used) - closing;
        let room = room.max(8);
        let line = self.line;
        let numbers = &line[node.start + 2..node.end - 2];
        self.write("<<")?;
        let mut left = room;
        for number in numbers.split_inclusive(',') {
            let len = i64::try_from(number.len()).expect("a few digits");
            if len > left {
                self.new_line(column)?;
                left = room;
            }
            left -= len;
            self.write(number)?;
        }
        self.write(">>")
    }

    fn copy(&mut self, node: Node) -> Result<(), Full> {
        let line = self.line;
        self.write(&line[node.start..node.end])
    }

    fn write(&mut self, text: &str) -> Result<(), Full> {
        let Some(out) = &mut self.out else { return Ok(()) };
        out.push_str(text);
        if out.len() <= self.limit_bytes {
            return Ok(());
        }
        out.truncate(out.floor_char_boundary(self.limit_bytes));
        Err(Full)
    }

    fn new_line(&mut self, column: i64) -> Result<(), Full> {
        let Some(out) = &mut self.out else { return Ok(()) };
        let spaces = usize::try_from(column - 1).unwrap_or(0);
        let room = self.limit_bytes.saturating_sub(out.len());
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', spaces.min(room)));
        self.write("")
    }
}
