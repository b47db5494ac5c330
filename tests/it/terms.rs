//! A node is sent nothing that it cannot decode.
//!
//! A node drops the whole connection over one term that it cannot decode, so each such term is a way to cut nodes off.
//! The oracle is each release itself: asked by `binary_to_term/1` about terms of every kind and damaged copies of them,
//! and then sent them.

use std::fmt::Write as _;
use std::io::Write as _;

use logmachine::etf::{Abilities, Pid, Reference, TermRef, encode, text, walk};
use logmachine::proto::control;

use crate::harness::{Erl, World, has_erlang};
use crate::hostile::{cast, connect};
use crate::releases::releases;
use crate::transfer::load_real;

/// A pseudo-random sequence: the same terms on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ mixed >> 31) % end as u64).unwrap()
    }

    fn pick<'a, T>(&mut self, among: &'a [T]) -> &'a T {
        &among[self.below(among.len())]
    }
}

fn atom(name: &str) -> Vec<u8> {
    [&[119, u8::try_from(name.len()).unwrap()], name.as_bytes()].concat()
}

fn unhex(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

/// The creation that the asked node replaces by its own.
const OWN_CREATION: [u8; 4] = [0xc0; 4];

/// Terms of every kind: those recorded from the releases, identifiers with numbers at the edges, of the asked node
/// itself too, and closures and native records by hand.
fn seeds() -> Vec<Vec<u8>> {
    let recorded =
        [include_str!("../golden/terms/otp23.txt"), include_str!("../golden/terms/otp29.txt")];
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    for line in recorded.iter().flat_map(|file| file.lines()) {
        let mut words = line.split(' ');
        if let Some("term" | "ident" | "old") = words.next() {
            let bytes = unhex(words.next().unwrap());
            if bytes.len() < 400 {
                seeds.push(bytes[1..].to_vec());
            }
        }
    }
    let numbers: [u32; 14] = [
        0,
        1,
        0x1fff,
        0x2000,
        0x7fff,
        0x8000,
        0xffff,
        0x3_ffff,
        0x4_0000,
        0x0fff_ffff,
        0x1000_0000,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
    ];
    for node in ["a@b", "own@127.0.0.1", "nonode@nohost", ""] {
        for creation in [OWN_CREATION, [0; 4], [0, 0, 0, 3], [0, 0, 0, 4], [0xff; 4]] {
            let mut push = |tag: &[u8], words: &[u32], short: bool| {
                let mut bytes = [tag, &atom(node)].concat();
                let is_reference = matches!(tag[0], 90 | 114);
                let stamp = if short { &creation[3..] } else { &creation[..] };
                if is_reference {
                    bytes.extend_from_slice(stamp);
                }
                words.iter().for_each(|word| bytes.extend_from_slice(&word.to_be_bytes()));
                if !is_reference {
                    bytes.extend_from_slice(stamp);
                }
                seeds.push(bytes);
            };
            for a in numbers {
                for b in [0, 1, 0x1fff, 0x2000, 0xffff_ffff] {
                    push(&[88], &[a, b], false);
                    push(&[103], &[a, b], true);
                    push(&[120], &[b, a], false);
                }
                push(&[89], &[a], false);
                push(&[102], &[a], true);
                push(&[101], &[a], true);
                for words in [
                    &[a][..],
                    &[a, 1],
                    &[a, 1, 2],
                    &[a, a, a],
                    &[a, 1, 2, 3],
                    &[a, 1, 2, 3, 4],
                    &[1, a, 2, 3, 4],
                    &[1, 2, a, 3, 4],
                    &[1, 2, 3, a, 4],
                    &[1, 2, 3, 4, a],
                ] {
                    let count = u8::try_from(words.len()).unwrap();
                    push(&[90, 0, count], words, false);
                    push(&[114, 0, count], words, true);
                }
            }
        }
    }
    for free in [0_usize, 1, 2, 200, 255, 256] {
        for arity in [0, 1, 55, 255] {
            for pid in [
                [&[88], &atom("a@b")[..], &[0; 11], &[1]].concat(),
                [&[103], &atom("a@b")[..], &[0; 9]].concat(),
            ] {
                let mut body = vec![arity];
                body.extend([7; 16]);
                body.extend(3_u32.to_be_bytes());
                body.extend(u32::try_from(free).unwrap().to_be_bytes());
                body.extend(atom("m"));
                body.extend([97, 3, 98, 0, 1, 0, 0]);
                body.extend(&pid);
                body.extend([97, 1].repeat(free));
                let size = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
                seeds.push([&[112], &size[..], &body].concat());
            }
        }
    }
    let mut record = vec![67, 0, 0, 0, 2, 0];
    for name in ["nr", "pt", "x", "y"] {
        record.extend(atom(name));
    }
    record.extend([97, 7, 107, 0, 1, b'q']);
    seeds.push(record);
    seeds.extend([
        vec![77, 0, 0, 0, 0, 0],
        vec![77, 0, 0, 0, 1, 8, 255],
        vec![77, 0, 0, 0, 1, 3, 255],
        vec![108, 0, 0, 0, 0, 106],
        vec![108, 0, 0, 0, 0, 97, 1],
        vec![107, 0, 0],
        vec![110, 0, 0],
        vec![110, 0, 1],
        vec![110, 1, 0, 0],
        vec![110, 1, 1, 0],
        vec![110, 9, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0],
        vec![111, 0, 0, 0, 0, 0],
        vec![111, 0, 0, 0, 1, 1, 5],
        [&[70], &(-0.0_f64).to_be_bytes()[..]].concat(),
        [&[70], &(5e-324_f64).to_be_bytes()[..]].concat(),
    ]);
    for digits in [
        "1",
        "1.",
        ".5",
        "1.5",
        "1.5e",
        "1.5e5",
        "1.5e+05",
        "1.5e-400",
        "1.0e400",
        "-1.0",
        "+1.0",
        " 1.0",
        "1.0 ",
        "inf",
        "nan",
        "1e5",
        "1.0E5",
        "01.0",
        "1.0e5x",
        "1_0.0",
        "1.50000000000000000000e+00",
        "infinity",
        "0x1p3",
        "0x1.8p3",
        "-0.0",
        "1,5",
    ] {
        let mut bytes = vec![99];
        bytes.extend_from_slice(digits.as_bytes());
        bytes.resize(32, 0);
        seeds.push(bytes);
    }
    seeds
}

/// A copy with a few changes of the kind that codecs trip over.
fn damaged(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    const BYTES: [u8; 20] =
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 31, 32, 64, 127, 128, 191, 192, 237, 254, 255];
    const TAGS: [u8; 31] = [
        67, 70, 77, 80, 82, 88, 89, 90, 97, 98, 99, 100, 101, 102, 103, 104, 105, 106, 107, 108,
        109, 110, 111, 112, 113, 114, 115, 116, 118, 119, 120,
    ];
    let mut bytes = random.pick(seeds).clone();
    for _ in 0..random.below(3) {
        if bytes.is_empty() {
            break;
        }
        let at = random.below(bytes.len());
        match random.below(8) {
            0 => bytes[at] = *random.pick(&BYTES),
            1 => bytes[at] = *random.pick(&TAGS),
            2 => bytes[0] = *random.pick(&TAGS),
            3 => {
                let end = (at + 1 + random.below(4)).min(bytes.len());
                bytes.drain(at..end);
            }
            4 => {
                let end = (at + 1 + random.below(4)).min(bytes.len());
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            5 => bytes[at] = u8::try_from(random.below(256)).unwrap(),
            _ => {
                // The middle bytes hold most of the structure.
                let at = 1 + random.below(6);
                if at < bytes.len() {
                    bytes[at] = *random.pick(&BYTES);
                }
            }
        }
    }
    match random.below(10) {
        0 => [&[104, 2], &bytes[..], &random.pick(seeds)[..]].concat(),
        1 => [&[108, 0, 0, 0, 1], &bytes[..], &random.pick(seeds)[..]].concat(),
        2 => [&[116, 0, 0, 0, 1], &bytes[..], &random.pick(seeds)[..]].concat(),
        // The same key again, or nearly.
        3 | 4 => {
            let mut pairs = vec![(bytes.clone(), random.pick(seeds).clone())];
            for _ in 0..1 + random.below(3) * 20 {
                pairs.push((random.pick(seeds).clone(), vec![106]));
            }
            let again = damaged(random, &[bytes]);
            pairs.push((again, vec![106]));
            let mut map = vec![116];
            map.extend(u32::try_from(pairs.len()).unwrap().to_be_bytes());
            for (key, value) in pairs {
                map.extend(key);
                map.extend(value);
            }
            map
        }
        _ => bytes,
    }
}

/// A few thousand terms, most of them damaged, that the walk accepts or not.
fn corpus(damaged_terms: usize) -> Vec<Vec<u8>> {
    let mut random = Random(8);
    let seeds = seeds();
    let damaged: Vec<_> = (0..damaged_terms).map(|_| damaged(&mut random, &seeds)).collect();
    [seeds, damaged].concat()
}

fn is_accepted(term: &[u8]) -> bool {
    walk(term).is_ok_and(|walked| walked.len == term.len())
}

/// What a node `own@127.0.0.1` decodes, as its flags tell it, and what it has shown: each `gen_server:call/2` of OTP 27
/// comes with an alias.
fn abilities(release: &str, creation: u32) -> Abilities {
    Abilities {
        node: "own@127.0.0.1".into(),
        creation,
        v4_nc: release != "23",
        native_records: release == "29",
        distinct_keys: matches!(release, "28" | "29"),
        wide: matches!(release, "27" | "28" | "29").into(),
    }
}

/// What `erl` says to each term.
fn verdicts(world: &World, erl: &mut Erl, terms: &[&Vec<u8>]) -> Vec<bool> {
    let mut file = Vec::new();
    for term in terms {
        file.extend(u32::try_from(term.len()).unwrap().to_be_bytes());
        file.extend(*term);
    }
    std::fs::write(world.path("terms"), &file).unwrap();
    assert_eq!(erl.eval("lm_decode:verdicts(\"terms\", \"verdicts\")"), "ok");
    let verdicts = std::fs::read(world.path("verdicts")).unwrap();
    assert_eq!(verdicts.len(), terms.len());
    verdicts.into_iter().map(|verdict| verdict == 1).collect()
}

/// Asks each release about every term that it would be sent.
#[test]
fn what_a_node_is_sent_it_decodes() {
    if !has_erlang() {
        return;
    }
    let terms = corpus(20_000);
    let accepted: Vec<_> = terms.iter().filter(|term| is_accepted(term)).collect();
    assert!(accepted.len() > 10_000);
    let mut wrong = 0;
    for (release, program) in releases() {
        let abilities = abilities(release, u32::from_be_bytes(OWN_CREATION));
        let sent: Vec<_> = accepted.iter().copied().filter(|term| abilities.decode(term)).collect();
        assert!(sent.len() > 4_000, "OTP {release}: {}", sent.len());
        let world = World::with_epmd();
        let mut erl = Erl::start(&world, &program, &["-name", "own@127.0.0.1"]);
        erl.load("lm_decode");
        let verdicts = verdicts(&world, &mut erl, &sent);
        let refused = sent.iter().zip(verdicts).filter(|(_, decoded)| !decoded);
        let refused: Vec<_> = refused.map(|(term, _)| term).collect();
        println!("OTP {release}: {} of {} terms are sent", sent.len(), accepted.len());
        for term in refused.iter().take(10) {
            println!("OTP {release} refuses {term:?}");
        }
        wrong += refused.len();
    }
    assert_eq!(wrong, 0);
}

/// Writes each term as text and has releases read it with `file:consult/1` and the documented function.
#[test]
fn what_is_written_as_text_every_release_makes_the_same_term_of() {
    if !has_erlang() {
        return;
    }
    let terms = corpus(3_000);
    for (release, program) in releases() {
        let abilities = abilities(release, u32::from_be_bytes(OWN_CREATION));
        let world = World::with_epmd();
        let mut erl = Erl::start(&world, &program, &["-name", "a@127.0.0.1"]);
        erl.load("lm_decode");
        load_real(&world, &mut erl);
        let mut lines = String::new();
        let mut count = 0;
        for term in terms.iter().filter(|term| is_accepted(term) && abilities.decode(term)) {
            let text = text::to_lossless(TermRef::whole(term).unwrap());
            let parsed =
                text::parse_lossless(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
            let external = [&[131], &parsed[..]].concat();
            let original = [&[131], &term[..]].concat();
            writeln!(lines, "{{{original:?}, {external:?}, {text}}}.").unwrap();
            count += 1;
        }
        std::fs::write(world.path("text"), lines).unwrap();
        assert_eq!(
            erl.eval("lm_decode:differences(\"text\")"),
            format!("{{{count},[]}}"),
            "OTP {release}"
        );
        println!("OTP {release}: {count} terms");
    }
}

/// Appends hostile events, has each release take them in three ways, and asks in its name for what it cannot decode.
#[test]
fn no_release_is_cut_off_by_what_others_append_or_ask_in_its_name() {
    if !has_erlang() {
        return;
    }
    let terms = corpus(3_000);
    for (release, program) in releases() {
        let world = World::with_epmd();
        let _program = world.logmachine(&["--connect", "own@127.0.0.1"]);
        let mut victim = Erl::start(&world, &program, &["-name", "own@127.0.0.1"]);
        victim.load("lm_decode");
        victim.wait_for_name("{error_logger, 0}");
        let creation: u32 = victim.eval("lm_decode:creation()").parse().unwrap();
        let abilities = abilities(release, creation);
        let is_own = |place: &[u8]| place == OWN_CREATION;
        let events: Vec<Vec<u8>> = terms
            .iter()
            .filter(|term| is_accepted(term))
            .map(|term| {
                let mut event = term.clone();
                while let Some(at) = event.windows(4).position(is_own) {
                    event[at..at + 4].copy_from_slice(&creation.to_be_bytes());
                }
                event
            })
            .filter(|event| is_accepted(event))
            .collect();
        let substituted = events.iter().filter(|event| !abilities.decode(event)).count();
        assert!(substituted > 100, "OTP {release}: {substituted}");

        let mut stranger = connect(&world, "stranger@127.0.0.1", &world.cookie()).unwrap();
        for event in &events {
            stranger.write_all(&cast(event)).unwrap();
        }
        victim.eval("W = lm_decode:watch()");
        let count = events.len();
        for way in ["lm_decode:subscribed", "lm_decode:batched", "lm_decode:read"] {
            assert_eq!(
                victim.eval(&format!("{way}({count})")),
                format!("{{{count},{substituted}}}"),
                "OTP {release}: {way}"
            );
        }
        stranger.write_all(&asked_in_the_name_of("own@127.0.0.1", creation)).unwrap();
        // After all of these on the stranger's connection, and so after their answers on the victim's.
        stranger.write_all(&cast(&atom("over"))).unwrap();
        victim.wait_until("element(1, lm_decode:read(0))", &format!("{}", count + 1));
        assert_eq!(victim.eval("lm_decode:watched(W)"), "up", "OTP {release}");
        println!("OTP {release}: {count} entries, {substituted} of them substituted");
    }
}

/// Packets that would have the node sent to somebody else what that one cannot decode: native records in tags and
/// markers, and identifiers that it would never give itself.
fn asked_in_the_name_of(node: &str, creation: u32) -> Vec<u8> {
    let from = Pid { node: "stranger@127.0.0.1".into(), id: 1, serial: 0, creation: 7 };
    let sound = Pid { node: node.into(), id: 1, serial: 0, creation };
    let wide = Pid { id: 0x7fff_ffff, serial: u32::MAX, ..sound.clone() };
    let mut record = vec![67, 0, 0, 0, 1, 0];
    ["m", "r", "f"].into_iter().for_each(|name| record.extend(atom(name)));
    record.extend([97, 1]);
    let alias = Reference::new(node.into(), creation, [0x3_ffff, 1, 2, 3, 4].into_iter());
    let mut packets = Vec::new();
    let mut call = |caller: &Pid, tag: &[u8], request: &[u8]| {
        control::reg_send(&mut packets, &from, ".error_logger.receiver.srv", |out| {
            encode::tuple_header(out, 3);
            encode::atom(out, "$gen_call");
            encode::tuple_header(out, 2);
            encode::pid(out, caller);
            out.extend_from_slice(tag);
            out.extend_from_slice(request);
        });
    };
    let mut aliased = vec![108, 0, 0, 0, 1];
    aliased.extend(atom("alias"));
    encode::reference(&mut aliased, &alias);
    let subscribe = |pid: &Pid, marker: &[u8]| {
        let mut request = Vec::new();
        encode::tuple_header(&mut request, 2);
        encode::atom(&mut request, "subscribe");
        encode::map_header(&mut request, 4);
        encode::atom(&mut request, "from");
        encode::atom(&mut request, "earliest");
        encode::atom(&mut request, "pid");
        encode::pid(&mut request, pid);
        encode::atom(&mut request, "marker");
        request.extend_from_slice(marker);
        encode::atom(&mut request, "link");
        encode::boolean(&mut request, true);
        request
    };
    for caller in [&sound, &wide] {
        for tag in [&record[..], &aliased, &[97, 1]] {
            call(caller, tag, &atom("info"));
            let mut unknown = vec![104, 2];
            unknown.extend(atom("info"));
            unknown.extend(&record);
            call(caller, tag, &unknown);
        }
    }
    for pid in [&sound, &wide] {
        call(&from, &[97, 1], &subscribe(pid, &record));
        call(&from, &[97, 1], &subscribe(pid, &[97, 1]));
    }
    // What is no call of `gen`, and is answered all the same.
    for caller in [&sound, &wide] {
        for tag in [&record[..], &aliased, &{
            let mut reference = Vec::new();
            encode::reference(&mut reference, &alias);
            reference
        }] {
            control::reg_send(&mut packets, &from, "logmachine", |out| {
                encode::tuple_header(out, 4);
                encode::atom(out, "io_request");
                encode::pid(out, caller);
                out.extend_from_slice(tag);
                encode::atom(out, "what");
            });
            control::reg_send(&mut packets, &from, "rex", |out| {
                encode::tuple_header(out, 2);
                encode::pid(out, caller);
                encode::tuple_header(out, 3);
                encode::atom(out, "sbcast");
                out.extend_from_slice(tag);
                encode::atom(out, "what");
            });
        }
    }
    // Ties of others' processes: the end of ours would be told to them.
    let ours = Pid { node: "logmachine@127.0.0.1".into(), id: 1, serial: 0, creation: 0 };
    control::link(&mut packets, &wide, &ours);
    control::monitor(&mut packets, &wide, &control::Watched::Name("nobody".into()), &alias);
    packets
}
