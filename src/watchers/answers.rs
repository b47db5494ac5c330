//! What Erlang code is answered that asks for faults, or for an explanation.

use std::sync::Arc;

use super::explain::{Stretches, explain};
use super::faults::{FaultQuery, FaultWatcher, Sort};
use crate::analysis::explain::{Deployed, Dimension, Explanation, Finding};
use crate::analysis::fault::State;
use crate::analysis::pairs::Pairs;
use crate::etf::{AtomRef, Term, TermBuf, TermRef, encode};
use crate::instance::Instance;
use crate::instance::analyst::{Analyst, Answer, Question};
use crate::instance::erlang::answer::{bad_request, error_atom, read_failure};
use crate::instance::erlang::request::BadRequest;
use crate::instance::since::Since;
use crate::time::Timestamp;

/// Faults in one answer at most.
const MAX_FAULTS: i64 = 10_000;

/// Answers with what is known of faults.
pub(super) struct Answers {
    pub(super) faults: Option<Arc<FaultWatcher>>,
}

impl Analyst for Answers {
    fn answer(&self, instance: &Arc<Instance>, question: Question, options: TermBuf) -> Answer {
        let (faults, instance) = (self.faults.clone(), instance.clone());
        Box::pin(async move {
            let answer = match (question, faults) {
                (Question::Faults, None) => Ok(error_atom("not_available")),
                (Question::Faults, Some(faults)) => {
                    list(&faults, &instance, options.as_term()).await
                }
                (Question::Explain, faults) => {
                    compare(faults.as_ref(), &instance, options.as_term()).await
                }
            };
            answer.unwrap_or_else(|bad| bad_request(&bad))
        })
    }
}

/// `{ok, [Fault]}`.
async fn list(
    faults: &Arc<FaultWatcher>,
    instance: &Instance,
    options: TermRef<'_>,
) -> Result<TermBuf, BadRequest> {
    let times = Times::of(instance);
    let mut query =
        FaultQuery { instance: Some(instance.name().to_owned()), ..FaultQuery::default() };
    for (key, value) in pairs(options)? {
        let bad = || BadRequest::option(&key);
        match &*key {
            "from" => query.from = times.from(value).ok_or_else(bad)?,
            "to" => query.to = times.to(value).ok_or_else(bad)?,
            "state" => query.states = Some(states(value).ok_or_else(bad)?),
            "sort" => query.sort = named(value, Sort::named).ok_or_else(bad)?,
            "limit" => {
                let limit = value.as_integer().filter(|limit| (1..=MAX_FAULTS).contains(limit));
                query.limit = limit.and_then(|it| usize::try_from(it).ok()).ok_or_else(bad)?;
            }
            _ => return Err(bad()),
        }
    }
    faults.catch_up().await;
    let faults = faults.clone();
    let listed = tokio::task::spawn_blocking(move || {
        let (mut maps, mut count) = (Vec::new(), 0);
        faults.list(&query, times.now, |instance, fault| {
            fault.write(&mut maps, instance, times.now);
            count += 1;
            true
        });
        (maps, count)
    });
    let (maps, count) = listed.await.expect("listing does not panic");
    Ok(TermBuf::written(|out| {
        encode::tuple_header(out, 2);
        encode::atom(out, "ok");
        if count > 0 {
            encode::list_header(out, count);
            out.extend_from_slice(&maps);
        }
        encode::nil(out);
    }))
}

/// `{ok, Explanation}`.
async fn compare(
    faults: Option<&Arc<FaultWatcher>>,
    instance: &Arc<Instance>,
    options: TermRef<'_>,
) -> Result<TermBuf, BadRequest> {
    const HOUR: std::time::Duration = std::time::Duration::from_secs(3600);
    let times = Times::of(instance);
    let (mut from, mut to, mut baseline) = (times.now.saturating_sub(HOUR), times.next, None);
    for (key, value) in pairs(options)? {
        let bad = || BadRequest::option(&key);
        match &*key {
            "from" => from = times.from(value).ok_or_else(bad)?,
            "to" => to = times.to(value).ok_or_else(bad)?,
            "baseline" => baseline = Some(times.from(value).ok_or_else(bad)?),
            _ => return Err(bad()),
        }
    }
    let wrong = || BadRequest::option(Stretches::wrong(from, baseline));
    let stretches = Stretches::new(from, to, baseline).ok_or_else(wrong)?;
    Ok(match explain(instance, faults, stretches).await {
        Ok(explanation) => TermBuf::written(|out| {
            encode::tuple_header(out, 2);
            encode::atom(out, "ok");
            write_explanation(out, &explanation, stretches);
        }),
        Err(failure) => read_failure(failure).unwrap_or_else(|| error_atom("unwanted")),
    })
}

