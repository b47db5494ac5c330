//! What specifications mean, beyond what the oracle is asked.

use super::*;
use crate::etf::{Term, TermBuf, order, text};

fn compile_text(spec: &str) -> Result<MatchSpec, CompileError> {
    let spec = text::parse(spec).expect("a term");
    MatchSpec::compile(spec.as_term(), Limits::default())
}

fn run(spec: &MatchSpec, event: &[u8]) -> (Outcome, Vec<u8>) {
    let mut out = b"before".to_vec();
    let outcome =
        spec.run(&mut Scratch::default(), TermRef::whole(event).expect("a term"), &mut out);
    (outcome, out.split_off(6))
}

/// The result of a specification on an event, all as text; `-` for no match.
fn check(spec: &str, event: &str, expected: &str) {
    let compiled = compile_text(spec).unwrap_or_else(|error| panic!("{spec}: {error}"));
    let (outcome, result) = run(&compiled, &text::parse(event).expect("a term"));
    let found = match outcome {
        Outcome::Result => text::to_text(TermRef::whole(&result).expect("a term")),
        Outcome::NoMatch => "-".to_owned(),
        Outcome::Budget | Outcome::Unfinished => "budget".to_owned(),
    };
    assert_eq!(found, expected, "{spec} on {event}");
}

fn refused(spec: &str, path: &[u32], reason: &str, part: &str) {
    let error = compile_text(spec).expect_err(spec);
    assert_eq!((&*error.path, error.problem.reason()), (path, reason), "{spec}");
    let mut term = Vec::new();
    error.write_term(&mut term);
    let [found_path, found_reason, found_part] =
        TermRef::whole(&term).expect("a term").as_tuple().expect("three elements");
    assert!(
        found_path.cells().filter_map(TermRef::as_integer).eq(path.iter().map(|&n| i64::from(n)))
    );
    assert!(found_reason.is_atom(reason));
    assert_eq!(text::to_text(found_part), part, "{spec}");
    assert!(!error.to_string().is_empty());
}

#[test]
fn the_manuals_examples_give_what_it_says() {
    // ERTS User's Guide, "Match Specifications in Erlang", "ETS Examples".
    let strider = "[{{strider,'_','_'},[],['$_']}]";
    check(strider, "{strider, 1, 2}", "{strider,1,2}");
    check(strider, "{strider, 1}", "-");
    check(strider, "{gandalf, 1, 2}", "-");
    let gandalf =
        "[{'$1',[{'==',gandalf,{element,1,'$1'}},{'>=',{size,'$1'},2}],[{element,2,'$1'}]}]";
    check(gandalf, "{gandalf, staff}", "staff");
    check(gandalf, "{gandalf}", "-");
    check(gandalf, "gandalf", "-");
    let hobbits =
        "[{{'$1',#{surname => '$2'}},[{'orelse',{'=:=','$1',merry},{'=:=','$1',pippin}}],['$2']}]";
    check(hobbits, "{merry, #{name => m, surname => brandybuck}}", "brandybuck");
    check(hobbits, "{frodo, #{surname => baggins}}", "-");
    check(hobbits, "{merry, #{}}", "-");
    let colours = "[{{'_',merry,'_'},[],['$_']},{{'_',pippin,'_'},[],['$_']}]";
    check(colours, "{x, pippin, y}", "{x,pippin,y}");
    check(colours, "{x, sam, y}", "-");
}

#[test]
fn filters_over_reports_and_logger_events_work() {
    let crash =
        "[{{error_report,'_',{'$1',crash_report,[['$2'|'_']|'_']}},[{is_pid,'$1'}],['$2']}]";
    check(crash, "{error_report, group, {self, crash_report, [[{pid, 1}], []]}}", "-");
    let logger = "[{{log,#{level => '$1', msg => {report, #{label => '$2'}}}},
        [{'or',{'==','$1',error},{'==','$1',warning}}],[{{'$1','$2'}}]}]";
    let event = |level| {
        format!(
            "{{log,#{{meta => #{{time => 1}}, msg => {{report, #{{label => boot, x => 1}}}}, level => {level}}}}}"
        )
    };
    check(logger, &event("error"), "{error,boot}");
    check(logger, &event("info"), "-");
    check("[{{'$1',\"ab\"},[],['$1']}]", "{1,[97,98]}", "1");
    check("[{[$a,'$1'|'$2'],[],[{{'$1','$2'}}]}]", "\"abcd\"", "{98,\"cd\"}");
    check("[{{['$1'|'$2'],'$2'},[],['$2']}]", "{[a,1,2],[1,2]}", "[1,2]");
}

