//! Who may do what: to whom a request is addressed, where it comes from, and what its token allows.
//!
//! # Invariants
//!
//! - `addressed_to_us`: a page of somebody else's cannot make a browser read or write here under a name of its own.
//! - `never_shown`: no token, and no part of one, is kept, logged or answered.
//! - `same_time`: how long a wrong token takes to be refused does not tell how much of it is right.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use ring::digest::{SHA256, digest};
use subtle::ConstantTimeEq;
use tracing::warn;

use super::error::Refusal;
use super::{HttpConfig, Role, Token};
use crate::node::socket_owner;
use crate::strangers::{self, Escaped};
use crate::time::monotonic;

/// How long a browser's session lasts.
const SESSION_TIME: Duration = Duration::from_secs(12 * 3600);

/// Sessions at once; the oldest one gives way.
const MAX_SESSIONS: usize = 10_000;

/// The name of the cookie that holds a browser's session.
const COOKIE: &str = "logmachine_session";

/// A connection, as far as it matters for who may do what.
#[derive(Debug)]
pub(super) struct Connection {
    /// Where it comes from.
    pub(super) from: SocketAddr,
    /// Where it came in.
    pub(super) to: SocketAddr,
    /// Whether it is encrypted.
    pub(super) is_tls: bool,
    /// Whether it belongs to this program's user or to root; asked for once.
    is_own: OnceLock<bool>,
}

impl Connection {
    pub(super) fn new(from: SocketAddr, to: SocketAddr, is_tls: bool) -> Self {
        let plain =
            |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        Connection { from: plain(from), to: plain(to), is_tls, is_own: OnceLock::new() }
    }

    /// Only where the system tells so.
    fn is_own(&self) -> bool {
        let ask = || {
            let owner = socket_owner::of_connection(self.from, self.to);
            owner.ok().flatten().is_some_and(socket_owner::Owner::is_trusted)
        };
        self.from.ip().is_loopback() && *self.is_own.get_or_init(ask)
    }
}

/// Who sent a request that may be served.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// The name of the token, or of the address that needs none.
    pub(super) name: Arc<str>,
    role: Role,
    /// Whether a browser's cookie says so.
    pub(super) is_session: bool,
}

impl Caller {
    pub(super) const fn role(&self) -> Role {
        self.role
    }

    /// Refuses what needs a role that the caller has not.
    pub(super) fn check(&self, role: Role) -> Result<(), Refusal> {
        if self.role >= role {
            return Ok(());
        }
        let message = format!(
            "token {:?} has the role {}, this needs {}",
            self.name,
            self.role.as_str(),
            role.as_str()
        );
        Err(Refusal::new(StatusCode::FORBIDDEN, "forbidden", message))
    }
}

/// A browser that has shown a token.
#[derive(Debug)]
struct Session {
    caller: Caller,
    /// The token that it showed: a session ends with it.
    sha256: [u8; 32],
    until: Instant,
}

/// Who may do what.
#[derive(Debug)]
pub(super) struct Access {
    known: RwLock<Known>,
    /// By the digest of the cookie.
    sessions: Mutex<HashMap<[u8; 32], Session>>,
    /// The host of the node's name.
    node_host: String,
    is_loopback: bool,
}

/// What a configuration says and can be read again.
#[derive(Debug)]
struct Known {
    tokens: Vec<Token>,
    hosts: Vec<String>,
    /// Where pages come from that a proxy serves for us: `https://HOST`.
    public_origin: Option<String>,
}

impl Known {
    fn new(config: &HttpConfig) -> Self {
        let mut hosts = config.hosts.clone();
        let uri = config.public_url.as_deref().and_then(|url| url.parse::<Uri>().ok());
        let place = uri.as_ref().and_then(|uri| uri.scheme_str().zip(uri.authority()));
        hosts.extend(place.map(|(_, host)| host.to_string()));
        let public_origin = place.map(|(scheme, host)| format!("{scheme}://{host}"));
        Known { tokens: config.tokens.clone(), hosts, public_origin }
    }
}

impl Access {
    pub(super) fn new(config: &HttpConfig, node_host: &str) -> Self {
        Access {
            known: RwLock::new(Known::new(config)),
            sessions: Mutex::default(),
            node_host: node_host.to_owned(),
            is_loopback: config.listen.ip().is_loopback(),
        }
    }

