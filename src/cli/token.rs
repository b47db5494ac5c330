//! `logmachine token`: a secret for who talks to a node over HTTP, and the configuration that accepts it. Nothing is sent and
//! nothing is kept: the node knows the digest alone.

use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};
use ring::digest::{SHA256, digest};

use super::{Failure, say};
use crate::api::Role;
use crate::diagnostics;

#[derive(Args)]
pub(super) struct Token {
    /// Whose it is, for people
    name: String,
    /// What it allows
    #[arg(long, value_enum)]
    role: Role,
}

impl ValueEnum for Role {
    fn value_variants<'a>() -> &'a [Self] {
        &[Role::Read, Role::Write, Role::Admin]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let help = match self {
            Role::Read => "To read",
            Role::Write => "To append, too",
            Role::Admin => "To decide about faults, rules and silences, too",
        };
        Some(PossibleValue::new(self.as_str()).help(help))
    }
}

impl Token {
    pub(super) fn run(&self) -> Result<(), Failure> {
        if self.name.trim().is_empty() {
            return Err(Failure::usage("NAME: a token needs a name, for people"));
        }
        let token = format!("lm_{}", random_text());
        let sha256 = digest(&SHA256, token.as_bytes());
        let sha256: String = sha256.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let name = toml::Value::String(self.name.clone());
        let role = self.role.as_str();
        say(&format!(
            "{token}\n\n[[http.token]]\nname = {name}\nrole = \"{role}\"\nsha256 = \"{sha256}\""
        ));
        diagnostics::complain(
            "The token is not shown again: keep it in a file with mode 600, for --token-file. \
             The lines below it go into the node's configuration, which it reads again on SIGHUP.",
        );
        Ok(())
    }
}

/// 32 random bytes as base64url (RFC 4648, section 5), without padding.
pub(super) fn random_text() -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bytes = [0; 33];
    getrandom::fill(&mut bytes[..32]).expect("the operating system gives random numbers");
    let groups = bytes.chunks_exact(3).map(|group| {
        let bits = u32::from(group[0]) << 16 | u32::from(group[1]) << 8 | u32::from(group[2]);
        [18, 12, 6, 0].map(|shift| char::from(DIGITS[(bits >> shift & 63) as usize]))
    });
    let mut text: String = groups.flatten().collect();
    // The last digit stands for what pads the bytes alone.
    text.pop();
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_text_has_all_its_bits_and_no_strange_characters() {
        let (one, another) = (random_text(), random_text());
        assert_ne!(one, another);
        assert_eq!(one.len(), 43);
        assert!(one.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_'));
    }
}
