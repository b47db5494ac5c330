//! Port mapper requests and responses.
//!
//! Protocol: Distribution Protocol, "EPMD Protocol".

use super::{EpmdError, is_sound_part};

const ALIVE2_REQ: u8 = 120;
const ALIVE2_RESP: u8 = 121;
const ALIVE2_X_RESP: u8 = 118;
const PORT_PLEASE2_REQ: u8 = 122;
const PORT2_RESP: u8 = 119;
const NAMES_REQ: u8 = 110;
const DUMP_REQ: u8 = 100;
const KILL_REQ: u8 = 107;
const STOP_REQ: u8 = 115;

/// The port the port mapper listens on unless `ERL_EPMD_PORT` says otherwise.
pub const DEFAULT_PORT: u16 = 4369;

/// The longest request a port mapper has to read: a registration with a name of 255 UTF-8 characters.
pub const MAX_REQUEST_BYTES: usize = 1200;

/// `ALIVE2_REQ`'s node type for a hidden node; 77 is a visible one.
const HIDDEN: u8 = 72;

/// A node as the port mapper knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The part of its name before `@`.
    pub name: String,
    /// Where it listens.
    pub port: u16,
    /// 77 visible, 72 hidden.
    pub node_type: u8,
    /// Highest and lowest protocol version it speaks.
    pub versions: (u16, u16),
    /// What it wants others to know.
    pub extra: Vec<u8>,
}

impl Registration {
    /// A hidden node's, of protocol version 6.
    pub fn hidden(name: &str, port: u16) -> Self {
        let name = name.to_owned();
        Registration { name, port, node_type: HIDDEN, versions: (6, 5), extra: Vec::new() }
    }

    /// Whether the name may be a node's: what comes before `@`. Anything else would only make others read names
    /// that nobody registered, for the answer to `NAMES_REQ` is lines of text.
    pub fn has_sound_name(&self) -> bool {
        self.name.chars().count() <= 255 && is_sound_part(&self.name)
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.port.to_be_bytes());
        out.extend_from_slice(&[self.node_type, 0]);
        out.extend_from_slice(&self.versions.0.to_be_bytes());
        out.extend_from_slice(&self.versions.1.to_be_bytes());
        for field in [self.name.as_bytes(), &self.extra] {
            let len = u16::try_from(field.len()).expect("bounded: names fit atoms");
            out.extend_from_slice(&len.to_be_bytes());
            out.extend_from_slice(field);
        }
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_first_chunk::<10>()?;
        let word = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
        let (name, rest) = rest.split_at_checked(usize::from(word(8)))?;
        let (extra_len, rest) = rest.split_first_chunk::<2>()?;
        let extra = rest.get(..usize::from(u16::from_be_bytes(*extra_len)))?;
        Some(Registration {
            name: std::str::from_utf8(name).ok()?.to_owned(),
            port: word(0),
            node_type: head[2],
            versions: (word(4), word(6)),
            extra: extra.to_vec(),
        })
    }
}

/// What a node asks the port mapper.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the manual's")]
pub enum Request {
    Alive2(Registration),
    PortPlease2(String),
    Names,
    /// `epmd -names` of old, with more detail.
    Dump,
    /// `epmd -kill`.
    Kill,
    /// `epmd -stop NAME`.
    Stop(String),
}

impl Request {
    /// The bytes to send, length prefix included.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![0, 0];
        match self {
            Request::Alive2(registration) => {
                out.push(ALIVE2_REQ);
                registration.write(&mut out);
            }
            Request::PortPlease2(name) => {
                out.push(PORT_PLEASE2_REQ);
                out.extend_from_slice(name.as_bytes());
            }
            Request::Names => out.push(NAMES_REQ),
            Request::Dump => out.push(DUMP_REQ),
            Request::Kill => out.push(KILL_REQ),
            Request::Stop(name) => {
                out.push(STOP_REQ);
                out.extend_from_slice(name.as_bytes());
            }
        }
        let len = u16::try_from(out.len() - 2).expect("bounded: names fit atoms");
        out[..2].copy_from_slice(&len.to_be_bytes());
        out
    }

    /// Reads a request without its length prefix; `None` if it is none that we serve.
    pub fn parse(body: &[u8]) -> Option<Self> {
        match body.split_first()? {
            (&ALIVE2_REQ, rest) => Registration::read(rest).map(Request::Alive2),
            (&PORT_PLEASE2_REQ, name) => Some(Request::PortPlease2(text(name)?)),
            (&NAMES_REQ, []) => Some(Request::Names),
            (&DUMP_REQ, []) => Some(Request::Dump),
            (&KILL_REQ, []) => Some(Request::Kill),
            (&STOP_REQ, name) => Some(Request::Stop(text(name)?)),
            _ => None,
        }
    }
}

/// A name that ends a request; old clients end it with a zero.
fn text(name: &[u8]) -> Option<String> {
    Some(std::str::from_utf8(name.strip_suffix(&[0]).unwrap_or(name)).ok()?.to_owned())
}

/// Reads the answer to `ALIVE2_REQ`: the creation. `None` while bytes are missing.
///
/// # Errors
///
/// [`EpmdError::NameTaken`], [`EpmdError::Malformed`].
pub fn parse_alive2(bytes: &[u8], name: &str) -> Result<Option<u32>, EpmdError> {
    let need = match bytes.first() {
        None => return Ok(None),
        Some(&ALIVE2_X_RESP) => 6,
        Some(&ALIVE2_RESP) => 4,
        Some(_) => return Err(EpmdError::Malformed),
    };
    if bytes.len() >= 2 && bytes[1] != 0 {
        return Err(EpmdError::NameTaken { name: name.to_owned() });
    }
    let Some(creation) = bytes.get(2..need) else { return Ok(None) };
    Ok(Some(creation.iter().fold(0, |creation, &byte| creation << 8 | u32::from(byte))))
}

