//! The HTTP API of a running node, as the verbs that talk to one use it.
//!
//! What fails is of two kinds ([`Trouble`]): what another try may mend, and what only a person can.

use std::cell::Cell;
use std::fmt;
use std::io::{BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use ureq::http::{Method, Request, Response, Uri, header};
use ureq::tls::{Certificate, PemItem, TlsConfig, parse_pem};
use ureq::{Agent, Body, Proxy};

use super::Failure;
use crate::outgoing::{USER_AGENT, escape, is_untrusted, machine_authorities, tls};
use crate::strangers::Plain;
use crate::time::pause;

/// How long a connection may take to be made.
const CONNECT_TIME: Duration = Duration::from_secs(10);

/// How long an answer may be silent. The node ends a look at the log after 2 s, but may be busy.
const ANSWER_TIME: Duration = Duration::from_secs(60);

/// How long a stream may be silent: three of the comments that the node sends have not come.
const STREAM_TIME: Duration = Duration::from_secs(45);

/// How often a request that the connection failed is sent, and how long it is waited before the second one; twice as long
/// before each one after that.
const TRIES: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest answer: a page is 16 MiB of JSON, and one event, of which that is several times as long as the event.
const MAX_ANSWER_BYTES: u64 = 256 << 20;

/// The most that is read of an answer that says why a request was refused.
const MAX_REFUSAL_BYTES: u64 = 64 << 10;

/// Which node to talk to, for every verb that does.
#[derive(Args)]
pub(super) struct Remote {
    /// Where the node serves HTTP
    #[arg(
        long,
        value_name = "URL",
        env = "LOGMACHINE_URL",
        default_value = "http://127.0.0.1:4370"
    )]
    url: String,
    /// File with the token that the node asks for; refused if others can read it
    #[arg(long, value_name = "F", env = "LOGMACHINE_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// File with the certificates of the authorities to trust, in PEM [default: those that this machine trusts]
    #[arg(long, value_name = "F", env = "LOGMACHINE_CA_FILE")]
    ca_file: Option<PathBuf>,
}

impl Remote {
    /// Nothing is sent yet.
    pub(super) fn client(&self) -> Result<Client, Failure> {
        let given =
            |file: &Option<PathBuf>| file.clone().filter(|file| !file.as_os_str().is_empty());
        let base = base(&self.url).map_err(Failure::usage)?;
        let token = given(&self.token_file).map(|file| read_token(&file)).transpose();
        let token = token.map_err(Failure::usage)?;
        let is_tls = base.starts_with("https:");
        let tls = match given(&self.ca_file) {
            _ if !is_tls => TlsConfig::default(),
            Some(file) => tls(authorities(&file).map_err(Failure::usage)?),
            None => tls(machine_authorities()),
        };
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // A token goes to nobody but the node.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(if is_loopback(&base) { None } else { Proxy::try_from_env() })
            .tls_config(tls)
            .timeout_connect(Some(CONNECT_TIME))
            .timeout_per_read(Some(ANSWER_TIME))
            .timeout_per_write(Some(ANSWER_TIME))
            .user_agent(USER_AGENT)
            .build();
        Ok(Client {
            agent: Agent::new_with_config(config),
            base,
            authorization: token.map(|token| format!("Bearer {token}")),
            has_answered: Cell::new(false),
        })
    }
}

/// A URL without a slash at its end; what may come before `/api`.
fn base(url: &str) -> Result<String, String> {
    let wrong = || format!("--url {url:?}: write http://HOST:PORT or https://HOST:PORT");
    let parsed: Uri = url.parse().map_err(|_| wrong())?;
    let is_plain = parsed.query().is_none() && !url.contains(['#', '@']);
    let is_http = matches!(parsed.scheme_str(), Some("http" | "https"));
    match is_http && is_plain && parsed.host().is_some_and(|host| !host.is_empty()) {
        true => Ok(url.trim_end_matches('/').to_owned()),
        false => Err(wrong()),
    }
}

/// Whether no proxy of this environment's is meant.
fn is_loopback(base: &str) -> bool {
    let uri: Uri = base.parse().expect("it was parsed before");
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn authorities(file: &Path) -> Result<Vec<Certificate<'static>>, String> {
    let named = |why: String| format!("--ca-file {}: {why}", file.display());
    let pem = std::fs::read(file).map_err(|error| named(error.to_string()))?;
    let mut certificates = Vec::new();
    for item in parse_pem(&pem) {
        match item {
            Ok(PemItem::Certificate(certificate)) => certificates.push(certificate),
            Ok(_) => {}
            Err(error) => return Err(named(error.to_string())),
        }
    }
    match certificates.is_empty() {
        true => Err(named("it holds no certificate in PEM".to_owned())),
        false => Ok(certificates),
    }
}

