//! Texts that real releases made of random formats and arguments.

use proptest::prelude::*;

use super::{Lines, Printer, on_one_line, to_text};
use crate::etf::{TermBuf, TermRef, inflate, text};

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

/// All recorded cases, with their release.
fn cases() -> &'static [(i64, TermBuf)] {
    static CASES: std::sync::OnceLock<Vec<(i64, TermBuf)>> = std::sync::OnceLock::new();
    CASES.get_or_init(|| {
        let mut all = Vec::new();
        for recorded in RECORDED {
            let bytes = inflate(recorded, 1 << 24).expect("compressed");
            let term = TermRef::whole(&bytes).expect("a term");
            let [release, cases] = term.as_tuple().expect("{Release, Cases}");
            let release = release.as_integer().expect("a number");
            all.extend(cases.cells().map(|case| (release, case.to_buf())));
        }
        all
    })
}

#[test]
fn texts_are_those_that_were_recorded() {
    let mut wrong = Vec::new();
    let seen = cases().len();
    for (release, case) in cases() {
        let [format, args, many, one] = case.as_term().as_tuple().expect("a case");
        let text = |term: TermRef<'_>| {
            String::from_utf8(term.as_binary().expect("a binary").to_vec()).expect("UTF-8")
        };
        let found =
            [printed(format, args, Lines::Many), on_one_line(&printed(format, args, Lines::One))];
        let due = [text(many), text(one)];
        if found != due {
            wrong.push(format!(
                "OTP {release}: {}, {}\n{due:#?}\nand not\n{found:#?}",
                to_text(format),
                to_text(args)
            ));
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

proptest! {
    /// Real formats and arguments of which some bytes were replaced.
    #[test]
    fn no_damaged_format_makes_the_printer_panic_or_exceed_its_limit(
        at: prop::sample::Index,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        limit in prop::sample::select(vec![0, 1, 10, 100, 1000, 100_000]),
    ) {
        let mut case = at.get(cases()).1.bytes().to_vec();
        for (at, byte) in damage {
            let at = at.index(case.len());
            case[at] = byte;
        }
        if let Ok(case) = TermRef::whole(&case)
            && let Some([format, args, _, _]) = case.as_tuple()
        {
            for lines in [Lines::Many, Lines::One] {
                let mut printer = Printer::new(limit, lines, None);
                printer.format(format, args);
                let text = printer.finish();
                prop_assert!(text.len() <= limit + "...".len());
            }
        }
    }
}

fn check(format: &str, args: &str, expected: &str) {
    let term = |source: &str| text::parse(source).expect("a term");
    let (format, args) = (term(format), term(args));
    let mut printer = Printer::new(40, Lines::Many, None);
    printer.format(format.as_term(), args.as_term());
    assert_eq!(printer.finish(), expected);
}

/// Dots for what is not shown count, too.
#[test]
fn a_term_of_no_depth_exceeds_no_limit() {
    for limit in 0..8 {
        let (format, args) = ("\"~P~P\"", "[[a], 0, {b}, 0]");
        let term = |source: &str| text::parse(source).expect("a term");
        let mut printer = Printer::new(limit, Lines::Many, None);
        printer.format(term(format).as_term(), term(args).as_term());
        assert_eq!(
            printer.finish(),
            "......"[..limit.min(6)].to_owned() + if limit < 6 { "..." } else { "" }
        );
    }
}

#[test]
fn numbers_in_a_format_ask_for_no_more_than_the_limit() {
    let filled = |c: &str| c.repeat(40) + "...";
    check("\"~9999999999999999999999c\"", "[$a]", &filled("a"));
    check("\"~*n\"", "[1000000000000]", &filled("\n"));
    check("\"~-1000000000000s\"", "[\"\"]", &filled(" "));
    check("\"~1000000000.1000000000.xs\"", "[\"\"]", &filled("x"));
    check("\"~.1000000000f\"", "[1.0]", &format!("1.{}...", "0".repeat(38)));
    check("\"~1000000000B\"", "[1]", &filled(" "));
    check("\"~*p\"", "[-1, a]", "FORMAT ERROR: \"~*p\" - [-1,a]");
}
