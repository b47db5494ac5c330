//! Which entries of a running node's log, and how they are found: what `tail` and `read` share.
//!
//! What is in the log when a verb begins is asked for page by page, up to the newest entry of that moment. So it ends also
//! where events come faster than they are read, and a page that a broken connection cost is asked for again.

use clap::Args;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::client::{Address, Client, Remote};
use super::output::{Form, Output};
use super::{Failure, export};
use crate::strangers::Plain;
use crate::time::{Clock, Timestamp, moment};

/// Entries of one page at most.
const PAGE_ENTRIES: usize = 1_000;

/// Which entries, in which form.
#[derive(Args)]
pub(super) struct Selection {
    /// The instance
    instance: String,
    /// The last N of them, oldest first
    #[arg(short = 'n', long, value_name = "N")]
    pub(super) lines: Option<usize>,
    /// Entries at or after this moment: 15m (ago), 2026-11-22T10:30:00Z, "2026-11-22 10:30:00" (UTC), now, today
    #[arg(long, value_name = "T")]
    since: Option<String>,
    /// Entries at or before this moment
    #[arg(long, value_name = "T")]
    until: Option<String>,
    /// Events whose text this regular expression finds
    #[arg(short, long, value_name = "RE")]
    grep: Option<String>,
    /// Events of this level or a more severe one
    #[arg(
        short = 'p', long, value_name = "L",
        value_parser = ["emergency", "alert", "critical", "error", "warning", "notice", "info", "debug"]
    )]
    level: Option<String>,
    /// Events of this node; `*` stands for anything
    #[arg(long, value_name = "N")]
    node: Option<String>,
    /// Events that match, and what the match spec makes of them
    #[arg(long = "match", value_name = "MATCHSPEC")]
    match_spec: Option<String>,
    /// In which form
    #[arg(short, long, value_enum, default_value = "pretty")]
    pub(super) output: Form,
    /// Entries behind this place: what --show-cursor has printed, or an entry's timestamp
    #[arg(long, value_name = "C")]
    after_cursor: Option<String>,
    /// At the end, print the cursor of the place that was reached
    #[arg(long)]
    pub(super) show_cursor: bool,
    #[command(flatten)]
    remote: Remote,
}

/// A selection whose moments are points in time, and the node that is asked for it.
pub(super) struct Search<'a> {
    pub(super) client: Client,
    selection: &'a Selection,
    /// Entries at or after it.
    pub(super) since: Timestamp,
    /// Entries at or before it.
    pub(super) until: Option<Timestamp>,
    /// The newest entry when it began, whatever is selected; the earliest moment of all if there was none.
    pub(super) newest: Timestamp,
}

/// In which order pages come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    OldestFirst,
    NewestFirst,
}

impl Selection {
    /// Where to begin was said.
    pub(super) fn has_begin(&self) -> bool {
        self.since.is_some() || self.after_cursor.is_some()
    }

    /// Asks the node where its log ends, so that what is wrong with the way there is found first.
    pub(super) fn begin(&self) -> Result<Search<'_>, Failure> {
        let now = Clock::system().now();
        let moment = |flag: &str, text: &Option<String>| match text.as_deref() {
            None => Ok(None),
            Some("earliest") => Ok(Some(Timestamp::MIN)),
            Some(text) => moment::parse(text, now)
                .map(Some)
                .map_err(|wrong| Failure::usage(format!("{flag}: {wrong}"))),
        };
        let since = moment("--since", &self.since)?.unwrap_or(Timestamp::MIN);
        let until = moment("--until", &self.until)?;
        let after = moment("--after-cursor", &self.after_cursor)?;
        self.match_spec.as_deref().map(export::compile).transpose()?;
        let client = self.remote.client()?;
        let address = self.address("entries").with("order", "desc").with("limit", "1");
        let mut newest = Timestamp::MIN;
        page(&client, &address, &mut |entry| {
            newest = entry.timestamp();
            Ok(())
        })?;
        let since = after.map_or(since, |after| since.max(after.next()));
        Ok(Search { client, selection: self, since, until, newest })
    }

    fn address(&self, last: &str) -> Address {
        Address::new(&["instances", &self.instance, last])
    }
}

