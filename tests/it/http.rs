//! What programs do over HTTP: append, read, count, watch, and who may.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use logmachine::TermBuf;
use logmachine::etf::{json, text};
use serde_json::Value;

use crate::grpc::{self, Door};
use crate::harness::{LogMachine, World, free_port, has_erlang, wait_for};

/// A program that serves HTTP, and where.
pub(crate) struct Served {
    pub(crate) program: LogMachine,
    pub(crate) port: u16,
}

impl Served {
    /// With an instance `quotes` that captures nothing.
    pub(crate) fn start(world: &World, flags: &[&str]) -> Self {
        Served::start_at(world, free_port(), flags)
    }

    pub(crate) fn start_at(world: &World, port: u16, flags: &[&str]) -> Self {
        let listen = format!("127.0.0.1:{port}");
        let all = [&["--instance", "quotes", "--http", &listen], flags].concat();
        Served { program: world.logmachine(&all), port }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// An answer, of which the body is JSON.
    pub(crate) fn get(&self, path: &str) -> Value {
        let answer = request(self.port, "GET", path, &[], b"");
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        serde_json::from_slice(&answer.body).unwrap_or_else(|wrong| panic!("{path}: {wrong}"))
    }

    pub(crate) fn append(&self, content_type: &str, body: &[u8]) -> Value {
        let headers = [("Content-Type", content_type)];
        let answer = request(self.port, "POST", ENTRIES, &headers, body);
        assert_eq!(answer.status, 200, "{}", answer.text());
        serde_json::from_slice(&answer.body).expect("JSON")
    }

    /// The status of a request, and the code of its error.
    fn refused(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> (u16, String) {
        let answer = request(self.port, method, path, headers, body);
        let error: Value =
            serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("{}", answer.text()));
        assert!(error["error"]["message"].as_str().is_some_and(|message| !message.is_empty()));
        (answer.status, error["error"]["code"].as_str().expect("a code").to_owned())
    }
}

pub(crate) const ENTRIES: &str = "/api/v1/instances/quotes/entries";

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// One request by a connection of its own.
pub(crate) fn request(
    port: u16,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n",
        body.len()
    );
    if !headers.iter().any(|(name, _)| *name == "Host") {
        head.push_str(&format!("Host: 127.0.0.1:{port}\r\n"));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens");
    stream.write_all(format!("{head}\r\n").as_bytes()).expect("it reads");
    // It may have answered already, and read no more.
    let _ = stream.write_all(body);
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all);
    parse(&all)
}

/// A request whose body comes in chunks.
fn chunked(port: u16, chunks: &[u8]) -> Answer {
    let head = format!(
        "POST {ENTRIES} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens");
    stream.write_all(head.as_bytes()).expect("it reads");
    // It may have answered already, and read no more.
    let _ = stream.write_all(chunks);
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all);
    parse(&all)
}

pub(crate) fn parse(all: &[u8]) -> Answer {
    let end = all.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("no answer: {:?}", String::from_utf8_lossy(all)));
    let head = String::from_utf8_lossy(&all[..end]).into_owned();
    let mut body = all[end + 4..].to_vec();
    if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        body = unchunked(&body);
    }
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Answer { status, head, body }
}

fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") {
        let size = str::from_utf8(&bytes[..end])
            .ok()
            .and_then(|size| usize::from_str_radix(size, 16).ok());
        let Some(size) = size.filter(|size| *size > 0 && end + 2 + size + 2 <= bytes.len()) else {
            break;
        };
        out.extend_from_slice(&bytes[end + 2..end + 2 + size]);
        bytes = &bytes[end + 2 + size + 2..];
    }
    out
}

/// Terms of every kind, each as text that reads back.
fn terms() -> Vec<TermBuf> {
    let written = [
        "1",
        "-7",
        "9007199254740993",
        "123456789012345678901234567890",
        "1.0",
        "-0.0",
        "1.0e300",
        "ok",
        "true",
        "null",
        "'a b'",
        "''",
        "'日本'",
        "<<>>",
        "<<\"text\">>",
        "<<\"日本\"/utf8>>",
        "<<255,0>>",
        "<<1,2:4>>",
        "[]",
        "[1,2,3]",
        "\"abc\"",
        "\"\\n\"",
        "[300,400]",
        "[a,b|c]",
        "{}",
        "{ok,1}",
        "#{}",
        "#{<<\"k\">> => 1}",
        "#{level => error,b => #{1 => 2}}",
        "#{<<\"$k\">> => 1}",
        "#{1 => a,[] => {}}",
        "[[],[[]],\"\"]",
        "{'$pid',a@host,41,0,1700000000}",
        "{'$ref',a@host,1700000000,1,2,3}",
        "{'$port',a@host,5,1700000000}",
        "fun lists:map/2",
        "{'$tuple','$pid',a}",
        "#{<<\"events\">> => [1]}",
        "{error_report,{'$pid',a@host,50,0,17},{{'$pid',a@host,93,0,17},std_error,[{reason,{badmatch,42}}]}}",
    ];
    let one = |written: &&str| {
        text::parse_lossless(written).unwrap_or_else(|wrong| panic!("{written}: {wrong}"))
    };
    let mut all: Vec<_> = written.iter().map(one).collect();
    // And all of them inside each other.
    let list = written.join(",");
    all.push(text::parse_lossless(&format!("{{[{list}],#{{1 => [{list}]}}}}")).expect("terms"));
    all
}

