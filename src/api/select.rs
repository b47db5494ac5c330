//! What the parameters of a request select.

use super::entry::Format;
use super::error::Refusal;
use super::filter;
use super::parameters::Parameters;
use crate::etf::text;
use crate::instance::Instance;
use crate::instance::reader::{Order, Selection};
use crate::match_spec::MatchSpec;
use crate::time::{Timestamp, moment};

/// Entries of one answer, unless told.
const DEFAULT_LIMIT: usize = 100;

/// Entries of one answer at most.
const MAX_LIMIT: usize = 10_000;

/// Bytes of records in one answer at most.
const MAX_PAGE_BYTES: usize = 16 << 20;

/// What time it is, for an instance.
#[derive(Clone, Copy, Debug)]
pub(super) struct Present {
    /// By the clock.
    pub(super) now: Timestamp,
    /// Later than every entry there is.
    pub(super) next: Timestamp,
}

impl Present {
    fn of(instance: &Instance) -> Self {
        Present { now: instance.clock().now(), next: instance.tail().next_stamp() }
    }
}

/// What is to be read.
pub(super) struct Wanted {
    pub(super) selection: Selection,
    pub(super) format: Format,
    /// Whether many entries may have to be looked at for few.
    pub(super) is_search: bool,
}

impl Parameters {
    /// What a page holds.
    pub(super) fn page(&self, instance: &Instance) -> Result<Wanted, Refusal> {
        self.page_at(Present::of(instance))
    }

    /// The same, at a moment.
    pub(super) fn page_at(&self, present: Present) -> Result<Wanted, Refusal> {
        let mut wanted = self.wanted(present, Timestamp::MIN)?;
        wanted.selection.max_entries = self.limit()?.unwrap_or(DEFAULT_LIMIT);
        if wanted.selection.max_entries > MAX_LIMIT {
            return Err(Refusal::bad(
                "limit",
                format!("at most {MAX_LIMIT}; go on with next, or ask for application/x-ndjson"),
            ));
        }
        wanted.selection.max_bytes = MAX_PAGE_BYTES;
        Ok(wanted)
    }

    /// What is streamed, from there on unless told.
    pub(super) fn stream(&self, instance: &Instance, begin: Timestamp) -> Result<Wanted, Refusal> {
        let mut wanted = self.wanted(Present::of(instance), begin)?;
        wanted.selection.max_entries = self.limit()?.unwrap_or(usize::MAX);
        Ok(wanted)
    }

    fn limit(&self) -> Result<Option<usize>, Refusal> {
        let Some(limit) = &self.limit else { return Ok(None) };
        let limit = limit.parse().ok().filter(|limit| *limit > 0);
        limit.map(Some).ok_or_else(|| Refusal::bad("limit", "write a number from 1 on"))
    }

    fn wanted(&self, present: Present, begin: Timestamp) -> Result<Wanted, Refusal> {
        let Present { now, next } = present;
        let moment = |place: &str, text: &str| match text {
            "earliest" => Ok(Timestamp::MIN),
            // Behind everything there is, also where that is stamped ahead of the clock.
            "now" => Ok(next.max(now)),
            text => moment::parse(text, now).map_err(|wrong| Refusal::bad(place, wrong)),
        };
        let optional = |place: &str, text: &Option<String>| {
            text.as_deref().map(|text| moment(place, text)).transpose()
        };
        let (from, to) = (optional("from", &self.from)?, optional("to", &self.to)?);
        let cursor = optional("cursor", &self.cursor)?;
        let order = match self.order.as_deref() {
            None | Some("asc") => Order::Ascending,
            Some("desc") => Order::Descending,
            Some(_) => return Err(Refusal::bad("order", "write asc or desc")),
        };
        let format = match self.format.as_deref() {
            None | Some("json") => Format::Json,
            Some("text") => Format::Text,
            Some("brief") => Format::Brief,
            Some(_) => return Err(Refusal::bad("format", "write json, text or brief")),
        };
        let from = from.unwrap_or(begin);
        let (from, to) = match (order, cursor) {
            (Order::Ascending, None) => (from, to),
            (Order::Ascending, Some(cursor)) => (cursor.next(), to),
            (Order::Descending, None) => (to.unwrap_or_else(|| next.max(now)), Some(from)),
            (Order::Descending, Some(cursor)) => (cursor.previous(), Some(from)),
        };
        let condition = filter::condition(self)?;
        let filter = self.r#match.as_deref().map(match_spec).transpose()?;
        let is_search = condition.is_some() || filter.is_some();
        let selection = Selection { order, to, condition, filter, ..Selection::starting(from) };
        Ok(Wanted { selection, format, is_search })
    }
}

/// Where a page goes on whose reader stands at `position`: the `cursor` that leads there.
pub(super) fn cursor(order: Order, position: Timestamp) -> Timestamp {
    match order {
        Order::Ascending => position.previous(),
        Order::Descending => position.next(),
    }
}

fn match_spec(written: &str) -> Result<MatchSpec, Refusal> {
    let bad = |message: String| Refusal::bad("match", message);
    let term = text::parse(written).map_err(|wrong| bad(wrong.to_string()))?;
    MatchSpec::compile(term.as_term(), Default::default()).map_err(|wrong| bad(wrong.to_string()))
}