impl Search<'_> {
    /// Where what is selected lies, without where it begins and ends.
    pub(super) fn address(&self, last: &str) -> Address {
        let Selection { grep, level, node, match_spec, .. } = self.selection;
        let given = [("grep", grep), ("level", level), ("node", node), ("match", match_spec)];
        given.into_iter().fold(self.selection.address(last), |address, (name, value)| match value {
            Some(value) => address.with(name, value),
            None => address,
        })
    }

    /// The end of what is in the log already.
    pub(super) fn end(&self) -> Timestamp {
        self.until.map_or(self.newest, |until| until.min(self.newest))
    }

    /// The place behind all that has been seen once everything up to [`Search::end`] has been.
    pub(super) fn reached(&self) -> Timestamp {
        self.end().max(self.since.previous())
    }

    /// Hands what is in the log already to `output`: the last `lines`, oldest first, or everything; or the other way round.
    pub(super) fn print(
        &self,
        lines: Option<usize>,
        order: Order,
        output: &mut Output,
    ) -> Result<(), Failure> {
        match (lines, order) {
            (None, _) | (Some(_), Order::NewestFirst) => {
                let limit = lines.unwrap_or(usize::MAX);
                self.each(order, limit, &mut |entry| output.entry(entry))
            }
            (Some(lines), Order::OldestFirst) => {
                let mut last = Vec::new();
                self.each(Order::NewestFirst, lines, &mut |entry| {
                    last.push(entry.json.to_owned());
                    Ok(())
                })?;
                last.iter().rev().try_for_each(|json| output.entry(&Entry::parse(json)?))
            }
        }
    }

    /// Hands out entries up to the end of the log as it was, `limit` at most.
    fn each(
        &self,
        order: Order,
        limit: usize,
        take: &mut dyn FnMut(&Entry<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let end = self.end();
        if end < self.since {
            return Ok(());
        }
        let order = if order == Order::OldestFirst { "asc" } else { "desc" };
        let address = self
            .address("entries")
            .with("order", order)
            .with("from", &self.since.micros().to_string())
            .with("to", &end.micros().to_string());
        let (mut left, mut cursor) = (limit, None::<String>);
        while left > 0 {
            let mut asked = address.clone().with("limit", &left.min(PAGE_ENTRIES).to_string());
            if let Some(cursor) = &cursor {
                asked = asked.with("cursor", cursor);
            }
            let mut found = 0;
            let next = page(&self.client, &asked, &mut |entry| {
                found += 1;
                take(entry)
            })?;
            left -= found;
            // At the end of a log that has been cut meanwhile, nothing goes on.
            if next.is_none() || (found == 0 && next == cursor) {
                break;
            }
            cursor = next;
        }
        Ok(())
    }
}

/// Hands out the entries of a page; where it goes on.
fn page(
    client: &Client,
    address: &Address,
    take: &mut dyn FnMut(&Entry<'_>) -> Result<(), Failure>,
) -> Result<Option<String>, Failure> {
    #[derive(Deserialize)]
    struct Page<'a> {
        #[serde(borrow)]
        entries: Vec<&'a RawValue>,
        next: Option<String>,
    }
    let text = client.get(address)?;
    let page: Page<'_> = serde_json::from_str(&text).map_err(|_| client.strange())?;
    for entry in page.entries {
        take(&Entry::parse(entry.get())?)?;
    }
    Ok(page.next)
}

/// An entry as the API writes it.
pub(super) struct Entry<'a> {
    /// All of it.
    pub(super) json: &'a str,
    micros: u64,
    /// The event in the mapping of docs/json.md.
    pub(super) event: &'a str,
    /// What it says in plain fields; null if it has no known shape.
    pub(super) view: serde_json::Value,
}

impl<'a> Entry<'a> {
    pub(super) fn parse(json: &'a str) -> Result<Self, Failure> {
        #[derive(Deserialize)]
        struct Fields<'a> {
            micros: u64,
            #[serde(borrow)]
            event: &'a RawValue,
            #[serde(default)]
            view: serde_json::Value,
        }
        let fields: Fields<'a> = serde_json::from_str(json).map_err(|wrong| {
            Failure::failed(format!("this is no entry: {wrong}: {}", Plain(json)))
        })?;
        Ok(Entry { json, micros: fields.micros, event: fields.event.get(), view: fields.view })
    }

    pub(super) fn timestamp(&self) -> Timestamp {
        Timestamp::from_micros(self.micros)
    }
}
