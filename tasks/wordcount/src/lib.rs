//! Counts the words of texts. Words are what Unicode calls so, in lower case, in any script; `merge` adds the counts of
//! many texts up, so that they can be counted at once.
#![deny(missing_docs)]

mod counts;

use lovage_guest::prelude::*;
use unicode_segmentation::UnicodeSegmentation;

pub use counts::Counts;

/// Maps each word of a text to how often it occurs, the most frequent first; `top` keeps only so many.
#[task]
pub fn count(text: String, top: Option<usize>) -> Counts {
    text.unicode_words().map(|word| (word.to_lowercase(), 1)).collect::<Counts>().top(top)
}

/// Adds the counts of many texts up; `top` keeps only so many.
#[task]
pub fn merge(counts: Vec<Counts>, top: Option<usize>) -> Counts {
    counts.into_iter().flatten().collect::<Counts>().top(top)
}

export_tasks!(count, merge);

#[cfg(test)]
mod tests {
    use lovage_guest::testing::FakeHost;

    use super::*;

    fn counted(text: &str) -> String {
        match FakeHost::new().run::<count>((text,)) {
            lovage_guest::testing::Outcome::Returned(json) => json.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_most_frequent_word_comes_first_and_equals_stand_in_order() {
        assert_eq!(counted("The sea, the SEA! a ship"), r#"{"sea":2,"the":2,"a":1,"ship":1}"#);
        assert_eq!(counted(""), "{}");
    }

    #[test]
    fn words_are_unicodes() {
        assert_eq!(
            counted("Can't stop – naïve ÜBER über. 3.5 ok_go"),
            r#"{"über":2,"3.5":1,"can't":1,"naïve":1,"ok_go":1,"stop":1}"#
        );
    }

    #[test]
    fn merged_counts_are_those_of_the_whole_text() {
        let host = FakeHost::new();
        let parts: Vec<Counts> = ["a b a", "b c a"].iter().map(|part| host.run::<count>((part,)).value()).collect();
        let merged: Counts = host.call::<merge>((parts,), json!({"top": 2})).value();
        assert_eq!(merged, host.run::<count>(("a b a b c a", 2)).value());
        assert_eq!(merged.into_iter().collect::<Vec<_>>(), [("a".to_owned(), 3), ("b".to_owned(), 2)]);
    }

    #[test]
    fn counts_that_are_none_are_refused() {
        let outcome = FakeHost::new().run::<merge>((json!([{"a": -1}]),));
        assert!(outcome.exception().message().starts_with("merge() argument 'counts': invalid value"), "{outcome:?}");
    }
}
