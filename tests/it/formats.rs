//! Texts are those of `io_lib:format/2` and `logger_formatter` of every release.
//!
//! `LOGMACHINE_FORMATS_SEED` says where the random formats and arguments begin; the seed is printed.

use std::path::Path;
use std::process::Command;

use logmachine::etf::text::{Lines, Printer, on_one_line, to_text};
use logmachine::etf::{TermRef, inflate};

use crate::releases::releases;

/// How many formats each release is asked about, and how deep their arguments nest.
const ASKED: [(&str, &str); 2] = [("4000", "3"), ("600", "6")];

/// More than any of the texts has.
const LIMIT_BYTES: usize = 1 << 28;

fn printed(format: TermRef<'_>, args: TermRef<'_>, lines: Lines) -> String {
    let mut printer = Printer::new(LIMIT_BYTES, lines, Some("nonode@nohost"));
    printer.format(format, args);
    printer.finish()
}

#[test]
fn texts_are_those_of_every_release() {
    let seed = std::env::var("LOGMACHINE_FORMATS_SEED").unwrap_or_else(|_| {
        let mut seed = [0; 4];
        getrandom::fill(&mut seed).expect("random bytes");
        (u32::from_le_bytes(seed) % 1_000_000).to_string()
    });
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/golden_formats.erl");
    for (release, erl) in releases() {
        let dir = tempfile::tempdir().expect("a directory");
        let erlc = erl.with_file_name("erlc");
        let compiled = Command::new(erlc).arg("-o").arg(dir.path()).arg(&source).status();
        assert!(compiled.is_ok_and(|status| status.success()), "OTP {release} compiles");
        let mut checked = 0;
        for (count, depth) in ASKED {
            let out = dir.path().join("out");
            let made = Command::new(&erl)
                .args(["+pc", "unicode", "-noshell", "-pa"])
                .arg(dir.path())
                .args(["-run", "golden_formats", "main", &seed, count, depth])
                .arg(&out)
                .status();
            assert!(made.is_ok_and(|status| status.success()), "OTP {release} answers");
            let bytes = std::fs::read(&out).expect("it has written");
            let bytes = inflate(&bytes, LIMIT_BYTES)
                .unwrap_or_else(|error| panic!("OTP {release}, seed {seed}, {count}: {error}"));
            let [_, cases] =
                TermRef::whole(&bytes).expect("a term").as_tuple().expect("{Release, Cases}");
            for case in cases.cells() {
                let [format, args, many, one] = case.as_tuple().expect("a case");
                let about = || {
                    format!("OTP {release}, seed {seed}: {}, {}", to_text(format), to_text(args))
                };
                let text = |term: TermRef<'_>| {
                    String::from_utf8(term.as_binary().expect("a binary").to_vec()).expect("UTF-8")
                };
                let check = |found: &str, due: &str| {
                    assert!(found == due, "{}: {found:.2000}\nand not {due:.2000}", about());
                };
                check(&printed(format, args, Lines::Many), &text(many));
                check(&on_one_line(&printed(format, args, Lines::One)), &text(one));
                checked += 1;
            }
        }
        println!("OTP {release}, seed {seed}: {checked} formats");
    }
}
