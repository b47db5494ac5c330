//! Parsing terms.

use num_bigint::BigInt;

use super::binary::MAX_WIDE_SEGMENT_BYTES;
use super::{RESERVED, continues_atom, forms, starts_atom};
use crate::etf::tag::{EXPORT_EXT, SMALL_INTEGER_EXT};
use crate::etf::{DecodeError, MAX_DEPTH, TermBuf, TermRef, build, decode, encode, order};

/// The most digits of an integer whose base is not a power of two: reading them costs the square.
pub const MAX_DIGITS: usize = 16_384;

/// The most characters of an atom.
const MAX_ATOM_CHARS: usize = 255;

/// Why text is no Erlang term, and where.
///
/// The text is at fault; nothing was kept of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {problem}")]
pub struct TextError {
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// What is wrong there.
    pub problem: TextProblem,
}

/// What is wrong with text that is no Erlang term.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TextProblem {
    /// The text ends inside a term.
    #[error("the text ends inside a term")]
    End,
    /// Something else was due here.
    #[error("{found:?} where {due} was due")]
    Unexpected {
        /// The character found.
        found: char,
        /// What was due.
        due: &'static str,
    },
    /// A word that must be quoted to be an atom.
    #[error("{0:?} is a reserved word: quote it")]
    Reserved(String),
    /// A variable has no value here.
    #[error("a variable is no term")]
    Variable,
    /// The escape sequence does not exist, or names no character.
    #[error("invalid escape sequence")]
    Escape,
    /// The number is malformed or no finite float.
    #[error("invalid number")]
    Number,
    /// The integer is longer than [`MAX_DIGITS`].
    #[error("integer of more than {limit} digits")]
    NumberTooLong {
        /// The most digits taken.
        limit: usize,
    },
    /// The atom has more than 255 characters.
    #[error("atom of more than {limit} characters")]
    AtomTooLong {
        /// The most characters taken.
        limit: usize,
    },
    /// The binary's segment has a size or type that makes no sense for its value.
    #[error("invalid segment of a binary")]
    Segment,
    /// The binary's segments ask for more bits than [`MAX_SEGMENT_BITS`](super::MAX_SEGMENT_BITS) and
    /// [`MAX_WIDE_SEGMENT_BYTES`] allow.
    #[error("segments of a binary are too wide")]
    SegmentTooWide,
    /// The term nests deeper than [`MAX_DEPTH`].
    #[error("term nests deeper than {limit}")]
    TooDeep {
        /// The deepest level allowed.
        limit: usize,
    },
    /// A map in the term that begins here has a key twice.
    #[error("a map has a key twice")]
    RepeatedKey,
    /// No release decodes the term.
    #[error("no Erlang node takes this term")]
    NoTerm(#[source] DecodeError),
}

/// From Erlang text, as [`parse`].
///
/// ```
/// let event: logmachine::TermBuf = "{paid, 1, <<\"tea\">>}".parse()?;
/// assert_eq!(event.to_string(), "{paid,1,<<\"tea\">>}");
/// # Ok::<_, logmachine::TextError>(())
/// ```
impl std::str::FromStr for TermBuf {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        parse(text)
    }
}

/// Parses one term, with or without a dot after it, (without a version byte).
///
/// Takes what `erl_parse:parse_term/1` takes, except that a key given twice in a map is an error and that
/// triple-quoted strings and sigils are not known. Costs a few ns a byte; the result is at most a small
/// multiple of the text.
///
/// # Errors
///
/// [`TextError`] with line and column.
pub fn parse(text: &str) -> Result<TermBuf, TextError> {
    whole(Parser::new(text)).map(TermBuf::from_walked)
}

/// The same for text in which terms without syntax are written in their [`forms`], as [`to_lossless`](super::to_lossless)
/// does. The term may be one level deeper than others: an event in its entry.
///
/// # Errors
///
/// [`TextError`] with line and column.
pub fn parse_lossless(text: &str) -> Result<TermBuf, TextError> {
    let term = whole(lossless(text))?;
    within(MAX_DEPTH + 1, term).map_err(|problem| TextError { line: 1, column: 1, problem })
}

