//! Views have the texts that every release itself makes of what it reports and logs.

use std::path::Path;
use std::process::{Command, Stdio};

use logmachine::analysis::view::View;
use logmachine::etf::{TermRef, inflate};

use crate::releases::releases;

/// `(FILE, line LINE)` as OTP 28 writes it.
fn with_places(text: &str) -> String {
    let mut parts = text.split(", line ");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        let is_place = digits > 0 && part[digits..].starts_with(')');
        out.push_str(if is_place { ":" } else { ", line " });
        out.push_str(part);
    }
    out
}

/// Without what modules themselves say of their errors, which takes their code.
fn without_advice(text: &str) -> String {
    let is_advice = |line: &str| line.trim_start().starts_with("*** argument ");
    text.split_inclusive('\n').filter(|line| !is_advice(line)).collect()
}

/// How many events of a file have the texts that stand beside them.
fn check(release: &str, file: &Path) -> usize {
    let bytes = std::fs::read(file).expect("it has written");
    let bytes = inflate(&bytes, 1 << 28).expect("compressed");
    let [_, entries] =
        TermRef::whole(&bytes).expect("a term").as_tuple().expect("{Release, Entries}");
    let mut checked = 0;
    for entry in entries.cells() {
        let [event, many, one] = entry.as_tuple().expect("an entry");
        let due = |term: TermRef<'_>| {
            let text = std::str::from_utf8(term.as_binary().expect("a binary")).expect("UTF-8");
            without_advice(&with_places(text))
        };
        let view = View::of(event).unwrap_or_else(|| panic!("OTP {release}: no view of {event}"));
        assert_eq!(view.detail, due(many), "OTP {release}: {event}");
        // OTP 23 mixes up what it says of an event handler there.
        if !(release == "23" && due(one).starts_with("Generic event handler ")) {
            assert_eq!(view.message, due(one), "OTP {release}: {event}");
        }
        checked += 1;
    }
    checked
}

#[test]
fn views_have_the_texts_of_every_release_and_of_elixir() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let golden = root.join("tests/golden");
    for (release, erl) in releases() {
        let dir = tempfile::tempdir().expect("a directory");
        let erlc = erl.with_file_name("erlc");
        let source = golden.join("golden_views.erl");
        let compiled = Command::new(erlc)
            .args(["+deterministic", "-o"])
            .arg(dir.path())
            .arg(source)
            .stdout(Stdio::null())
            .status();
        assert!(compiled.is_ok_and(|status| status.success()), "OTP {release} compiles");
        let handlers = if release == "23" { "r23" } else { "r25" };
        let handlers = root.join("erlang/priv/handlers").join(handlers);
        let out = dir.path().join("out");
        let made = Command::new(&erl)
            .args(["+pc", "unicode", "-noshell", "-pa"])
            .arg(dir.path())
            .arg("-pa")
            .arg(&handlers)
            .args(["-run", "golden_views", "main"])
            .arg(&out)
            .status();
        assert!(made.is_ok_and(|status| status.success()), "OTP {release} answers");
        println!("OTP {release}: {} events", check(release, &out));
        let elixir = erl.with_file_name("elixir");
        if elixir.exists() {
            let made = Command::new(&elixir)
                .args(["--erl", "+pc unicode -logger handle_sasl_reports true", "-pa"])
                .arg(dir.path())
                .arg("-pa")
                .arg(&handlers)
                .arg(golden.join("golden_views.exs"))
                .arg(&out)
                .stdout(Stdio::null())
                .status();
            assert!(made.is_ok_and(|status| status.success()), "Elixir answers");
            println!("Elixir on OTP {release}: {} events", check(release, &out));
        }
    }
}
