//! What the HTTP requests that we send have in common: how addresses are written, and whom TLS trusts.

use std::fmt::Write;
use std::io;
use std::sync::Arc;

use rustls::crypto::ring;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// Who we say that we are.
pub(crate) const USER_AGENT: &str = concat!("logmachine/", env!("CARGO_PKG_VERSION"));

/// Writes text as a part of a URL (RFC 3986).
pub(crate) fn escape(out: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => write!(out, "%{byte:02X}").expect("strings take everything"),
        }
    }
}

/// TLS that trusts who one of these authorities vouches for.
pub(crate) fn tls(authorities: Vec<Certificate<'static>>) -> TlsConfig {
    TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(authorities)))
        .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()))
        .build()
}

/// The authorities that this machine trusts; those of `SSL_CERT_FILE` and `SSL_CERT_DIR` instead, if either is set.
///
/// What cannot be read is left out: a certificate that nobody vouches for is an error that names it.
pub(crate) fn machine_authorities() -> Vec<Certificate<'static>> {
    let found = rustls_native_certs::load_native_certs().certs;
    found.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect()
}

/// Whether a connection failed because nobody that we trust vouches for who answered.
pub(crate) fn is_untrusted(error: &io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    matches!(cause, Some(rustls::Error::InvalidCertificate(_)))
}