/// The token in a file.
fn read_token(file: &Path) -> Result<String, String> {
    let path = file.display();
    let unusable = |error: std::io::Error| format!("token file {path} cannot be used: {error}");
    let mut opened = std::fs::File::open(file).map_err(unusable)?;
    let mode = opened.metadata().map_err(unusable)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(format!(
            "token file {path} can be read by others (mode {mode:03o}); run: chmod 400 {path}"
        ));
    }
    let mut text = String::new();
    opened.read_to_string(&mut text).map_err(unusable)?;
    let token = text.trim();
    match !token.is_empty() && token.len() <= 1024 && token.bytes().all(|c| c.is_ascii_graphic()) {
        true => Ok(token.to_owned()),
        false => Err(format!("token file {path} holds no token: one word of printable characters")),
    }
}

/// An address below the node's URL.
#[derive(Clone, Debug)]
pub(super) struct Address(String);

impl Address {
    /// `/api/v1`, and these steps below it.
    pub(super) fn new(steps: &[&str]) -> Self {
        let mut address = "/api/v1".to_owned();
        for step in steps {
            address.push('/');
            escape(&mut address, step);
        }
        Address(address)
    }

    /// With one more parameter.
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.0.push(if self.0.contains('?') { '&' } else { '?' });
        self.0.push_str(name);
        self.0.push('=');
        escape(&mut self.0, value);
        self
    }
}

/// A node that is talked to.
pub(super) struct Client {
    agent: Agent,
    base: String,
    authorization: Option<String>,
    /// Whether the node has ever answered: before that a mistake of the operator's is more likely than a broken line.
    has_answered: Cell<bool>,
}

impl Client {
    /// Asks, as often as it takes if the connection breaks.
    pub(super) fn get(&self, address: &Address) -> Result<String, Failure> {
        let mut wait = FIRST_PAUSE;
        for _ in 1..TRIES {
            match self.try_get(address) {
                Err(trouble) if self.may_pass(&trouble) => pause(wait),
                done => return done.map_err(|trouble| self.failure(&trouble)),
            }
            wait *= 2;
        }
        self.try_get(address).map_err(|trouble| self.failure(&trouble))
    }

    /// The same, as what it says.
    pub(super) fn get_json<T: DeserializeOwned>(&self, address: &Address) -> Result<T, Failure> {
        let text = self.get(address)?;
        serde_json::from_str(&text).map_err(|_| self.strange())
    }

