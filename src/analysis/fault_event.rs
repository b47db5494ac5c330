//! What is told of faults, and what is decided about them, as events of the instance `faults`.
//!
//! ```erlang
//! {fault, Id :: binary(), new | regressed, #{at => erlang:timestamp(), instance => binary(), title => binary(), kind => atom(),
//!                                            level => atom(), node => atom(), modules => [atom()],
//!                                            application => atom(), version => binary(), resolved_at => erlang:timestamp()}}
//! {fault, Id :: binary(), ongoing | resolved | muted, #{by => binary() | atom(), until => erlang:timestamp(),
//!                                                        in_next_version => boolean(), seen => erlang:timestamp()}}
//! ```
//!
//! What is not known is left out.

use super::fault::{Decision, Fault, News, State};
use super::fingerprint::FaultId;
use super::pairs::{self, Pairs};
use super::view::timestamp;
use crate::etf::{Term, TermBuf, TermRef, encode};
use crate::time::Timestamp;
/// The longest name of who decided, in bytes.
pub const MAX_WHO_BYTES: usize = 255;

/// An event of the instance `faults`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultEvent {
    /// We told of a fault.
    News(FaultId, News),
    /// Somebody decided about one.
    Decision(Decision),
}

impl FaultEvent {
    /// What an event says; `None` if it has not this form.
    pub fn decode(event: TermRef<'_>) -> Option<Self> {
        let [tag, id, state, about] = event.as_tuple()?;
        if !tag.is_atom("fault") || !matches!(about.view(), Term::Map(_)) {
            return None;
        }
        let id = FaultId::parse(&text(id)?)?;
        let time = |key| about.map_get(key).and_then(timestamp);
        Some(match State::named(&state.as_atom()?.to_str())? {
            State::New => FaultEvent::News(id, News::New),
            State::Regressed => {
                FaultEvent::News(id, News::Regressed { resolved: time("resolved_at")? })
            }
            // One that cannot be read is no decision, least of all one for ever.
            _ if about.map_get("until").is_some() && time("until").is_none() => return None,
            state => FaultEvent::Decision(Decision {
                id,
                state,
                seen: time("seen"),
                by: about.map_get("by").and_then(text).unwrap_or_else(|| "somebody".to_owned()),
                until: time("until").filter(|_| state == State::Muted),
                in_next_version: state == State::Resolved
                    && about.map_get("in_next_version").is_some_and(|it| it.is_atom("true")),
            }),
        })
    }
}

impl Decision {
    /// The event.
    pub fn encode(&self) -> TermBuf {
        let mut about = Pairs::default();
        about.binary("by", &self.by);
        if let Some(until) = self.until {
            about.add("until", |out| encode::timestamp(out, until));
        }
        if self.in_next_version {
            about.add("in_next_version", |out| encode::boolean(out, true));
        }
        if let Some(seen) = self.seen {
            about.add("seen", |out| encode::timestamp(out, seen));
        }
        event(self.id, self.state, &about)
    }
}

impl Fault {
    /// The event that tells of it after it occurred, on a node.
    pub fn tell(&self, instance: &str, node: Option<&str>, news: &News) -> TermBuf {
        let mut about = Pairs::default();
        about.add("at", |out| encode::timestamp(out, self.last_seen));
        about.binary("instance", instance);
        about.binary("title", &self.title);
        about.add("kind", |out| encode::atom(out, self.kind.as_str()));
        about.add("level", |out| encode::atom(out, self.level.as_str()));
        if let Some(node) = node {
            about.add("node", |out| encode::atom(out, node));
        }
        about.add("modules", |out| {
            encode::list(out, self.modules.iter(), |out, module| encode::atom(out, module));
        });
        if let Some(version) = &self.last_version {
            about.add("application", |out| encode::atom(out, &version.application));
            about.binary("version", &version.version);
        }
        let state = match news {
            News::New => State::New,
            News::Regressed { resolved } => {
                about.add("resolved_at", |out| encode::timestamp(out, *resolved));
                State::Regressed
            }
        };
        event(self.id, state, &about)
    }
}

