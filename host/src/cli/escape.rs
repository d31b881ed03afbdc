//! What may be shown on a terminal? Texts of guests and of other people can hold escape sequences, which could forge
//! what the screen shows or type commands; they are shown as what they are.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Control characters, and those that change the direction of the text around them.
fn is_active(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A text of several lines: line ends and tabs stay.
pub(crate) fn text(text: &str) -> Cow<'_, str> {
    replace(text, |c| is_active(c) && !matches!(c, '\n' | '\t'), |c| c.escape_default().to_string())
}

/// A text that must stay in its line.
pub(crate) fn line(text: &str) -> Cow<'_, str> {
    replace(text, is_active, |c| c.escape_default().to_string())
}

/// A JSON text, which stays the same JSON: active characters other than white space stand in strings only.
pub(crate) fn json(text: &str) -> Cow<'_, str> {
    replace(
        text,
        |c| is_active(c) && !matches!(c, '\n' | '\t' | '\r'),
        |c| {
            let mut escaped = String::new();
            for unit in c.encode_utf16(&mut [0; 2]) {
                _ = write!(escaped, "\\u{unit:04x}");
            }
            escaped
        },
    )
}

fn replace(text: &str, bad: impl Fn(char) -> bool, with: impl Fn(char) -> String) -> Cow<'_, str> {
    if !text.contains(&bad) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|c| if bad(c) { with(c) } else { c.to_string() }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_become_visible() {
        assert_eq!(text("a\u{1b}[2J\tb\nü\u{9b}31m\u{202e}\r"), "a\\u{1b}[2J\tb\nü\\u{9b}31m\\u{202e}\\r");
        assert_eq!(line("a\nb"), "a\\nb");
    }

    #[test]
    fn json_stays_the_same_json() {
        let original = "{\"a\": \"x\u{9b}\u{202e}\u{7f}\\u001b\",\n \"b\": 1.10}";
        let shown = json(original);
        assert!(!shown.contains('\u{9b}') && shown.contains("\\u009b"), "{shown}");
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(read(&shown), read(original));
    }
}
