//! `check-config`: what makes no sense is refused with file, line, key and what is allowed, in both forms.

use crate::harness::World;

/// The one line that `check-config` says of a file, and that `run` says too.
fn refused(world: &World, file: &str, text: &str) -> String {
    std::fs::write(world.path(file), text).unwrap();
    let mut said = Vec::new();
    for (verb, flags) in [("check-config", vec![file]), ("run", vec!["--config", file])] {
        let output = world.command(verb).args(flags).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{verb} takes {text}");
        said.push(String::from_utf8(output.stderr).unwrap());
    }
    assert_eq!(said[0], said[1]);
    assert_eq!(said[0].lines().count(), 1, "{said:?}");
    said.remove(0)
}

/// Each key with a value that makes no sense, and the same in Erlang terms; the key stands on the third line.
#[test]
fn nonsense_is_refused_with_file_line_key_and_what_is_allowed() {
    let world = World::new();
    let node = [
        ("net_ticktime = \"1ms\"", "{net_ticktime, {0, sec}}", "net_ticktime: "),
        ("net_ticktime = \"2day\"", "{net_ticktime, {2, day}}", "net_ticktime: write 1s to 1day"),
        (
            "allow = [\"a@b\", \"here\"]",
            "{allow, ['a@b', here]}",
            "allow: \"here\" fits no node: write name@host",
        ),
        ("allow = [\"a@[bc]\"]", "{allow, [\"a@[bc]\"]}", "allow: \"a@[bc]\" fits no node"),
        ("allow = [\"\"]", "{allow, ['']}", "allow: \"\" fits no node"),
        (
            "listen = \"here\"",
            "{listen, here}",
            "listen: \"here\": write an address, or address:port",
        ),
        ("listen = \"1.2.3.4:x\"", "{listen, \"1.2.3.4:x\"}", "listen: \"1.2.3.4:x\": write"),
        ("connect = [\"x\"]", "{connect, [x]}", "connect: \"x\" is no node name: write name@host"),
        ("connect = [\"a@b\", \"a@b\"]", "{connect, ['a@b', a@b]}", "connect: a@b is there twice"),
        ("name = \"a@b\"", "{name, a@b}", "name: long node name a@b: its host needs a dot"),
        (
            "sname = \"a@b.c\"",
            "{sname, 'a@b.c'}",
            "sname: short node name a@b.c: its host must not have a dot",
        ),
        ("verbose = 3", "{verbose, 3}", "verbose: write 0, 1 or 2"),
        (
            "epmd = \"mine\"",
            "{epmd, mine}",
            "epmd: unknown variant `mine`, expected one of `auto`, `external`, `embedded`, `none`",
        ),
        (
            "data_dri = \"x\"",
            "{data_dri, \"x\"}",
            "data_dri: unknown field `data_dri`; did you mean `data_dir`?",
        ),
    ];
    for (toml, erlang, expected) in node {
        let said = refused(&world, "c.toml", &format!("# a\n[node]\n{toml}\n"));
        assert!(said.starts_with(&format!("logmachine: c.toml:3: {expected}")), "{said}");
        let text = format!("%% a\n[{{logmachine, [{{node, [\n{erlang}]}}]}}].\n");
        let said = refused(&world, "c.config", &text);
        assert!(said.starts_with(&format!("logmachine: c.config:3: {expected}")), "{said}");
    }
    let instance = [
        (
            "pending_bytes = 0",
            "{pending_bytes, 0}",
            "pending_bytes: 0 bytes make no sense; write 64KiB to 1TiB",
        ),
        (
            "segment_bytes = 0",
            "{segment_bytes, 0}",
            "segment_bytes: 0 bytes make no sense; write 4KiB to 1024TiB",
        ),
        (
            "max_bytes = \"1kB\"",
            "{max_bytes, \"1kB\"}",
            "max_bytes: 1000 bytes make no sense; write 4KiB",
        ),
        (
            "max_event_bytes = 1",
            "{max_event_bytes, 1}",
            "max_event_bytes: 1 bytes make no sense; write 1KiB to",
        ),
        (
            "max_event_bytes = \"1GiB\"",
            "{max_event_bytes, \"1GiB\"}",
            "max_event_bytes: 1073741824 bytes",
        ),
        ("cache_bytes = \"1TB\"", "{cache_bytes, \"2000TiB\"}", "cache_bytes: "),
        ("evict_period = \"1ms\"", "{evict_period, {0, sec}}", "evict_period: "),
        ("archive_period = \"0s\"", "{archive_period, {{0, 0, 0}, hms}}", "archive_period: "),
        (
            "reopen_period = \"9000000day\"",
            "{reopen_period, {9000000, day}}",
            "reopen_period: write 10ms to 36500day",
        ),
        ("delete_after = \"1us\"", "{delete_after, soon}", "delete_after: "),
        ("sync = \"1ms\"", "{sync, {0, sec}}", "sync: "),
        (
            "overload = \"blok\"",
            "{overload, blok}",
            "overload: unknown variant `blok`, expected `block` or `drop`; did you mean `block`?",
        ),
        ("handler = \"\"", "{handler, ''}", "handler: \"\" is no module name"),
        (
            "locate_em = \"{global, m, {inc, [here]}}\"",
            "{locate_em, {global, m, {inc, [here]}}}",
            "locate_em: \"here\" fits no node",
        ),
        (
            "evict_perod = \"1s\"",
            "{evict_perod, {1, sec}}",
            "evict_perod: unknown field `evict_perod`; did you mean `evict_period`?",
        ),
    ];
    for (toml, erlang, expected) in instance {
        if toml != "cache_bytes = \"1TB\"" {
            let said = refused(&world, "c.toml", &format!("[[instance]]\nname = \"q\"\n{toml}\n"));
            assert!(said.starts_with(&format!("logmachine: c.toml:3: {expected}")), "{said}");
        }
        let text =
            format!("[{{logmachine, [{{instances, [{{p, []}},\n{{q, [\n{erlang}]}}]}}]}}].\n");
        let said = refused(&world, "c.config", &text);
        assert!(said.starts_with(&format!("logmachine: c.config:3: {expected}")), "{said}");
    }
    let long = "x".repeat(181);
    for name in ["", ".", "..", "a/b", "a b", &long] {
        let said = refused(&world, "c.toml", &format!("\n[[instance]]\nname = \"{name}\"\n"));
        assert!(said.starts_with("logmachine: c.toml:3: name: instance name "), "{said}");
        let text = format!("[{{logmachine, [{{instances, [\n\n{{'{name}', []}}]}}]}}].\n");
        let said = refused(&world, "c.config", &text);
        assert!(said.starts_with("logmachine: c.config:3: name: instance name "), "{said}");
    }
    let said = refused(&world, "c.toml", "[[instance]]\nname = \"archive\"\n");
    assert!(
        said.starts_with("logmachine: c.toml:2: name: \"archive\" is the directory of"),
        "{said}"
    );
    let twice = "[[instance]]\nname = \"q\"\n[[instance]]\nsync = \"1s\"\nname = \"q\"\n";
    let said = refused(&world, "c.toml", twice);
    assert!(
        said.starts_with("logmachine: c.toml:5: name: instance q is configured twice"),
        "{said}"
    );
    let said = refused(&world, "c.toml", "[http]\nlisten = \"4370\"\n");
    assert!(
        said.starts_with("logmachine: c.toml:2: listen: \"4370\": write address:port, or off"),
        "{said}"
    );
}