#[test]
fn the_first_clause_that_matches_gives_the_result() {
    let spec = "[{{a,'$1'},[{'>',{hd,'$1'},0}],[first]},{{a,'$1'},[],[second]},{'_',[],[third]}]";
    check(spec, "{a,[1]}", "first");
    check(spec, "{a,[0]}", "second");
    check(spec, "{a,[]}", "second");
    check(spec, "b", "third");
    check("[{'_',[],[one,{hd,[]},two]}]", "a", "two");
    check("[{'_',[],[{{{hd,[]},b}}]}]", "a", "{'EXIT',b}");
}

#[test]
fn errors_point_at_the_part() {
    refused("[]", &[], "not_a_match_spec", "[]");
    refused("a", &[], "not_a_match_spec", "a");
    refused("[{'_',[],[a]}|b]", &[], "not_a_match_spec", "[{'_',[],[a]}|b]");
    refused("[{'_',[]}]", &[1], "not_a_clause", "{'_',[]}");
    refused("[{'_',[],[a]},{'_',b,[a]}]", &[2, 2], "not_a_guard_list", "b");
    refused("[{'_',[],[]}]", &[1, 3], "not_a_body", "[]");
    refused("[{{'$1'},[{'>','$1',{abs,'$2'}}],[a]}]", &[1, 2, 1, 3, 2], "unbound_variable", "'$2'");
    refused("[{'_',[],[{{a,[b,'$1']}}]}]", &[1, 3, 1, 1, 2, 2], "unbound_variable", "'$1'");
    refused("[{'_',[],[#{a => '$1'}]}]", &[1, 3, 1, 2], "unbound_variable", "'$1'");
    refused("[{{a,#{b => 1,'$1' => 2}},[],[a]}]", &[1, 1, 2, 3], "variable_key", "'$1'");
    refused("[{'_',[],[{1,2}]}]", &[1, 3, 1], "not_a_call", "{1,2}");
    refused("[{'_',[],[{}]}]", &[1, 3, 1], "not_a_call", "{}");
    refused("[{'_',[{message,a}],[a]}]", &[1, 2, 1], "unknown_function", "{message,a}");
    let big = format!("[{{'_',[],[\"{}\"]}}]", "x".repeat(65_000));
    let long = format!("[{{'_',[],[\"{}\",a]}}]", "x".repeat(66_000));
    assert!(compile_text(&big).is_ok());
    refused(&long, &[], "too_large", "[]");
}

#[test]
fn functions_of_later_releases_are_known() {
    for (call, expected) in [
        ("{ceil,1.5}", "2"),
        ("{floor,-1.5}", "-2"),
        ("{max,1,a}", "a"),
        ("{min,1,1.0}", "1"),
        ("{tuple_size,'$_'}", "2"),
        ("{is_boolean,true}", "true"),
        ("{is_bitstring,<<1:3>>}", "true"),
        ("{is_function,fun a:b/2,2}", "true"),
        ("{is_integer,5,1,9}", "true"),
        ("{is_integer,a,1,9}", "false"),
        ("{is_integer,5,1,a}", "'EXIT'"),
        ("{is_record,'$_',a}", "true"),
        ("{is_record,'$_',b}", "false"),
        ("{is_record,'$_',a,2}", "true"),
    ] {
        check(&format!("[{{{{a,'_'}},[],[{call}]}}]"), "{a,1}", expected);
    }
}

#[test]
fn process_and_node_are_those_of_the_session() {
    let process = Pid { node: "log@host".into(), id: 5, serial: 1, creation: 9 };
    let spec = compile_text("[{'_',[],[{{{self},{node},{node,{self}}}}]}]").expect("compiles");
    let (_, result) = run(&spec.for_process(&process), &[106]);
    let [pid, node, node_of] = TermRef::whole(&result).expect("a term").as_tuple().expect("three");
    assert_eq!(pid.as_pid(), Some(process));
    assert!(node.is_atom("log@host") && node_of.is_atom("log@host"));
}