    /// From now on others may. Browsers whose token is gone are out.
    pub(super) fn replace(&self, config: &HttpConfig) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        *known = Known::new(config);
        let is_known = |session: &Session| {
            let sha256 = session.sha256;
            known
                .tokens
                .iter()
                .any(|token| token.sha256 == sha256 && token.role == session.caller.role)
        };
        self.sessions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|_, session| is_known(session));
    }

    /// Whether the request is for us, and, if it changes something, comes from a page of ours or from no page
    /// (`addressed_to_us`).
    pub(super) fn check_address(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        connection: &Connection,
    ) -> Result<(), Refusal> {
        let misdirected = |message: String| {
            Err(Refusal::new(StatusCode::MISDIRECTED_REQUEST, "misdirected", message).at("Host"))
        };
        // HTTP/2 has it in the address.
        let named = match uri.authority() {
            Some(authority) => Some(authority.as_str()),
            None => headers.get(header::HOST).and_then(|host| host.to_str().ok()),
        };
        let Some(host) = named else {
            return misdirected("the request names no host that it is for".to_owned());
        };
        if !self.is_ours(host, connection) {
            return misdirected(format!(
                "{} is not a name of this listener: add it to [http] hosts if it is",
                Escaped(host)
            ));
        }
        if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
            return Ok(());
        }
        let scheme = if connection.is_tls { "https" } else { "http" };
        let is_foreign = match headers.get(header::ORIGIN) {
            Some(origin) => {
                origin.as_bytes() != format!("{scheme}://{host}").as_bytes()
                    && !self.is_public_origin(origin)
            }
            None => headers
                .get("sec-fetch-site")
                .is_some_and(|site| site != "same-origin" && site != "none"),
        };
        if is_foreign {
            let message = "a page of another site may change nothing here";
            return Err(Refusal::new(StatusCode::FORBIDDEN, "cross_site", message).at("Origin"));
        }
        Ok(())
    }

    fn is_public_origin(&self, origin: &HeaderValue) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.public_origin.as_ref().is_some_and(|ours| ours.as_bytes() == origin.as_bytes())
    }

    fn is_ours(&self, host: &str, connection: &Connection) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let host = host.to_ascii_lowercase();
        if known.hosts.iter().any(|named| named.to_ascii_lowercase() == host) {
            return true;
        }
        let (name, port) = split_port(&host);
        if known.hosts.iter().any(|named| named.to_ascii_lowercase() == name) {
            return true;
        }
        let default = if connection.is_tls { 443 } else { 80 };
        if port.unwrap_or(Some(default)) != Some(connection.to.port()) {
            return false;
        }
        let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        match address {
            Ok(address) => address.to_canonical() == connection.to.ip(),
            Err(_) if connection.to.ip().is_loopback() && name == "localhost" => true,
            // On loopback a name that DNS can be made to lead here is nobody's.
            Err(_) => !self.is_loopback && name == self.node_host.to_ascii_lowercase(),
        }
    }

    /// Who sends a request that needs this role.
    pub(super) fn caller(
        &self,
        role: Role,
        headers: &HeaderMap,
        connection: &Connection,
    ) -> Result<Caller, Refusal> {
        let caller = self.authenticate(headers, connection).inspect_err(|refusal| {
            if strangers::HTTP.admit() {
                warn!(from = %connection.from, "HTTP request refused: {}", refusal.message());
            }
        })?;
        caller.check(role)?;
        Ok(caller)
    }

    fn authenticate(
        &self,
        headers: &HeaderMap,
        connection: &Connection,
    ) -> Result<Caller, Refusal> {
        if let Some(presented) = headers.get(header::AUTHORIZATION) {
            return match bearer(presented).and_then(|token| self.token(token)) {
                Some(token) => Ok(caller_of(&token)),
                None => Err(unauthorized("this token is not accepted")),
            };
        }
        if let Some(caller) = cookie(headers).and_then(|cookie| self.session(cookie)) {
            return Ok(caller);
        }
        let has_tokens =
            !self.known.read().unwrap_or_else(PoisonError::into_inner).tokens.is_empty();
        if has_tokens {
            return Err(unauthorized("a token is needed: Authorization: Bearer TOKEN"));
        }
        if connection.is_own() {
            return Ok(Caller { name: "local".into(), role: Role::Admin, is_session: false });
        }
        Err(unauthorized(
            "without tokens only processes of this program's own user and of root are served: make one with `logmachine token`",
        ))
    }

    /// The token with this text (`same_time`).
    fn token(&self, text: &[u8]) -> Option<Token> {
        let presented = sha256(text);
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = None;
        for token in &known.tokens {
            if bool::from(token.sha256.ct_eq(&presented)) {
                found = Some(token.clone());
            }
        }
        found
    }

    /// A browser trades a token for a session; the cookie to set.
    pub(super) fn log_in(&self, headers: &HeaderMap, is_tls: bool) -> Result<HeaderValue, Refusal> {
        let presented = headers.get(header::AUTHORIZATION).and_then(bearer);
        let token = presented.and_then(|token| self.token(token));
        let token = token.ok_or_else(|| unauthorized("this token is not accepted"))?;
        let mut random = [0; 32];
        getrandom::fill(&mut random).expect("the operating system gives random numbers");
        let cookie = hex(&random);
        let now = monotonic();
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|_, session| session.until > now);
        if sessions.len() >= MAX_SESSIONS
            && let Some(oldest) = sessions.iter().min_by_key(|(_, session)| session.until)
        {
            let oldest = *oldest.0;
            sessions.remove(&oldest);
        }
        let caller = Caller { is_session: true, ..caller_of(&token) };
        let session = Session { caller, sha256: token.sha256, until: now + SESSION_TIME };
        sessions.insert(sha256(cookie.as_bytes()), session);
        let secure = if is_tls { "; Secure" } else { "" };
        let age = SESSION_TIME.as_secs();
        let cookie =
            format!("{COOKIE}={cookie}; HttpOnly; SameSite=Strict; Path=/; Max-Age={age}{secure}");
        Ok(HeaderValue::from_str(&cookie).expect("it is ASCII"))
    }

    /// Ends a browser's session; the cookie that takes its place.
    pub(super) fn log_out(&self, headers: &HeaderMap) -> HeaderValue {
        if let Some(cookie) = cookie(headers) {
            let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
            sessions.remove(&sha256(cookie.as_bytes()));
        }
        HeaderValue::from_static(
            "logmachine_session=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0",
        )
    }

    fn session(&self, cookie: &str) -> Option<Caller> {
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let session = sessions.get(&sha256(cookie.as_bytes()))?;
        (session.until > monotonic()).then(|| session.caller.clone())
    }
}