impl Fault {
    /// Writes it as the map that Erlang code gets.
    pub fn write(&self, out: &mut Vec<u8>, instance: &str, now: Timestamp) {
        let mut pairs = Pairs::default();
        pairs.binary("id", &self.id.to_string());
        pairs.add("instance", |out| encode::atom(out, instance));
        pairs.binary("title", &self.title);
        pairs.add("state", |out| encode::atom(out, self.state(now).as_str()));
        pairs.add("since", |out| encode::timestamp(out, self.since));
        if let Some(by) = &self.by {
            pairs.binary("by", by);
        }
        if let Some(until) = self.until {
            pairs.add("until", |out| encode::timestamp(out, until));
        }
        pairs.add("in_next_version", |out| encode::boolean(out, self.in_next_version));
        pairs.add("kind", |out| encode::atom(out, self.kind.as_str()));
        pairs.add("level", |out| encode::atom(out, self.level.as_str()));
        pairs.add("count", |out| encode::unsigned(out, self.count));
        pairs.add("first_seen", |out| encode::timestamp(out, self.first_seen));
        pairs.add("last_seen", |out| encode::timestamp(out, self.last_seen));
        pairs.add("nodes", |out| {
            encode::map_header(out, self.nodes.len());
            for (node, count) in &self.nodes {
                encode::atom(out, node);
                encode::unsigned(out, *count);
            }
        });
        pairs.add("modules", |out| {
            encode::list(out, self.modules.iter(), |out, module| encode::atom(out, module));
        });
        for (key, version) in
            [("first_version", &self.first_version), ("last_version", &self.last_version)]
        {
            if let Some(version) = version {
                pairs.add(key, |out| {
                    encode::tuple_header(out, 2);
                    encode::atom(out, &version.application);
                    encode::binary(out, version.version.as_bytes());
                });
            }
        }
        pairs.add("samples", |out| {
            encode::list(out, self.samples.iter(), |out, at| encode::timestamp(out, *at));
        });
        pairs.write(out);
    }
}

/// `{fault, Id, State, About}`.
fn event(id: FaultId, state: State, about: &Pairs) -> TermBuf {
    about.event("fault", state.as_str(), |out| encode::binary(out, id.to_string().as_bytes()))
}

fn text(term: TermRef<'_>) -> Option<String> {
    pairs::text(term, MAX_WHO_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_are_read_as_they_were_written() {
        let id = FaultId::of("error_logger", "x");
        let until = Some(Timestamp::from_micros(1_700_000_000_000_000));
        let muted = Decision {
            id,
            state: State::Muted,
            by: "ann".into(),
            until,
            in_next_version: false,
            seen: until,
        };
        let resolved = Decision {
            state: State::Resolved,
            until: None,
            in_next_version: true,
            ..muted.clone()
        };
        for decision in [muted, resolved] {
            let event = decision.encode();
            assert_eq!(FaultEvent::decode(event.as_term()), Some(FaultEvent::Decision(decision)));
        }
        // As somebody types it in a shell.
        let typed = format!("{{fault, \"{id}\", resolved, #{{by => ann}}}}");
        let event = crate::etf::text::parse(&typed).unwrap();
        let Some(FaultEvent::Decision(decision)) = FaultEvent::decode(event.as_term()) else {
            panic!("{typed}")
        };
        assert_eq!((decision.by.as_str(), decision.state), ("ann", State::Resolved));
        for other in
            ["{fault, <<\"x\">>, new, #{}}", "{fault, 1, new, #{}}", "{fault, a, b, c}", "x"]
        {
            let event = crate::etf::text::parse(other).unwrap();
            assert_eq!(FaultEvent::decode(event.as_term()), None, "{other}");
        }
    }
}