    /// Asks once.
    pub(super) fn try_get(&self, address: &Address) -> Result<String, Trouble> {
        let mut request = self.agent.get(format!("{}{}", self.base, address.0));
        request = request.header(header::ACCEPT, "application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        self.read_text(self.answered(request.call())?)
    }

    /// Sends events in Erlang's external term format, once. With the same `key` they are not appended again by a node that
    /// has run since.
    pub(super) fn try_append(
        &self,
        address: &Address,
        key: &str,
        events: &[u8],
    ) -> Result<String, Trouble> {
        let mut request = self.agent.post(format!("{}{}", self.base, address.0));
        request = request.header(header::CONTENT_TYPE, "application/x-erlang-etf");
        request = request.header("Idempotency-Key", key);
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        self.read_text(self.answered(request.send(events))?)
    }

    /// Sends JSON that changes something, once.
    pub(super) fn change(
        &self,
        method: &Method,
        address: &Address,
        json: &str,
    ) -> Result<String, Failure> {
        let mut request =
            Request::builder().method(method).uri(format!("{}{}", self.base, address.0));
        request = request.header(header::CONTENT_TYPE, "application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let request = request.body(json.to_owned()).map_err(|_| self.strange())?;
        let answered = self.answered(self.agent.run(request));
        answered
            .and_then(|response| self.read_text(response))
            .map_err(|trouble| self.failure(&trouble))
    }

    /// Opens a stream of records, as the log has them.
    pub(super) fn try_records(&self, address: &Address) -> Result<impl Read + use<>, Trouble> {
        let mut request = self.agent.get(format!("{}{}", self.base, address.0));
        request = request.header(header::ACCEPT, "application/x-erlang-etf");
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let response = self.answered(request.call())?;
        let kind = response.headers().get(header::CONTENT_TYPE);
        match kind.is_some_and(|kind| kind == "application/x-erlang-etf") {
            true => Ok(response.into_body().into_reader()),
            false => Err(Trouble::Strange),
        }
    }

    /// Opens a stream of server-sent events that goes on behind the one with this id.
    pub(super) fn try_stream(
        &self,
        address: &Address,
        last_id: &str,
    ) -> Result<BufReader<impl Read + use<>>, Trouble> {
        let request = self.agent.get(format!("{}{}", self.base, address.0));
        let mut request = request.config().timeout_per_read(Some(STREAM_TIME)).build();
        request = request.header(header::ACCEPT, "text/event-stream");
        request = request.header("Last-Event-ID", last_id);
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let response = self.answered(request.call())?;
        let kind = response.headers().get(header::CONTENT_TYPE);
        match kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream")) {
            true => Ok(BufReader::with_capacity(64 << 10, response.into_body().into_reader())),
            false => Err(Trouble::Strange),
        }
    }

    /// Whether another try may help; not where nobody has ever been reached.
    pub(super) fn may_pass(&self, trouble: &Trouble) -> bool {
        trouble.is_passing() && (self.has_answered.get() || !trouble.is_unsent())
    }

    /// The failure that ends the program.
    pub(super) fn failure(&self, trouble: &Trouble) -> Failure {
        let line = self.line(trouble);
        match trouble {
            Trouble::Refused { status: 400, .. } => Failure::usage(trouble.to_string()),
            Trouble::Refused { status: 401, .. } if self.authorization.is_none() => {
                Failure::failed(format!("{line}; pass it in a file: --token-file F"))
            }
            _ => Failure::failed(line),
        }
    }

    /// What went wrong, and where.
    pub(super) fn line(&self, trouble: &Trouble) -> String {
        format!("{}: {trouble}", self.base)
    }

    /// The failure to be what is taken for a node.
    pub(super) fn strange(&self) -> Failure {
        self.failure(&Trouble::Strange)
    }

    fn answered(
        &self,
        sent: Result<Response<Body>, ureq::Error>,
    ) -> Result<Response<Body>, Trouble> {
        let mut response = sent.map_err(Trouble::of_connection)?;
        self.has_answered.set(true);
        let status = response.status().as_u16();
        if response.status().is_success() {
            return Ok(response);
        }
        let mut said = String::new();
        // What cannot be read says nothing.
        let _ = response.body_mut().as_reader().take(MAX_REFUSAL_BYTES).read_to_string(&mut said);
        let said: Option<Said> = serde_json::from_str(&said).ok();
        let (message, place) = said.map(|said| (said.error.message, said.error.place)).unzip();
        Err(Trouble::Refused { status, message, place: place.flatten() })
    }

    fn read_text(&self, mut response: Response<Body>) -> Result<String, Trouble> {
        let read = response.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_string();
        read.map_err(|error| Trouble::Connection { why: error.to_string(), is_unsent: false })
    }
}

/// Why a request was refused, as the node says it.
#[derive(Deserialize)]
struct Said {
    error: SaidError,
}

#[derive(Deserialize)]
struct SaidError {
    message: String,
    #[serde(rename = "where")]
    place: Option<String>,
}

/// Why there is no answer, or not the one that was asked for.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The connection could not be made, or broke.
    Connection {
        /// As the system says it.
        why: String,
        /// Whether the request has not arrived for sure.
        is_unsent: bool,
    },
    /// The node refused, or something between it and us.
    Refused {
        /// That of HTTP.
        status: u16,
        /// What the node says.
        message: Option<String>,
        /// The parameter that is at fault.
        place: Option<String>,
    },
    /// It is not what a node answers.
    Strange,
}

impl Trouble {
    /// An answer did not come to its end.
    pub(super) fn broke(error: &std::io::Error) -> Self {
        Trouble::Connection { why: error.to_string(), is_unsent: false }
    }