/// Reads forms, too.
fn lossless(text: &str) -> Parser<'_> {
    // A closure is a tuple with a list here.
    let max_depth = 2 * MAX_DEPTH + 1;
    Parser { max_depth, forms: true, ..Parser::new(text) }
}

/// Checks a term that forms were put into.
fn within(depth: usize, term: Vec<u8>) -> Result<TermBuf, TextProblem> {
    match decode::walk_within(depth, &term) {
        Ok(_) => Ok(TermBuf::from_walked(term)),
        Err(DecodeError::RepeatedKey) => Err(TextProblem::RepeatedKey),
        Err(DecodeError::TooDeep { .. }) => Err(TextProblem::TooDeep { limit: MAX_DEPTH }),
        Err(error) => Err(TextProblem::NoTerm(error)),
    }
}

fn whole(mut parser: Parser<'_>) -> Result<Vec<u8>, TextError> {
    let parsed = parser.term().and_then(|term| {
        parser.space();
        if parser.peek() == Some('.') {
            parser.at += 1;
            parser.space();
        }
        match parser.peek() {
            None => Ok(term),
            Some(found) => Err(TextProblem::Unexpected { found, due: "the end" }),
        }
    });
    parsed.map_err(|problem| parser.error(problem))
}

/// Parses terms that each end in a dot, as `file:consult/1` does.
///
/// # Errors
///
/// [`TextError`] with line and column.
pub fn parse_terms(text: &str) -> Result<Vec<TermBuf>, TextError> {
    all(Parser::new(text), |term| Ok(TermBuf::from_walked(term)))
}

/// The same for text in which terms without syntax are written in their [`forms`], as [`parse_lossless`] reads one.
///
/// # Errors
///
/// [`TextError`] with line and column.
pub fn parse_terms_lossless(text: &str) -> Result<Vec<TermBuf>, TextError> {
    all(lossless(text), |term| within(MAX_DEPTH, term))
}

fn all(
    mut parser: Parser<'_>,
    make: impl Fn(Vec<u8>) -> Result<TermBuf, TextProblem>,
) -> Result<Vec<TermBuf>, TextError> {
    let mut terms = Vec::new();
    loop {
        parser.space();
        if parser.peek().is_none() {
            return Ok(terms);
        }
        let term = parser.term().and_then(|term| {
            parser.space();
            parser.due('.', "a dot")?;
            match parser.peek() {
                None | Some('%') => make(term),
                Some(c) if c.is_whitespace() => make(term),
                Some(found) => Err(TextProblem::Unexpected { found, due: "space after the dot" }),
            }
        });
        terms.push(term.map_err(|problem| parser.error(problem))?);
    }
}

/// A container that is not closed yet.
struct Container {
    kind: Kind,
    /// Where its head is in the output.
    start: usize,
    /// Where its last element is in the output.
    last: usize,
    /// Elements so far.
    count: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tuple,
    /// A list; whether all its elements are bytes.
    List {
        bytes: bool,
    },
    /// A list whose tail is being read.
    Tail,
    Key,
    Value,
}

pub(super) struct Parser<'a> {
    text: &'a str,
    pub(super) at: usize,
    pub(super) out: Vec<u8>,
    /// What is left of [`MAX_WIDE_SEGMENT_BYTES`].
    pub(super) wide_bytes: usize,
    max_depth: usize,
    /// Whether tuples may be forms.
    forms: bool,
}

