//! Stop strings.

use modelpool::language::{LanguageError, StopStrings};
use proptest::prelude::*;

/// The text that comes through, and the stop string that ended it.
fn run(stops: &[&str], pieces: &[&str]) -> (String, Option<usize>) {
    let stops = stops.iter().map(|stop| (*stop).to_owned()).collect();
    let mut search = StopStrings::new(stops).expect("sound stop strings");
    let mut text = String::new();
    for piece in pieces {
        let progress = search.push(piece);
        text.push_str(&progress.text);
        if progress.stopped.is_some() {
            return (text, progress.stopped);
        }
    }
    text.push_str(&search.finish());
    (text, None)
}

#[test]
fn a_stop_string_across_pieces_is_found_and_left_out() {
    assert_eq!(run(&["\n\n"], &["a\n", "\nb"]), ("a".to_owned(), Some(0)));
    assert_eq!(
        run(&["END"], &["the E", "N", "", "D of"]),
        ("the ".to_owned(), Some(0))
    );
    assert_eq!(
        run(&["END"], &["the E", "ND"]),
        ("the ".to_owned(), Some(0))
    );
    assert_eq!(run(&["END"], &["EEN", "EN"]), ("EENEN".to_owned(), None));
    assert_eq!(run(&[], &["a", "b"]), ("ab".to_owned(), None));
    // The one that is complete first ends the text; of two that end together, the longer.
    assert_eq!(run(&["abc", "b"], &["xabc"]), ("xa".to_owned(), Some(1)));
    assert_eq!(run(&["c", "abc"], &["xabc"]), ("x".to_owned(), Some(1)));
    assert_eq!(run(&["é🙂"], &["né", "🙂x"]), ("n".to_owned(), Some(0)));
}

#[test]
fn what_may_be_a_beginning_waits() {
    let mut search = StopStrings::new(vec!["</s>".to_owned()]).expect("a stop string");
    assert_eq!(search.push("a <").text, "a ");
    assert_eq!(search.push("/").text, "");
    assert_eq!(search.push("b").text, "</b");
    assert_eq!(search.finish(), "");
    search.push("</s");
    assert_eq!(search.finish(), "</s");
}

#[test]
fn senseless_stop_strings_are_refused() {
    for wrong in [
        vec![String::new()],
        vec!["x".repeat(1025)],
        vec!["x".to_owned(); 65],
    ] {
        assert!(matches!(
            StopStrings::new(wrong),
            Err(LanguageError::InvalidParameter { field: "stop", .. })
        ));
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_cuts_do_not_matter(
        stops in proptest::collection::vec("[ab]{1,4}", 0..4),
        pieces in proptest::collection::vec("[abc]{0,3}", 0..12),
    ) {
        let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
        let whole = pieces.concat();
        let letters: Vec<String> = whole.chars().map(String::from).collect();
        let letters: Vec<&str> = letters.iter().map(String::as_str).collect();
        let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
        let found = run(&stops, &pieces);
        prop_assert_eq!(&found, &run(&stops, &letters));
        prop_assert_eq!(&found, &run(&stops, &[&whole]));
        match found.1 {
            None => prop_assert_eq!(&found.0, &whole),
            Some(index) => {
                let kept = format!("{}{}", found.0, stops[index]);
                prop_assert!(whole.starts_with(kept.as_str()));
            }
        }
    }
}
