//! Who asks for faults, and for what is different: over HTTP, by the command line, from Erlang code.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::time::SystemTime;

use logmachine::time::Timestamp;
use serde_json::{Value, json};

use super::{Chance, Kept, error, rows, shop, try_request};
use crate::harness::{PATIENCE, World, free_port, has_erlang, wait_for};
use crate::http::ENTRIES;

/// Entries of one fault, wherever entries are asked for; also where one place logs more sorts of texts than are compared.
#[test]
fn a_fault_chooses_entries() {
    const TEXTS: usize = 150;
    let (world, port) = (World::new(), free_port());
    let kept = Kept::start_at(&world, port);
    // Letters, since digits are data.
    let word = |n: usize| {
        n.to_string().chars().map(|digit| (b'a' + digit as u8 - b'0') as char).collect::<String>()
    };
    let texts: Vec<_> = (0..TEXTS).map(|n| {
        let word = word(n);
        format!("{{log,'n@10.0.0.1',error,{{string,<<\"x{word} y{word} z{word}\">>}},#{{mfa => {{stock,find,1}}}}}}")
    }).collect();
    assert!(kept.append(&texts));
    let mixed: Vec<_> = (0..90).map(|n| error(n % 3, n)).collect();
    assert!(
        kept.append(&mixed)
            && kept.append(&[
                "{log,'n@10.0.0.1',info,{\"fault 1: ~p\",[1]},#{mfa => {stock,find,1}}}".to_owned(),
                "fault".to_owned()
            ])
    );
    let faults = wait_for("all faults", || {
        let faults = kept.faults("limit=1000");
        (faults.len() == TEXTS + 3).then_some(faults)
    });
    for fault in &faults {
        let id = fault["id"].as_str().unwrap();
        let found = kept.entries("quotes", &format!("fault={id}"));
        assert_eq!(json!(found.len()), fault["count"], "{fault:#}");
        assert_eq!(json!(found[0].0.micros()), fault["first_seen_micros"]);
    }
    let one = faults.iter().find(|fault| fault["count"] == 30).unwrap();
    let id = one["id"].as_str().unwrap();
    let page = kept.0.get(&format!("{ENTRIES}?fault={id}&limit=20"));
    assert_eq!(page["entries"].as_array().unwrap().len(), 20);
    let page =
        kept.0.get(&format!("{ENTRIES}?fault={id}&cursor={}", page["next"].as_str().unwrap()));
    assert_eq!(page["entries"].as_array().unwrap().len(), 10);
    let histogram = kept.0.get(&format!("/api/v1/instances/quotes/histogram?fault={id}"));
    let counts =
        histogram["histogram"].as_array().unwrap().iter().filter_map(|it| it["count"].as_u64());
    assert_eq!(counts.sum::<u64>(), 30);
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET /api/v1/instances/quotes/stream?from=earliest&fault={id} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n\r\n").unwrap();
    let stream = BufReader::new(stream);
    assert!(kept.append(&mixed[..4]));
    let data =
        stream.lines().map_while(Result::ok).filter(|line| line.starts_with("data: ")).take(31);
    let title = one["title"].as_str().unwrap().split(':').next().unwrap();
    assert_eq!(data.filter(|line| line.contains(title)).count(), 31);
    for unknown in ["0000000000000000", "x", ""] {
        for path in [
            format!("{ENTRIES}?fault={unknown}"),
            format!("/api/v1/instances/quotes/histogram?fault={unknown}"),
            format!("/api/v1/instances/quotes/stream?fault={unknown}"),
        ] {
            let (status, at, said) = kept.refused("GET", &path, "");
            assert_eq!(
                (status, &*at, &*said),
                (400, "fault", "there is no fault with this id"),
                "{path}"
            );
        }
    }
}

