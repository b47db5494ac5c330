//! What programs in any language, and people, see: the same logs over HTTP.
//!
//! A request passes, in this order: the place it takes (`server`), who may do what (`access`), and one of the routes below.
//! Every route that reads entries reads them with the one reader that all others use, in slices.
//!
//! `docs/http.md` is the guide; the routes describe themselves as OpenAPI at `/api/v1/openapi.json`.

mod about;
mod access;
mod alerts;
mod analyses;
mod append;
mod body;
mod console;
mod cursors;
mod entries;
mod entry;
mod error;
mod explain;
mod faults;
mod filter;
#[cfg(fuzzing)]
pub mod fuzzing;
mod grpc;
mod health;
mod histogram;
mod idempotency;
mod open_metrics;
mod parameters;
mod route;
mod segments;
mod select;
mod server;
mod state;
mod stream;

use std::net::SocketAddr;
use std::path::PathBuf;

pub use server::HttpError;
pub(crate) use server::{Api, check};

/// Erlang's external term format, as a media type.
const ETF: &str = "application/x-erlang-etf";

/// Where and how HTTP is served, and to whom.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// Where to listen; port 0 takes any.
    pub listen: SocketAddr,
    /// Whether somebody asked for it. If not, and the address is taken, the program runs without HTTP.
    pub is_asked_for: bool,
    /// Who may do what. Without any, a listener on loopback serves the processes of this program's own user and root.
    pub tokens: Vec<Token>,
    /// Names, beside the listener's own, that requests may be addressed to: `name` or `name:port`.
    pub hosts: Vec<String>,
    /// Where people find the pages, if a proxy serves them: its origin may send what changes something, as ours may.
    pub public_url: Option<String>,
    /// Whether another address than loopback may be served without TLS.
    pub plain: bool,
    /// Where the certificate and its key are, if connections are encrypted.
    pub tls: Option<TlsFiles>,
}

impl HttpConfig {
    /// Serves the processes of this user there, if it is on loopback; tokens are needed elsewhere.
    pub const fn new(listen: SocketAddr) -> Self {
        HttpConfig {
            listen,
            is_asked_for: true,
            tokens: Vec::new(),
            hosts: Vec::new(),
            public_url: None,
            plain: false,
            tls: None,
        }
    }
}

/// Files in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and those that lead to its authority.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// What a token allows; each role includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// To read.
    Read,
    /// To append, too.
    Write,
    /// To decide about faults, rules and silences, too.
    Admin,
}

impl Role {
    /// As it is written in a configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Read => "read",
            Role::Write => "write",
            Role::Admin => "admin",
        }
    }
}

/// A token that is accepted. The token itself is not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Whose it is, for people.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// The SHA-256 digest of its text.
    pub sha256: [u8; 32],
}
