//! Text of terms, beyond what the golden files hold.

use super::*;
use crate::etf::{MAX_DEPTH, TermBuf, TermRef, encode, order};

fn print(term: &[u8]) -> String {
    to_text(TermRef::whole(term).expect("a term"))
}

/// What the text is printed as once it was parsed.
fn check(text: &str, expected: &str) {
    match parse(text) {
        Ok(term) => assert_eq!(print(&term), expected, "{text}"),
        Err(error) => panic!("{text}: {error}"),
    }
}

fn refused(text: &str, line: usize, column: usize, problem: TextProblem) {
    assert_eq!(parse(text), Err(TextError { line, column, problem }), "{text}");
}

fn unexpected(found: char, due: &'static str) -> TextProblem {
    TextProblem::Unexpected { found, due }
}

#[test]
fn what_people_write_is_parsed() {
    check("{local, error_logger}", "{local,error_logger}");
    check(" { a , % comment\n [ b | c ] } . ", "{a,[b|c]}");
    check("[$a, $\\n, $ , $\\x{41}, $\\101]", "\"a\\n AA\"");
    check("[16#ff, 2#1010, 36#Z, 1_000, 16#ffff_ffff]", "[255,10,35,1000,4294967295]");
    check("[- 1, +2, -16#10, -$a, -1.5e3, 1.0E-2]", "[-1,2,-16,-97,-1.5e3,0.01]");
    check("\"abc\" \"def\"", "\"abcdef\"");
    check("\"\\s\\d\\^A\\e\"", "[32,127,1,27]");
    check("#{ a => #{}, \"b\" => [] }", "#{a => #{},\"b\" => []}");
    check("fun lists:map/2", "fun lists:map/2");
    check("fun 'a b' : c / 255", "fun 'a b':c/255");
    check("['maybe', maybe, 'end', 'A', ÿ]", "['maybe','maybe','end','A',ÿ]");
    check("[1|[2|[3]]]", "[1,2,3]");
    check("-9223372036854775809", "-9223372036854775809");
    check("{}.", "{}");
    check("\"日本\"", "\"日本\"");
}

#[test]
fn binaries_are_built_as_the_bit_syntax_says() {
    check("<<>>", "<<>>");
    check("<<\"abc\">>", "<<\"abc\">>");
    check("<<1, 2:4>>", "<<1,2:4>>");
    check("<<-1:3, 1:5>>", "<<\"á\">>");
    check("<<\"å\"/utf8, \"é\">>", "<<\"Ã¥é\">>");
    check("<<258:16/little, 258:16, 16#123:12/little>>", "<<2,1,1,2,35,1:4>>");
    check("<<1.5/float>>", "<<63,248,0,0,0,0,0,0>>");
    check("<<1.5:32/float-little, 1/float>>", "<<0,0,192,63,63,240,0,0,0,0,0,0>>");
    check("<<1:4/unit:8>>", "<<0,0,0,1>>");
    check("<<\"ab\":16>>", "<<0,97,0,98>>");
    check("<<$a/utf16, 16#1f600/utf32>>", "<<0,97,0,1,246,0>>");
    check("<<300, $b, 1:0>>", "<<\",b\">>");
    refused("<<1.5>>", 1, 3, TextProblem::Segment);
    refused("<<1:5000>>", 1, 3, TextProblem::SegmentTooWide);
    refused("<<1/binary>>", 1, 3, TextProblem::Segment);
    refused("<<16#d800/utf8>>", 1, 3, TextProblem::Segment);
}

#[test]
fn wide_segments_together_are_bounded() {
    let text = format!("<<\"{}\":4096>>", "a".repeat(10_000));
    refused(&text, 1, 3, TextProblem::SegmentTooWide);
}