/// An analysis, key by key, of which one line is another; the same in Erlang terms, as the second of two.
#[test]
fn an_analysis_that_makes_no_sense_is_refused() {
    let world = World::new();
    let sound = [
        ("name", "\"candles\"", "candles"),
        ("from", "\"quotes\"", "quotes"),
        (
            "match_spec",
            "\"[{{'_','$1','$2'},[],[{{'$1','$2'}}]}]\"",
            "\"[{{'_','$1','$2'},[],[{{'$1','$2'}}]}]\"",
        ),
        ("by", "1", "1"),
        ("window", "\"1min\"", "{1, min}"),
        ("every", "\"20s\"", "{20, sec}"),
        ("values", "{ n = \"count\", high = \"max(2)\" }", "[{n, count}, {high, \"max(2)\"}]"),
        ("start", "\"now\"", "now"),
    ];
    let (whole, _) = written(&sound, "", "", "");
    std::fs::write(world.path("c.toml"), whole).unwrap();
    assert!(world.command("check-config").arg("c.toml").status().unwrap().success());
    for (key, toml, erlang, expected) in [
        ("name", "\"a b\"", "'a b'", "instance name \"a b\": use 1 to"),
        ("name", "\"quotes\"", "quotes", "instance quotes is there for other events"),
        ("name", "\"error_logger\"", "error_logger", "instance error_logger is there for other"),
        ("name", "\"faults\"", "faults", "instance faults is there for other events"),
        ("name", "\"first\"", "first", "analysis first is configured twice"),
        ("from", "\"candles\"", "candles", "candles would read what it writes itself"),
        ("from", "\"first\"", "first", ""),
        ("from", "\"quotas\"", "quotas", "there is no instance quotas; there is quotes,"),
        ("by", "0", "0", "write the number of an element, 1 to 32"),
        ("by", "3", "3", "the match spec makes 2 elements, and none of number 3"),
        ("window", "\"500ms\"", "{0, sec}", ""),
        ("window", "\"367day\"", "{367, day}", "write 1s to 366day"),
        ("every", "\"7s\"", "{7, sec}", "a window has to be a multiple of it"),
        ("every", "\"1h\"", "{1, hour}", "a window has to be a multiple of it"),
        ("values", "{}", "[]", ""),
        ("values", "{ n = \"max(3)\" }", "[{n, \"max(3)\"}]", "the match spec makes 2 elements"),
        (
            "values",
            "{ n = \"median(2)\" }",
            "[{n, \"median(2)\"}]",
            "\"median(2)\": write count, or first",
        ),
        (
            "values",
            "{ n = \"max(0)\" }",
            "[{n, \"max(0)\"}]",
            "\"max(0)\": an element is a number from 1",
        ),
        ("values", "{ n = \"quantile(2)\" }", "[{n, \"quantile(2)\"}]", ""),
        ("match_spec", "\"[{'_',[]}]\"", "\"[{'_',[]}]\"", ""),
        ("start", "\"soon\"", "soon", "unknown variant `soon`, expected `now` or `earliest`"),
    ] {
        let (in_toml, in_erlang) = written(&sound, key, toml, erlang);
        if key == "from" && toml == "\"first\"" {
            // That one reads this one.
            let said =
                refused(&world, "c.toml", &in_toml.replace("\"faults\" # of", "\"candles\" # of"));
            assert!(said.contains("from: first would read what it writes itself"), "{said}");
            continue;
        }
        let line = sound.iter().position(|it| it.0 == key).unwrap();
        let said = refused(&world, "c.toml", &in_toml);
        assert!(
            said.starts_with(&format!("logmachine: c.toml:{}: {key}: {expected}", 10 + line)),
            "{said}"
        );
        let said = refused(&world, "c.config", &in_erlang);
        assert!(
            said.starts_with(&format!("logmachine: c.config:{}: {key}: {expected}", 4 + line)),
            "{said}"
        );
    }
}