#[test]
fn specs_that_change_nothing_are_known_as_such() {
    for (spec, expected) in [
        ("[{'$1',[],['$1']}]", true),
        ("[{'_',[],['$_']}]", true),
        ("[{'$7',[],['$_']},{a,[],[b]}]", true),
        ("[{'$1',[true],['$1']}]", false),
        ("[{'_',[],['$$']}]", false),
        ("[{{'$1'},[],['$1']}]", false),
        ("[{a,[],[b]},{'_',[],['$_']}]", false),
    ] {
        assert_eq!(compile_text(spec).expect("compiles").is_identity(), expected, "{spec}");
    }
}

#[test]
fn steps_and_results_are_bounded() {
    // bounded: doubling a term in each of many steps, and looking up many keys in a large map.
    let mut doubled = "'$1'".to_owned();
    for _ in 0..10 {
        doubled = format!("{{{{{doubled},{doubled}}}}}");
    }
    let spec = format!("[{{'$1',[],[{doubled}]}}]");
    let event = format!("<<{}>>", vec!["0"; 100_000].join(","));
    check(&spec, &event, "budget");
    let limits = Limits { steps: 10_000, ..Limits::default() };
    let keys: Vec<_> = (0..200).map(|n| format!("{n} => '_'")).collect();
    let map: Vec<_> = (0..2_000).rev().map(|n| format!("{n} => value")).collect();
    let spec = text::parse(&format!("[{{#{{{}}},[],[a]}}]", keys.join(","))).expect("a term");
    let event = text::parse(&format!("#{{{}}}", map.join(","))).expect("a term");
    let spec = spec.as_term();
    let plenty = MatchSpec::compile(spec, Limits::default()).expect("compiles");
    assert_eq!(run(&plenty, &event).0, Outcome::Result);
    let few = MatchSpec::compile(spec, limits).expect("compiles");
    assert_eq!(run(&few, &event), (Outcome::Budget, vec![]));
    check("[{'$1',[],[{'bsl',1,65535}]}]", "a", &format!("16#8{}", "0".repeat(16_383)));
    check("[{'$1',[],[{'bsl',1,65536}]}]", "a", "'EXIT'");
}

/// A specification of 21 KB and an event of 21 KB that together cost the whole budget: each guard compares two
/// lists that begin with a map, for which both maps have to be sorted.
fn hostile() -> (MatchSpec, TermBuf) {
    let guards: Vec<_> = (0..400).map(|n| format!("{{'=/=',['$_'|{n}],['$_'|x]}}")).collect();
    let pairs: Vec<_> = (0..2_500).rev().map(|n| format!("{n} => {n}")).collect();
    let spec = compile_text(&format!("[{{'_',[{}],['$_']}}]", guards.join(","))).expect("compiles");
    (spec, text::parse(&format!("#{{{}}}", pairs.join(","))).expect("a term"))
}

/// What is allowed is added up over many runs; what a run would need beyond it is not begun.
#[test]
fn no_run_takes_more_steps_than_it_is_allowed() {
    let (spec, event) = hostile();
    let event = event.as_term();
    let (mut scratch, mut out) = (Scratch::default(), Vec::new());
    for allowed in [0, 1, 100, 10_000, 1_999_999] {
        let mut allowance = allowed;
        let outcome = spec.run_within(&mut scratch, event, &mut out, &mut allowance);
        assert_eq!((outcome, allowance), (Outcome::Unfinished, 0), "allowance: {allowed}");
    }
    let mut allowance = u64::MAX;
    let outcome = spec.run_within(&mut scratch, event, &mut out, &mut allowance);
    assert_eq!((outcome, u64::MAX - allowance), (Outcome::Budget, Limits::default().steps));
    assert!(out.is_empty());
    // A cheap one is charged for what it did.
    let cheap = compile_text("[{'$1',[{is_map,'$1'}],[yes]}]").expect("compiles");
    let mut allowance = 1_000;
    let mut runs = 0;
    while cheap.run_within(&mut scratch, event, &mut out, &mut allowance) == Outcome::Result {
        runs += 1;
    }
    assert!((100..1_000).contains(&runs), "{runs}");
}