/// Every term through every door; an Erlang node says whether what comes out of each other one is the same term.
#[test]
fn a_term_is_the_same_whichever_way_it_comes_in_and_goes_out() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let served = Served::start(&world, &[]);
    let mut a = world.erl("a");
    assert_eq!(a.eval("net_adm:ping('logmachine@127.0.0.1')"), "pong");
    a.eval("R = {'.quotes.receiver.srv', 'logmachine@127.0.0.1'}");
    let etf = |term: &TermBuf| [&[131][..], term.bytes()].concat();
    let terms = terms();
    let mut appended = 0;
    for (door, term) in (0..4).flat_map(|door| terms.iter().map(move |term| (door, term))) {
        match door {
            0 => served.append(
                "application/json",
                format!("{{\"events\":[{}]}}", json::to_json(term.as_term())).as_bytes(),
            ),
            1 => served.append("text/x-erlang", text::to_lossless(term.as_term()).as_bytes()),
            2 => served.append("application/x-erlang-etf", &etf(term)),
            _ => {
                let bytes = etf(term).iter().map(u8::to_string).collect::<Vec<_>>().join(",");
                let ok = a.eval(&format!(
                    "element(1, gen_server:call(R, {{append, binary_to_term(<<{bytes}>>)}}))"
                ));
                assert_eq!(ok, "ok");
                Value::Null
            }
        };
        appended += 1;
    }
    let grpc = Door::to(&served);
    for client in grpc::CLIENTS {
        let Some(door) = &grpc else { break };
        let texts = terms.iter().map(|term| text::to_lossless(term.as_term()).into_bytes());
        let jsons = terms.iter().map(|term| json::to_json(term.as_term()).into_bytes());
        door.append(&world, client, "etf", &terms.iter().map(etf).collect::<Vec<_>>());
        door.append(&world, client, "text", &texts.collect::<Vec<_>>());
        door.append(&world, client, "json", &jsons.collect::<Vec<_>>());
        appended += 2 * 3 * terms.len();
    }
    // What comes out, as external terms in a file for the node to read.
    let mut all: Vec<(String, Vec<Vec<u8>>)> = Vec::new();
    let page = |format| served.get(&format!("{ENTRIES}?limit=10000&format={format}"));
    let entries = |page: Value| page["entries"].as_array().expect("entries").clone();
    let of_json = |entry: &Value| etf(&json::parse(&entry["event"].to_string()).expect("a term"));
    all.push(("json".to_owned(), entries(page("json")).iter().map(of_json).collect()));
    let written = |text: &str| etf(&text::parse_lossless(text).expect("a term"));
    let of_text = |entry: &Value| written(entry["event"].as_str().expect("text"));
    all.push(("text".to_owned(), entries(page("text")).iter().map(of_text).collect()));
    let lines =
        request(served.port, "GET", ENTRIES, &[("Accept", "application/x-ndjson")], b"").text();
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    all.push(("ndjson".to_owned(), lines.map(|entry| of_json(&entry)).collect()));
    let records =
        request(served.port, "GET", ENTRIES, &[("Accept", "application/x-erlang-etf")], b"");
    std::fs::write(
        world.path("records"),
        [&[1, 2, 3, 4, 99, 88, 77, 11][..], &records.body].concat(),
    )
    .unwrap();
    for (client, format) in grpc::CLIENTS
        .iter()
        .flat_map(|client| ["etf", "text", "json"].map(|format| (client, format)))
    {
        let Some(door) = &grpc else { break };
        let of_grpc = |term: Vec<u8>| {
            let text = || str::from_utf8(&term).expect("text");
            match format {
                "text" => written(text()),
                "json" => etf(&json::parse(text()).expect("a term")),
                _ => term,
            }
        };
        for followed in [None, Some(appended)] {
            let terms = door.entries(&world, client, format, followed);
            let name = format!("{client}-{format}-{}", followed.is_some());
            all.push((name, terms.into_iter().map(of_grpc).collect()));
        }
    }
    for (name, terms) in &all {
        assert_eq!(terms.len(), appended, "{name}");
        let framed = terms.iter().flat_map(|term| {
            [&u32::try_from(term.len()).unwrap().to_be_bytes()[..], term].concat()
        });
        std::fs::write(world.path(name), framed.collect::<Vec<_>>()).unwrap();
    }
    a.eval(&format!("{{ok, Entries, eof}} = gen_server:call(R, {{read, earliest, #{{limit => {appended}}}}}), Expected = [E || {{_, E}} <- Entries], length(Expected)"));
    a.eval("Read = fun(F) -> {ok, B} = file:read_file(F), [binary_to_term(T) || <<S:32, T:S/binary>> <= B] end");
    for (name, _) in &all {
        let differ = a.eval(&format!(
            "[{{A, B}} || {{A, B}} <- lists:zip(Expected, Read({name:?})), A =/= B]"
        ));
        assert_eq!(differ, "[]", "{name}");
    }
    // Records are those of a disk_log, of which only the head is missing.
    a.eval("{ok, _} = disk_log:open([{name, r}, {file, \"records\"}, {mode, read_only}])");
    a.eval("All = fun All(C0) -> case disk_log:chunk(r, C0) of eof -> []; {C, L} -> L ++ All(C) end end");
    assert_eq!(a.eval("All(start) =:= Entries"), "true");
}

