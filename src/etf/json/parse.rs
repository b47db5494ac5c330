//! Parsing JSON.

use num_bigint::BigInt;

use crate::etf::tag::{BIT_BINARY_EXT, EXPORT_EXT, MAP_EXT, SMALL_INTEGER_EXT};
use crate::etf::text::MAX_DIGITS;
use crate::etf::{
    MAX_DEPTH, Pid, Reference, Term, TermBuf, TermRef, base64, build, decode, encode, order, text,
};

/// The most characters of an atom.
const MAX_ATOM_CHARS: usize = 255;

/// Why text is no JSON of a term, and where.
///
/// The text is at fault; nothing was kept of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {problem}")]
pub struct JsonError {
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// What is wrong there.
    pub problem: JsonProblem,
}

/// What is wrong with text that is no JSON of a term.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonProblem {
    /// The text ends inside a value.
    #[error("the text ends inside a value")]
    End,
    /// Something else was due here.
    #[error("{found:?} where {due} was due")]
    Unexpected {
        /// The character found.
        found: char,
        /// What was due.
        due: &'static str,
    },
    /// The escape sequence does not exist, or names no character.
    #[error("invalid escape sequence")]
    Escape,
    /// A control character stands in a string.
    #[error("control character in a string")]
    Control,
    /// The number is malformed, no finite float, or an integer of too many digits.
    #[error("invalid number")]
    Number,
    /// A key that begins with `$` is none of the known forms.
    #[error("unknown form {0:?}")]
    Form(String),
    /// The value does not fit its form, `{"$pid": ...}` for example.
    #[error("invalid value of {0:?}")]
    Value(&'static str),
    /// The term nests deeper than [`MAX_DEPTH`].
    #[error("term nests deeper than {limit}")]
    TooDeep {
        /// The deepest level allowed.
        limit: usize,
    },
    /// A map in the term has a key twice.
    #[error("a map has a key twice")]
    RepeatedKey,
}

/// Parses JSON into the bytes of one term (without a version byte). The module's documentation has the mapping.
///
/// Costs a few ns a byte; the result is at most a small multiple of the text.
///
/// # Errors
///
/// [`JsonError`] with line and column.
pub fn parse(json: &str) -> Result<TermBuf, JsonError> {
    let mut parser = Parser { json, at: 0, out: Vec::new() };
    let parsed = parser.document();
    parsed.map(TermBuf::from_walked).map_err(|problem| {
        let before = &json[..parser.at];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.matches('\n').count() + 1;
        JsonError { line, column: before[line_start..].chars().count() + 1, problem }
    })
}

/// A container that is not closed yet.
struct Container {
    kind: Kind,
    /// Where its head is in the output.
    start: usize,
    /// Where its last element is in the output.
    last: usize,
    count: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// An array; whether all elements are bytes.
    List { bytes: bool },
    /// `{"$tuple": [`
    Tuple,
    /// `{"$improper": [`
    Improper,
    /// `{`
    Object,
    /// `{"$map": {`
    Atoms,
    /// `{"$map": [`; whether the next value is a key.
    Pairs { key: bool },
}

type Parsed<T> = Result<T, JsonProblem>;

struct Parser<'a> {
    json: &'a str,
    at: usize,
    out: Vec<u8>,
}

impl<'a> Parser<'a> {
    fn document(&mut self) -> Parsed<Vec<u8>> {
        self.value()?;
        self.space();
        if let Some(found) = self.peek() {
            return Err(JsonProblem::Unexpected { found, due: "the end" });
        }
        let term = std::mem::take(&mut self.out);
        if term.contains(&MAP_EXT) && order::has_repeated_key(TermRef::from_walked(&term)) {
            self.at = 0;
            return Err(JsonProblem::RepeatedKey);
        }
        Ok(term)
    }

    fn peek(&self) -> Option<char> {
        self.json[self.at..].chars().next()
    }

    fn next(&mut self) -> Parsed<char> {
        let c = self.peek().ok_or(JsonProblem::End)?;
        self.at += c.len_utf8();
        Ok(c)
    }

    fn space(&mut self) {
        let rest = self.json[self.at..].trim_start_matches([' ', '\t', '\n', '\r']);
        self.at = self.json.len() - rest.len();
    }