/// What the limit on the memory of all specifications counts: within a tenth of what was asked of the allocator, and
/// no more than some dozen times the specification's own bytes.
#[test]
fn a_compiled_specification_tells_its_memory_and_stays_near_its_term() {
    let nest =
        |depth: usize, inner: String| format!("{}{inner}{}", "[".repeat(depth), "]".repeat(depth));
    let guards = vec!["{is_atom,'$1'}"; 2_500].join(",");
    let checks = [
        (format!("[{{'$1',[{guards}],['$1']}}]"), 16),
        // Constants that are put together level by level are kept once.
        (format!("[{{'$1',[],[{}]}}]", nest(900, format!("\"{}\"", "x".repeat(50_000)))), 3),
        (format!("[{{[{}],[],[a]}}]", vec!["'_'"; 15_000].join(",")), 16),
    ];
    for (spec, factor) in checks {
        let term = text::parse(&spec).expect("a term");
        let compiled = compile_text(&spec).expect("compiles");
        let memory = compiled.memory_bytes();
        assert!(memory < factor * term.len(), "{memory} for {} bytes", term.len());
    }
}

#[test]
fn results_may_nest_deeper_than_events() {
    let mut event = [104, 1].repeat(crate::etf::MAX_DEPTH);
    event.push(106);
    let spec = compile_text(
        "[{'$1',[{'==',{{{{{{'$1'}}}}}},{{{{{{'$_'}}}}}}}],[{element,1,{{{{['$_','$$'|b]}}}}}]}]",
    );
    let (outcome, result) = run(&spec.expect("compiles"), &event);
    assert_eq!(outcome, Outcome::Result);
    let result = TermRef::from_walked(&result);
    let Term::Tuple(mut elements) = result.view() else { panic!("{result:?}") };
    let whole = elements.next().and_then(|list| list.cells().next()).expect("a list");
    assert!(order::exactly_equal(whole, TermRef::from_walked(&event)));
}

#[test]
fn deep_and_wide_specs_compile_without_recursion() {
    let nest = |open: &str, close: &str, depth: usize, inner: &str| {
        format!("{}{inner}{}", open.repeat(depth), close.repeat(depth))
    };
    let head = nest("{", "}", 1000, "'$1'");
    check(&format!("[{{{head},[],['$1']}}]"), &nest("{", "}", 1000, "x"), "x");
    let body = nest("{{", "}}", 500, "'$1'");
    check(&format!("[{{'$1',[],[{body}]}}]"), "x", &nest("{", "}", 500, "x"));
    let guard = nest("{'andalso',true,{'orelse',false,", "}}", 500, "true");
    check(&format!("[{{'$1',[{guard}],['$1']}}]"), "x", "x");
}

#[test]
fn no_event_makes_a_run_panic() {
    use proptest::prelude::*;
    let specs = [
        "[{{'$1',['$2'|'$3'],#{a => '$1'}},[{'<','$1','$2'}],[{{'$3','$$'}}]},{'$1',[{is_list,{tl,'$1'}}],[{tl,'$1'}]}]",
        "[{['$1','$1'|'_'],[],['$1']},{#{1 => ['$1'|b]},[],[#{'$1' => '$_'}]},{{'_',\"abc\",'$1'},[],[{abs,'$1'}]}]",
    ]
    .map(|spec| compile_text(spec).expect("compiles"));
    let byte = prop_oneof![
        prop::sample::select(vec![97, 98, 104, 106, 107, 108, 109, 110, 116, 119]),
        0..4_u8,
        any::<u8>(),
    ];
    let config = ProptestConfig { cases: 3000, failure_persistence: None, ..Default::default() };
    proptest!(config, |(bytes in prop::collection::vec(byte, 0..100))| {
        if let Ok((event, _)) = TermRef::split_first(&bytes) {
            for spec in &specs {
                let (outcome, result) = run(spec, event.bytes());
                prop_assert_eq!(outcome == Outcome::Result, TermRef::whole(&result).is_ok());
            }
        }
    });
}
