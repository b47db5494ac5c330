//! `logmachine send`: appends events to a running node's log.
//!
//! An event whose answer is lost with the connection is sent again under the same key, so that it is appended once. The node
//! keeps keys in memory: one that has been started meanwhile would append it again, so it is asked how long it has run.

use std::io::BufRead;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Deserialize;

use super::client::{Address, Client, Remote, Trouble};
use super::{Failure, token};
use crate::etf::{TermRef, text};
use crate::time::{monotonic, pause};

/// For how long an event is sent again whose connection fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long it is waited before.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

#[derive(Args)]
pub(super) struct Send {
    /// The instance
    instance: String,
    /// The event, an Erlang term as `{quote, "ACME", 17.5}`; `-`: one a line on standard input
    #[arg(allow_hyphen_values = true)]
    term: String,
    #[command(flatten)]
    remote: Remote,
}

/// When events were recorded.
#[derive(Deserialize)]
struct Appended {
    first: String,
}

impl Send {
    pub(super) fn run(self) -> Result<(), Failure> {
        let sender = Sender {
            client: self.remote.client()?,
            address: Address::new(&["instances", &self.instance, "entries"]),
        };
        if self.term != "-" {
            let event = text::parse_lossless(&self.term);
            let event = event.map_err(|wrong| Failure::usage(format!("TERM: {wrong}")))?;
            return print(&sender.append(event.as_term())?);
        }
        for (number, line) in std::io::stdin().lock().lines().enumerate() {
            let line = line.map_err(|error| Failure::failed(format!("standard input: {error}")))?;
            let line = line.trim();
            if line.is_empty() || line.starts_with('%') {
                continue;
            }
            let event = text::parse_lossless(line);
            let event = event.map_err(|wrong| {
                Failure::failed(format!("standard input, line {}: {wrong}", number + 1))
            })?;
            print(&sender.append(event.as_term())?)?;
        }
        Ok(())
    }
}

/// The timestamp of an event that was recorded.
fn print(appended: &Appended) -> Result<(), Failure> {
    use std::io::Write;
    let mut output = std::io::stdout().lock();
    writeln!(output, "{}", appended.first).and_then(|()| output.flush()).map_err(Failure::failed)
}

struct Sender {
    client: Client,
    address: Address,
}

impl Sender {
    /// Appends an event, once.
    fn append(&self, event: TermRef<'_>) -> Result<Appended, Failure> {
        let body = [&[crate::etf::tag::VERSION][..], event.bytes()].concat();
        let key = token::random_text();
        let (first_sent, mut wait) = (monotonic(), FIRST_PAUSE);
        // Until it is sure that a try arrived nowhere, a node may have it.
        let mut may_have_arrived = false;
        loop {
            let trouble = match self.client.try_append(&self.address, &key, &body) {
                Ok(answer) => {
                    return serde_json::from_str(&answer).map_err(|_| self.client.strange());
                }
                Err(trouble) => trouble,
            };
            let Trouble::Connection { is_unsent, why } = &trouble else {
                return Err(self.client.failure(&trouble));
            };
            may_have_arrived |= !is_unsent;
            if !self.client.may_pass(&trouble) || first_sent.elapsed() > PATIENCE {
                let maybe =
                    if may_have_arrived { "; the event may have been recorded" } else { "" };
                return Err(Failure::failed(format!("{}{maybe}", self.client.line(&trouble))));
            }
            pause(wait);
            wait = (wait * 2).min(LONGEST_PAUSE);
            if may_have_arrived && self.has_started_since(first_sent)? {
                return Err(Failure::failed(format!(
                    "the answer to an event is lost ({why}) and the node was started meanwhile: the event may have been recorded; see `logmachine tail`"
                )));
            }
        }
    }

    /// Whether the node that answers now is not the one that a request at that moment went to.
    fn has_started_since(&self, moment: Instant) -> Result<bool, Failure> {
        #[derive(Deserialize)]
        struct Node {
            uptime_seconds: u64,
        }
        loop {
            match self.client.try_get(&Address::new(&["node"])) {
                Ok(answer) => {
                    let node: Node =
                        serde_json::from_str(&answer).map_err(|_| self.client.strange())?;
                    return Ok(Duration::from_secs(node.uptime_seconds) <= moment.elapsed());
                }
                Err(trouble) if trouble.is_passing() && moment.elapsed() < PATIENCE => {
                    pause(FIRST_PAUSE);
                }
                Err(trouble) => return Err(self.client.failure(&trouble)),
            }
        }
    }
}