    fn of_connection(error: ureq::Error) -> Self {
        use std::io::ErrorKind;
        use ureq::{Error, Timeout};
        let is_unsent = match &error {
            Error::HostNotFound | Error::ConnectionFailed | Error::Tls(_) | Error::Rustls(_) => {
                true
            }
            Error::Timeout(Timeout::Resolve | Timeout::Connect) => true,
            Error::Io(error) => {
                let kinds = [
                    ErrorKind::ConnectionRefused,
                    ErrorKind::HostUnreachable,
                    ErrorKind::NetworkUnreachable,
                ];
                kinds.contains(&error.kind()) || is_untrusted(error)
            }
            _ => false,
        };
        let why = match error {
            Error::Io(error) if error.kind() == ErrorKind::ConnectionRefused => {
                "nobody listens there; is the node running, and does it serve HTTP?".to_owned()
            }
            Error::Io(error) if is_untrusted(&error) => {
                format!("{error}; pass the certificate of its authority: --ca-file F")
            }
            Error::Io(error) => error.to_string(),
            error => error.to_string(),
        };
        Trouble::Connection { why, is_unsent }
    }

    fn is_unsent(&self) -> bool {
        matches!(self, Trouble::Connection { is_unsent: true, .. })
    }

    /// Whether the node, or what is between it and us, may do better the next time.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Trouble::Connection { .. } => true,
            Trouble::Refused { status, .. } => matches!(status, 408 | 425 | 429 | 500..),
            Trouble::Strange => false,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Connection { why, .. } => write!(f, "{}", Plain(why)),
            Trouble::Refused { status, message, place } => {
                if let Some(flag) = place.as_deref().and_then(flag) {
                    write!(f, "{flag}: ")?;
                }
                match message {
                    Some(message) => write!(f, "{}", Plain(message)),
                    None => write!(f, "answered with status {status}, which says no more"),
                }
            }
            Trouble::Strange => f.write_str("what answers there is no logmachine node"),
        }
    }
}

/// What sets a parameter of the API.
fn flag(place: &str) -> Option<&'static str> {
    Some(match place {
        "grep" => "--grep",
        "match" => "--match",
        "level" => "--level",
        "node" => "--node",
        "from" => "--since",
        "to" => "--until",
        "cursor" => "--after-cursor",
        "state" => "--state",
        "baseline" => "--baseline",
        "for" => "--for",
        "until" => "--until",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_url_is_a_scheme_a_host_and_perhaps_a_path() {
        for (url, expected) in [
            ("http://127.0.0.1:4370", Some("http://127.0.0.1:4370")),
            ("https://logs.example/", Some("https://logs.example")),
            ("https://example/logs/", Some("https://example/logs")),
            ("http://[::1]:4370", Some("http://[::1]:4370")),
            ("127.0.0.1:4370", None),
            ("localhost", None),
            ("ftp://a", None),
            ("http://", None),
            ("http://a/?b=c", None),
            ("http://me:secret@a", None),
            ("", None),
        ] {
            assert_eq!(base(url).ok().as_deref(), expected, "{url}");
        }
        assert!(is_loopback("http://[::1]:4370") && is_loopback("http://localhost"));
        assert!(!is_loopback("http://10.0.0.1:4370"));
    }

    #[test]
    fn what_is_typed_cannot_change_an_address() {
        let address = Address::new(&["instances", "a/../b?c"]).with("grep", "x&y=ü").with("n", "1");
        assert_eq!(address.0, "/api/v1/instances/a%2F..%2Fb%3Fc?grep=x%26y%3D%C3%BC&n=1");
    }

    #[test]
    fn a_token_file_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, "topsecret\n").unwrap();
        let with_mode = |mode| {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            read_token(&file)
        };
        let refused = with_mode(0o640).unwrap_err();
        assert!(refused.contains("mode 640") && !refused.contains("topsecret"), "{refused}");
        assert_eq!(with_mode(0o600), Ok("topsecret".to_owned()));
        std::fs::write(&file, "two words").unwrap();
        assert!(read_token(&file).unwrap_err().contains("holds no token"));
        assert!(read_token(dir.path()).is_err());
    }

    #[test]
    fn what_is_wrong_is_one_line_that_names_the_flag() {
        let refused = |status, message: &str, place: Option<&str>| Trouble::Refused {
            status,
            message: Some(message.to_owned()),
            place: place.map(ToOwned::to_owned),
        };
        let grep = refused(400, "unclosed group", Some("grep"));
        assert_eq!(grep.to_string(), "--grep: unclosed group");
        assert_eq!(refused(404, "no\u{1b}", Some("instance")).to_string(), r"no\u{1b}");
        assert!(!refused(401, "x", None).is_passing() && refused(503, "x", None).is_passing());
    }
}