#[test]
fn pages_go_on_where_the_last_one_ended_in_both_directions() {
    let world = World::new();
    let served = Served::start(&world, &[]);
    assert_eq!(served.get(ENTRIES)["entries"], Value::Array(vec![]));
    let cursor = served.get(ENTRIES)["next"].as_str().expect("pollers go on").to_owned();
    let events: Vec<_> = (0..250).map(|n| n.to_string()).collect();
    let answer = served
        .append("application/json", format!("{{\"events\":[{}]}}", events.join(",")).as_bytes());
    assert_eq!(answer["count"], 250);
    let read = |query: &str| {
        let page = served.get(&format!("{ENTRIES}?{query}"));
        let events = page["entries"]
            .as_array()
            .expect("entries")
            .iter()
            .map(|e| e["event"].as_i64().expect("a number"));
        (events.collect::<Vec<_>>(), page["next"].as_str().map(str::to_owned))
    };
    let whole = |first: &str, order: &str| {
        let (mut all, mut cursor) = (Vec::new(), first.to_owned());
        loop {
            let (page, next) = read(&format!("limit=40&order={order}&{cursor}"));
            if page.is_empty() {
                return all;
            }
            assert!(page.len() == 40 || all.len() + page.len() == 250, "{}", page.len());
            all.extend(page);
            match next {
                Some(next) => cursor = format!("cursor={next}"),
                None => return all,
            }
        }
    };
    let ascending: Vec<_> = (0..250).collect();
    assert_eq!(
        whole(&format!("cursor={cursor}"), "asc"),
        ascending,
        "from before there was anything"
    );
    assert_eq!(whole("from=earliest", "asc"), ascending);
    assert_eq!(whole("from=earliest", "desc"), ascending.iter().rev().copied().collect::<Vec<_>>());
    let (first, last) =
        (answer["first"].as_str().expect("text"), answer["last"].as_str().expect("text"));
    assert_eq!(read(&format!("from={first}&to={first}")).0, [0]);
    assert_eq!(read(&format!("from={last}")).0, [249]);
    assert_eq!(
        read(&format!("cursor={first}&limit=1")).0,
        [1],
        "right behind the entry with this timestamp"
    );
    assert_eq!(read(&format!("cursor={last}&limit=1&order=desc")).0, [248]);
    assert_eq!(
        read("match=%5B%7B'%241'%2C%5B%7B'%3E'%2C'%241'%2C247%7D%5D%2C%5B'%241'%5D%7D%5D").0,
        [248, 249]
    );
    assert_eq!(read("grep=%5E1.9%24").0, [109, 119, 129, 139, 149, 159, 169, 179, 189, 199]);
    let histogram = served.get("/api/v1/instances/quotes/histogram?from=earliest&step=1h");
    let counts = histogram["histogram"]
        .as_array()
        .expect("steps")
        .iter()
        .map(|step| step["count"].as_u64().expect("a number"));
    assert_eq!(counts.sum::<u64>(), 250);
}

#[test]
fn what_makes_no_sense_is_refused_with_what_is_wrong_and_where() {
    let world = World::new();
    let served = Served::start(&world, &[]);
    let json = [("Content-Type", "application/json")];
    for (query, place) in [
        ("limit=0", "limit"),
        ("limit=x", "limit"),
        ("limit=10001", "limit"),
        ("from=soon", "from"),
        ("to=", "to"),
        ("cursor=x", "cursor"),
        ("order=up", "order"),
        ("format=xml", "format"),
        ("level=loud", "level"),
        ("kind=odd", "kind"),
        ("grep=(", "grep"),
        ("match=%5B", "match"),
        ("match=%5B%7Ba%7D%5D", "match"),
        ("colour=red", "query"),
        ("limit=1&limit=2", "query"),
        ("from=%FF", "from"),
    ] {
        let answer = request(served.port, "GET", &format!("{ENTRIES}?{query}"), &[], b"");
        let error: Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert_eq!(
            (answer.status, error["error"]["where"].as_str()),
            (400, Some(place)),
            "{query}: {error}"
        );
    }
    let check =
        |expected: (u16, &str), method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]| {
            let (status, code) = served.refused(method, path, headers, body);
            assert_eq!((status, code.as_str()), expected, "{method} {path}");
        };
    check((404, "not_found"), "GET", "/api/v1/instances/nobody/entries", &[], b"");
    check((404, "not_found"), "GET", "/api/v1/instances/..%2f..%2fetc/entries", &[], b"");
    check((404, "not_found"), "GET", "/nothing", &[], b"");
    check((405, "method_not_allowed"), "DELETE", ENTRIES, &[], b"");
    check((406, "not_acceptable"), "GET", ENTRIES, &[("Accept", "text/csv")], b"");
    check((400, "bad_request"), "POST", ENTRIES, &json, b"{\"a\":");
    check((400, "bad_request"), "POST", ENTRIES, &json, b"{\"events\":[]}");
    check((400, "bad_request"), "POST", ENTRIES, &json, &"[".repeat(5000).into_bytes());
    check((400, "bad_request"), "POST", ENTRIES, &json, b"\xff");
    check((415, "unsupported_media_type"), "POST", ENTRIES, &[], b"1");
    check((413, "too_large"), "POST", ENTRIES, &json, &vec![b' '; (16 << 20) + 1]);
    // The same without saying how much will come.
    let chunk = [b"100000\r\n".to_vec(), vec![b' '; 1 << 20], b"\r\n".to_vec()].concat();
    let answer = chunked(served.port, &chunk.repeat(17));
    assert_eq!((answer.status, answer.text().contains("too_large")), (413, true));
    check((421, "misdirected"), "GET", ENTRIES, &[("Host", "evil.example")], b"");
    check(
        (403, "cross_site"),
        "POST",
        ENTRIES,
        &[json[0], ("Origin", "http://evil.example")],
        b"1",
    );
    assert_eq!(
        served.get(ENTRIES)["entries"],
        Value::Array(vec![]),
        "nothing of that was recorded"
    );
}

