//! Texts of events that real releases reported and logged.

use proptest::prelude::*;

use super::facts::Facts;
use super::grouping::Grouping;
use super::kind::{Kind, Level};
use super::view::{DETAIL_BYTES, MESSAGE_BYTES, View};
use crate::etf::{AtomRef, TermBuf, TermRef, encode, inflate, text};

/// What `tests/golden/golden_views.erl` recorded; last, of Elixir 1.18 on OTP 27.
const RECORDED: [&[u8]; 6] = [
    include_bytes!("../../tests/golden/views/otp23.etf"),
    include_bytes!("../../tests/golden/views/otp25.etf"),
    include_bytes!("../../tests/golden/views/otp27.etf"),
    include_bytes!("../../tests/golden/views/otp28.etf"),
    include_bytes!("../../tests/golden/views/otp29.etf"),
    include_bytes!("../../tests/golden/views/elixir.etf"),
];

/// Calls `check` with a release, an event, and its text on many lines and on one.
fn recorded(check: &mut dyn FnMut(i64, TermRef<'_>, &str, &str)) {
    for recorded in RECORDED {
        let bytes = inflate(recorded, 1 << 24).expect("compressed");
        let term = TermRef::whole(&bytes).expect("a term");
        let [release, entries] = term.as_tuple().expect("{Release, Entries}");
        let release = release.as_integer().expect("a release");
        for entry in entries.cells() {
            let [event, many, one] = entry.as_tuple().expect("an entry");
            let text = |term: TermRef<'_>| {
                String::from_utf8(term.as_binary().expect("a binary").to_vec()).expect("UTF-8")
            };
            check(release, event, &text(many), &text(one));
        }
    }
}

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

/// Each text: the five releases' own, of all that OTP reports and logs, with and without its callbacks.
#[test]
fn texts_are_those_of_the_release() {
    let (mut seen, mut wrong) = (0, Vec::new());
    recorded(&mut |release, event, many, one| {
        seen += 1;
        let view = View::of(event).unwrap_or_else(|| panic!("OTP {release}: no view of {event}"));
        for (due, found) in [(many, &view.detail), (one, &view.message)] {
            // OTP 23 mixes up what it says there.
            if release == 23 && due.starts_with("Generic event handler ") {
                continue;
            }
            let due = if release < 28 { with_places(due) } else { due.to_owned() };
            let due = without_advice(&due);
            if due != *found {
                wrong.push(format!("OTP {release}: {event}\n--- due\n{due}\n--- found\n{found}"));
            }
        }
    });
    wrong.sort_by_key(String::len);
    let shown = wrong[..wrong.len().min(12)].join("\n\n");
    assert!(wrong.is_empty(), "{} of {seen}: {shown}", wrong.len());
    assert!(seen > 500, "{seen} recorded");
}

/// The first view of a release's that `is` the one that is meant.
fn first(wanted: i64, is: impl Fn(&View) -> bool) -> View {
    let mut found = None;
    recorded(&mut |release, event, _, _| {
        if release == wanted && found.is_none() {
            found = View::of(event).filter(&is);
        }
    });
    found.expect("it was recorded")
}

const RELEASES: [i64; 5] = [23, 25, 27, 28, 29];

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

/// Where the event is: `module`, `function`, whether there is a line.
fn origin(view: &View) -> (Option<&str>, Option<&str>, bool) {
    (view.module.as_deref(), view.function.as_deref(), view.line.is_some())
}

#[test]
fn a_crash_report_tells_who_crashed_and_where() {
    for release in RELEASES {
        let view = first(release, |view| view.registered_name.as_deref() == Some("golden_crasher"));
        assert_eq!((view.level, view.kind), (Level::Error, Kind::Crash));
        assert_eq!(view.node.as_deref(), Some("nonode@nohost"));
        assert!(view.pid.is_some_and(|pid| pid.starts_with("<0.")));
        assert_eq!(view.domain, strings(&["otp", "sasl"]));
        assert_eq!(view.reason.as_deref(), Some("registered"));
        assert_eq!(view.stacktrace[0].module, "golden_views");
        assert_eq!(view.stacktrace[0].place.as_ref().expect("a place").0, "golden_views.erl");
        assert_eq!(view.module.as_deref(), Some("golden_views"));
        assert!(view.line.is_some());
    }
}

#[test]
fn what_terminates_tells_its_name_and_reason() {
    for release in RELEASES {
        let server =
            first(release, |view| view.registered_name.as_deref() == Some("golden_server"));
        assert_eq!((server.level, server.kind), (Level::Error, Kind::GenServer));
        assert_eq!(server.reason.as_deref(), Some("{badmatch,{crashed,small}}"));
        assert_eq!(origin(&server), (Some("golden_views"), Some("crash_now/1"), true));
        let machine =
            first(release, |view| view.detail.starts_with("** State machine golden_machine"));
        assert_eq!(machine.kind, Kind::GenServer);
        assert_eq!(machine.reason.as_deref(), Some("a_reason"));
        assert_eq!(origin(&machine), (Some("golden_views"), Some("state/3"), true));
        let handler =
            first(release, |view| view.detail.starts_with("** gen_event handler golden_views"));
        assert_eq!(handler.reason.as_deref(), Some("{badmatch,{crashed,state}}"));
        let supervisor = first(release, |view| {
            view.kind == Kind::Supervisor
                && view.reason.as_deref() == Some("reached_max_restart_intensity")
        });
        assert_eq!(supervisor.registered_name.as_deref(), Some("golden_sup"));
        let emulator = first(release, |view| view.message.starts_with("Error in process <0."));
        assert_eq!(emulator.kind, Kind::Crash);
        assert!(emulator.pid.is_some());
        assert_eq!(emulator.module.as_deref(), Some("golden_views"));
    }
}