fn write_explanation(out: &mut Vec<u8>, explanation: &Explanation, stretches: Stretches) {
    let mut pairs = Pairs::default();
    pairs.binary("text", &explanation.text);
    pairs.add("from", |out| encode::timestamp(out, stretches.stretch.from));
    pairs.add("to", |out| encode::timestamp(out, stretches.stretch.to));
    pairs.add("baseline", |out| encode::timestamp(out, stretches.baseline.from));
    pairs.add("count", |out| encode::unsigned(out, explanation.count));
    pairs.add("baseline_count", |out| encode::unsigned(out, explanation.baseline_count));
    pairs.add("findings", |out| {
        encode::list(out, explanation.findings.iter(), write_finding);
    });
    pairs.write(out);
}

fn write_finding(out: &mut Vec<u8>, finding: &Finding) {
    let mut pairs = Pairs::default();
    pairs.add("conditions", |out| {
        encode::map_header(out, finding.conditions.len());
        for (dimension, value) in &finding.conditions {
            encode::atom(out, dimension.as_str());
            match dimension {
                Dimension::Fault => encode::binary(out, value.as_bytes()),
                _ => encode::atom(out, value),
            }
        }
    });
    if let Some(known) = &finding.known {
        pairs.binary("title", &known.title);
        pairs.add("first_seen", |out| encode::timestamp(out, known.first_seen));
    }
    if let Some(node) = &finding.node {
        pairs.add("node", |out| encode::atom(out, node));
    }
    if let Some(Deployed { application, version, before, since }) = &finding.deployed {
        pairs.add("deployed", |out| {
            encode::tuple_header(out, 4);
            encode::atom(out, application);
            encode::binary(out, version.as_bytes());
            encode::binary(out, before.as_bytes());
            encode::timestamp(out, *since);
        });
    }
    pairs.add("is_new", |out| encode::boolean(out, finding.is_new));
    pairs.add("direction", |out| encode::atom(out, if finding.is_rise { "up" } else { "down" }));
    pairs.add("count", |out| encode::unsigned(out, finding.count));
    pairs.add("baseline_count", |out| encode::unsigned(out, finding.baseline_count));
    for (key, number) in [
        ("per_minute", finding.per_minute),
        ("baseline_per_minute", finding.baseline_per_minute),
        ("significance", finding.significance),
        ("share", finding.share),
    ] {
        pairs.add(key, |out| encode::float(out, number));
    }
    if let Some(ratio) = finding.ratio {
        pairs.add("ratio", |out| encode::float(out, ratio));
    }
    pairs.add("since", |out| encode::timestamp(out, finding.since));
    pairs.add("samples", |out| {
        encode::list(out, finding.samples.iter(), |out, at| encode::timestamp(out, *at));
    });
    pairs.write(out);
}

/// What time it is, for an instance.
#[derive(Clone, Copy)]
struct Times {
    now: Timestamp,
    /// Later than every entry there is, and no earlier than now, however long there has been none.
    next: Timestamp,
}

impl Times {
    fn of(instance: &Instance) -> Self {
        let now = instance.clock().now();
        Times { now, next: instance.tail().next_stamp().max(now) }
    }

    fn from(self, term: TermRef<'_>) -> Option<Timestamp> {
        Since::parse(term).map(|since| since.resolve(self.now, self.next))
    }

    fn to(self, term: TermRef<'_>) -> Option<Timestamp> {
        Since::parse(term).map(|since| since.resolve_end(self.now, self.next))
    }
}

/// The options of a map, whose keys are atoms.
fn pairs(options: TermRef<'_>) -> Result<Vec<(String, TermRef<'_>)>, BadRequest> {
    let bad = || BadRequest::option("options");
    let Term::Map(pairs) = options.view() else { return Err(bad()) };
    let pair = |(key, value): (TermRef<'_>, _)| Some((key.as_atom()?.to_str().into_owned(), value));
    pairs.into_iter().map(pair).collect::<Option<_>>().ok_or_else(bad)
}

fn named<T>(term: TermRef<'_>, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
    parse(&term.as_atom().map(AtomRef::to_str)?)
}

/// A state, or a list of them.
fn states(term: TermRef<'_>) -> Option<Vec<State>> {
    match term.as_list() {
        Some(list) => list.map(|term| named(term, State::named)).collect(),
        None => named(term, State::named).map(|state| vec![state]),
    }
}