/// The same key with the same body twice, at once and later; then with another body.
#[test]
fn an_append_sent_again_happens_once() {
    let world = World::new();
    let served = Served::start(&world, &["--instance", "orders"]);
    let send = |key: &str, body: &str| {
        let headers = [("Content-Type", "application/json"), ("Idempotency-Key", key)];
        request(served.port, "POST", ENTRIES, &headers, body.as_bytes())
    };
    let answers: Vec<_> = std::thread::scope(|scope| {
        let sending: Vec<_> = (0..16).map(|_| scope.spawn(|| send("k1", "[1,2]"))).collect();
        sending.into_iter().map(|sending| sending.join().expect("it is answered").text()).collect()
    });
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(send("k1", "[1,2]").text(), answers[0]);
    assert_eq!(send("k1", "[1,3]").status, 422);
    assert_eq!(send("k2", "[1,2]").status, 200);
    assert_eq!(served.get(ENTRIES)["entries"].as_array().map(Vec::len), Some(2));
    // The same key is another one for another instance, and the same bytes another body in another form.
    let to = |instance: &str, form: &str| {
        let path = format!("/api/v1/instances/{instance}/entries");
        let headers = [("Content-Type", form), ("Idempotency-Key", "k1")];
        request(served.port, "POST", &path, &headers, b"[1,2]").status
    };
    assert_eq!(to("orders", "application/json"), 200);
    let orders = served.get("/api/v1/instances/orders/entries");
    assert_eq!(orders["entries"].as_array().map(Vec::len), Some(1));
    assert_eq!(to("orders", "text/x-erlang"), 422);
}

