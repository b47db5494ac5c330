//! Formats and their arguments, as `io_lib:format/2` makes text of them.
//!
//! A [`Printer`] writes a text of limited length, over many lines or, as `logger_formatter` does with `single_line`,
//! with each term on one line. A format that does not suit its arguments is itself told, as `logger_formatter` does.
//!
//! Formats: `io_lib_format` of OTP 23 to 29. Floats are written as OTP 25 and later do.

use num_bigint::{BigInt, Sign};

use super::chardata::{Malformed, beginning, character_of, collect_prefix, collect_text};
use super::control::{Args, Control, Format, Unit};
use super::float::{exponential, fixed, general};
use super::layout::{Page, lay_out};
use super::line::{Encoding, Full, Line, Manner, Node};
use super::print::MAX_DECIMAL_BYTES;
use super::string::length;
use crate::etf::{Term, TermRef};

/// How terms are laid out that the format does not give a width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// Terms are broken over lines where they don't fit into one.
    Many,
    /// Each term stays on one line, whatever the format says.
    One,
}

/// The length of a line, in characters, in which a term is printed unless the format says otherwise.
const LINE_LENGTH: i64 = 80;

/// Columns between tab stops.
const TAB: i64 = 8;

/// A text as it grows, up to a limit.
#[derive(Debug)]
pub struct Printer {
    text: String,
    limit_bytes: usize,
    is_full: bool,
    lines: Lines,
    /// The node whose identifiers are printed as it prints them.
    home: Option<Box<str>>,
    /// Where the columns of the text are counted from, in bytes.
    origin: usize,
    /// How far columns were counted, and the column there.
    measured: (usize, i64),
    nodes: Vec<Node>,
    line: String,
}

/// Why a format could not be followed.
#[derive(Debug)]
pub(super) enum Problem {
    /// It does not suit its arguments.
    Malformed,
    /// The text has reached its limit.
    Full,
}

impl From<Full> for Problem {
    fn from(Full: Full) -> Self {
        Problem::Full
    }
}

/// What writing comes to.
pub(super) type Done = Result<(), Problem>;

impl Printer {
    /// An empty text that will have at most `limit_bytes`, and three dots if it would have had more.
    ///
    /// Pids, ports and references of the node `home` are printed as on that node, `<0.41.0>`.
    pub fn new(limit_bytes: usize, lines: Lines, home: Option<&str>) -> Self {
        Printer {
            text: String::new(),
            limit_bytes,
            is_full: false,
            lines,
            home: home.map(Into::into),
            origin: 0,
            measured: (0, 0),
            nodes: Vec::new(),
            line: String::new(),
        }
    }

    /// All that was printed; it ends in three dots if that was more than the limit.
    pub fn finish(mut self) -> String {
        if self.is_full {
            self.text.push_str("...");
        }
        self.text
    }

    /// Adds text as it is.
    pub fn push(&mut self, text: &str) {
        let _ = self.add(text);
    }

    /// Adds what `~tp` makes of a term, in the column that the text has reached.
    pub fn term(&mut self, term: TermRef<'_>) {
        let column = self.column() + 1;
        let _ = self.pretty(term, Manner::PRETTY, Page { column, line_length: LINE_LENGTH });
    }

    /// The same, as if the text had reached `column`, counted from 1: `~.COLUMNtp`.
    pub fn term_at(&mut self, term: TermRef<'_>, column: i64) {
        let _ = self.pretty(term, Manner::PRETTY, Page { column, line_length: LINE_LENGTH });
    }

    /// The same, with lists of characters as lists: `~.COLUMNltp`.
    pub fn plain_term_at(&mut self, term: TermRef<'_>, column: i64) {
        let manner = Manner { strings: false, ..Manner::PRETTY };
        let _ = self.pretty(term, manner, Page { column, line_length: LINE_LENGTH });
    }

    /// Adds what `~w` makes of a term.
    pub fn written(&mut self, term: TermRef<'_>) {
        let manner = Manner {
            encoding: Encoding::Latin1,
            strings: false,
            as_written: true,
            ..Manner::PRETTY
        };
        let _ = self.pretty(term, manner, Page { column: 1, line_length: 0 });
    }

    /// An empty text with the limit and the manner of this one.
    pub fn another(&self) -> Self {
        Printer::new(self.limit_bytes, self.lines, self.home.as_deref())
    }

