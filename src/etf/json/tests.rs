//! The JSON of terms, and JSON that is none.

use super::*;
use crate::etf::{MAX_DEPTH, TermBuf, TermRef, encode, order, text};

/// Erlang text and its JSON, both ways.
fn check(erlang: &str, json: &str) {
    let term = text::parse(erlang).expect("Erlang text");
    let term = term.as_term();
    assert_eq!(to_json(term), json, "{erlang}");
    same(erlang, json);
}

/// What the JSON is parsed into.
fn same(erlang: &str, json: &str) {
    let expected = text::parse(erlang).expect("Erlang text");
    match parse(json) {
        Ok(found) => assert_eq!(found, expected, "{json}"),
        Err(error) => panic!("{json}: {error}"),
    }
}

fn refused(json: &str, column: usize, problem: JsonProblem) {
    assert_eq!(parse(json), Err(JsonError { line: 1, column, problem }), "{json}");
}

#[test]
fn each_kind_of_term_has_its_form() {
    check("1", "1");
    check("-255", "-255");
    check("1.0", "1.0");
    check("-0.0", "-0.0");
    check("1.0e22", "1.0e22");
    check("9007199254740991", "9007199254740991");
    check("9007199254740992", r#"{"$int":"9007199254740992"}"#);
    check("-36893488147419103232", r#"{"$int":"-36893488147419103232"}"#);
    check("true", "true");
    check("null", "null");
    check("ok", r#"{"$atom":"ok"}"#);
    check("'a \"b\\n'", r#"{"$atom":"a \"b\n"}"#);
    check("<<\"text \\\"\\\\ \\t\\0\">>", r#""text \"\\ \t\u0000""#);
    check("<<\"é日\"/utf8>>", r#""é日""#);
    check("<<255,0>>", r#"{"$binary":"/wA="}"#);
    check("<<1,2:4>>", r#"{"$bits":["ASA=",4]}"#);
    check("[]", "[]");
    check("[1,a,[2]]", r#"[1,{"$atom":"a"},[2]]"#);
    check("[1,2,3]", "[1,2,3]");
    check("\"abc é\"", r#"{"$string":"abc é"}"#);
    check("[1,b|c]", r#"{"$improper":[1,{"$atom":"b"},{"$atom":"c"}]}"#);
    check("[1|2]", r#"{"$improper":[1,2]}"#);
    check("{}", r#"{"$tuple":[]}"#);
    check("{a,{1}}", r#"{"$tuple":[{"$atom":"a"},{"$tuple":[1]}]}"#);
    check("fun lists:map/2", r#"{"$fun":["lists","map",2]}"#);
}

#[test]
fn maps_are_objects_where_their_keys_allow() {
    check("#{}", "{}");
    check("#{<<\"a\">> => 1,<<>> => b}", r#"{"a":1,"":{"$atom":"b"}}"#);
    check("#{a => 1,b => #{c => []}}", r#"{"$map":{"a":1,"b":{"$map":{"c":[]}}}}"#);
    check("#{true => 1}", r#"{"$map":{"true":1}}"#);
    check("#{1 => 2,[x] => y}", r#"{"$map":[[1,2],[[{"$atom":"x"}],{"$atom":"y"}]]}"#);
    check("#{<<\"$a\">> => 1}", r#"{"$map":[["$a",1]]}"#);
    check("#{<<\"b\">> => 1,a => 2}", r#"{"$map":[["b",1],[{"$atom":"a"},2]]}"#);
    check("#{#{a => 1} => #{}}", r#"{"$map":[[{"$map":{"a":1}},{}]]}"#);
}

#[test]
fn json_of_others_is_read() {
    same("[1,-2,0.5]", " [ 1 ,\n-2 , 5.0E-1 ] ");
    same("123456789012345678901234567890", "123456789012345678901234567890");
    same("<<\"ok\">>", "\"ok\"");
    same("<<\"a/\\b\\f😀\"/utf8>>", r#""a\/\b\f\ud83d\ude00""#);
    same("#{<<\"k\">> => [true,false,null]}", "{ \"k\" : [ true , false , null ] }");
    same("{error,<<\"x\">>}", r#"{ "$tuple" : [ {"$atom" : "error"} , "x" ] }"#);
    same("#{}", r#"{"$map":[]}"#);
    same("#{}", r#"{"$map":{}}"#);
    same("255", r#"{"$int":"16#ff"}"#);
    same("[]", r#"{"$string":""}"#);
}

#[test]
fn identifiers_come_back_with_node_and_creation() {
    let mut term = vec![];
    encode::tuple_header(&mut term, 3);
    let node: std::sync::Arc<str> = "a@b".into();
    encode::pid(&mut term, &crate::etf::Pid { node: node.clone(), id: 1, serial: 2, creation: 3 });
    encode::reference(&mut term, &crate::etf::Reference::new(node, 7, [1, 2, 3].into_iter()));
    // A 64-bit port.
    term.extend([
        120, 119, 3, b'a', b'@', b'b', 255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 9,
    ]);
    let json = to_json(TermRef::whole(&term).expect("a term"));
    let expected = r#"{"$tuple":[{"$pid":["a@b",1,2,3]},{"$ref":["a@b",7,1,2,3]},{"$port":["a@b",{"$int":"18446744073709551615"},9]}]}"#;
    assert_eq!(json, expected);
    assert_eq!(parse(&json), Ok(TermBuf::new(term).expect("a term")));
}

#[test]
fn errors_say_where_they_are() {
    refused("", 1, JsonProblem::End);
    refused("[1,]", 4, JsonProblem::Unexpected { found: ']', due: "a value" });
    refused("[1 2]", 4, JsonProblem::Unexpected { found: '2', due: "',' or ']'" });
    refused("{\"a\" 1}", 6, JsonProblem::Unexpected { found: '1', due: "':'" });
    refused("nul", 1, JsonProblem::Unexpected { found: 'n', due: "a value" });
    refused("01", 1, JsonProblem::Number);
    refused("[1.]", 2, JsonProblem::Number);
    refused("1e999", 1, JsonProblem::Number);
    refused(&"9".repeat(100_000), 1, JsonProblem::Number);
    refused("\"a\nb\"", 3, JsonProblem::Control);
    refused(r#""\ud800""#, 3, JsonProblem::Escape);
    refused(r#"{"$nosuch":1}"#, 2, JsonProblem::Form("$nosuch".into()));
    refused(r#"{"a":1,"$atom":"b"}"#, 8, JsonProblem::Form("$atom".into()));
    refused(r#"{"$atom":"b","a":1}"#, 13, JsonProblem::Unexpected { found: ',', due: "'}'" });
    refused(r#"{"$binary":"Zh=="}"#, 2, JsonProblem::Value("$binary"));
    refused(r#"{"$bits":["Zg==",8]}"#, 2, JsonProblem::Value("$bits"));
    refused(r#"{"$int":"1.0"}"#, 2, JsonProblem::Value("$int"));
    refused(r#"{"$etf":"gwE="}"#, 2, JsonProblem::Value("$etf"));
    refused(r#"{"$pid":["a",{"$pid":1},0,0]}"#, 2, JsonProblem::Value("$pid"));
    refused(r#"{"a":1,"a":2}"#, 1, JsonProblem::RepeatedKey);
    refused(&format!("{{\"$atom\":\"{}\"}}", "a".repeat(256)), 2, JsonProblem::Value("$atom"));
}

#[test]
fn the_greatest_depth_comes_back_and_one_level_more_is_refused() {
    for (open, close) in
        [("[", "]"), ("{\"a\":", "}"), ("{\"$tuple\":[", "]}"), ("{\"$map\":[[", ",1]]}")]
    {
        let json = |depth: usize| format!("{}null{}", open.repeat(depth), close.repeat(depth));
        let term = parse(&json(MAX_DEPTH)).expect("at the limit");
        let again = parse(&to_json(TermRef::whole(&term).expect("a term"))).expect("at the limit");
        assert!(order::exactly_equal(again.as_term(), term.as_term()));
        let problem = parse(&json(MAX_DEPTH + 1)).map_err(|error| error.problem);
        assert_eq!(problem, Err(JsonProblem::TooDeep { limit: MAX_DEPTH }));
    }
}

#[test]
fn closures_and_native_records_are_carried_as_they_are() {
    let mut fun = vec![112, 0, 0, 0, 0, 1];
    fun.extend([0; 16]);
    fun.extend([0, 0, 0, 0, 0, 0, 0, 1, 119, 1, b'm', 97, 0, 97, 5]);
    fun.extend([88, 119, 3, b'a', b'@', b'b', 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1]);
    // Its free variable holds a list and a map, which must not be taken for ones outside.
    fun.extend([104, 2, 107, 0, 1, 1, 116, 0, 0, 0, 0]);
    fun[4] = u8::try_from(fun.len() - 1).expect("short");
    let record = [67, 0, 0, 0, 1, 0, 119, 1, b'm', 119, 1, b'r', 119, 1, b'x', 107, 0, 1, b'q'];
    let mut term = vec![104, 4];
    term.extend(&fun);
    term.extend([107, 0, 1, b'a']);
    term.extend(record);
    term.extend([116, 0, 0, 0, 1, 119, 1, b'k', 106]);
    let json = to_json(TermRef::whole(&term).expect("a term"));
    assert!(json.ends_with(r#",{"$map":{"k":[]}}]}"#), "{json}");
    assert_eq!(parse(&json), Ok(TermBuf::new(term).expect("a term")));
}