/// Another user of this host, by the same loopback address.
#[test]
fn without_tokens_other_users_of_the_host_are_not_served() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can be somebody else");
        return;
    }
    let world = World::new();
    let served = Served::start(&world, &[]);
    let curl = |user: u32, path: &str| {
        let mut curl = Command::new("curl");
        curl.args(["-s", "-o", "/dev/null", "-w", "%{http_code}", &served.url(path)])
            .current_dir("/");
        let output = curl.uid(user).gid(user).output().expect("curl runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(curl(0, ENTRIES), "200");
    assert_eq!(curl(65_534, ENTRIES), "401");
    assert_eq!(curl(65_534, "/metrics"), "401");
    assert_eq!(curl(65_534, "/healthz"), "200");
    served.program.wait_for_diagnostics(
        "HTTP request refused: without tokens only processes of this program's own user",
    );
}

/// A configuration with tokens and TLS, which change while the node runs.
#[test]
fn tokens_and_certificates_are_asked_for_and_read_again() {
    let world = World::new();
    let make = |name: &str| {
        let made =
            rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])
                .expect("made");
        std::fs::write(world.path(&format!("{name}.pem")), made.cert.pem()).unwrap();
        std::fs::write(world.path("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(world.path("key.pem"), made.signing_key.serialize_pem()).unwrap();
    };
    make("first");
    let sha256 = |text: &str| {
        let digest = Command::new("sh")
            .args(["-c", "printf %s \"$0\" | sha256sum", text])
            .output()
            .expect("it runs");
        String::from_utf8_lossy(&digest.stdout)[..64].to_owned()
    };
    let configure = |tokens: &[(&str, &str)]| {
        let tokens = tokens.iter().map(|(token, role)| {
            format!(
                "[[http.token]]\nname = \"{token}\"\nrole = \"{role}\"\nsha256 = \"{}\"\n",
                sha256(token)
            )
        });
        let file = format!(
            "[http]\n{}[http.tls]\ncert = {:?}\nkey = {:?}\n",
            tokens.collect::<String>(),
            world.path("cert.pem"),
            world.path("key.pem")
        );
        std::fs::write(world.path("c.toml"), file).unwrap();
    };
    configure(&[("reader", "read"), ("writer", "write")]);
    let served = Served::start(&world, &["--config", "c.toml"]);
    let curl = |certificate: &str, token: &str, method: &str, path: &str| {
        let mut curl = Command::new("curl");
        curl.args([
            "-s",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code} %{http_version}",
            "-X",
            method,
            "--cacert",
        ]);
        curl.arg(world.path(certificate)).args([
            "-H",
            &format!("Authorization: Bearer {token}"),
            "-H",
            "Content-Type: application/json",
            "-d",
            "1",
        ]);
        let output = curl
            .arg(format!("https://localhost:{}{path}", served.port))
            .output()
            .expect("curl runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(curl("first.pem", "reader", "GET", ENTRIES), "200 2");
    assert_eq!(curl("first.pem", "nobody", "GET", ENTRIES), "401 2");
    assert_eq!(curl("first.pem", "reader", "POST", ENTRIES), "403 2");
    assert_eq!(curl("first.pem", "writer", "POST", ENTRIES), "200 2");
    assert_eq!(curl("first.pem", "reader", "POST", "/api/v1/session"), "204 2");
    let hang_up = || {
        rustix::process::kill_process(served.program.pid(), rustix::process::Signal::HUP).unwrap()
    };
    make("second");
    configure(&[("reader", "read")]);
    hang_up();
    served.program.wait_for_diagnostics("SIGHUP: read again: 1 tokens, the certificate");
    assert_eq!(curl("second.pem", "reader", "GET", ENTRIES), "200 2");
    assert_eq!(curl("second.pem", "writer", "POST", ENTRIES), "401 2");
    assert_eq!(curl("first.pem", "reader", "GET", ENTRIES), "000 0", "that certificate is gone");
    std::fs::write(world.path("c.toml"), "[http]\nlisten = 1\n").unwrap();
    hang_up();
    served.program.wait_for_diagnostics("SIGHUP: nothing changed: c.toml:2: listen: ");
    assert_eq!(curl("second.pem", "reader", "GET", ENTRIES), "200 2");
    assert!(!served.program.diagnostics().contains("nobody"), "no token is said");
}

#[test]
fn nothing_is_served_in_the_open_by_mistake() {
    let world = World::new();
    let refused = |config: &str| {
        std::fs::write(world.path("c.toml"), config).unwrap();
        let mut run = world.command("run");
        run.args(["--setcookie", "x", "--config", "c.toml", "--http"]);
        let output = run.arg(format!("0.0.0.0:{}", free_port())).output().expect("it runs");
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(refused("").contains("there is no token: make one with `logmachine token"));
    let token =
        format!("[[http.token]]\nname = \"a\"\nrole = \"read\"\nsha256 = \"{}\"\n", "0".repeat(64));
    assert!(refused(&token).contains("there is no [http.tls]: set cert and key, or plain = true"));
    std::fs::write(world.path("c.toml"), format!("[http]\nplain = true\n{token}")).unwrap();
    let port = free_port();
    let program = world.logmachine(&["--config", "c.toml", "--http", &format!("0.0.0.0:{port}")]);
    assert_eq!(request(port, "GET", "/api/v1/node", &[], b"").status, 401);
    assert_eq!(request(port, "GET", "/healthz", &[], b"").status, 200);
    assert_eq!(program.stop(), Some(0));
}

/// The default address is taken, once by somebody else when nobody asked for HTTP, and once when somebody did.
#[test]
fn an_address_that_is_taken_stops_the_node_only_if_it_was_asked_for() {
    let world = World::new();
    let taken = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let output = world
        .command("run")
        .args(["--setcookie", "x", "--http", &address])
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&output.stderr)
            .contains(&format!("cannot serve HTTP at {address}"))
    );
}

/// A disk that is not allowed to be as full as it is.
#[test]
fn a_recorder_that_waits_is_not_ready_and_refuses_in_time() {
    let world = World::new();
    std::fs::write(
        world.path("c.toml"),
        "[[instance]]\nname = \"quotes\"\nmin_free_bytes = \"1024TiB\"\npending_bytes = \"64KiB\"\noverload = \"drop\"\n",
    )
    .unwrap();
    let served = Served::start(&world, &["--config", "c.toml"]);
    assert_eq!(served.get("/healthz")["status"], "ok");
    // The second one finds out that the recorder is behind, from the third one on they are dropped.
    let wait = |port: u16| {
        let body = format!("\"{}\"", "x".repeat(100_000));
        let headers = [("Content-Type", "application/json")];
        std::thread::spawn(move || request(port, "POST", ENTRIES, &headers, body.as_bytes()).status)
    };
    let pending = |bytes: u64| {
        let pending = || served.get("/api/v1/instances/quotes")["pending_bytes"].as_u64();
        wait_for("it is taken in", || pending().filter(|pending| *pending >= bytes));
    };
    let first = wait(served.port);
    pending(100_000);
    let not_ready = wait_for("it waits", || {
        let answer = request(served.port, "GET", "/readyz", &[], b"");
        (answer.status == 503).then(|| answer.text())
    });
    assert!(
        not_ready.contains("instance quotes waits: no space left on the log's disk"),
        "{not_ready}"
    );
    let second = wait(served.port);
    pending(200_000);
    let json = [("Content-Type", "application/json")];
    assert_eq!(served.refused("POST", ENTRIES, &json, b"1"), (503, "not_recorded".to_owned()));
    let info = served.get("/api/v1/instances/quotes");
    assert_eq!(
        (info["recording"]["state"].as_str(), info["dropped"].as_u64()),
        (Some("waiting"), Some(1))
    );
    served.program.kill();
    // They were never told that their events are recorded.
    assert!(first.join().is_err() && second.join().is_err());
}

/// Where `tests/neighbours` put what programs in Python need: `http` or `webhooks`.
pub(crate) fn python(packages: &str) -> Option<PathBuf> {
    let dir = std::env::var_os("LOGMACHINE_NEIGHBOURS_DIR").map(PathBuf::from);
    let found = dir.map(|dir| dir.join(packages)).filter(|dir| dir.join(".done").exists());
    if found.is_none() {
        println!("skipped: what programs in Python need ({packages}) is not installed");
    }
    found
}

fn run_python(packages: &std::path::Path, program: &str, argument: &str) -> String {
    let mut python = Command::new("python3");
    let output = python
        .args(["-c", program, argument])
        .env("PYTHONPATH", packages)
        .output()
        .expect("python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_description_is_sound_and_names_every_route() {
    let Some(packages) = python("http") else { return };
    let world = World::new();
    let served = Served::start(&world, &[]);
    let description = served.get("/api/v1/openapi.json");
    assert!(description["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")));
    for route in [
        "/api/v1/node",
        "/api/v1/instances",
        "/api/v1/instances/{instance}",
        "/api/v1/instances/{instance}/entries",
        "/api/v1/instances/{instance}/stream",
        "/api/v1/instances/{instance}/histogram",
        "/api/v1/instances/{instance}/segments",
        "/api/v1/instances/{instance}/cursors",
        "/api/v1/faults",
        "/api/v1/faults/{id}",
        "/api/v1/explain",
        "/api/v1/analyses",
        "/metrics",
        "/healthz",
        "/readyz",
    ] {
        assert!(description["paths"][route].is_object(), "{route}");
    }
    std::fs::write(world.path("openapi.json"), description.to_string()).unwrap();
    let program = "import json, sys; from openapi_spec_validator import validate; validate(json.load(open(sys.argv[1]))); print('sound')";
    let path = world.path("openapi.json");
    assert_eq!(run_python(&packages, program, path.to_str().expect("text")), "sound\n");
}

/// A log of many small segments, one of them damaged; a subscriber that acknowledged the first entry, and got credit for no
/// more than that.
#[test]
fn who_looks_at_an_instance_sees_its_segments_its_cursors_and_what_nodes_run() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let config = "[[instance]]\nname = \"quotes\"\nsegment_bytes = \"4KiB\"\nmax_bytes = \"1GiB\"\ndelete_after = \"30day\"\n";
    std::fs::write(world.path("c.toml"), config).unwrap();
    let served = Served::start(&world, &["--config", "c.toml", "--connect", "a@127.0.0.1"]);
    for n in 0..50 {
        served.append("text/x-erlang", format!("{{{n}, \"{}\"}}.", "x".repeat(500)).as_bytes());
    }
    const QUOTES: &str = "/api/v1/instances/quotes";
    let about = served.get(QUOTES);
    let limits = &about["retention"];
    assert_eq!(limits["segment_bytes"], 4096);
    assert_eq!(limits["max_bytes"], 1 << 30);
    assert_eq!(limits["delete_after_seconds"], 30.0 * 86_400.0);
    let segments = |query: &str| served.get(&format!("{QUOTES}/segments{query}"));
    let whole = segments("");
    let all = whole["segments"].as_array().expect("a list");
    assert!(all.len() > 5 && all.len() as u64 == about["segments"].as_u64().expect("a number"));
    assert!(all[0]["state"] == "live" && all[1]["state"] == "rotated" && whole["next"].is_null());
    let events = all.iter().map(|it| it["events"].as_u64().expect("a number"));
    assert_eq!(events.sum::<u64>(), 50);
    assert_eq!(all.last().expect("some")["first"], about["interval"]["first"]);
    let (mut next, mut paged) = (String::new(), Vec::new());
    loop {
        let page = segments(&format!("?limit=2{next}"));
        paged.extend(page["segments"].as_array().expect("a list").clone());
        let Some(cursor) = page["next"].as_str() else { break };
        next = format!("&cursor={cursor}");
    }
    assert_eq!(&paged, all);
    assert_eq!(segments("?damaged=true")["segments"], Value::Array(vec![]));
    for list in ["segments", "cursors"] {
        for query in ["limit=0", "cursor=x"] {
            let (status, code) =
                served.refused("GET", &format!("{QUOTES}/{list}?{query}"), &[], b"");
            assert_eq!((status, code.as_str()), (400, "bad_request"), "{list}?{query}");
        }
    }
    let mut a = world.erl("a");
    a.wait_for_name("{quotes, 0}");
    a.eval("R = global:whereis_name({quotes, 0}), {ok, S} = gen_server:call(R, {subscribe, #{from => earliest, pid => self(), marker => m, credit => 1, cursor => <<\"shop\">>}})");
    a.eval("receive {m, {At, {0, _}}} -> S ! {ack, At} end");
    let cursor = wait_for("the acknowledgement is stored", || {
        let cursors = served.get(&format!("{QUOTES}/cursors"))["cursors"].clone();
        cursors.as_array().expect("a list").iter().find(|it| it["stored"] == true).cloned()
    });
    assert_eq!((&cursor["name"], &cursor["id"]), (&"shop".into(), &"73686f70".into()));
    assert_eq!(
        (&cursor["lag_events"], &cursor["position"]),
        (&49.into(), &all[all.len() - 1]["first"])
    );
    assert!(cursor["lag_seconds"].as_f64().is_some_and(|seconds| seconds > 0.0));
    let sessions = served.get(QUOTES)["sessions"].clone();
    assert_eq!((&sessions[0]["cursor"], &sessions[0]["sent"]), (&"shop".into(), &1.into()));
    assert_eq!(sessions[0]["waits_for_credit"], true);
    let peer = wait_for("the node has answered", || {
        let peer = served.get("/api/v1/node")["peers"][0].clone();
        peer["since"].is_string().then_some(peer)
    });
    assert_eq!(peer["otp_release"], a.eval("erlang:system_info(otp_release)").trim_matches('"'));
    assert_eq!(peer["applications"], Value::Array(vec![]), "those of OTP are no news");
    assert_eq!(peer["counters"]["paused"], 0);
}