    /// How terms are laid out.
    pub const fn lines(&self) -> Lines {
        self.lines
    }

    /// Adds what `~ts` makes of a term: chardata, or an atom. Any other term is printed as `~tp` does.
    pub fn chardata(&mut self, term: TermRef<'_>) {
        let mut text = String::new();
        match collect_text(&mut text, term, Encoding::Unicode, self.limit_bytes) {
            Ok(()) => self.push(&text),
            Err(Malformed) => self.term(term),
        }
    }

    /// Adds what `io_lib:format(Format, Args)` returns; where that fails, the text that `logger_formatter` has instead:
    /// `FORMAT ERROR: `, the format and the arguments.
    ///
    /// Costs are those of printing the arguments, some 0.1 µs for each small term. Nothing recurses.
    pub fn format(&mut self, format: TermRef<'_>, args: TermRef<'_>) {
        self.format_or(format, args, "FORMAT ERROR");
    }

    /// The same with other words for a format that does not suit its arguments.
    pub fn format_or(&mut self, format: TermRef<'_>, args: TermRef<'_>, words: &str) {
        let start = self.text.len();
        self.count_from(start);
        if !self.is_full && matches!(self.follow(format, args), Err(Problem::Malformed)) {
            self.text.truncate(start);
            self.count_from(start);
            self.push(words);
            self.push(": ");
            self.term(format);
            self.push(" - ");
            self.term(args);
        }
        self.count_from(0);
    }

    /// Counts columns from here on.
    const fn count_from(&mut self, origin: usize) {
        self.origin = origin;
        self.measured = (origin, 0);
    }

    /// Follows a format.
    fn follow(&mut self, format: TermRef<'_>, args: TermRef<'_>) -> Done {
        let mut args = Args::of(args)?;
        let mut format = Format::of(format)?;
        while let Some(unit) = format.next() {
            match unit {
                Unit::Char('~') => {
                    let control = Control::read(&mut format, &mut args)?;
                    self.control(&control, &mut args)?;
                }
                Unit::Char(c) => self.add(c.encode_utf8(&mut [0; 4]))?,
                Unit::Nested(text) => {
                    let mut flat = String::new();
                    collect_text(&mut flat, text, Encoding::Unicode, self.limit_bytes)
                        .map_err(|Malformed| Problem::Malformed)?;
                    self.add(&flat)?;
                }
            }
        }
        args.done()
    }

    fn control(&mut self, control: &Control, args: &mut Args<'_>) -> Done {
        match control.letter {
            'w' | 'W' | 'p' | 'P' => self.print(control, args),
            's' => {
                let term = args.next()?;
                let encoding = control.encoding;
                let mut text = String::new();
                collect_text(&mut text, term, encoding, self.limit_bytes)
                    .map_err(|Malformed| Problem::Malformed)?;
                self.string(control, &text)
            }
            'e' | 'f' | 'g' => {
                let Term::Float(value) = args.next()?.view() else {
                    return Err(Problem::Malformed);
                };
                self.float(control, value)
            }
            'b' | 'B' | 'x' | 'X' | '+' | '#' => self.integer(control, args),
            'c' => {
                let Term::Integer(code) = args.next()?.view() else {
                    return Err(Problem::Malformed);
                };
                let code = if control.encoding == Encoding::Latin1 { code & 0xff } else { code };
                self.character(control, character_of(code))
            }
            '~' => self.character(control, '~'),
            'n' => match (control.width, control.left) {
                (None, _) => self.add("\n"),
                (Some(count), false) => self.repeat('\n', count),
                (Some(_), true) => Err(Problem::Malformed),
            },
            'i' => args.next().map(|_| ()),
            _ => Err(Problem::Malformed),
        }
    }

