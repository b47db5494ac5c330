use proptest::prelude::*;

use super::*;
use crate::etf::text;

const SECOND: u64 = 1_000_000;

fn analysis(by: Option<usize>, window: u64, every: u64) -> Analysis {
    let value = |(name, text): (&str, &str)| (name.to_owned(), Value::parse(text).unwrap());
    let values = [
        ("open", "first(2)"),
        ("high", "max(2)"),
        ("low", "min(2)"),
        ("close", "last(2)"),
        ("volume", "sum(2)"),
        ("kinds", "distinct(2)"),
        ("n", "count"),
    ];
    Analysis {
        name: "candles".to_owned(),
        from: "quotes".to_owned(),
        spec: None,
        by,
        window: window * SECOND,
        every: every * SECOND,
        values: values.map(value).into(),
        from_earliest: true,
    }
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_micros(seconds * SECOND)
}

/// An event: when, of which key, and a number.
type Event = (u64, u8, i64);

fn feed(
    windows: &mut Windows,
    analysis: &Analysis,
    events: &[Event],
    told: &mut Vec<(Place, TermBuf)>,
) {
    let mut tell = |place, event| told.push((place, event));
    let position = windows.position();
    for (seconds, key, number) in events.iter().filter(|it| at(it.0) >= position) {
        let event = text::parse(&format!("{{k{key},{number}}}")).unwrap();
        windows.entry(analysis, &mut Working::default(), at(*seconds), event.as_term(), &mut tell);
    }
}

fn pass(windows: &mut Windows, analysis: &Analysis, to: u64, told: &mut Vec<(Place, TermBuf)>) {
    windows.pass(analysis, at(to), &mut |place, event| told.push((place, event)));
}

/// What a naive second version says: every window by itself, from all events.
fn naive(analysis: &Analysis, events: &[Event], to: u64) -> Vec<String> {
    let (window, every) = (analysis.window / SECOND, analysis.every / SECOND);
    let mut told = Vec::new();
    for end in (every..=to).step_by(usize::try_from(every).unwrap()) {
        let begin = end.saturating_sub(window);
        let inside: Vec<_> = events.iter().filter(|it| (begin..end).contains(&it.0)).collect();
        let mut keys: Vec<_> = inside.iter().map(|it| it.1).collect();
        keys.sort_unstable();
        keys.dedup();
        if analysis.by.is_none() {
            keys.truncate(1);
        }
        for key in keys {
            let own = inside.iter().filter(|it| analysis.by.is_none() || it.1 == key);
            let numbers: Vec<_> = own.map(|it| it.2).collect();
            let mut different = numbers.clone();
            different.sort_unstable();
            different.dedup();
            let by = if analysis.by.is_some() { format!("k{key}") } else { "all".to_owned() };
            let from = i64::try_from(end).unwrap() - i64::try_from(window).unwrap();
            told.push(format!(
                "{{analysis,candles,{by},{{{{0,{from},0}},{{0,{end},0}}}},\
                 #{{close => {},high => {},kinds => {},low => {},n => {},open => {},volume => {}}}}}",
                numbers.last().unwrap(),
                numbers.iter().max().unwrap(),
                different.len(),
                numbers.iter().min().unwrap(),
                numbers.len(),
                numbers[0],
                numbers.iter().sum::<i64>(),
            ));
        }
    }
    told
}

fn texts(told: &[(Place, TermBuf)]) -> Vec<String> {
    // In the order in which a map of atoms is printed by us, whatever that is.
    let sorted = |event: &TermBuf| {
        let text = text::to_text(event.as_term());
        let (head, map) = text.split_once("#{").unwrap();
        let mut pairs: Vec<_> = map.trim_end_matches("}}").split(',').collect();
        pairs.sort_unstable();
        format!("{head}#{{{}}}}}", pairs.join(","))
    };
    told.iter().map(|(_, event)| sorted(event)).collect()
}

fn any_events() -> impl Strategy<Value = Vec<Event>> {
    prop::collection::vec((1_u64..8, 0_u8..3, -9_i64..9), 0..60).prop_map(|steps| {
        let mut now = 100;
        let next = |(step, key, number)| {
            now += if step == 7 { 50 } else { step - 1 };
            // Stamps rise: two in one second are one here.
            (now, key, number)
        };
        let mut events: Vec<Event> = steps.into_iter().map(next).collect();
        events.dedup_by_key(|it| it.0);
        events
    })
}

fn any_analysis() -> impl Strategy<Value = Analysis> {
    (any::<bool>(), 1_u64..5, 1_u64..5)
        .prop_map(|(keys, every, panes)| analysis(keys.then_some(1), every * panes, every))
}