/// In TOML the keys begin at line 10, in Erlang terms at line 4.
fn written(
    sound: &[(&str, &str, &str)],
    other: &str,
    toml: &str,
    erlang: &str,
) -> (String, String) {
    let mut text = "[[instance]]\nname = \"quotes\"\nlocate_em = \"{global, quotes}\"\n[[analysis]]\nname = \"first\"\n\
                    from = \"faults\" # of another instance\nwindow = \"1s\"\nvalues = { n = \"count\" }\n[[analysis]]\n"
        .to_owned();
    let mut terms = "[{logmachine, [{instances, [{quotes, [{locate_em, {global, quotes}}]}]},\n{analysis,\n\
                     [[{name, first}, {from, faults}, {window, {1, sec}}, {values, [{n, count}]}], ["
        .to_owned();
    for (number, (key, in_toml, in_erlang)) in sound.iter().enumerate() {
        let (in_toml, in_erlang) =
            if *key == other { (toml, erlang) } else { (*in_toml, *in_erlang) };
        text.push_str(&format!("{key} = {in_toml}\n"));
        terms.push_str(&format!("{}\n{{{key}, {in_erlang}}}", if number > 0 { "," } else { "" }));
    }
    (text, format!("{terms}]]}}]}}].\n"))
}

/// A rule and a webhook, key by key, of which one line is another; the same in Erlang terms, as the second of two.
#[test]
fn a_rule_that_makes_no_sense_is_refused() {
    let world = World::new();
    let rule: [Written; 12] = [
        ("name", "\"many\"", "many"),
        ("instance", "\"quotes\"", "quotes"),
        ("match", "\"[{{'_','$1'},[],['$1']}]\"", "\"[{{'_','$1'},[],['$1']}]\""),
        ("level", "\"error\"", "error"),
        ("grep", "\"disk.*full\"", "\"disk.*full\""),
        ("count", "10", "10"),
        ("within", "\"1min\"", "{1, min}"),
        ("by", "\"node\"", "node"),
        ("for", "\"10s\"", "{10, sec}"),
        ("severity", "\"critical\"", "critical"),
        ("text", "\"$by: $count, $message\"", "\"$by: $count, $message\""),
        (
            "notify",
            "[\"webhook:first\", \"erlang:{global, x}\"]",
            "[\"webhook:first\", \"cast:{x, a@b}\"]",
        ),
    ];
    let webhook: [Written; 5] = [
        ("name", "\"on_call\"", "on_call"),
        ("url", "\"https://hooks.example/x\"", "\"https://hooks.example/x\""),
        ("template", "\"slack\"", "slack"),
        ("secret", "\"sixteen bytes, and more\"", "\"sixteen bytes, and more\""),
        ("allow_private", "false", "false"),
    ];
    const LEVELS: &str = "debug, info, notice, warning, error, critical, alert or emergency";
    let refusals: &[(&str, &[Written], &[Refused])] = &[
        (
            "rule",
            &rule,
            &[
                ("name", "\"\"", "''", "write a name of 1 to 255 characters: it becomes an atom"),
                ("name", "\"first\"", "first", "rule first is there twice"),
                ("instance", "\"quotas\"", "quotas", "there is no instance quotas; there is "),
                ("match", "\"[{'_',[]}]\"", "\"[{'_',[]}]\"", "a match spec such as"),
                ("level", "\"bad\"", "bad", LEVELS),
                ("severity", "\"fatal\"", "fatal", LEVELS),
                ("grep", "\"(\"", "\"(\"", "unclosed group"),
                ("fault", "\"old\"", "old", "unknown variant `old`, expected `new` or `regressed`"),
                ("absent_for", "\"1ms\"", "{367, day}", "write 1s to 366day"),
                ("count", "0", "0", "write 1 to 100000"),
                ("count", "100001", "100001", "write 1 to 100000"),
                ("count", "-1", "-1", "expected usize"),
                ("within", "\"1ms\"", "{367, day}", "write 1s to 366day"),
                ("within", "\"soon\"", "soon", ""),
                ("for", "\"999ms\"", "{367, day}", "write 1s to 366day"),
                ("by", "2", "2", "node, level, kind, module, function, pid"),
                ("by", "\"host\"", "host", "node, level, kind, module, function, pid"),
                ("by", "\"fault\"", "fault", "fault goes with fault = \"new\" or \"regressed\""),
                (
                    "text",
                    "\"$who\"",
                    "\"$who\"",
                    "$who means nothing; there is $message, $count, $by and $node",
                ),
                (
                    "notify",
                    "[\"webhook:second\"]",
                    "[\"webhook:second\"]",
                    "there is no [[webhook]] named second",
                ),
                ("notify", "[\"mail:ann\"]", "[\"mail:ann\"]", "\"webhook:NAME\""),
                (
                    "notify",
                    "[\"erlang:{global}\"]",
                    "[\"erlang:{x, here}\"]",
                    "\"erlang:{global, Name}\"",
                ),
                ("notfy", "[]", "[]", "unknown field `notfy`; did you mean `notify`?"),
            ],
        ),
        (
            "webhook",
            &webhook,
            &[
                ("name", "\" \"", "' '", "a webhook needs a name, for rules to call it"),
                ("name", "\"first\"", "first", "webhook first is there twice"),
                ("url", "\"hooks.example/x\"", "\"hooks.example/x\"", "it"),
                (
                    "url",
                    "\"ftp://hooks.example/x\"",
                    "\"ftp://hooks.example/x\"",
                    "it begins with neither https:// nor http://",
                ),
                (
                    "url",
                    "\"https://a:b@c.example/\"",
                    "\"https://a:b@c.example/\"",
                    "a name or password before the host (@) is not taken",
                ),
                (
                    "url",
                    "\"https://c.example/#x\"",
                    "\"https://c.example/#x\"",
                    "a fragment (#) is never sent",
                ),
                ("url", "\"http://127.0.0.1/\"", "\"http://[::1]/\"", "allow_private = true"),
                ("template", "\"teams\"", "teams", "\"generic\" or \"slack\""),
                (
                    "secret",
                    "\"short\"",
                    "\"short\"",
                    "a secret of 5 bytes can be guessed: write at least 16",
                ),
                (
                    "secret",
                    "\"whsec_AAAA\"",
                    "\"whsec_AAAA\"",
                    "behind whsec_ there are 3 bytes, not 24 to 64",
                ),
                (
                    "secret",
                    "\"whsec_a secret!\"",
                    "\"whsec_a secret!\"",
                    "what follows whsec_ is not base64",
                ),
                ("allow_private", "1", "1", "expected a boolean"),
                ("uri", "\"x\"", "\"x\"", "unknown field `uri`; did you mean `url`?"),
            ],
        ),
    ];
    let mut wrong = Vec::new();
    for (section, sound, refusals) in refusals {
        let (whole, _) = written_rule(section, sound, ("", "", ""));
        std::fs::write(world.path("c.toml"), whole).unwrap();
        assert!(world.command("check-config").arg("c.toml").status().unwrap().success());
        for (key, toml, erlang, expected) in *refusals {
            let (in_toml, in_erlang) = written_rule(section, sound, (key, toml, erlang));
            let line = sound.iter().position(|it| it.0 == *key).unwrap_or(sound.len());
            for (file, text, first) in [("c.toml", in_toml, 11), ("c.config", in_erlang, 4)] {
                let said = refused(&world, file, &text);
                let place = format!("logmachine: {file}:{}: {key}: ", first + line);
                if !said.starts_with(&place) || !said.contains(expected) {
                    wrong.push(format!("{place}{expected}, not {said}"));
                }
                assert!(!said.contains("a secret!") && !said.contains("a:b@"), "{said}");
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    // What does not go together, and what is too little.
    for (more, expected) in [
        (
            "severity = \"error\"",
            "2: name: say what the rule looks at: match, level, grep, fault, ",
        ),
        ("level = \"error\"\nby = 1", "4: by: 1 is what the match spec returns, and there is none"),
        ("fault = \"new\"\nby = \"module\"", "4: by: of a fault there is node, level, kind, "),
        ("absent_for = \"1min\"\ncount = 2", "4: count: it does not go with absent_for"),
        ("absent_for = \"1min\"\nwithin = \"1s\"", "4: within: it does not go with absent_for"),
        ("absent_for = \"1min\"\nfault = \"new\"", "4: fault: it does not go with absent_for"),
    ] {
        let said = refused(&world, "c.toml", &format!("[[rule]]\nname = \"r\"\n{more}\n"));
        assert!(said.starts_with(&format!("logmachine: c.toml:{expected}")), "{said}");
    }
    let many = "level = \"error\"\n[[rule]]\nname = ";
    let rules: String = (0..257).map(|n| format!("\"r{n}\"\n{many}")).collect();
    let said = refused(
        &world,
        "c.toml",
        &format!("[[rule]]\nname = {rules}\"last\"\nlevel = \"error\"\n"),
    );
    assert!(said.contains("name: there may be 256 rules"), "{said}");
}

/// A key, and what is written behind it in TOML and in Erlang terms.
type Written = (&'static str, &'static str, &'static str);

/// The same, and what is said of it.
type Refused = (&'static str, &'static str, &'static str, &'static str);

/// In TOML the keys begin at line 11, in Erlang terms at line 4. A key that is not among the sound ones comes last.
fn written_rule(section: &str, sound: &[Written], other: Written) -> (String, String) {
    let text = "[[instance]]\nname = \"quotes\"\n[[webhook]]\nname = \"first\"\n\
                url = \"https://a.example\"\n[[rule]]\nname = \"first\"\ninstance = \"quotes\"\nlevel = \"error\"\n";
    let mut text = format!("{text}[[{section}]]\n");
    let mut firsts = [
        "{rule, [[{name, first}, {instance, quotes}, {level, error}]",
        "{webhook, [[{name, first}, {url, \"https://a.example\"}]",
    ];
    if section == "rule" {
        firsts.reverse();
    }
    let mut terms = format!(
        "[{{logmachine, [{{instances, [{{quotes, []}}]}},\n{}]}},\n{}, [",
        firsts[0], firsts[1]
    );
    let mut lines = sound.to_vec();
    match lines.iter().position(|it| it.0 == other.0) {
        Some(line) => lines[line] = other,
        None if other.0.is_empty() => {}
        None => lines.push(other),
    }
    for (number, (key, in_toml, in_erlang)) in lines.iter().enumerate() {
        text.push_str(&format!("{key} = {in_toml}\n"));
        terms.push_str(&format!("{}\n{{{key}, {in_erlang}}}", if number > 0 { "," } else { "" }));
    }
    (text, format!("{terms}]]}}]}}].\n"))
}

#[test]
fn errors_in_erlang_terms_say_what_form_is_expected() {
    let world = World::new();
    for (text, expected) in [
        (
            "{logmachine, []}.",
            "c.config:1: not a list of applications, but {logmachine,[]}; expected [{logmachine, [{Key, Value}",
        ),
        (
            "[{kernel, []}].",
            "c.config:1: no {logmachine, [...]} in the list of applications: expected [{logmachine,",
        ),
        ("[]. [].", "c.config:1: there are 2 terms in the file; expected [{logmachine,"),
        (
            "[logmachine].",
            "c.config:1: logmachine is neither {Application, [...]} nor the name of a file: expected",
        ),
        (
            "[{logmachine, [\n{evict_after, 4}]}].",
            "c.config:2: evict_after: 4 is not what belongs here: expected a period such as {30, min}",
        ),
        (
            "[{logmachine, [\n{evict_after, {4, hours}}]}].",
            "c.config:2: evict_after: {4,hours} is not what belongs here: expected a period",
        ),
        (
            "[{logmachine, [\n{sync, {x}}]}].",
            "c.config:2: sync: {x} is not what belongs here: expected none, always or a period",
        ),
        (
            "[{logmachine, [\n{segment_bytes, {1, min}}]}].",
            "c.config:2: segment_bytes: {1,min} is not what belongs here: expected a number of bytes",
        ),
        (
            "[{logmachine, [{node,\n [{connect, a@b}]}]}].",
            "c.config:2: connect: a@b is not what belongs here: expected a list",
        ),
        (
            "[{logmachine, [{instances, [{a,\n [{dir, [{b}]}]}]}]}].",
            "c.config:2: dir: [{b}] is not what belongs here: expected an atom or a string",
        ),
        (
            "[{logmachine, [{instances,\n [{a, b}]}]}].",
            "c.config:2: a: not a list of {Key, Value}; expected [{logmachine,",
        ),
    ] {
        let said = refused(&world, "c.config", text);
        assert!(said.starts_with(&format!("logmachine: {expected}")), "{said}");
    }
}

/// The example of `config(4)`, with our parameters: what comes later in the list takes the place of what came before.
#[test]
fn included_files_are_followed_as_otp_does() {
    let world = World::new();
    std::fs::create_dir(world.path("etc")).unwrap();
    let sys = "[{logmachine, [{evict_period, {7, sec}}, {node, [{data_dir, \"first\"}]}]}, \"more\", {sasl, []}].";
    std::fs::write(world.path("etc/sys.config"), sys).unwrap();
    let more = "[{kernel, []}, {logmachine, [{node, [{data_dir, \"second\"}]},\n {instances, [{quotes, []}]}]}].";
    std::fs::write(world.path("etc/more.config"), more).unwrap();
    let check = || world.command("check-config").arg("etc/sys.config").output().unwrap();
    let said = String::from_utf8(check().stdout).unwrap();
    assert!(said.contains("instances: quotes"), "{said}");
    let cookie = world.cookie();
    let flags = ["--config", "etc/sys.config", "--setcookie", &cookie, "--name", "x@127.0.0.1"];
    let program = crate::harness::LogMachine::start(&world, &flags);
    assert!(world.path("second/quotes/quotes").exists() && !world.path("first").exists());
    assert_eq!(program.stop(), Some(0));

    let refused = |expected: &str| {
        let output = check();
        assert_eq!(output.status.code(), Some(2));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.starts_with(&format!("logmachine: {expected}")), "{said}");
    };
    let wrong = more.replace("quotes, []", "quotes, [{sync, 7}]");
    std::fs::write(world.path("etc/more.config"), wrong).unwrap();
    refused("etc/more.config:2: sync: 7 is not what belongs here");
    std::fs::write(world.path("etc/more.config"), more.replace("quotes", "'a b'")).unwrap();
    refused("etc/more.config:2: name: instance name \"a b\"");
    std::fs::write(world.path("etc/more.config"), "[\"again\"].").unwrap();
    refused("etc/more.config:1: an included file holds applications alone");
    std::fs::remove_file(world.path("etc/more.config")).unwrap();
    refused("etc/sys.config:1: included file more.config: cannot be read");
}