    /// `~w` and `~p`, with a depth in capitals.
    fn print(&mut self, control: &Control, args: &mut Args<'_>) -> Done {
        let term = args.next()?;
        let depth = if control.letter.is_ascii_uppercase() {
            args.next()?.as_integer().ok_or(Problem::Malformed)?
        } else {
            -1
        };
        let as_written = control.letter.eq_ignore_ascii_case(&'w');
        let manner = Manner {
            encoding: control.encoding,
            strings: control.strings && !as_written,
            depth,
            order: control.order,
            as_written,
        };
        if !as_written {
            if control.left {
                return Err(Problem::Malformed);
            }
            let line_length = control.width.unwrap_or(LINE_LENGTH);
            let column = control.precision.unwrap_or_else(|| self.column() + 1);
            return Ok(self.pretty(term, manner, Page { column, line_length })?);
        }
        if control.width.or(control.precision).is_none() {
            let home = self.home.as_deref();
            let mut line = Line::new(&mut self.text, self.limit_bytes, &mut self.nodes, home);
            let printed = line.print(term, manner);
            return Ok(self.noted(printed)?);
        }
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        let home = self.home.as_deref();
        // A line that is longer is replaced by stars or overflows the text.
        let _ = Line::new(&mut line, self.limit_bytes, &mut self.nodes, home).print(term, manner);
        let done = self.field(control.width, control.precision, control, &line);
        self.line = line;
        done
    }

    /// What `~p` makes of a term.
    fn pretty(&mut self, term: TermRef<'_>, manner: Manner, page: Page) -> Result<(), Full> {
        if self.is_full {
            return Err(Full);
        }
        let page = match self.lines {
            Lines::Many => Page { column: page.column.max(1), ..page },
            Lines::One => Page { line_length: 0, ..page },
        };
        let start = self.text.len();
        let home = self.home.as_deref();
        let mut line = Line::new(&mut self.text, self.limit_bytes, &mut self.nodes, home);
        let printed = line.print(term, manner);
        let fits = page.fits(line.chars());
        if printed.is_err() || fits {
            return self.noted(printed);
        }
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        line.push_str(&self.text[start..]);
        for node in &mut self.nodes {
            node.shift(start);
        }
        self.text.truncate(start);
        let laid_out = lay_out(&mut self.text, &line, &self.nodes, page, self.limit_bytes);
        self.line = line;
        self.noted(laid_out)
    }

    fn string(&mut self, control: &Control, text: &str) -> Done {
        let chars = length(text);
        match (control.width, control.precision) {
            (None, None) => self.add(text),
            (Some(width), None) => self.string_in(control, text, chars, width, control.left),
            (None, Some(width)) => self.string_in(control, text, chars, width, true),
            (Some(width), Some(most)) if width < most => Err(Problem::Malformed),
            (Some(width), Some(most)) if width == most => {
                self.string_in(control, text, chars, width, control.left)
            }
            (Some(width), Some(most)) => {
                let spaces = width - most;
                if !control.left {
                    self.repeat(control.pad, spaces)?;
                }
                self.string_in(control, text, chars, most, true)?;
                if control.left { self.repeat(control.pad, spaces) } else { Ok(()) }
            }
        }
    }

    /// A text cut or filled to a width.
    fn string_in(
        &mut self,
        control: &Control,
        text: &str,
        chars: i64,
        width: i64,
        left: bool,
    ) -> Done {
        if chars > width {
            return self.add(beginning(text, width, control.encoding));
        }
        if left {
            self.add(text)?;
        }
        self.repeat(control.pad, width - chars)?;
        if left { Ok(()) } else { self.add(text) }
    }

    /// A printed term in a field; stars if it is too long for it.
    fn field(
        &mut self,
        width: Option<i64>,
        precision: Option<i64>,
        control: &Control,
        text: &str,
    ) -> Done {
        let Some(width) = width.or(precision) else { return self.add(text) };
        let chars = length(text);
        let most = chars.min(precision.map_or(width, |precision| precision.min(width)));
        let (spaces, stars) =
            if chars > most { (width - most, Some(most)) } else { (width - chars, None) };
        if !control.left {
            self.repeat(control.pad, spaces)?;
        }
        match stars {
            Some(stars) => self.repeat('*', stars)?,
            None => self.add(text)?,
        }
        if control.left { self.repeat(control.pad, spaces) } else { Ok(()) }
    }

    fn character(&mut self, control: &Control, c: char) -> Done {
        match (control.width, control.precision) {
            (None, None) => self.repeat(c, 1),
            (Some(count), None) | (None, Some(count)) => self.repeat(c, count),
            (Some(width), Some(count)) if width >= count => {
                if !control.left {
                    self.repeat(control.pad, width - count)?;
                }
                self.repeat(c, count)?;
                if control.left { self.repeat(control.pad, width - count) } else { Ok(()) }
            }
            _ => Err(Problem::Malformed),
        }
    }