proptest! {
    #[test]
    fn windows_are_what_a_naive_version_says(events in any_events(), analysis in any_analysis()) {
        let mut windows = Windows::after(Timestamp::MIN, &analysis);
        let mut told = Vec::new();
        feed(&mut windows, &analysis, &events, &mut told);
        let end = events.last().map_or(0, |it| it.0) + 100;
        pass(&mut windows, &analysis, end, &mut told);
        prop_assert_eq!(texts(&told), naive(&analysis, &events, end));
        prop_assert!(told.is_sorted_by(|a, b| a.0 < b.0));
        prop_assert_eq!(windows.rows(), 0);
    }

    /// Killed anywhere, with some of its rows told, it goes on from what was stored before; or from the last row alone.
    #[test]
    fn whoever_goes_on_tells_every_row_once(
        events in any_events(), analysis in any_analysis(),
        stored in 0_usize..60, read in 0_usize..60, lost in 0_usize..10, is_stored: bool,
    ) {
        let mut whole = Vec::new();
        let end = events.last().map_or(0, |it| it.0) + 100;
        let mut windows = Windows::after(Timestamp::MIN, &analysis);
        feed(&mut windows, &analysis, &events, &mut whole);
        pass(&mut windows, &analysis, end, &mut whole);

        let mut told = Vec::new();
        let mut windows = Windows::after(Timestamp::MIN, &analysis);
        let stored = stored.min(events.len());
        feed(&mut windows, &analysis, &events[..stored], &mut told);
        let bytes = postcard::to_allocvec(&windows).unwrap();
        let sure = told.len();
        feed(&mut windows, &analysis, &events[..read.clamp(stored, events.len())], &mut told);
        told.truncate(told.len().saturating_sub(lost).max(if is_stored { sure } else { 0 }));

        let last = told.last().map(|(place, _): &(Place, TermBuf)| place.clone());
        let mut windows: Windows = match &last {
            _ if is_stored => postcard::from_bytes(&bytes).unwrap(),
            Some(last) => Windows::from_told(last, &analysis),
            None => Windows::after(Timestamp::MIN, &analysis),
        };
        let mut again = Vec::new();
        feed(&mut windows, &analysis, &events, &mut again);
        pass(&mut windows, &analysis, end, &mut again);
        told.extend(again.into_iter().filter(|(place, _)| Some(place) > last.as_ref()));
        prop_assert_eq!(texts(&told), texts(&whole));
    }
}

#[test]
fn a_row_says_where_it_stands() {
    for by in [Some(1), None] {
        let analysis = analysis(by, 4, 2);
        let mut told = Vec::new();
        let mut windows = Windows::after(Timestamp::MIN, &analysis);
        feed(&mut windows, &analysis, &[(100, 1, 1), (101, 2, 2), (103, 1, 3)], &mut told);
        pass(&mut windows, &analysis, 200, &mut told);
        assert!(told.len() > 2);
        for (place, event) in &told {
            assert_eq!(analysis.place(event.as_term()).as_ref(), Some(place));
        }
        let other = Analysis { name: "others".to_owned(), ..analysis };
        assert_eq!(other.place(told[0].1.as_term()), None);
    }
}

/// `bounded`: two keys more than there may be. What is beyond is one row, told last.
#[test]
fn keys_beyond_the_limit_are_one_row() {
    let mut analysis = analysis(Some(1), 60, 60);
    analysis.values = vec![("n".to_owned(), Value::Count)];
    assert_eq!(analysis.max_rows(), MAX_ROWS);
    let mut windows = Windows::after(Timestamp::MIN, &analysis);
    let mut told = Vec::new();
    for number in 0..MAX_ROWS as u64 + 2 {
        let event = TermBuf::written(|out| {
            encode::tuple_header(out, 1);
            encode::unsigned(out, number);
        });
        let at = Timestamp::from_micros(number);
        windows.entry(&analysis, &mut Working::default(), at, event.as_term(), &mut |_, _| {});
    }
    pass(&mut windows, &analysis, 60, &mut told);
    assert_eq!((told.len(), windows.tally().other), (MAX_ROWS + 1, 2));
    let last = text::to_text(told[MAX_ROWS].1.as_term());
    assert_eq!(last, "{analysis,candles,other,{{0,0,0},{0,60,0}},#{n => 2}}");
}

/// The step that a moment is in has only begun: its windows are the first, and are read from their begin.
#[test]
fn the_first_window_is_whole() {
    for (window, every, from) in [(60, 60, 120), (60, 20, 80), (20, 20, 120)] {
        let windows = Windows::after(at(130), &analysis(None, window, every));
        assert_eq!(windows.position(), at(from), "{window} {every}");
    }
}

#[test]
fn what_cannot_be_counted_is_told() {
    let analysis = Analysis {
        spec: Some({
            let term =
                text::parse("[{{quote,'$1','$2'},[],[{{'$1','$2'}}]},{{odd,'$1'},[],['$1']}]")
                    .unwrap();
            (MatchSpec::compile(term.as_term(), Default::default()).unwrap(), term)
        }),
        by: Some(2),
        values: vec![("sum".to_owned(), Value::Sum(1)), ("last".to_owned(), Value::Last(3))],
        ..analysis(None, 60, 60)
    };
    let mut windows = Windows::after(Timestamp::MIN, &analysis);
    let mut working = Working::default();
    for (micros, event) in (0..).zip(["{quote,a,1}", "{odd,{7}}", "{odd,7}", "{other,1}"]) {
        let event = text::parse(event).unwrap();
        let at = Timestamp::from_micros(micros);
        windows.entry(&analysis, &mut working, at, event.as_term(), &mut |_, _| {});
    }
    let due = Tally { taken: 1, without_key: 2, missing: 1, not_numbers: 1, ..Tally::default() };
    assert_eq!(windows.tally(), due);
}