/// A database on one of three nodes stops answering, while mails fail everywhere as they always do.
#[test]
fn explain_names_the_node_and_the_timeout_first() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let kept = Kept::start(&world, &["--connect", "local"]);
    let mut nodes = ["a", "b", "c"].map(|name| shop(&world, Path::new("erl"), name));
    for node in &mut nodes {
        assert_eq!(node.eval("shop:open(), shop:visit_every(50), shop:mail_every(20)"), "ok");
    }
    let count = |title: &str| {
        let faults = kept.faults("");
        let found = faults.iter().find(|it| it["title"].as_str().unwrap().contains(title));
        found.map_or(0, |fault| fault["count"].as_u64().unwrap())
    };
    let newest = || {
        kept.0.get("/api/v1/instances/error_logger/entries?order=desc&limit=1")["entries"][0]["micros"].as_u64()
    };
    wait_for("the first mails", || (count("mail") > 0).then_some(()));
    let begin = newest().unwrap();
    wait_for("an ordinary stretch", || (count("mail") > 500).then_some(()));
    let middle = newest().unwrap();
    assert_eq!(nodes[1].eval("shop:freeze()"), "ok");
    wait_for("timeouts", || (count("timeout") > 60).then_some(()));
    let end = newest().unwrap();
    let explain = |from: u64, to: u64| {
        kept.0.get(&format!("/api/v1/explain?from={from}&to={to}&baseline={begin}"))
    };
    let explained = explain(middle, end);
    let text = explained["text"].as_str().unwrap();
    let title = "timeout calling shop_db (find) in shop:visit/0";
    let (first, _) = text.split_once(". ").unwrap();
    assert!(first.starts_with(&format!("On b@127.0.0.1, `{title}` (new, first seen ")), "{text}");
    assert!(first.ends_with(", never before"), "{text}");
    let findings = explained["findings"].as_array().unwrap();
    assert_eq!(findings[0]["fault"]["title"], title);
    assert_eq!(
        (&findings[0]["node"], &findings[0]["is_new"]),
        (&json!("b@127.0.0.1"), &json!(true))
    );
    assert_eq!(findings[0]["baseline_count"], 0);
    let samples = findings[0]["samples"].as_array().unwrap();
    assert!(!samples.is_empty() && samples.iter().all(|it| it["node"] == "b@127.0.0.1"));
    // Not again as a rise of its node, its module or its kind.
    assert_eq!(findings.len(), 1, "{explained:#}");
    let calm = explain(begin.midpoint(middle), middle);
    assert!(calm["text"].as_str().unwrap().starts_with("Nothing is different: "), "{calm:#}");
}

const HOUR: u64 = 3_600_000_000;

