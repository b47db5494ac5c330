//! Texts that real releases made of random formats and arguments.

use super::{Lines, Printer, on_one_line, to_text};
use crate::etf::{TermRef, inflate};

/// What `tests/golden/golden_formats.erl` recorded.
const RECORDED: [&[u8]; 5] = [
    include_bytes!("../../../tests/golden/formats/otp23.etf"),
    include_bytes!("../../../tests/golden/formats/otp25.etf"),
    include_bytes!("../../../tests/golden/formats/otp27.etf"),
    include_bytes!("../../../tests/golden/formats/otp28.etf"),
    include_bytes!("../../../tests/golden/formats/otp29.etf"),
];

const LIMIT_BYTES: usize = 1 << 24;

fn printed(format: TermRef<'_>, args: TermRef<'_>, lines: Lines) -> String {
    let mut printer = Printer::new(LIMIT_BYTES, lines, Some("nonode@nohost"));
    printer.format(format, args);
    printer.finish()
}

#[test]
fn texts_are_those_that_were_recorded() {
    let (mut seen, mut wrong) = (0, Vec::new());
    for recorded in RECORDED {
        let bytes = inflate(recorded, 1 << 24).expect("compressed");
        let term = TermRef::whole(&bytes).expect("a term");
        let [release, cases] = term.as_tuple().expect("{Release, Cases}");
        for case in cases.cells() {
            let [format, args, many, one] = case.as_tuple().expect("a case");
            let text = |term: TermRef<'_>| {
                String::from_utf8(term.as_binary().expect("a binary").to_vec()).expect("UTF-8")
            };
            let found = [
                printed(format, args, Lines::Many),
                on_one_line(&printed(format, args, Lines::One)),
            ];
            let due = [text(many), text(one)];
            seen += 1;
            if found != due {
                wrong.push(format!(
                    "OTP {release}: {}, {}\n{due:#?}\nand not\n{found:#?}",
                    to_text(format),
                    to_text(args)
                ));
            }
        }
    }
    wrong.sort_by_key(String::len);
    assert!(
        wrong.is_empty(),
        "{} of {seen}: {}",
        wrong.len(),
        wrong[..wrong.len().min(8)].join("\n\n")
    );
    assert!(seen > 3000, "{seen} recorded");
}