/// A program in Python appends, follows what it appends, goes away and comes back.
#[test]
fn a_program_in_python_appends_and_follows() {
    const PROGRAM: &str = r#"
import httpx, json, sys
url = sys.argv[1]
client = httpx.Client(timeout=30)
first = client.post(url + "/entries", json={"events": list(range(100))}).raise_for_status().json()
seen, last = [], None
while len(seen) < 300:
    headers = {"Last-Event-ID": last} if last else {}
    with client.stream("GET", url + "/stream", params={"from": first["first"]}, headers=headers) as stream:
        for line in stream.iter_lines():
            if line.startswith("id: "):
                last = line[4:]
            elif line.startswith("data: "):
                seen.append(json.loads(line[6:])["event"])
                if len(seen) % 70 == 0:
                    break  # the connection is closed in the middle of what it had
                if len(seen) in (100, 200):
                    begin = len(seen)
                    client.post(url + "/entries", json={"events": list(range(begin, begin + 100))}).raise_for_status()
                if len(seen) == 300:
                    break
assert seen == list(range(300)), seen
with client.stream("GET", url + "/entries", headers={"Accept": "application/x-ndjson"}) as lines:
    assert [json.loads(line)["event"] for line in lines.iter_lines()] == list(range(300))
print("fine")
"#;
    let Some(packages) = python("http") else { return };
    let world = World::new();
    let served = Served::start(&world, &[]);
    assert_eq!(run_python(&packages, PROGRAM, &served.url("/api/v1/instances/quotes")), "fine\n");
}