#[test]
fn what_programs_log_has_their_metadata() {
    for release in RELEASES {
        let view = first(release, |view| view.message == "in a domain");
        assert_eq!((view.level, view.kind), (Level::Emergency, Kind::Log));
        assert_eq!(view.domain, strings(&["shop", "orders"]));
        assert_eq!(origin(&view), (Some("shop"), Some("pay/2"), true));
        assert_eq!(view.line, Some(17));
        let alarm = first(release, |view| view.kind == Kind::Alarm);
        assert_eq!(alarm.level, Level::Notice);
        let progress = first(release, |view| view.kind == Kind::Progress);
        assert_eq!(progress.level, Level::Info);
    }
}

#[test]
fn elixirs_reasons_are_in_its_words() {
    let task = first(27, |view| view.kind == Kind::Task);
    assert_eq!(task.reason.as_deref(), Some("** (ArgumentError) wrong"));
    let server = first(27, |view| view.registered_name.as_deref() == Some("Elixir.Golden.Named"));
    assert_eq!(server.kind, Kind::GenServer);
    assert_eq!(server.reason.as_deref(), Some("** (RuntimeError) oops"));
    assert_eq!(origin(&server), (Some("Elixir.Golden"), Some("handle_call/3"), true));
    let undefined = first(27, |view| {
        view.reason.as_deref().is_some_and(|reason| reason.contains("UndefinedFunctionError"))
    });
    assert_eq!(
        undefined.reason.as_deref(),
        Some("** (UndefinedFunctionError) function Golden.Nowhere.f/1 is undefined")
    );
    let child = first(27, |view| view.message.starts_with("Child :child of Supervisor"));
    assert_eq!(child.kind, Kind::Supervisor);
}

#[test]
fn facts_are_those_of_the_view() {
    recorded(&mut |_, event, _, _| {
        let (facts, view) = (Facts::of(event).expect("a view"), View::of(event).expect("a view"));
        let owned = |name: Option<AtomRef<'_>>| name.map(|name| name.to_str().into_owned());
        assert_eq!((facts.level(), facts.kind()), (view.level, view.kind));
        assert_eq!(owned(facts.node()), view.node);
        assert_eq!(owned(facts.module()), view.module);
        assert_eq!(facts.pid().is_some(), view.pid.is_some());
    });
}

fn check(event: &str, level: Level, kind: Kind, message: &str) {
    let event = text::parse(event).expect("a term");
    let view = View::of(event.as_term()).expect("a view");
    assert_eq!((view.level, view.kind, &*view.message), (level, kind, message));
}

#[test]
fn our_own_events_and_those_of_an_alarm_handler_have_views() {
    check(
        "{logmachine, dropped, #{node => 'a@b', count => 17, from => {1700, 0, 0}, to => {1700, 1, 5}, reason => busy}}",
        Level::Warning,
        Kind::Dropped,
        "17 events of a@b were dropped (busy) from 2023-11-14T22:13:20.000000Z to 2023-11-14T22:13:21.000005Z",
    );
    check(
        "{logmachine, dropped, #{node => 'a@b', count => undefined, reason => not_captured}}",
        Level::Warning,
        Kind::Dropped,
        "events of a@b may have been dropped (not_captured)",
    );
    check(
        "{set_alarm, {disk_full, \"/\"}}",
        Level::Notice,
        Kind::Alarm,
        "alarm_handler: {set,{disk_full,\"/\"}}",
    );
    check(
        "{clear_alarm, disk_full}",
        Level::Notice,
        Kind::Alarm,
        "alarm_handler: {clear,disk_full}",
    );
}

#[test]
fn nodes_that_come_and_go_have_views() {
    let up = "#{otp_release => <<\"27\">>, applications => #{kernel => #{version => <<\"10.2\">>, origin => otp}, shop => #{version => <<\"1.4.2\">>, origin => own}, shop_web => #{version => <<\"0.1\">>, origin => own}}}";
    let down = "#{reason => connection_closed, detail => <<\"closed by the peer\">>}";
    for (change, about, text) in [
        ("up", up, "node a@b up: OTP 27, shop 1.4.2, shop_web 0.1"),
        ("changed", up, "node a@b changed: OTP 27, shop 1.4.2, shop_web 0.1"),
        (
            "up",
            "#{detail => <<\"it is no Erlang emulator\">>}",
            "node a@b up: it is no Erlang emulator",
        ),
        ("down", down, "node a@b down: connection_closed, closed by the peer"),
        ("down", "#{applications => none}", "node a@b down"),
    ] {
        check(&format!("{{node, {change}, 'a@b', {about}}}"), Level::Notice, Kind::Log, text);
    }
}