fn caller_of(token: &Token) -> Caller {
    Caller { name: token.name.as_str().into(), role: token.role, is_session: false }
}

fn unauthorized(message: &str) -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
}

/// `HOST`, `HOST:PORT`, `[V6]:PORT`: the host, and the port if there is one; `Some(None)` if it is none.
fn split_port(host: &str) -> (&str, Option<Option<u16>>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port.parse().ok())),
        _ => (host, None),
    }
}

/// The token of a header `Bearer TOKEN`.
fn bearer(header: &HeaderValue) -> Option<&[u8]> {
    let (scheme, token) = header.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).into_iter();
    let mut cookies =
        cookies.filter_map(|value| value.to_str().ok()).flat_map(|all| all.split(';'));
    cookies.find_map(|one| one.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest(&SHA256, bytes).as_ref().try_into().expect("32 bytes")
}

/// Bytes in hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(listen: &str, tokens: Vec<Token>, hosts: &[&str]) -> Access {
        let mut config = HttpConfig::new(listen.parse().expect("an address"));
        config.tokens = tokens;
        config.hosts = hosts.iter().map(ToString::to_string).collect();
        Access::new(&config, "db7.example.org")
    }

    fn connection(to: &str, is_tls: bool) -> Connection {
        Connection::new(
            "203.0.113.9:50000".parse().expect("an address"),
            to.parse().expect("an address"),
            is_tls,
        )
    }

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            (name.parse::<header::HeaderName>().expect("a name"), value.parse().expect("a value"))
        };
        pairs.iter().map(pair).collect()
    }

    /// What browsers and programs send as `Host`, to listeners on loopback and elsewhere.
    #[test]
    fn only_requests_that_are_addressed_to_us_are_served() {
        let check = |access: &Access, to: &str, is_tls, host: &str| {
            let connection = connection(to, is_tls);
            let pairs = [("host", host)];
            access
                .check_address(&Method::GET, &Uri::from_static("/"), &headers(&pairs), &connection)
                .is_ok()
        };
        let local = access("127.0.0.1:4370", vec![], &[]);
        for host in ["127.0.0.1:4370", "localhost:4370", "LOCALHOST:4370"] {
            assert!(check(&local, "127.0.0.1:4370", false, host), "{host}");
        }
        for host in [
            "evil.example",
            "127.0.0.1",
            "127.0.0.1:80",
            "localhost",
            "10.0.0.1:4370",
            "db7.example.org:4370",
            "127.0.0.1:4370.evil.example",
            "",
            "[::1]:4370",
            "localhost:",
            "localhost:x",
        ] {
            assert!(!check(&local, "127.0.0.1:4370", false, host), "{host}");
        }
        assert!(check(&local, "[::1]:4370", false, "[::1]:4370"));
        let wide = access("0.0.0.0:443", vec![], &["logs.example.org", "logs:8443"]);
        for host in [
            "db7.example.org",
            "db7.example.org:443",
            "10.0.0.7",
            "logs.example.org",
            "logs.example.org:9",
            "logs:8443",
        ] {
            assert!(check(&wide, "10.0.0.7:443", true, host), "{host}");
        }
        for host in ["localhost", "10.0.0.8", "logs", "logs:443", "db7.example.org:80"] {
            assert!(!check(&wide, "10.0.0.7:443", true, host), "{host}");
        }
    }

    /// Forms posted by pages of others.
    #[test]
    fn pages_of_other_sites_change_nothing() {
        let access = access("127.0.0.1:4370", vec![], &[]);
        let connection = connection("127.0.0.1:4370", false);
        let check = |pairs: &[(&str, &str)]| {
            let mut all = vec![("host", "127.0.0.1:4370")];
            all.extend(pairs);
            access
                .check_address(&Method::POST, &Uri::from_static("/"), &headers(&all), &connection)
                .is_ok()
        };
        assert!(check(&[]) && check(&[("origin", "http://127.0.0.1:4370")]));
        assert!(check(&[("sec-fetch-site", "same-origin")]));
        for origin in
            ["http://evil.example", "null", "https://127.0.0.1:4370", "http://127.0.0.1", ""]
        {
            assert!(!check(&[("origin", origin)]), "{origin}");
        }
        assert!(
            !check(&[("sec-fetch-site", "cross-site")])
                && !check(&[("sec-fetch-site", "same-site")])
        );
    }

    /// Three tokens, one of each role; then one of them is taken away.
    #[test]
    fn a_token_allows_what_its_role_does_and_a_session_no_more() {
        let token =
            |name: &str, role| Token { name: name.into(), role, sha256: sha256(name.as_bytes()) };
        let tokens = vec![token("r", Role::Read), token("w", Role::Write), token("a", Role::Admin)];
        let access = access("127.0.0.1:4370", tokens.clone(), &[]);
        let connection = connection("127.0.0.1:4370", false);
        let status = |role, pairs: &[(&str, &str)]| {
            let refused = access.caller(role, &headers(pairs), &connection).err();
            refused.map_or(200, |refusal| refusal.status().as_u16())
        };
        for (text, expected) in [
            ("Bearer r", [200, 403, 403]),
            ("bearer w", [200, 200, 403]),
            ("Bearer a", [200, 200, 200]),
            ("Bearer x", [401, 401, 401]),
            ("Bearer ", [401, 401, 401]),
            ("Basic r", [401, 401, 401]),
            ("r", [401, 401, 401]),
        ] {
            let got = [Role::Read, Role::Write, Role::Admin]
                .map(|role| status(role, &[("authorization", text)]));
            assert_eq!(got, expected, "{text}");
        }
        assert_eq!(status(Role::Read, &[]), 401);
        let set =
            access.log_in(&headers(&[("authorization", "Bearer w")]), true).expect("accepted");
        let set = set.to_str().expect("text");
        assert!(
            set.contains("HttpOnly") && set.contains("SameSite=Strict") && set.contains("Secure")
        );
        let cookie = set.split(';').next().expect("a pair").to_owned();
        let with = |role| status(role, &[("cookie", &format!("other=1; {cookie}"))]);
        assert_eq!([with(Role::Read), with(Role::Write), with(Role::Admin)], [200, 200, 403]);
        let mut config = HttpConfig::new("127.0.0.1:4370".parse().expect("an address"));
        config.tokens = tokens[..1].to_vec();
        access.replace(&config);
        assert_eq!(with(Role::Read), 401, "its token is gone");
        assert_eq!(status(Role::Read, &[("authorization", "Bearer r")]), 200);
        assert!(access.log_in(&headers(&[]), true).is_err());
    }
}
