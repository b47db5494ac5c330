//! One attempt to tell one webhook of one alert.
//!
//! A URL is written by who configures us, but where it leads is up to somebody else's name server, and the network that we
//! are in trusts us more than it trusts them. So only public addresses are connected to, and no redirect is followed.
//!
//! The path of a URL is often all the secret there is: nothing here shows more of it than its scheme, host and port.
//!
//! Specification: Standard Webhooks 1.0.0.

mod address;
mod body;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::Read;
use std::net::IpAddr;
use std::time::Duration;

use ring::hmac;
use ureq::Agent;
use ureq::http::{HeaderMap, Uri, header};
use ureq::tls::{Certificate, TlsConfig};
use ureq::unversioned::transport::DefaultConnector;

use crate::analysis::alert_event::AlertEvent;
use crate::etf::base64;
use crate::outgoing::{USER_AGENT, is_untrusted, machine_authorities, tls};
use crate::strangers::Escaped;
use crate::time::Timestamp;
use address::{NotPublic, Resolver};

/// How long a connection may take to be made.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// How long all of it may take, from the name's lookup to the answer's end.
const WHOLE_TIME: Duration = Duration::from_secs(10);

/// The most that is read of an answer that is a refusal: enough for what [`Escaped`] shows of it.
const MAX_ANSWER_BYTES: u64 = 1024;

/// The longest that a webhook may have us wait.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// A place to tell of alerts.
#[derive(Clone)]
pub struct Webhook {
    /// Its name in the configuration.
    pub name: String,
    /// Where requests go. It passes [`Webhook::check_url`].
    pub url: String,
    /// What is sent.
    pub template: Template,
    /// What requests are signed with.
    pub secret: Option<Secret>,
    /// Whether it may be in our own network, or on this machine.
    pub allow_private: bool,
}

impl Webhook {
    /// Whether alerts can be sent to a URL. Nothing is looked up: what a name leads to is only seen when they are.
    ///
    /// # Errors
    ///
    /// What is wrong with it, without the URL.
    pub fn check_url(url: &str, allow_private: bool) -> Result<(), String> {
        let uri: Uri = url.parse().map_err(|_| "it is no URL: write https://HOST/PATH")?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err("it begins with neither https:// nor http://".to_owned());
        }
        if url.contains('#') {
            return Err("a fragment (#) is never sent: leave it out".to_owned());
        }
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(
                "a name or password before the host (@) is not taken: use `secret`".to_owned()
            );
        }
        address::check_host(uri.host().unwrap_or_default(), allow_private)
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook")
            .field("name", &self.name)
            .field("url", &place(&self.url))
            .field("template", &self.template)
            .field("secret", &self.secret)
            .field("allow_private", &self.allow_private)
            .finish()
    }
}

/// What may be shown of a URL: scheme, host and port.
fn place(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    let port = uri.port().map(|port| format!(":{port}")).unwrap_or_default();
    Some(format!("{}://{}{port}", uri.scheme_str()?, uri.host()?))
}

/// The form of what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Template {
    /// All that is known, for programs.
    Generic,
    /// A message of Slack, and of what takes the same.
    Slack,
}

impl Template {
    /// The template of this name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "generic" => Some(Template::Generic),
            "slack" => Some(Template::Slack),
            _ => None,
        }
    }
}

/// What requests are signed with.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

impl Secret {
    const MIN_TEXT_BYTES: usize = 16;