#[test]
fn errors_say_where_they_are() {
    refused("", 1, 1, TextProblem::End);
    refused("{a,\n b,\n  }", 3, 3, unexpected('}', "a term"));
    refused("{a b}", 1, 4, unexpected('b', "',' or '}'"));
    refused("[a|b,c]", 1, 5, unexpected(',', "']'"));
    refused("#{a}", 1, 4, unexpected('}', "'=>'"));
    refused("{é, Variable}", 1, 5, TextProblem::Variable);
    refused("end", 1, 1, TextProblem::Reserved("end".into()));
    refused("\"abc", 1, 5, TextProblem::End);
    refused("\"\\x{110000}\"", 1, 3, TextProblem::Escape);
    refused("1_", 1, 1, TextProblem::Number);
    refused("[1.0e999]", 1, 2, TextProblem::Number);
    refused("a. b", 1, 4, unexpected('b', "the end"));
    refused("<0.1.0>", 1, 1, unexpected('<', "a term"));
    refused("[#{a => 1, b => 2, a => 3}]", 1, 1, TextProblem::RepeatedKey);
    refused("fun a:b/256", 1, 9, TextProblem::Number);
    refused(&"a".repeat(256), 1, 1, TextProblem::AtomTooLong { limit: 255 });
    let limit = MAX_DIGITS;
    refused(&"1".repeat(limit + 1), 1, 1, TextProblem::NumberTooLong { limit });
}

#[test]
fn text_of_the_greatest_depth_comes_back_and_one_level_more_is_refused() {
    for (open, close) in [("[", "]"), ("{", "}"), ("#{a=>", "}"), ("[a|", "]")] {
        let text = |depth: usize| format!("{}b{}", open.repeat(depth), close.repeat(depth));
        let term = parse(&text(MAX_DEPTH)).expect("at the limit");
        let again = parse(&print(&term)).expect("printed");
        let (again, term) = (again.as_term(), term.as_term());
        assert!(order::exactly_equal(again, term));
        let problem = parse(&text(MAX_DEPTH + 1)).map_err(|error| error.problem);
        assert_eq!(problem, Err(TextProblem::TooDeep { limit: MAX_DEPTH }));
    }
}

#[test]
fn consulted_terms_each_end_in_a_dot() {
    let texts = |text| -> Result<Vec<String>, _> {
        parse_terms(text).map(|terms| terms.iter().map(|term| print(term)).collect())
    };
    let expected = ["{a,1}", "[b]", "c"].map(String::from).to_vec();
    assert_eq!(texts("% head\n{a, 1}.\n[b].% x\nc ."), Ok(expected));
    assert_eq!(texts(" \n% nothing\n"), Ok(vec![]));
    let problem = TextProblem::End;
    assert_eq!(texts("a.\nb"), Err(TextError { line: 2, column: 2, problem }));
    let problem = unexpected('b', "space after the dot");
    assert_eq!(texts("a.b"), Err(TextError { line: 1, column: 3, problem }));
}

#[test]
fn printing_stops_at_the_limit_between_characters() {
    let term = parse("[{a, \"日本語\"}]").expect("a term");
    let term = term.as_term();
    let whole = to_text(term);
    for limit in 0..=whole.len() {
        let mut text = String::new();
        let complete = write_term(&mut text, term, limit).expect("strings take everything");
        assert_eq!(complete, limit == whole.len());
        let kept = text.strip_suffix("...").unwrap_or(&text);
        assert!(
            whole.starts_with(kept) && kept.len() <= limit && kept.len() + 2 >= limit,
            "{text}"
        );
    }
}

#[test]
fn identifiers_are_printed_with_their_nodes_name() {
    let mut term = vec![];
    encode::tuple_header(&mut term, 2);
    let node: std::sync::Arc<str> = "a@b.example".into();
    encode::pid(&mut term, &crate::etf::Pid { node: node.clone(), id: 41, serial: 1, creation: 7 });
    encode::reference(&mut term, &crate::etf::Reference::new(node, 7, [1, 2, 3].into_iter()));
    assert_eq!(print(&term), "{<a@b.example.41.1>,#Ref<a@b.example.3.2.1>}");
}

#[test]
fn huge_integers_are_printed_in_base_16_and_come_back() {
    let mut term = vec![];
    encode::big_integer(&mut term, true, &[0xab; 100_000]);
    let text = print(&term);
    assert!(text.starts_with("-16#ABAB"), "{text:.20}");
    assert_eq!(parse(&text), Ok(TermBuf::new(term).expect("a term")));
}

#[test]
fn a_string_longer_than_its_short_form_comes_back() {
    let text = format!("\"{}\"", "x".repeat(70_000));
    check(&text, &text);
}