/// The answer to `ALIVE2_REQ`.
pub fn alive2_answer(creation: Option<u32>) -> Vec<u8> {
    let mut out = vec![ALIVE2_X_RESP, u8::from(creation.is_none())];
    out.extend_from_slice(&creation.unwrap_or(0).to_be_bytes());
    out
}

/// Reads the whole answer to `PORT_PLEASE2_REQ`; `None` if there is no such node.
///
/// # Errors
///
/// [`EpmdError::Malformed`].
pub fn parse_port2(bytes: &[u8]) -> Result<Option<Registration>, EpmdError> {
    match bytes {
        [PORT2_RESP, 0, rest @ ..] => {
            Registration::read(rest).map(Some).ok_or(EpmdError::Malformed)
        }
        [PORT2_RESP, _, ..] => Ok(None),
        _ => Err(EpmdError::Malformed),
    }
}

/// The answer to `PORT_PLEASE2_REQ`.
pub fn port2_answer(registration: Option<&Registration>) -> Vec<u8> {
    let mut out = vec![PORT2_RESP, u8::from(registration.is_none())];
    if let Some(registration) = registration {
        registration.write(&mut out);
    }
    out
}

/// The answer to `NAMES_REQ`, in the text that `epmd -names` and `net_adm:names/0` read.
pub fn names_answer<'a>(
    port: u16,
    registrations: impl Iterator<Item = &'a Registration>,
) -> Vec<u8> {
    let mut out = u32::from(port).to_be_bytes().to_vec();
    for Registration { name, port, .. } in registrations {
        out.extend_from_slice(format!("name {name} at port {port}\n").as_bytes());
    }
    out
}

/// The answer to `DUMP_REQ`: registrations, and the descriptors of their connections.
pub fn dump_answer<'a>(
    port: u16,
    registrations: impl Iterator<Item = (&'a Registration, i32)>,
) -> Vec<u8> {
    let mut out = u32::from(port).to_be_bytes().to_vec();
    for (Registration { name, port, .. }, descriptor) in registrations {
        let line = format!("active name     <{name}> at port {port}, fd = {descriptor}\n\0");
        out.extend_from_slice(line.as_bytes());
    }
    out
}

/// The answer to `KILL_REQ` of a port mapper that has nodes.
pub const KILL_REFUSED: &[u8] = b"NO";

/// Reads the whole answer to `NAMES_REQ`: names and ports. Lines that cannot be a node's are passed over: whoever
/// registers such a name must not hide the others.
///
/// # Errors
///
/// [`EpmdError::Malformed`] if it is no answer at all.
pub fn parse_names(bytes: &[u8]) -> Result<Vec<(String, u16)>, EpmdError> {
    let line = |line: &[u8]| {
        let line = std::str::from_utf8(line).ok()?;
        let (name, port) = line.strip_prefix("name ")?.split_once(" at port ")?;
        is_sound_part(name).then_some((name.to_owned(), port.trim().parse().ok()?))
    };
    let text = bytes.get(4..).ok_or(EpmdError::Malformed)?;
    Ok(text.split(|&byte| byte == b'\n').filter_map(line).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_answers_are_read_back() {
        let node = Registration::hidden("logmachine", 4711);
        for request in [
            Request::Alive2(node.clone()),
            Request::PortPlease2("a".into()),
            Request::Names,
            Request::Dump,
            Request::Kill,
            Request::Stop("a".into()),
        ] {
            assert_eq!(Request::parse(&request.to_bytes()[2..]), Some(request));
        }
        assert_eq!(parse_port2(&port2_answer(Some(&node))).unwrap(), Some(node.clone()));
        assert_eq!(parse_port2(&port2_answer(None)).unwrap(), None);
        let names = names_answer(4369, [&node].into_iter());
        assert_eq!(parse_names(&names).unwrap(), [("logmachine".to_owned(), 4711)]);
        assert_eq!(parse_alive2(&alive2_answer(Some(9)), "x").unwrap(), Some(9));
        assert!(matches!(
            parse_alive2(&alive2_answer(None), "x"),
            Err(EpmdError::NameTaken { .. })
        ));
        assert_eq!(parse_alive2(&[121, 0, 0, 3], "x").unwrap(), Some(3));
    }

    /// What a user may register with OTP's port mapper, which takes any bytes but zero.
    #[test]
    fn strange_names_hide_no_others() {
        let answer = b"\0\0\x11\x11name a at port 1\nname b\nname c at port 2\nname \xff at port 3\nname d at port 4 at port 5\nname e at port 99999\nname f at port 6\n";
        let names: Vec<_> =
            parse_names(answer).unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["a", "c", "f"]);
        assert!(matches!(parse_names(b"\0\0"), Err(EpmdError::Malformed)));
        for (name, is_sound) in [
            ("a\nname b at port 1", false),
            ("a b", false),
            ("a\u{7}", false),
            ("a@b", false),
            ("", false),
            ("grüße_1", true),
            (&"ü".repeat(255), true),
            (&"x".repeat(256), false),
        ] {
            assert_eq!(Registration::hidden(name, 1).has_sound_name(), is_sound, "{name:?}");
        }
    }

    #[test]
    fn damaged_requests_are_none() {
        for body in [&b""[..], b"x", b"x\x11\x22MM\0\x06\0\x05\0\xff", b"z\xff\xfe", b"nn", b"q"] {
            assert_eq!(Request::parse(body), None);
        }
    }
}