pub(super) type Parsed<T> = Result<T, TextProblem>;

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Self {
        let wide_bytes = MAX_WIDE_SEGMENT_BYTES;
        Parser { text, at: 0, out: Vec::new(), wide_bytes, max_depth: MAX_DEPTH, forms: false }
    }

    fn error(&self, problem: TextProblem) -> TextError {
        let before = &self.text[..self.at];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        TextError {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            problem,
        }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Parsed<char> {
        let c = self.peek().ok_or(TextProblem::End)?;
        self.at += c.len_utf8();
        Ok(c)
    }

    /// Skips `token` if it is next.
    pub(super) fn skip(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    pub(super) fn due(&mut self, token: char, due: &'static str) -> Parsed<()> {
        match self.peek() {
            Some(c) if c == token => {
                self.at += c.len_utf8();
                Ok(())
            }
            found => Err(unexpected(found, due)),
        }
    }

    /// Skips white space and comments.
    pub(super) fn space(&mut self) {
        loop {
            let rest = self.rest().trim_start();
            self.at = self.text.len() - rest.len();
            if !rest.starts_with('%') {
                return;
            }
            self.at += rest.find('\n').unwrap_or(rest.len());
        }
    }

    /// The characters that are next as long as they are of a kind.
    pub(super) fn while_true(&mut self, mut kind: impl FnMut(char) -> bool) -> &'a str {
        let rest = self.rest();
        let len = rest.find(|c| !kind(c)).unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }

    /// One term's bytes.
    fn term(&mut self) -> Parsed<Vec<u8>> {
        let mut open: Vec<Container> = Vec::new();
        let mut check_keys = false;
        let start = self.at;
        loop {
            self.space();
            if let Some(container) = self.open()? {
                if open.len() == self.max_depth {
                    return Err(TextProblem::TooDeep { limit: MAX_DEPTH });
                }
                open.push(container);
                continue;
            }
            // A value is complete, and with it perhaps what it closes.
            loop {
                let Some(container) = open.last_mut() else {
                    let term = std::mem::take(&mut self.out);
                    if check_keys && order::has_repeated_key(TermRef::from_walked(&term)) {
                        self.at = start;
                        return Err(TextProblem::RepeatedKey);
                    }
                    return Ok(term);
                };
                if self.go_on(container)? {
                    break;
                }
                check_keys |= container.kind == Kind::Value && container.count > 1;
                self.close(open.pop().expect("looked at above"));
            }
        }
    }

    /// Reads a leaf into the output, or opens a container.
    fn open(&mut self) -> Parsed<Option<Container>> {
        let start = self.out.len();
        let container = |kind, head| Some(Container { kind, start, last: start + head, count: 0 });
        let c = self.peek().ok_or(TextProblem::End)?;
        match c {
            '{' => {
                self.at += 1;
                build::open_tuple(&mut self.out);
                self.space();
                return Ok(if self.skip("}") { None } else { container(Kind::Tuple, 2) });
            }
            '[' => {
                self.at += 1;
                self.space();
                if self.skip("]") {
                    encode::nil(&mut self.out);
                    return Ok(None);
                }
                encode::list_header(&mut self.out, 0);
                return Ok(container(Kind::List { bytes: true }, 5));
            }
            '#' => {
                self.at += 1;
                self.due('{', "a map")?;
                encode::map_header(&mut self.out, 0);
                self.space();
                return Ok(if self.skip("}") { None } else { container(Kind::Key, 5) });
            }
            '<' => self.binary()?,
            '"' => self.strings()?,
            '-' | '+' | '$' | '0'..='9' => match self.number()? {
                Number::Integer(value) => build::integer(&mut self.out, &value),
                Number::Float(value) => encode::float(&mut self.out, value),
            },
            _ => {
                let quoted = c == '\'';
                let name = self.atom()?;
                if !quoted && name == "fun" {
                    self.export()?;
                } else {
                    encode::atom(&mut self.out, &name);
                }
            }
        }
        Ok(None)
    }

    /// After an element: whether another one of the container follows.
    fn go_on(&mut self, container: &mut Container) -> Parsed<bool> {
        self.space();
        let element = &self.out[container.last..];
        let is_byte = element.len() == 2 && element[0] == SMALL_INTEGER_EXT;
        container.last = self.out.len();
        let c = self.peek().ok_or(TextProblem::End)?;
        let (next, due) = match (container.kind, c) {
            (Kind::Tail, ']') => return Ok(false),
            (Kind::Tail, _) => (None, "']'"),
            (Kind::Tuple, ',') => (Some(Kind::Tuple), ""),
            (Kind::Tuple, '}') => (None, ""),
            (Kind::Tuple, _) => (None, "',' or '}'"),
            (Kind::List { bytes }, ',') => (Some(Kind::List { bytes: bytes && is_byte }), ""),
            (Kind::List { .. }, '|') => (Some(Kind::Tail), ""),
            (Kind::List { .. }, ']') => (None, ""),
            (Kind::List { .. }, _) => (None, "',', '|' or ']'"),
            (Kind::Key, '=') if self.rest().starts_with("=>") => {
                self.at += 2;
                container.kind = Kind::Value;
                return Ok(true);
            }
            (Kind::Key, _) => (None, "'=>'"),
            (Kind::Value, ',') => (Some(Kind::Key), ""),
            (Kind::Value, '}') => (None, ""),
            (Kind::Value, _) => (None, "',' or '}'"),
        };
        if !due.is_empty() {
            return Err(TextProblem::Unexpected { found: c, due });
        }
        container.count += 1;
        match next {
            Some(kind) => {
                container.kind = kind;
                self.at += 1;
            }
            None => {
                if let Kind::List { bytes } = &mut container.kind {
                    *bytes &= is_byte;
                }
            }
        }
        Ok(next.is_some())
    }

    /// Completes the head of a container whose closing character is next.
    fn close(&mut self, container: Container) {
        self.at += 1;
        let Container { kind, start, count, .. } = container;
        let out = &mut self.out;
        match kind {
            Kind::Tuple => {
                let first = &out[start + 2..];
                let may_be_form = self.forms && forms::is_name(first);
                build::close_tuple(out, start, count);
                if may_be_form && let Some(term) = forms::read(TermRef::from_walked(&out[start..]))
                {
                    out.truncate(start);
                    out.extend_from_slice(&term);
                }
            }
            Kind::List { bytes } => build::close_list(out, start, count, bytes),
            Kind::Tail | Kind::Key | Kind::Value => build::set_count(out, start, count),
        }
    }

    /// A plain or quoted atom; `fun` comes back as a name, other reserved words do not.
    pub(super) fn atom(&mut self) -> Parsed<String> {
        let start = self.at;
        let name = match self.peek().ok_or(TextProblem::End)? {
            '\'' => self.quoted('\'')?.into_iter().collect(),
            c if starts_atom(c) => {
                let name = self.while_true(continues_atom);
                if name != "fun" && RESERVED.contains(&name) {
                    self.at = start;
                    return Err(TextProblem::Reserved(name.into()));
                }
                name.to_owned()
            }
            c if c == '_' || c.is_uppercase() => return Err(TextProblem::Variable),
            found => return Err(TextProblem::Unexpected { found, due: "a term" }),
        };
        if name.chars().nth(MAX_ATOM_CHARS).is_some() {
            self.at = start;
            return Err(TextProblem::AtomTooLong { limit: MAX_ATOM_CHARS });
        }
        Ok(name)
    }

    /// What follows `fun`: `Module:Function/Arity`.
    fn export(&mut self) -> Parsed<()> {
        self.space();
        let module = self.atom()?;
        self.space();
        self.due(':', "':'")?;
        self.space();
        let function = self.atom()?;
        self.space();
        self.due('/', "'/'")?;
        self.space();
        let start = self.at;
        let arity = match self.while_true(|c| c.is_ascii_digit()).parse() {
            Ok(arity) => arity,
            Err(_) => {
                self.at = start;
                return Err(TextProblem::Number);
            }
        };
        self.out.push(EXPORT_EXT);
        encode::atom(&mut self.out, &module);
        encode::atom(&mut self.out, &function);
        self.out.extend_from_slice(&[SMALL_INTEGER_EXT, arity]);
        Ok(())
    }

    /// The characters between two quotes.
    pub(super) fn quoted(&mut self, quote: char) -> Parsed<Vec<char>> {
        self.at += 1;
        let mut chars = Vec::new();
        loop {
            match self.next()? {
                c if c == quote => return Ok(chars),
                '\\' => chars.push(self.escape()?),
                c => chars.push(c),
            }
        }
    }

    /// What follows a backslash.
    fn escape(&mut self) -> Parsed<char> {
        let start = self.at;
        let c = self.next()?;
        let code = match c {
            'n' => return Ok('\n'),
            'r' => return Ok('\r'),
            't' => return Ok('\t'),
            'v' => return Ok('\x0b'),
            'b' => return Ok('\x08'),
            'f' => return Ok('\x0c'),
            'e' => return Ok('\x1b'),
            's' => return Ok(' '),
            'd' => return Ok('\x7f'),
            '^' => match self.next()? {
                c @ '@'..='_' | c @ 'a'..='z' => u32::from(c) & 31,
                _ => u32::MAX,
            },
            '0'..='7' => {
                let mut code = u32::from(c) - u32::from('0');
                for _ in 0..2 {
                    let Some(digit) = self.peek().and_then(|c| c.to_digit(8)) else { break };
                    self.at += 1;
                    code = code * 8 + digit;
                }
                code
            }
            'x' => {
                let digits = if self.skip("{") {
                    let digits = self.while_true(|c| c.is_ascii_hexdigit());
                    self.due('}', "'}'")?;
                    digits
                } else {
                    let mut left = 2;
                    self.while_true(|c| {
                        left -= 1;
                        left >= 0 && c.is_ascii_hexdigit()
                    })
                };
                u32::from_str_radix(digits, 16).unwrap_or(u32::MAX)
            }
            c => return Ok(c),
        };
        char::from_u32(code).ok_or_else(|| {
            self.at = start;
            TextProblem::Escape
        })
    }

    /// A string literal, or several in a row, which are one string.
    fn strings(&mut self) -> Parsed<()> {
        let mut chars = Vec::new();
        while self.peek() == Some('"') {
            chars.append(&mut self.quoted('"')?);
            self.space();
        }
        build::characters(&mut self.out, &chars);
        Ok(())
    }

    /// A number or character, with its sign.
    pub(super) fn number(&mut self) -> Parsed<Number> {
        let start = self.at;
        let mut negative = false;
        if let Some(sign @ ('-' | '+')) = self.peek() {
            self.at += 1;
            negative = sign == '-';
            self.space();
        }
        let number = match self.peek() {
            Some('$') => {
                self.at += 1;
                let c = match self.next()? {
                    '\\' => self.escape()?,
                    c => c,
                };
                Number::Integer(u32::from(c).into())
            }
            Some('0'..='9') => self.digits().inspect_err(|_| self.at = start)?,
            found => return Err(unexpected(found, "a number")),
        };
        Ok(match number {
            number if !negative => number,
            Number::Integer(value) => Number::Integer(-value),
            Number::Float(value) => Number::Float(-value),
        })
    }

    /// A number without a sign.
    fn digits(&mut self) -> Parsed<Number> {
        let whole = self.while_true(|c| c.is_ascii_digit() || c == '_');
        let mut after = self.rest().chars();
        match (after.next(), after.next()) {
            (Some('#'), _) => {
                let base = whole.parse().ok().filter(|base| (2..=36).contains(base));
                let base: u32 = base.ok_or(TextProblem::Number)?;
                self.at += 1;
                integer(self.while_true(|c| c.is_digit(base) || c == '_'), base)
            }
            (Some('.'), Some('0'..='9')) => {
                self.at += 1;
                let start = self.at;
                self.while_true(|c| c.is_ascii_digit() || c == '_');
                if self.skip("e") || self.skip("E") {
                    let _ = self.skip("-") || self.skip("+");
                    self.while_true(|c| c.is_ascii_digit());
                }
                let text = format!("{whole}.{}", &self.text[start..self.at]).replace('_', "");
                match text.parse::<f64>() {
                    Ok(value) if value.is_finite() => Ok(Number::Float(value)),
                    _ => Err(TextProblem::Number),
                }
            }
            _ => integer(whole, 10),
        }
    }
}

pub(super) enum Number {
    Integer(BigInt),
    Float(f64),
}

fn unexpected(found: Option<char>, due: &'static str) -> TextProblem {
    found.map_or(TextProblem::End, |found| TextProblem::Unexpected { found, due })
}

/// Digits with underscores between them.
fn integer(digits: &str, base: u32) -> Parsed<Number> {
    if digits.is_empty()
        || digits.starts_with('_')
        || digits.ends_with('_')
        || digits.contains("__")
    {
        return Err(TextProblem::Number);
    }
    if digits.len() > MAX_DIGITS && !base.is_power_of_two() {
        return Err(TextProblem::NumberTooLong { limit: MAX_DIGITS });
    }
    let value = BigInt::parse_bytes(digits.as_bytes(), base).ok_or(TextProblem::Number)?;
    Ok(Number::Integer(value))
}