    /// Skips space and `token` if that is next.
    fn skip(&mut self, token: char) -> bool {
        self.space();
        let found = self.peek() == Some(token);
        if found {
            self.at += token.len_utf8();
        }
        found
    }

    fn due(&mut self, token: char, due: &'static str) -> Parsed<()> {
        if self.skip(token) {
            return Ok(());
        }
        Err(match self.peek() {
            Some(found) => JsonProblem::Unexpected { found, due },
            None => JsonProblem::End,
        })
    }

    /// One value, with everything in it.
    fn value(&mut self) -> Parsed<()> {
        let mut open: Vec<Container> = Vec::new();
        loop {
            self.space();
            if let Some(container) = self.open()? {
                if open.len() == MAX_DEPTH {
                    return Err(JsonProblem::TooDeep { limit: MAX_DEPTH });
                }
                open.push(container);
                if self.first(open.last_mut().expect("just pushed"))? {
                    continue;
                }
                let container = open.pop().expect("just pushed");
                self.close(container)?;
            }
            loop {
                let Some(container) = open.last_mut() else { return Ok(()) };
                if self.go_on(container)? {
                    break;
                }
                let container = open.pop().expect("looked at above");
                self.close(container)?;
            }
        }
    }

    /// Reads a leaf into the output, or opens a container.
    fn open(&mut self) -> Parsed<Option<Container>> {
        match self.peek().ok_or(JsonProblem::End)? {
            '"' => {
                let text = self.string()?;
                encode::binary(&mut self.out, text.as_bytes());
            }
            '-' | '0'..='9' => self.number()?,
            '[' => {
                self.at += 1;
                return Ok(Some(self.container(Kind::List { bytes: true })));
            }
            '{' => {
                self.at += 1;
                let start = self.at;
                self.space();
                if self.json[self.at..].starts_with("\"$") {
                    let form = self.string()?;
                    self.due(':', "':'")?;
                    self.space();
                    return self.form(&form).inspect_err(|problem| {
                        if matches!(problem, JsonProblem::Form(_) | JsonProblem::Value(_)) {
                            self.at = start;
                        }
                    });
                }
                return Ok(Some(self.container(Kind::Object)));
            }
            _ => {
                for word in ["true", "false", "null"] {
                    if self.json[self.at..].starts_with(word) {
                        self.at += word.len();
                        encode::atom(&mut self.out, word);
                        return Ok(None);
                    }
                }
                let found = self.next()?;
                self.at -= found.len_utf8();
                return Err(JsonProblem::Unexpected { found, due: "a value" });
            }
        }
        Ok(None)
    }

    fn container(&mut self, kind: Kind) -> Container {
        let start = self.out.len();
        match kind {
            Kind::Tuple => build::open_tuple(&mut self.out),
            Kind::List { .. } | Kind::Improper => encode::list_header(&mut self.out, 0),
            Kind::Object | Kind::Atoms | Kind::Pairs { .. } => {
                encode::map_header(&mut self.out, 0);
            }
        }
        Container { kind, start, last: self.out.len(), count: 0 }
    }

    /// After a container's opening: whether it has an element.
    fn first(&mut self, container: &mut Container) -> Parsed<bool> {
        let end = match container.kind {
            Kind::Object | Kind::Atoms => '}',
            _ => ']',
        };
        if self.skip(end) {
            return Ok(false);
        }
        self.before(container)?;
        Ok(true)
    }

    /// Reads what stands before an element: the key of an object, or the opening of a pair.
    fn before(&mut self, container: &mut Container) -> Parsed<()> {
        match container.kind {
            Kind::Object | Kind::Atoms => {
                self.space();
                let start = self.at;
                let key = self.string()?;
                if container.kind == Kind::Object {
                    if key.starts_with('$') {
                        self.at = start;
                        return Err(JsonProblem::Form(key));
                    }
                    encode::binary(&mut self.out, key.as_bytes());
                } else {
                    self.atom(&key, "$map")?;
                }
                self.due(':', "':'")?;
            }
            Kind::Pairs { key: true } => self.due('[', "'['")?,
            _ => {}
        }
        container.last = self.out.len();
        Ok(())
    }