#[test]
fn other_terms_have_no_view() {
    for term in [
        "17",
        "{}",
        "{a, b}",
        "{set_alarm, none}",
        "{error, gl, {pid, \"format\", []}}",
        "{logmachine, up, #{node => a}}",
        "{logmachine, dropped, []}",
        "{node, up, a, []}",
        "{node, left, a, #{}}",
        "{node, up, 1, #{}}",
        "{log, node, error, {string, <<>>}, []}",
        "{log, node, loud, {string, <<>>}, #{}}",
        "{log, \"node\", error, {string, <<>>}, #{}}",
        "{log, node, error, none, #{}}",
    ] {
        let term = text::parse(term).expect("a term");
        assert!(Facts::of(term.as_term()).is_none(), "{}", term.as_term());
    }
}

/// As the recorder writes it.
#[test]
fn what_the_recorder_dropped_is_told() {
    let event = "{logmachine,dropped,#{count => 5,from => {1795,343462,123456},reason => overload,to => {1795,343463,0}}}";
    let event = text::parse(event).expect("a term");
    let view = View::of(event.as_term()).expect("it is known");
    assert_eq!((view.kind, view.level, view.node), (Kind::Dropped, Level::Warning, None));
    let message = "5 events were dropped (overload) from 2026-11-22T10:31:02.123456Z to 2026-11-22T10:31:03.000000Z";
    assert_eq!(view.message, message);
}

/// All recorded events, one after the other.
fn events() -> &'static [TermBuf] {
    static EVENTS: std::sync::OnceLock<Vec<TermBuf>> = std::sync::OnceLock::new();
    EVENTS.get_or_init(|| {
        let mut events = Vec::new();
        recorded(&mut |_, event, _, _| events.push(event.to_buf()));
        events
    })
}

fn is_within_limits(view: &View) -> bool {
    let is_short = |text: &str, limit| text.len() <= limit + "...".len();
    is_short(&view.message, MESSAGE_BYTES)
        && is_short(&view.detail, DETAIL_BYTES)
        && view.reason.as_deref().is_none_or(|reason| is_short(reason, 2 * MESSAGE_BYTES))
        && !view.message.contains('\n')
}

/// The longest title of a fault: shape, words, and five names, of 255 characters at most.
const TITLE_BYTES: usize = 16 << 10;

proptest! {
    /// Real events of which some bytes were replaced.
    #[test]
    fn no_damaged_event_makes_a_view_panic_or_exceed_its_limits(
        at: prop::sample::Index,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let mut event = at.get(events()).bytes().to_vec();
        for (at, byte) in damage {
            let at = at.index(event.len());
            event[at] = byte;
        }
        let Ok(event) = TermRef::whole(&event) else { return Ok(()) };
        if let Some(view) = View::of(event) {
            prop_assert!(is_within_limits(&view), "{event}");
        }
        if let Some(error) = Grouping::default().error(event) {
            prop_assert!(error.evidence.title().len() <= TITLE_BYTES, "{event}");
        }
    }
}

/// The deepest terms in each place, on a small stack.
#[test]
fn the_deepest_events_take_no_stack_and_little_time() {
    let nest = |open: &dyn Fn(&mut Vec<u8>), close: &[u8]| {
        let mut term = Vec::new();
        (0..1000).for_each(|_| open(&mut term));
        encode::atom(&mut term, "x");
        (0..1000).for_each(|_| term.extend_from_slice(close));
        term
    };
    let deep = [
        nest(&|out| encode::list_header(out, 1), &[106]),
        nest(&|out| encode::tuple_header(out, 1), &[]),
        nest(
            &|out| {
                encode::tuple_header(out, 2);
                encode::atom(out, "tag");
            },
            &[],
        ),
        nest(
            &|out| {
                encode::map_header(out, 1);
                encode::atom(out, "key");
            },
            &[],
        ),
        nest(
            &|out| {
                encode::list_header(out, 1);
                encode::atom(out, "head");
            },
            &[],
        ),
    ];
    let check = move || {
        for term in &deep {
            for wrap in ["report", "string", "format ~p ~w ~s ~ts"] {
                let event = TermBuf::written(|out| {
                    encode::tuple_header(out, 5);
                    encode::atom(out, "log");
                    encode::atom(out, "a@b");
                    encode::atom(out, "error");
                    encode::tuple_header(out, 2);
                    encode::atom(out, wrap);
                    out.extend_from_slice(term);
                    encode::map_header(out, 1);
                    encode::atom(out, "crash_reason");
                    out.extend_from_slice(term);
                });
                let view = View::of(event.as_term()).expect("a view");
                assert!(is_within_limits(&view));
            }
        }
    };
    let thread = std::thread::Builder::new().stack_size(256 << 10).spawn(check);
    thread.expect("a thread").join().expect("no panic");
}