/// What a real node reports is told in plain fields, and found by them.
#[test]
fn what_is_captured_is_told_in_plain_fields_and_found_by_them() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let served = Served::start(&world, &["--instance", "error_logger", "--connect", "a@127.0.0.1"]);
    let mut a = world.erl("a");
    let info = "/api/v1/instances/error_logger";
    wait_for("handlers are installed", || {
        let handlers = served.get(info)["handlers"].as_array().expect("a list").clone();
        (handlers.len() == 2 && handlers.iter().all(|handler| handler["state"] == "installed"))
            .then_some(())
    });
    a.eval("spawn(fun() -> error({badmatch, #{a => 1}}) end)");
    a.eval("logger:warning(\"low ~p\", [disk])");
    a.eval("logger:notice(\"fine\")");
    let find = |query: &str| {
        let page = served.get(&format!("{info}/entries?{query}"));
        page["entries"]
            .as_array()
            .expect("entries")
            .iter()
            .map(|entry| entry["view"].clone())
            .collect::<Vec<_>>()
    };
    let crash = wait_for("the crash is there", || find("level=error").first().cloned());
    assert_eq!(crash["node"], "a@127.0.0.1");
    assert_eq!(crash["kind"], "crash");
    assert!(crash["message"].as_str().expect("text").contains("with exit value:"), "{crash}");
    assert!(crash["pid"].as_str().expect("text").starts_with("<0."), "{crash}");
    assert!(crash["reason"].as_str().expect("text").contains("badmatch"), "{crash}");
    wait_for("all are there", || (find("level=notice").len() == 3).then_some(()));
    assert_eq!(find("level=warning&grep=disk").len(), 1);
    assert_eq!(find("level=warning&grep=disk")[0]["message"], "low disk");
    assert_eq!(find("node=a@*&kind=crash").len(), 1);
    let pid = crash["pid"].as_str().expect("text").replace('<', "%3C").replace('>', "%3E");
    assert_eq!(find(&format!("pid={pid}")).len(), 1);
    assert_eq!(find("node=b@*").len(), 0);
    let histogram = served.get(&format!("{info}/histogram?from=earliest&by=level&step=1h"));
    let counted = &histogram["histogram"].as_array().expect("steps")[0]["by"];
    assert_eq!(counted["error"], 1, "{histogram}");
    assert_eq!(counted["warning"], 1, "{histogram}");
    let node = served.get("/api/v1/node");
    assert_eq!(node["peers"][0]["name"], "a@127.0.0.1");
    assert!(node["peers"][0]["counters"]["received"].as_u64().expect("a number") > 3);
}

