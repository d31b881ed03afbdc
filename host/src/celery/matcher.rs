//! Which hosts does a pattern mean? Python's `fnmatch` and `re.match`, as kombu uses them.
//! See <https://docs.python.org/3/library/fnmatch.html> and <https://docs.python.org/3/library/re.html>.

use regex::RegexBuilder;

/// The most bytes of memory that a regular expression may need.
const MAX_REGEX: usize = 1 << 20;
/// The longest pattern, in bytes: names of hosts are shorter, and each `[` looks for its end.
const MAX_PATTERN: usize = 1 << 10;

/// A pattern.
pub(super) enum Matcher {
    Glob(Vec<Piece>),
    Regex(regex::Regex),
}

/// A piece of a glob, which means one character, or any number.
pub(super) enum Piece {
    Star,
    Any,
    One(char),
    /// In one of the ranges, or in none of them.
    Set {
        not: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Matcher {
    /// None: there is no such kind, or it is no pattern, or too long for one. (Of regular expressions, what needs going back is not read.)
    pub(super) fn of(kind: &str, pattern: &str) -> Option<Self> {
        match kind {
            _ if pattern.len() > MAX_PATTERN => None,
            "glob" => Some(Self::Glob(glob(&pattern.chars().collect::<Vec<_>>()))),
            "pcre" => {
                let pattern = pattern.replace(r"\Z", r"\z");
                RegexBuilder::new(&pattern).size_limit(MAX_REGEX).build().ok().map(Self::Regex)
            }
            _ => None,
        }
    }

    pub(super) fn matches(&self, name: &str) -> bool {
        match self {
            Self::Glob(pieces) => glob_matches(pieces, &name.chars().collect::<Vec<_>>()),
            // At the beginning, but not to the end.
            Self::Regex(regex) => regex.find(name).is_some_and(|found| found.start() == 0),
        }
    }
}

fn glob(mut pattern: &[char]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    while let Some((&first, rest)) = pattern.split_first() {
        let (piece, rest) = match first {
            '*' => (Piece::Star, rest),
            '?' => (Piece::Any, rest),
            '[' => set(rest).unwrap_or((Piece::One('['), rest)),
            c => (Piece::One(c), rest),
        };
        pieces.push(piece);
        pattern = rest;
    }
    pieces
}

/// After `[`; none if it is not closed. A `]` that is the first in it does not close it.
fn set(rest: &[char]) -> Option<(Piece, &[char])> {
    let not = rest.first() == Some(&'!');
    let inner = &rest[usize::from(not)..];
    let end = inner.iter().skip(1).position(|&c| c == ']')? + 1;
    let (mut members, mut ranges) = (&inner[..end], Vec::new());
    while let [from, rest @ ..] = members {
        members = match rest {
            ['-', to, rest @ ..] => {
                ranges.push((*from, *to));
                rest
            }
            rest => {
                ranges.push((*from, *from));
                rest
            }
        };
    }
    Some((Piece::Set { not, ranges }, &inner[end + 1..]))
}

impl Piece {
    fn means(&self, c: char) -> bool {
        match self {
            Self::Star | Self::Any => true,
            Self::One(one) => *one == c,
            Self::Set { not, ranges } => ranges.iter().any(|(from, to)| (*from..=*to).contains(&c)) != *not,
        }
    }
}

/// Goes back to the last star alone, so the time is bounded by the product of the lengths.
fn glob_matches(pieces: &[Piece], name: &[char]) -> bool {
    let (mut at, mut place, mut star) = (0, 0, None);
    while place < name.len() {
        match pieces.get(at) {
            Some(Piece::Star) => {
                star = Some((at, place));
                at += 1;
            }
            Some(piece) if piece.means(name[place]) => (at, place) = (at + 1, place + 1),
            _ => match star {
                Some((after, from)) => {
                    star = Some((after, from + 1));
                    (at, place) = (after + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pieces[at..].iter().all(|piece| matches!(piece, Piece::Star))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// What kombu says: recorded by `tests/parity/record.py`.
    #[test]
    fn patterns_match_what_they_match_in_python() {
        let mut seen = 0;
        for line in include_str!("../../../tests/parity/transcripts/matches.jsonl").lines() {
            let (kind, pattern, names): (String, String, BTreeMap<String, bool>) = serde_json::from_str(line).unwrap();
            let matcher = Matcher::of(&kind, &pattern).unwrap();
            for (name, matches) in names {
                assert_eq!(matcher.matches(&name), matches, "{kind} {pattern:?} {name:?}");
                seen += 1;
            }
        }
        assert!(seen > 200, "{seen}");
    }

    #[test]
    fn what_is_no_pattern_means_none() {
        for (kind, pattern) in
            [("pcre", "("), ("pcre", "a)|(b"), ("pcre", r"(?=x)"), ("own", "*"), ("pcre", "(a{1000}){1000}")]
        {
            assert!(Matcher::of(kind, pattern).is_none(), "{kind} {pattern}");
        }
        assert!(Matcher::of("glob", &"[".repeat(1 << 20)).is_none(), "each would look for its end");
    }

    proptest::proptest! {
        #[test]
        fn any_pattern_is_an_answer(pattern in r#"[\[\]!*?ab\\-]{0,12}"#, name in "[ab\\]!-]{0,12}") {
            Matcher::of("glob", &pattern).unwrap().matches(&name);
        }
    }
}