    /// `whsec_` and 24 to 64 bytes in base64, as Standard Webhooks has it; or any other text of at least 16 bytes.
    ///
    /// # Errors
    ///
    /// What is wrong with it, without the secret.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some(encoded) = text.strip_prefix("whsec_") else {
            return match text.len() >= Self::MIN_TEXT_BYTES {
                true => Ok(Secret(text.as_bytes().to_vec())),
                false => Err(format!(
                    "a secret of {} bytes can be guessed: write at least {}, or whsec_ and 24 to 64 random bytes in base64",
                    text.len(),
                    Self::MIN_TEXT_BYTES
                )),
            };
        };
        match base64::read(encoded) {
            Some(bytes) if (24..=64).contains(&bytes.len()) => Ok(Secret(bytes)),
            Some(bytes) => {
                Err(format!("behind whsec_ there are {} bytes, not 24 to 64", bytes.len()))
            }
            None => Err("what follows whsec_ is not base64, with padding (=)".to_owned()),
        }
    }

    /// The signature of a request, as a header has it.
    fn sign(&self, id: &str, seconds: &str, body: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        let tag = hmac::sign(&key, format!("{id}.{seconds}.{body}").as_bytes());
        let mut signature = "v1,".to_owned();
        base64::write(&mut signature, tag.as_ref()).expect("strings take everything");
        signature
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Tells one webhook.
pub(super) struct Sender {
    webhook: Webhook,
    public_url: Option<String>,
    times: Times,
    /// `None`: nobody would be trusted.
    agent: Option<Agent>,
}

/// How long it may take.
#[derive(Clone, Copy)]
struct Times {
    connect: Duration,
    whole: Duration,
}

impl Sender {
    /// `public_url` is where people find us. For https the machine's certificates are read, once.
    pub(super) fn new(webhook: &Webhook, public_url: Option<&str>) -> Self {
        let times = Times { connect: CONNECT_TIME, whole: WHOLE_TIME };
        Self::with(webhook, public_url, times, machine_authorities)
    }

    fn with(
        webhook: &Webhook,
        public_url: Option<&str>,
        times: Times,
        authorities: impl FnOnce() -> Vec<Certificate<'static>>,
    ) -> Self {
        let is_tls = webhook.url.parse().is_ok_and(|uri: Uri| uri.scheme_str() == Some("https"));
        let tls = match is_tls {
            true => Some(authorities()).filter(|found| !found.is_empty()).map(tls),
            false => Some(TlsConfig::default()),
        };
        Sender {
            webhook: webhook.clone(),
            public_url: public_url.map(ToOwned::to_owned),
            times,
            agent: tls.map(|tls| agent(tls, times, webhook.allow_private)),
        }
    }

    /// Tells it once. Blocks, for 10 s at most.
    ///
    /// # Errors
    ///
    /// [`SendError`], unless its answer is a success. It may have been told all the same, if only the answer was lost.
    pub(super) fn send(&self, alert: &AlertEvent, now: Timestamp) -> Result<(), SendError> {
        let agent = self.agent.as_ref().ok_or(SendError::NoAuthorities)?;
        // The same at every attempt. A full stop would separate parts of what is signed.
        let id = format!("{}-{}", alert.id, alert.phase.as_str());
        let seconds = (now.micros() / 1_000_000).to_string();
        let link = self.public_url.as_deref().map(|url| body::link(url, alert));
        let body = match self.webhook.template {
            Template::Generic => body::generic(alert, link.as_deref()),
            Template::Slack => body::slack(alert, link.as_deref()),
        };
        let mut request = agent
            .post(&self.webhook.url)
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-id", &id)
            .header("webhook-timestamp", &seconds);
        if let Some(secret) = &self.webhook.secret {
            request = request.header("webhook-signature", secret.sign(&id, &seconds, &body));
        }
        let mut response = request.send(&body).map_err(|error| self.not_sent(error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        if let Some(to) =
            response.headers().get(header::LOCATION).filter(|_| status.is_redirection())
        {
            let to = to.to_str().ok().and_then(place).unwrap_or_else(|| "another place".to_owned());
            return Err(SendError::Redirect { status: status.as_u16(), to });
        }
        let retry_after = retry_after(response.headers(), now);
        let mut said = Vec::new();
        // What cannot be read says nothing.
        let _ = response.body_mut().as_reader().take(MAX_ANSWER_BYTES).read_to_end(&mut said);
        let said = Escaped(String::from_utf8_lossy(&said).trim()).to_string();
        Err(SendError::Refused { status: status.as_u16(), said, retry_after })
    }

    fn not_sent(&self, error: ureq::Error) -> SendError {
        use ureq::{Error, Timeout};
        let why = match error {
            Error::Other(error) => match error.downcast::<NotPublic>() {
                Ok(found) => return SendError::NotPublic(found.0),
                Err(error) => error.to_string(),
            },
            Error::Timeout(Timeout::Resolve | Timeout::Connect) => {
                format!("no connection within {:?}", self.times.connect)
            }
            Error::Timeout(_) => format!("no answer within {:?}", self.times.whole),
            // They may say what the URL is.
            Error::BadUri(_) | Error::Http(_) => "its URL cannot be used".to_owned(),
            Error::Io(error) if is_untrusted(&error) => {
                format!("{error}; if its authority is your own, set SSL_CERT_FILE")
            }
            Error::Io(error) => error.to_string(),
            error => error.to_string(),
        };
        SendError::Connection(Escaped(&why).to_string())
    }
}

fn agent(tls: TlsConfig, times: Times, allow_private: bool) -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        // A proxy would look the name up itself.
        .proxy(None)
        .tls_config(tls)
        .timeout_resolve(Some(times.connect))
        .timeout_connect(Some(times.connect))
        .timeout_global(Some(times.whole))
        // Alerts are rare: a connection that was kept would be closed by the next one.
        .max_idle_connections(0)
        .user_agent(USER_AGENT)
        .build();
    Agent::with_parts(config, DefaultConnector::new(), Resolver::new(allow_private))
}

/// How long a webhook asks us to wait: seconds, or a date of HTTP.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match value.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let until = jiff::fmt::rfc2822::parse(value).ok()?.timestamp().as_microsecond();
            let until = Timestamp::from_micros(u64::try_from(until).ok()?);
            Duration::from_micros(until.micros_since(now))
        }
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// Why a webhook has not been told, or has not said that it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// All addresses of its host are ours to reach, and nobody else's.
    #[error(
        "its host is {0}, which is not a public address; if that is meant, set allow_private = true"
    )]
    NotPublic(IpAddr),
    /// This machine trusts nobody.
    #[error(
        "this machine has no certificates of authorities to trust; install them, or set SSL_CERT_FILE, and start again"
    )]
    NoAuthorities,
    /// The connection could not be made, broke, or was silent.
    #[error("{0}")]
    Connection(String),
    /// It is somewhere else.
    #[error("answered {status}, a redirect to {to}; none is followed: write that URL")]
    Redirect {
        /// That of HTTP.
        status: u16,
        /// Its scheme and host.
        to: String,
    },
    /// It answered, and not that all is well.
    #[error("answered {status}: {said}")]
    Refused {
        /// That of HTTP.
        status: u16,
        /// How its answer begins, in one line.
        said: String,
        /// How long to wait before the next attempt.
        retry_after: Option<Duration>,
    },
}

impl SendError {
    /// Whether the same request will hardly be taken the next time either.
    pub fn is_final(&self) -> bool {
        match self {
            SendError::Redirect { .. } => true,
            SendError::Refused { status, .. } => {
                matches!(status, 300..=499) && !matches!(status, 408 | 425 | 429)
            }
            // What a name leads to, and who is trusted, may change.
            SendError::NotPublic(_) | SendError::NoAuthorities | SendError::Connection(_) => false,
        }
    }

    /// How long the webhook asks us to wait, one hour at most.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            SendError::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}