/// Debian's Prometheus scrapes a node that works, and answers a query over it.
#[test]
fn prometheus_scrapes_and_its_rules_load() {
    let dir = std::env::var_os("LOGMACHINE_NEIGHBOURS_DIR")
        .map(|dir| PathBuf::from(dir).join("bookworm/root/usr/bin"));
    let Some(dir) = dir.filter(|dir| dir.join("prometheus").exists()) else {
        println!("skipped: prometheus is not installed");
        return;
    };
    let rules = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/alerts.yml");
    let check = Command::new(dir.join("promtool"))
        .args(["check", "rules"])
        .arg(&rules)
        .output()
        .expect("it runs");
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
    let world = World::new();
    let served = Served::start(&world, &[]);
    served.append("application/json", br#"{"events":[1,2,3]}"#);
    let metrics = request(served.port, "GET", "/metrics", &[], b"");
    assert!(
        metrics.head.contains("application/openmetrics-text; version=1.0.0"),
        "{}",
        metrics.head
    );
    let config = format!(
        "global: {{scrape_interval: 3s, scrape_timeout: 3s}}\nrule_files: [{rules:?}]\nscrape_configs:\n- job_name: logmachine\n  static_configs: [{{targets: ['127.0.0.1:{}']}}]\n",
        served.port
    );
    std::fs::write(world.path("prometheus.yml"), config).unwrap();
    let port = free_port();
    let mut prometheus = Command::new(dir.join("prometheus"));
    prometheus.arg(format!("--config.file={}", world.path("prometheus.yml").display()));
    prometheus.arg(format!("--storage.tsdb.path={}", world.path("tsdb").display()));
    prometheus.arg(format!("--web.listen-address=127.0.0.1:{port}")).current_dir(world.path("."));
    let log = std::fs::File::create(world.path("prometheus.log")).unwrap();
    let mut running =
        prometheus.stderr(log).stdout(std::process::Stdio::null()).spawn().expect("it runs");
    let query = |query: &str| -> Option<Value> {
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
        let answer = request(port, "GET", &format!("/api/v1/query?query={query}"), &[], b"");
        let answer: Value = serde_json::from_slice(&answer.body).ok()?;
        Some(answer["data"]["result"].as_array()?.first()?["value"][1].clone())
    };
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let received = wait_for("it was scraped", || {
            query("logmachine_instance_received_total%7Bexported_instance%3D%22quotes%22%7D")
        });
        assert_eq!(received, "3");
        let latency = "histogram_quantile(0.99%2C%20logmachine_instance_append_seconds_bucket%7Bexported_instance%3D%22quotes%22%7D)";
        let latency = wait_for("a histogram was scraped", || query(latency));
        assert!(
            latency
                .as_str()
                .and_then(|text| text.parse::<f64>().ok())
                .is_some_and(|seconds| seconds > 0.0 && seconds < 10.0)
        );
        assert_eq!(query("up"), Some(Value::from("1")));
    }));
    let targets =
        ended.as_ref().err().map(|_| request(port, "GET", "/api/v1/targets", &[], b"").text());
    let _ = running.kill();
    let _ = running.wait();
    if let Err(panic) = ended {
        eprintln!("{}", targets.unwrap_or_default());
        eprintln!("{}", std::fs::read_to_string(world.path("prometheus.log")).unwrap_or_default());
        std::panic::resume_unwind(panic);
    }
}

/// Every `sh` block of a guide, in one shell; what it prints.
pub(crate) fn run_samples(guide: &str, served: &Served) -> String {
    let blocks = guide.split("```sh\n").skip(1).filter_map(|rest| rest.split_once("```"));
    let program: String = blocks.map(|(block, _)| block).collect();
    let mut shell = Command::new("bash");
    shell.args(["-euo", "pipefail", "-c", &program]).env("LM", served.url(""));
    let output = shell.output().expect("bash runs");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{printed}\n{}", String::from_utf8_lossy(&output.stderr));
    printed
}

#[test]
fn the_samples_of_the_guide_do_what_it_says() {
    let world = World::new();
    let served = Served::start(&world, &["--instance", "error_logger"]);
    let printed = run_samples(include_str!("../../docs/http.md"), &served);
    for expected in [
        "\"count\":2",
        "\"event\":{\"$tuple\":[{\"$atom\":\"quote\"},\"ACME\",12.6]}",
        "\"event\":12.7",
        "id: ",
        "logmachine_instance_received_total{instance=\"quotes\"} 7",
        "\"status\":\"ok\"",
        "\"openapi\": \"3.1",
        "\"where\":\"from\"",
    ] {
        assert!(printed.contains(expected), "{expected} is not in {printed}");
    }
}