    fn integer(&mut self, control: &Control, args: &mut Args<'_>) -> Done {
        let value = args.next()?;
        let base = u32::try_from(control.precision.unwrap_or(10))
            .ok()
            .filter(|base| (2..=36).contains(base))
            .ok_or(Problem::Malformed)?;
        let mut text = String::new();
        match control.letter {
            'x' | 'X' => collect_prefix(&mut text, args.next()?, self.limit_bytes)
                .map_err(|Malformed| Problem::Malformed)?,
            '+' | '#' => text = format!("{base}#"),
            _ => {}
        }
        let (is_negative, mut digits) = match value.view() {
            Term::Integer(value) => {
                (value < 0, BigInt::from(value.unsigned_abs()).to_str_radix(base))
            }
            Term::BigInteger { negative, magnitude } if magnitude.len() <= MAX_DECIMAL_BYTES => {
                (negative, BigInt::from_bytes_le(Sign::Plus, magnitude).to_str_radix(base))
            }
            // As `~p` prints those.
            Term::BigInteger { negative, magnitude } => {
                let value = BigInt::from_bytes_le(Sign::Plus, magnitude);
                (negative, format!("16#{}", value.to_str_radix(16)))
            }
            _ => return Err(Problem::Malformed),
        };
        if matches!(control.letter, 'B' | 'X' | '#') {
            digits.make_ascii_uppercase();
        }
        let minus = if is_negative { "-" } else { "" };
        self.field(control.width, None, control, &format!("{minus}{text}{digits}"))
    }

    fn float(&mut self, control: &Control, value: f64) -> Done {
        let limit = i64::try_from(self.limit_bytes).unwrap_or(i64::MAX);
        let precision = control.precision.unwrap_or(6).min(limit);
        let text = match control.letter {
            'e' if precision >= 2 => exponential(value, precision),
            'f' if precision >= 1 => fixed(value, precision),
            'g' if precision >= 1 => general(value, precision),
            _ => return Err(Problem::Malformed),
        };
        self.field(control.width, control.width, control, &text)
    }

    /// The column that the text has reached, from 0.
    fn column(&mut self) -> i64 {
        if !(self.origin..=self.text.len()).contains(&self.measured.0) {
            self.measured = (self.origin, 0);
        }
        let (from, column) = self.measured;
        let column = self.text[from..].chars().fold(column, |column, c| match c {
            '\n' => 0,
            '\t' => (column + TAB) / TAB * TAB,
            _ => column + 1,
        });
        self.measured = (self.text.len(), column);
        column
    }

    fn add(&mut self, text: &str) -> Done {
        if self.is_full {
            return Err(Problem::Full);
        }
        let room = self.limit_bytes.saturating_sub(self.text.len());
        if text.len() <= room {
            self.text.push_str(text);
            return Ok(());
        }
        self.text.push_str(&text[..text.floor_char_boundary(room)]);
        self.is_full = true;
        Err(Problem::Full)
    }

    fn repeat(&mut self, c: char, count: i64) -> Done {
        let count = usize::try_from(count).unwrap_or(0);
        let room = self.limit_bytes.saturating_sub(self.text.len()) / c.len_utf8();
        if self.is_full || count > room {
            self.text.extend(std::iter::repeat_n(c, room));
            self.is_full = true;
            return Err(Problem::Full);
        }
        self.text.extend(std::iter::repeat_n(c, count));
        Ok(())
    }

    fn noted(&mut self, result: Result<(), Full>) -> Result<(), Full> {
        self.is_full |= result.is_err();
        result
    }
}

/// A text on one line, as `logger_formatter` makes it with `single_line`: without space at its ends, and with a comma
/// and a space for each end of a line and the spaces after it.
pub fn on_one_line(text: &str) -> String {
    let text = text.trim_matches([' ', '\r', '\n']);
    let mut out = String::with_capacity(text.len());
    let mut lines = text.split('\n');
    out.push_str(lines.next().unwrap_or_default());
    for line in lines {
        if out.ends_with('\r') {
            out.pop();
        }
        if !out.ends_with(',') {
            out.push(',');
        }
        out.push(' ');
        out.push_str(line.trim_start_matches(' '));
    }
    out
}