    /// After an element: whether another one follows. If not, the container's end was read.
    fn go_on(&mut self, container: &mut Container) -> Parsed<bool> {
        let element = &self.out[container.last..];
        let is_byte = element.len() == 2 && element[0] == SMALL_INTEGER_EXT;
        match &mut container.kind {
            Kind::List { bytes } => *bytes &= is_byte,
            Kind::Pairs { key: key @ true } => {
                *key = false;
                self.due(',', "','")?;
                return Ok(true);
            }
            Kind::Pairs { key } => {
                *key = true;
                self.due(']', "']'")?;
            }
            _ => {}
        }
        container.count += 1;
        if self.skip(',') {
            self.before(container)?;
            return Ok(true);
        }
        match container.kind {
            Kind::Object | Kind::Atoms => self.due('}', "',' or '}'")?,
            _ => self.due(']', "',' or ']'")?,
        }
        Ok(false)
    }

    /// Completes a container whose own end was read.
    fn close(&mut self, container: Container) -> Parsed<()> {
        let Container { kind, start, last, count } = container;
        let out = &mut self.out;
        match kind {
            Kind::List { .. } if count == 0 => {
                out.truncate(start);
                encode::nil(out);
            }
            Kind::List { bytes } => build::close_list(out, start, count, bytes),
            Kind::Tuple => build::close_tuple(out, start, count),
            Kind::Improper => {
                let tail = TermRef::from_walked(&out[last..]);
                let is_list = || matches!(tail.view(), Term::List(_) | Term::String(_) | Term::Nil);
                if count < 2 || is_list() {
                    return Err(JsonProblem::Value("$improper"));
                }
                build::set_count(out, start, count - 1);
            }
            Kind::Object | Kind::Atoms | Kind::Pairs { .. } => build::set_count(out, start, count),
        }
        match kind {
            Kind::List { .. } | Kind::Object => Ok(()),
            _ => self.due('}', "'}'"),
        }
    }

    /// What follows `{"$name":`: a leaf up to its end, or the beginning of a container.
    fn form(&mut self, form: &str) -> Parsed<Option<Container>> {
        match form {
            "$tuple" => {
                self.due('[', "'['")?;
                return Ok(Some(self.container(Kind::Tuple)));
            }
            "$improper" => {
                self.due('[', "'['")?;
                return Ok(Some(self.container(Kind::Improper)));
            }
            "$map" if self.skip('{') => return Ok(Some(self.container(Kind::Atoms))),
            "$map" => {
                self.due('[', "'{' or '['")?;
                return Ok(Some(self.container(Kind::Pairs { key: true })));
            }
            "$atom" => {
                let name = self.string()?;
                self.atom(&name, "$atom")?;
            }
            "$int" => self.integer()?,
            "$string" => {
                let chars: Vec<char> = self.string()?.chars().collect();
                build::characters(&mut self.out, &chars);
            }
            "$binary" => {
                let bytes = self.base64("$binary")?;
                encode::binary(&mut self.out, &bytes);
            }
            "$bits" => self.bits()?,
            "$pid" => {
                let (node, [id, serial, creation]) = self.identifier("$pid")?;
                encode::pid(&mut self.out, &Pid { node: node.into(), id, serial, creation });
            }
            "$port" => self.port()?,
            "$ref" => self.reference()?,
            "$fun" => self.export()?,
            "$etf" => {
                let bytes = self.base64("$etf")?;
                let term = decode::external(&bytes).map_err(|_| JsonProblem::Value("$etf"))?;
                self.out.extend_from_slice(term.bytes());
            }
            form => return Err(JsonProblem::Form(form.to_owned())),
        }
        self.due('}', "'}'")?;
        Ok(None)
    }

    fn atom(&mut self, name: &str, form: &'static str) -> Parsed<()> {
        if name.chars().nth(MAX_ATOM_CHARS).is_some() {
            return Err(JsonProblem::Value(form));
        }
        encode::atom(&mut self.out, name);
        Ok(())
    }