/// What is written without loss and how, and that it is parsed back.
fn lossless(term: &[u8], expected: &str) {
    let term = TermRef::whole(term).expect("a term");
    assert_eq!(to_lossless(term), expected);
    let parsed = parse_lossless(expected).unwrap_or_else(|error| panic!("{expected}: {error}"));
    assert!(order::exactly_equal(parsed.as_term(), term), "{expected}");
}

#[test]
fn what_has_no_syntax_is_written_in_forms_and_comes_back() {
    let mut pid = vec![88, 119, 3, b'a', b'@', b'b'];
    pid.extend([0, 0, 0, 41, 0, 0, 0, 1, 0, 0, 0, 7]);
    lossless(&pid, "{'$pid',a@b,41,1,7}");
    let mut port = vec![];
    encode::port(&mut port, "a@b", u64::MAX, 7);
    lossless(&port, "{'$port',a@b,18446744073709551615,7}");
    encode::port(&mut port, "a@b", 5, 7);
    lossless(&port[18..], "{'$port',a@b,5,7}");
    let mut reference = vec![];
    let words = [1, 2, 3, 4, 5];
    encode::reference(
        &mut reference,
        &crate::etf::Reference::new("é@b".into(), 7, words.into_iter()),
    );
    lossless(&reference, "{'$ref',é@b,7,1,2,3,4,5}");
    let mut body = vec![1];
    body.extend([255; 16]);
    body.extend([0, 0, 0, 3, 0, 0, 0, 2, 119, 1, b'm', 97, 4, 98, 0, 0, 1, 0]);
    body.extend(&pid);
    body.extend([97, 97]);
    body.extend(&pid);
    let size = u32::try_from(body.len() + 4).expect("short").to_be_bytes();
    let digest = "ÿ".repeat(16);
    let text = format!(
        "{{'$closure',m,1,<<\"{digest}\">>,3,4,256,{{'$pid',a@b,41,1,7}},[97,{{'$pid',a@b,41,1,7}}]}}"
    );
    let closure = [&[112], &size[..], &body].concat();
    lossless(&closure, &text);
    // Down to the byte.
    assert_eq!(*parse_lossless(&text).expect("a closure"), *closure);
    let record = [67, 0, 0, 0, 0, 1, 119, 1, b'm', 119, 1, b'r'];
    lossless(&record, "{'$etf',<<131,67,0,0,0,0,1,119,1,109,119,1,114>>}");
    lossless(&[104, 2, 119, 1, b'a', 113, 119, 1, b'm', 119, 1, b'f', 97, 2], "{a,fun m:f/2}");
}

#[test]
fn a_tuple_like_a_form_stays_the_tuple_that_it_is() {
    for (text, written) in [
        ("{'$pid',a@b,1,2,3}", "{'$tuple','$pid',a@b,1,2,3}"),
        ("{'$tuple','$pid'}", "{'$tuple','$tuple','$pid'}"),
        ("{'$etf',<<131,106>>}", "{'$tuple','$etf',<<131,106>>}"),
        ("{'$tuple',{'$ref',1}}", "{'$tuple','$tuple',{'$tuple','$ref',1}}"),
        ("{'$tuple'}", "{'$tuple','$tuple'}"),
        ("{'$other',1}", "{'$other',1}"),
        ("{}", "{}"),
    ] {
        lossless(&parse(text).expect("a term"), written);
    }
    // Written by hand: no forms.
    for text in ["{'$pid',1}", "{'$ref',a@b,1}", "{'$tuple'}", "{'$etf',<<1>>}", "{'$closure',a}"] {
        assert_eq!(parse_lossless(text), parse(text), "{text}");
    }
    // As the first version wrote events with pids.
    assert_eq!(parse_lossless("{a,{'$etf',<<131,97,5>>}}"), parse("{a,5}"));
}

#[test]
fn an_event_of_the_greatest_depth_comes_back_in_its_entry() {
    let deep = [[104, 1].repeat(MAX_DEPTH), vec![106]].concat();
    let term = TermRef::whole(&deep).expect("at the limit");
    let entry = format!("{{{{1,2,3}},{}}}.", to_lossless(term));
    assert!(parse_lossless(&entry).expect("parses").ends_with(&deep));
}
