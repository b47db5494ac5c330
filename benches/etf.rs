//! What one event costs: walking, comparing, printing, filtering and viewing it.
//!
//! The filters are those that subscribers write: a tuple's tag, two comparisons, and a look deep into an
//! error report.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use logmachine::analysis::facts::Facts;
use logmachine::analysis::view::View;
use logmachine::etf::text::{Lines, Printer};
use logmachine::etf::{TermBuf, TermRef, inflate, order, text, walk};
use logmachine::match_spec::{Limits, MatchSpec, Scratch};

/// An event of about 250 bytes, as error_logger's handlers get it.
const REPORT: &str = "{error_report, '<0.50.0>', {'<0.93.0>', crash_report, [[{initial_call, {worker, init, ['Argument__1']}},
    {pid, '<0.93.0>'}, {registered_name, []}, {error_info, {exit, {badmatch, 42}, [{worker, handle_call, 3}]}},
    {messages, []}, {links, []}, {dictionary, []}, {trap_exit, false}, {status, running}], []]}}";
const QUOTE: &str = "{quote, <<\"ERIC-B.ST\">>, 187.34, 1200, {1700, 123456, 789012}}";
const MAP: &str = "#{time => 1700123456789012, level => error, msg => {report, #{label => boot, n => 1}}, pid => '<0.1.0>'}";

/// A map with so many atoms as keys.
fn many(keys: usize) -> String {
    let pairs: Vec<_> = (0..keys).map(|n| format!("some_key_{n} => {n}")).collect();
    format!("#{{{}}}", pairs.join(","))
}

fn term(source: &str) -> TermBuf {
    text::parse(source).expect("the benchmark's own text")
}

fn filter(c: &mut Criterion, name: &str, spec: &str, event: &str) {
    let (spec, event) = (term(spec), term(event));
    let spec = MatchSpec::compile(spec.as_term(), Limits::default())
        .expect("the benchmark's own specification");
    let event = event.as_term();
    let (mut scratch, mut out) = (Scratch::default(), Vec::new());
    let mut group = c.benchmark_group("match_spec");
    group.throughput(Throughput::Elements(1));
    group.bench_function(name, |b| {
        b.iter(|| {
            out.clear();
            black_box(spec.run(&mut scratch, black_box(event), &mut out))
        });
    });
}

/// What `tests/golden/golden_views.erl` recorded of OTP 27: reports and logged events of every kind.
fn events() -> Vec<TermBuf> {
    let recorded = include_bytes!("../tests/golden/views/otp27.etf");
    let bytes = inflate(recorded, 1 << 24).expect("compressed");
    let [_, entries] =
        TermRef::whole(&bytes).expect("a term").as_tuple().expect("{Release, Entries}");
    let event = |entry: TermRef<'_>| entry.as_tuple::<3>().expect("an entry")[0].to_buf();
    entries.cells().map(event).collect()
}

/// The time is that of all events together; divided by their number it is that of one.
fn views(c: &mut Criterion) {
    let events = events();
    let mut group = c.benchmark_group("views");
    group.throughput(Throughput::Elements(events.len() as u64));
    let name = |what: &str| format!("{what}/{} events", events.len());
    group.bench_function(name("level and node"), |b| {
        b.iter(|| {
            let of = |event: &TermBuf| {
                Facts::of(event.as_term()).map(|facts| (facts.level(), facts.node().is_some()))
            };
            events.iter().filter_map(|event| black_box(of(event))).count()
        });
    });
    group.bench_function(name("kind, module and pid"), |b| {
        b.iter(|| {
            let of = |event: &TermBuf| {
                let facts = Facts::of(event.as_term())?;
                Some((facts.kind(), facts.module().is_some(), facts.pid().is_some()))
            };
            events.iter().filter_map(|event| black_box(of(event))).count()
        });
    });
    group.bench_function(name("view"), |b| {
        b.iter(|| events.iter().filter_map(|event| black_box(View::of(event.as_term()))).count());
    });
    let short = (term("\"~p of ~ts took ~.2f s\""), term("[{order, 17}, <<\"Ericsson\">>, 1.5]"));
    let long = (term("\"~p~n\""), term(&format!("[{}]", many(32))));
    for (name, (format, args)) in [("format/short", short), ("format/map of 32 keys", long)] {
        group.throughput(Throughput::Elements(1));
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut printer = Printer::new(1 << 16, Lines::Many, None);
                printer.format(black_box(format.as_term()), args.as_term());
                printer.finish()
            });
        });
    }
    group.finish();
}

fn main() {
    let mut c = Criterion::default().configure_from_args();
    let report = term(REPORT);
    let (first, second) = (term(REPORT), term(&REPORT.replace("running", "waiting")));
    let (map, other_map) = (term(MAP), term(&MAP.replace("n => 1", "n => 2")));
    let mut group = c.benchmark_group("etf");
    group.throughput(Throughput::Elements(1));
    group.bench_function(format!("walk/{} bytes", report.len()), |b| {
        b.iter(|| walk(black_box(&report)));
    });
    for (name, source) in [
        ("map of 4 keys", MAP.to_owned()),
        ("map of 32 keys", many(32)),
        ("map of 1000 keys", many(1000)),
    ] {
        let map = term(&source);
        group.bench_function(format!("walk/{name}, {} bytes", map.len()), |b| {
            b.iter(|| walk(black_box(&map)));
        });
    }
    group.bench_function("cmp/late difference", |b| {
        b.iter(|| order::cmp(black_box(first.as_term()), second.as_term()));
    });
    group.bench_function("cmp/maps", |b| {
        b.iter(|| order::cmp(black_box(map.as_term()), other_map.as_term()));
    });
    let printed = text::to_text(report.as_term());
    group.bench_function("print", |b| {
        let mut out = String::new();
        b.iter(|| {
            out.clear();
            text::write_term(&mut out, black_box(report.as_term()), usize::MAX)
        });
    });
    group.bench_function("parse", |b| b.iter(|| text::parse(black_box(&printed))));
    group.finish();

    let simple = "[{{quote,'_','_','_','_'},[],['$_']}]";
    filter(&mut c, "tag, matching", simple, QUOTE);
    filter(&mut c, "tag, not matching", simple, REPORT);
    let guards =
        "[{{quote,'$1','$2','$3','_'},[{'>','$2',100.0},{'<','$3',5000}],[{{'$1','$2'}}]}]";
    filter(&mut c, "two comparisons, matching", guards, QUOTE);
    filter(&mut c, "two comparisons, not matching", guards, &QUOTE.replace("187.34", "87.34"));
    let deep = "[{{error_report,'_',{'$1',crash_report,[['_','_','_',{error_info,{exit,'$2','_'}}|'_']|'_']}},
        [],[{{'$1','$2'}}]}]";
    filter(&mut c, "deep in a report, matching", deep, REPORT);
    filter(&mut c, "deep in a report, not matching", deep, &REPORT.replace("{exit,", "{error,"));
    let keys = "[{#{level => error, msg => {report, #{label => '$1'}}},[],['$1']}]";
    filter(&mut c, "keys of maps, matching", keys, MAP);
    views(&mut c);
    c.final_summary();
}