    fn base64(&mut self, form: &'static str) -> Parsed<Vec<u8>> {
        base64::read(&self.string()?).ok_or(JsonProblem::Value(form))
    }

    fn bits(&mut self) -> Parsed<()> {
        self.due('[', "'['")?;
        self.space();
        let bytes = self.base64("$bits")?;
        self.due(',', "','")?;
        let last_bits = u8::try_from(self.small("$bits")?).unwrap_or(0);
        self.due(']', "']'")?;
        if bytes.is_empty() || !(1..8).contains(&last_bits) {
            return Err(JsonProblem::Value("$bits"));
        }
        self.out.push(BIT_BINARY_EXT);
        let len = u32::try_from(bytes.len()).map_err(|_| JsonProblem::Value("$bits"))?;
        self.out.extend_from_slice(&len.to_be_bytes());
        self.out.push(last_bits);
        self.out.extend_from_slice(&bytes);
        Ok(())
    }

    /// `[name, number, ...]` with as many numbers of 32 bits.
    fn identifier<const N: usize>(&mut self, form: &'static str) -> Parsed<(String, [u32; N])> {
        self.due('[', "'['")?;
        let name = self.name(form)?;
        let mut numbers = [0; N];
        for number in &mut numbers {
            self.due(',', "','")?;
            *number = u32::try_from(self.small(form)?).map_err(|_| JsonProblem::Value(form))?;
        }
        self.due(']', "']'")?;
        Ok((name, numbers))
    }

    /// A string that can be an atom.
    fn name(&mut self, form: &'static str) -> Parsed<String> {
        self.space();
        let name = self.string()?;
        match name.chars().nth(MAX_ATOM_CHARS) {
            None => Ok(name),
            Some(_) => Err(JsonProblem::Value(form)),
        }
    }

    fn port(&mut self) -> Parsed<()> {
        const FORM: &str = "$port";
        self.due('[', "'['")?;
        let node = self.name(FORM)?;
        self.due(',', "','")?;
        let id = self.small(FORM)?;
        self.due(',', "','")?;
        let creation = u32::try_from(self.small(FORM)?).map_err(|_| JsonProblem::Value(FORM))?;
        self.due(']', "']'")?;
        encode::port(&mut self.out, &node, id, creation);
        Ok(())
    }

    fn reference(&mut self) -> Parsed<()> {
        const FORM: &str = "$ref";
        let number = |number: u64| u32::try_from(number).map_err(|_| JsonProblem::Value(FORM));
        self.due('[', "'['")?;
        let node = self.name(FORM)?;
        self.due(',', "','")?;
        let creation = number(self.small(FORM)?)?;
        let mut words = Vec::new();
        while self.skip(',') {
            words.push(number(self.small(FORM)?)?);
            if words.len() > Reference::MAX_WORDS {
                return Err(JsonProblem::Value(FORM));
            }
        }
        self.due(']', "']'")?;
        if words.is_empty() {
            return Err(JsonProblem::Value(FORM));
        }
        let reference = Reference::new(node.into(), creation, words.into_iter());
        encode::reference(&mut self.out, &reference);
        Ok(())
    }

    fn export(&mut self) -> Parsed<()> {
        const FORM: &str = "$fun";
        self.due('[', "'['")?;
        let module = self.name(FORM)?;
        self.due(',', "','")?;
        let function = self.name(FORM)?;
        self.due(',', "','")?;
        let arity = u8::try_from(self.small(FORM)?).map_err(|_| JsonProblem::Value(FORM))?;
        self.due(']', "']'")?;
        self.out.push(EXPORT_EXT);
        encode::atom(&mut self.out, &module);
        encode::atom(&mut self.out, &function);
        self.out.extend_from_slice(&[SMALL_INTEGER_EXT, arity]);
        Ok(())
    }