/// Three hours of a log that ended a minute ago; where the third one begins. From its minute 20 on a node is not as before.
fn three_hours(world: &World) -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let begin = u64::try_from(now.as_micros()).unwrap() - 3 * HOUR - HOUR / 60;
    let mut chance = Chance(0x5eed);
    let mut entries = Vec::new();
    let mut add = |begin: u64, end: u64, apart: usize, event: &dyn Fn(&mut Chance) -> String| {
        let mut at = begin;
        while at < end {
            entries.push((at, event(&mut chance)));
            at += 1 + chance.below(2 * apart) as u64;
        }
    };
    add(begin, begin + 3 * HOUR, 3_000_000, &|chance| {
        let node = ["a@10.0.0.1", "b@10.0.0.1", "c@10.0.0.1"][chance.below(3)];
        error(chance.below(5), 1).replace("n@10.0.0.1", node)
    });
    add(begin + 2 * HOUR + HOUR / 3, begin + 3 * HOUR, 10_000_000, &|_| {
        let calls = "[{gen_server,call,3,[]},{shop,visit,0,[]}]";
        format!(
            "{{log,'b@10.0.0.1',error,{{report,#{{label => {{proc_lib,crash}},report => [[{{error_info,{{exit,{{timeout,{{gen_server,call,[db,find]}}}},{calls}}}}}],[]]}}}},#{{time => 1}}}}"
        )
    });
    entries.sort();
    let line = |(at, event): &(u64, String)| {
        let (mega, secs, micros) = Timestamp::from_micros(*at).parts();
        format!("{{{{{mega},{secs},{micros}}},{event}}}.\n")
    };
    std::fs::write(world.path("hours.terms"), entries.iter().map(line).collect::<String>())
        .unwrap();
    let output = world.command("import").args(["data/quotes", "hours.terms"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    begin + 2 * HOUR
}

const CAUSE: &str = "On b@10.0.0.1, `timeout calling db (find) in shop:visit/0` (new, first seen ";

#[test]
fn an_hour_is_explained_over_http_and_by_the_command_line() {
    let world = World::new();
    let third = three_hours(&world);
    let second = third - HOUR;
    let kept = Kept::start(&world, &[]);
    let explain = |query: &str| {
        kept.0.get(&format!("/api/v1/explain?instance=quotes&{query}"))["text"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let calm = format!("from={second}&to={third}");
    assert!(explain(&calm).starts_with("Nothing is different: "), "{}", explain(&calm));
    for query in [String::new(), format!("from={third}"), format!("from={third}&baseline=earliest")]
    {
        assert!(explain(&query).starts_with(CAUSE), "{query}: {}", explain(&query));
    }
    let whole = explain(&format!("from={third}&to={}", third + HOUR));
    assert!(whole.contains("times in 60 min, never before. In all "), "{whole}");
    assert!(explain("from=earliest").starts_with("Events of all sorts happened "));
    let empty = kept.0.get("/api/v1/explain");
    assert_eq!(empty["text"], "Nothing is different: 0 events in 60 min, 0 in the 60 min before.");
    for [query, status, place] in rows(
        "from=soon | 400 | from
        to=soon | 400 | to
        baseline=soon | 400 | baseline
        baseline=now | 400 | baseline
        from=now | 400 | from
        from=1h&to=2h | 400 | from
        from=2h&baseline=1h | 400 | baseline
        form=1h | 400 | query
        instance=nowhere | 404 | instance",
    ) {
        let (found, at, said) = kept.refused("GET", &format!("/api/v1/explain?{query}"), "");
        assert_eq!((found.to_string(), &*at), (status.to_owned(), place), "{query}: {said}");
    }
    let run = |flags: &str| command(&world, &kept, "explain", flags);
    let (_, said, _) = run(&format!("quotes --since {third}"));
    let lines: Vec<_> = said.lines().collect();
    assert!(lines[0].starts_with(CAUSE) && lines.len() == 7, "{said}");
    assert_eq!(
        lines[2].split_whitespace().collect::<Vec<_>>(),
        ["now", "before", "ratio", "since", "what"]
    );
    assert!(
        lines[3].contains("new") && lines[3].ends_with("timeout calling db (find) in shop:visit/0")
    );
    assert!(lines[4].contains("crasher: "), "{said}");
    let (_, said, _) = run(&format!("quotes --since {second} --until {third}"));
    assert!(said.starts_with("Nothing is different: ") && said.lines().count() == 1, "{said}");
    let (_, said, _) = run(&format!("quotes -s {third} -b {second} -o json"));
    let json: Value = serde_json::from_str(&said).expect("JSON");
    assert!(json["text"].as_str().unwrap().starts_with(CAUSE));
    for [flags, code, message] in rows(
        "quotes --since soon | 2 | --since: \"soon\" is no moment
        quotes --since now | 2 | --since: it has to be before to
        quotes --baseline now | 2 | --baseline: it has to be before from
        quotes --baseline soon | 2 | --baseline: \"soon\" is no moment
        nowhere | 1 | there is no instance of that name; there is alerts, error_logger, faults, nodes, quotes
        quotes -o xml | 2 | possible values: pretty, json",
    ) {
        failed(run(flags), code, message);
    }
}

/// A verb, and what becomes of it: the exit code, the output and the errors, in which nothing does anything to a terminal.
fn command(world: &World, kept: &Kept, verb: &str, flags: &str) -> (i32, String, String) {
    let mut command = world.command(verb);
    let command = command.args(flags.split_whitespace()).env("LOGMACHINE_URL", kept.0.url(""));
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| {
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{202e}'), "{text:?}");
        text
    };
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn failed((code, said, errors): (i32, String, String), due: &str, message: &str) {
    assert_eq!(code.to_string(), due, "{errors}");
    assert!(errors.starts_with("logmachine: ") && errors.contains(message), "{message}: {errors}");
    assert!(errors.lines().count() == 1 && said.is_empty(), "{errors}{said}");
}

#[test]
fn erlang_code_asks_for_faults_and_explanations() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let third = three_hours(&world);
    let kept = Kept::start(&world, &[]);
    wait_for("six faults", || (kept.faults("").len() == 6).then_some(()));
    let mut a = world.erl("a");
    a.eval("L = 'logmachine@127.0.0.1', R = {'.quotes.receiver.srv', L}, F = fun(O) -> gen_server:call(R, {faults, O}) end");
    a.eval(&format!("X = fun(O) -> gen_server:call(R, {{explain, O}}) end, Third = {third}"));
    a.eval(&format!(
        "Tells = fun({{ok, #{{text := T}}}}) -> string:prefix(T, <<{CAUSE:?}>>) =/= nomatch end"
    ));
    for [expression, due] in rows(
        "{ok, All} = F(#{}), length(All) | 6
        lists:usort(lists:append([maps:keys(E) || E <- All])) | [count,first_seen,id,in_next_version,instance,kind,last_seen,level,modules,nodes,samples,since,state,title]
        {ok, All} =:= gen_server:call(R, faults) | true
        {ok, All} =:= gen_server:call({logmachine, L}, {faults, quotes}) | true
        {ok, All} =:= rpc:call(L, logmachine, faults, [quotes]) | true
        {ok, All} =:= erpc:call(L, logmachine, faults, [quotes, #{}]) | true
        {ok, [One, _]} = rpc:call(L, logmachine, faults, [quotes, #{limit => 2, sort => count}]), maps:get(count, One) =:= lists:max([C || #{count := C} <- All]) | true
        {ok, [Last]} = F(#{sort => first_seen, limit => 1}), maps:with([title, kind, modules, state, instance], Last) | #{instance => quotes,kind => crash,modules => [shop],state => new,title => <<\"timeout calling db (find) in shop:visit/0\">>}
        maps:keys(maps:get(nodes, Last)) | ['b@10.0.0.1']
        {ok, [Sample], _} = gen_server:call(R, {read, hd(maps:get(samples, Last)), #{limit => 1}}), element(1, Sample) =:= maps:get(first_seen, Last) | true
        length(element(2, F(#{state => [new, muted]}))) | 6
        F(#{state => resolved}) | {ok,[]}
        {ok, [Last]} =:= F(#{from => {ago, {4, hour}}, state => new, sort => first_seen, limit => 1}) | true
        length(element(2, F(#{to => Third}))) | 5
        F(#{from => now}) | {ok,[]}
        F(#{to => {ago, {1, day}}}) | {ok,[]}
        gen_server:call({'.nodes.receiver.srv', L}, {faults, #{}}) | {ok,[]}
        [F(O) || O <- [#{limit => 0}, #{limit => 10001}, #{limit => a}]] | [{error,{badarg,limit}},{error,{badarg,limit}},{error,{badarg,limit}}]
        [F(O) || O <- [#{state => gone}, #{state => [gone]}, #{state => <<\"new\">>}]] | [{error,{badarg,state}},{error,{badarg,state}},{error,{badarg,state}}]
        [F(O) || O <- [#{sort => title}, #{from => soon}, #{to => soon}, #{instance => x}]] | [{error,{badarg,sort}},{error,{badarg,from}},{error,{badarg,to}},{error,{badarg,instance}}]
        lists:usort([F(O) || O <- [#{<<\"limit\">> => 1}, #{1 => 2}, [], foo, [{limit, 1}]]]) | [{error,{badarg,options}}]
        rpc:call(L, logmachine, faults, [nowhere]) | {error,{unknown_instance,nowhere}}
        gen_server:call({logmachine, L}, {faults, nowhere, #{}}) | {error,{unknown_instance,nowhere}}
        element(1, rpc:call(L, logmachine, faults, [])) | badrpc
        element(1, rpc:call(L, logmachine, faults, [quotes, #{}, 3])) | badrpc
        Tells(X(#{})) | true
        Tells(X(#{from => Third, to => now})) | true
        Tells(rpc:call(L, logmachine, explain, [quotes, #{from => Third, baseline => {ago, {3, hour}}}])) | true
        Tells(erpc:call(L, logmachine, explain, [quotes, #{from => Third, baseline => earliest}])) | true
        {ok, Told} = gen_server:call({logmachine, L}, {explain, quotes, #{from => Third}}), lists:sort(maps:keys(Told)) | [baseline,baseline_count,count,findings,from,text,to]
        [#{conditions := #{fault := Id}, node := Node, direction := up, is_new := true, share := Share, samples := [_, _, _]}] = maps:get(findings, Told), {Id =:= maps:get(id, Last), Node, is_float(Share)} | {true,'b@10.0.0.1',true}
        {ok, #{findings := Same, text := <<\"Nothing is different: \", _/binary>>}} = X(#{from => Third - 3600000000, to => Third}), Same | []
        {ok, #{text := Quiet}} = gen_server:call({'.error_logger.receiver.srv', L}, {explain, #{}}), Quiet | <<\"Nothing is different: 0 events in 60 min, 0 in the 60 min before.\">>
        [X(O) || O <- [#{from => now}, #{from => soon}, #{to => soon}, #{to => earliest}]] | [{error,{badarg,from}},{error,{badarg,from}},{error,{badarg,to}},{error,{badarg,from}}]
        [X(O) || O <- [#{baseline => soon}, #{baseline => now}, #{sort => count}, []]] | [{error,{badarg,baseline}},{error,{badarg,baseline}},{error,{badarg,sort}},{error,{badarg,options}}]
        [gen_server:call(R, Q) || Q <- [explain, {explain}, {explain, #{}, #{}}, {faults, #{}, #{}}]] | [{error,unsupported},{error,unsupported},{error,unsupported},{error,unsupported}]
        rpc:call(L, logmachine, explain, [nowhere, #{}]) | {error,{unknown_instance,nowhere}}
        element(1, rpc:call(L, logmachine, explain, [quotes])) | badrpc",
    ) {
        assert_eq!(a.eval(expression), due, "{expression}");
    }
}

#[test]
fn the_command_line_lists_shows_and_decides_and_is_not_fooled_by_what_events_say() {
    let world = World::new();
    let kept = Kept::start(&world, &[]);
    let faults = |flags: &str| {
        let (code, said, errors) = command(&world, &kept, "faults", flags);
        assert_eq!((code, &*errors), (0, ""), "{flags}");
        said
    };
    assert_eq!((&*faults(""), &*faults("list")), ("no faults\n", "no faults\n"));
    let evil = r#"{log,'n\e[31m@h',error,{"evil \e[2J\x{9b}31m\x{202e}\r\007 ~p",["\e]0;x\007"]},#{mfa => {'m\e[1m\x{202e}',f,1}}}"#;
    assert!(kept.append(&[error(1, 1), error(1, 2), error(2, 1), evil.to_owned()]));
    wait_for("three faults", || (kept.faults("").len() == 3).then_some(()));
    let said = faults("");
    let lines: Vec<_> = said.lines().collect();
    assert!(lines[0].contains(r"evil \u{1b}[2J\u{9b}31m\u{202e}"), "{said}");
    assert!(
        lines[2].contains("  new                2  ")
            && lines[2].ends_with("fault 1: ~p in stock:find/1")
    );
    let said = faults("list --sort count -n 2");
    assert!(said.lines().next().unwrap().ends_with("fault 1: ~p in stock:find/1"));
    assert_eq!(said.lines().last(), Some("and more: -n 20"));
    let all =
        "--state new,muted --instance quotes --since 1h --until now --sort first-seen -o json";
    let json: Value = serde_json::from_str(&faults(all)).expect("JSON");
    assert_eq!(json["faults"].as_array().unwrap().len(), 3);
    assert_eq!(faults("--state resolved"), "no faults\n");
    for fault in kept.faults("sort=first_seen") {
        let id = fault["id"].as_str().unwrap();
        let shown: Value =
            serde_json::from_str(&faults(&format!("show {id} -o json"))).expect("JSON");
        assert_eq!((&shown["title"], &shown["nodes"]), (&fault["title"], &fault["nodes"]));
        for [verb, state] in rows(
            "resolve ID | resolved
            resolve ID --in-next-version | resolved
            mute ID | muted
            mute ID --for 1h | muted
            reopen ID | ongoing
            mute ID --until 2099-01-01T00:00:00Z | muted",
        ) {
            let said = faults(&verb.replace("ID", id));
            assert!(said.starts_with(&format!("{id}  {state} ")) && said.lines().count() == 1);
        }
        let said = faults(&format!("show {id}"));
        let count = fault["count"].as_u64().unwrap();
        assert_eq!(said.lines().count() as u64, 8 + count, "{said}");
        assert!(
            said.contains("muted by local since ")
                && said.contains(" until 2099-01-01T00:00:00.000000Z\n")
        );
        assert!(
            said.contains(&format!("{count}, level error\n"))
                && said.contains("instance     quotes\n"),
            "{said}"
        );
    }
    let id = kept.faults("")[0]["id"].as_str().unwrap().to_owned();
    let cast = format!(r#"{{fault,<<"{id}">>,resolved,#{{by => <<"\e[2Jann">>}}}}."#);
    let path = "/api/v1/instances/faults/entries";
    assert_eq!(try_request(kept.0.port, "POST", path, &cast).unwrap().status, 200);
    wait_for("it is resolved", || (kept.faults("state=resolved").len() == 1).then_some(()));
    assert!(faults(&format!("show {id}")).contains(r"resolved by \u{1b}[2Jann since "));
    command(&world, &kept, "read", "faults");
    for [flags, code, message] in rows(
        "show | 2 | required arguments were not provided: <ID>
        show 0000000000000000 | 1 | there is no such fault
        show x/../y | 1 | there is no such fault
        resolve x | 1 | there is no such fault
        mute ID --for soon | 2 | --for: write 30m, 2h, 7d
        mute ID --until soon | 2 | --until: \"soon\" is no moment
        mute ID --until 2h | 2 | is over; a span from now on is `for`
        mute ID --for 1h --until now | 2 | cannot be used with
        --state gone | 2 | --state: write one of new, ongoing, regressed, resolved, muted
        --since soon | 2 | --since: \"soon\" is no moment
        --until soon | 2 | --until: \"soon\" is no moment
        -n 0 | 2 | 0 is not in 1..=10000
        list -n 10001 | 2 | 10001 is not in 1..=10000
        --sort title | 2 | possible values: last-seen, first-seen, count
        --instance nowhere | 1 | there is no instance of that name; there is alerts, error_logger, faults
        -o xml | 2 | possible values: pretty, json
        forget ID | 2 | unrecognized subcommand 'forget'
        --state new show ID | 2 | 'show' cannot be used with '--state <STATES>'
        list --url http://127.0.0.1:1 | 1 | nobody listens there; is the node running",
    ) {
        failed(command(&world, &kept, "faults", &flags.replace("ID", &id)), code, message);
    }
}