    /// A number from 0 to 2^64 - 1, which may be written as `{"$int": "..."}`.
    fn small(&mut self, form: &'static str) -> Parsed<u64> {
        let start = self.out.len();
        if self.skip('{') {
            self.space();
            if self.string()? != "$int" {
                return Err(JsonProblem::Value(form));
            }
            self.due(':', "':'")?;
            self.space();
            self.integer()?;
            self.due('}', "'}'")?;
        } else {
            self.number()?;
        }
        let value = match TermRef::from_walked(&self.out[start..]).view() {
            Term::Integer(value) => u64::try_from(value).ok(),
            Term::BigInteger { negative: false, magnitude } if magnitude.len() <= 8 => {
                let mut bytes = [0; 8];
                bytes[..magnitude.len()].copy_from_slice(magnitude);
                Some(u64::from_le_bytes(bytes))
            }
            _ => None,
        };
        self.out.truncate(start);
        value.ok_or(JsonProblem::Value(form))
    }

    /// An integer as Erlang writes it, in a string.
    fn integer(&mut self) -> Parsed<()> {
        let digits = self.string()?;
        let term = text::parse(&digits).map_err(|_| JsonProblem::Value("$int"))?;
        match term.as_term().view() {
            Term::Integer(_) | Term::BigInteger { .. } => self.out.extend(term.into_bytes()),
            _ => return Err(JsonProblem::Value("$int")),
        }
        Ok(())
    }

    fn string(&mut self) -> Parsed<String> {
        self.due('"', "a string")?;
        let mut text = String::new();
        loop {
            let rest = &self.json[self.at..];
            let plain = rest
                .find(|c: char| c == '"' || c == '\\' || c < ' ')
                .ok_or(JsonProblem::End)
                .inspect_err(|_| self.at = self.json.len())?;
            text.push_str(&rest[..plain]);
            self.at += plain;
            match self.next()? {
                '"' => return Ok(text),
                '\\' => text.push(self.escape()?),
                _ => {
                    self.at -= 1;
                    return Err(JsonProblem::Control);
                }
            }
        }
    }

    fn escape(&mut self) -> Parsed<char> {
        let start = self.at;
        let c = match self.next()? {
            c @ ('"' | '\\' | '/') => Some(c),
            'b' => Some('\x08'),
            'f' => Some('\x0c'),
            'n' => Some('\n'),
            'r' => Some('\r'),
            't' => Some('\t'),
            'u' => match self.unit() {
                // Characters beyond 16 bits are written as two units.
                Some(high @ 0xd800..0xdc00) => {
                    let low = if self.json[self.at..].starts_with("\\u") {
                        self.at += 2;
                        self.unit()
                    } else {
                        None
                    };
                    low.filter(|low| (0xdc00..0xe000).contains(low)).and_then(|low| {
                        char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00))
                    })
                }
                unit => unit.and_then(char::from_u32),
            },
            _ => None,
        };
        c.ok_or_else(|| {
            self.at = start;
            JsonProblem::Escape
        })
    }

    /// Four hexadecimal digits.
    fn unit(&mut self) -> Option<u32> {
        let digits = self.json.get(self.at..self.at + 4)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        self.at += 4;
        u32::from_str_radix(digits, 16).ok()
    }

    fn number(&mut self) -> Parsed<()> {
        let start = self.at;
        let rest: &'a str = &self.json[start..];
        let len = rest
            .find(|c: char| !matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E'))
            .unwrap_or(rest.len());
        let number = &rest[..len];
        if !is_number(number) {
            return Err(JsonProblem::Number);
        }
        if number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
            if let Ok(value) = number.parse() {
                encode::integer(&mut self.out, value);
            } else if len <= MAX_DIGITS {
                let value = BigInt::parse_bytes(number.as_bytes(), 10);
                build::integer(&mut self.out, &value.ok_or(JsonProblem::Number)?);
            } else {
                return Err(JsonProblem::Number);
            }
        } else {
            match number.parse::<f64>() {
                Ok(value) if value.is_finite() => encode::float(&mut self.out, value),
                _ => return Err(JsonProblem::Number),
            }
        }
        self.at += len;
        Ok(())
    }
}

/// Whether the text is a number as RFC 8259 has it.
fn is_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let text = text.strip_prefix('-').unwrap_or(text);
    let (text, exponent) = match text.split_once(['e', 'E']) {
        Some((text, exponent)) => (text, Some(exponent)),
        None => (text, None),
    };
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (text, None),
    };
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(|e| digits(e.strip_prefix(['-', '+']).unwrap_or(e)))
}
