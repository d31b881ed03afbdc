//! One step after the other through a JSON text that is known to be valid.
//!
//! Commas and colons are blanks to it: what stands where follows from the brackets. A text that is not valid JSON is read as
//! something, without a panic.

use std::borrow::Cow;

use super::text;

/// A place in a JSON text.
#[derive(Clone)]
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The byte that the next value, key or closing bracket begins with.
    pub(super) fn peek(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.at..];
        let blanks = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b',' | b':')).count();
        self.at += blanks;
        rest.get(blanks).copied()
    }

    /// Past the bracket that is next.
    pub(super) fn step(&mut self) {
        if self.peek().is_some() {
            self.at += 1;
        }
    }

    /// Past the string that is next: what is between its quotes, escapes and all.
    pub(super) fn string(&mut self) -> &'a str {
        self.step();
        let start = self.at;
        let bytes = self.text.as_bytes();
        while let Some(&byte) = bytes.get(self.at) {
            match byte {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        let inner = self.text.get(start..self.at).unwrap_or_default();
        self.at = (self.at + 1).min(bytes.len());
        inner
    }

    /// Past the value that is next: its text.
    pub(super) fn skip(&mut self) -> &'a str {
        let first = self.peek();
        let start = self.at;
        match first {
            Some(b'"') => drop(self.string()),
            Some(b'[' | b'{') => self.skip_container(),
            _ => self.skip_word(),
        }
        self.text.get(start..self.at).unwrap_or_default()
    }

    fn skip_container(&mut self) {
        let mut depth = 0_usize;
        while let Some(byte) = self.peek() {
            match byte {
                b'"' => drop(self.string()),
                b'[' | b'{' => {
                    depth += 1;
                    self.at += 1;
                }
                b']' | b'}' => {
                    depth = depth.saturating_sub(1);
                    self.at += 1;
                    if depth == 0 {
                        return;
                    }
                }
                _ => self.skip_word(),
            }
        }
    }

    fn skip_word(&mut self) {
        let rest = &self.text.as_bytes()[self.at..];
        let of_word = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
        let len = rest.iter().take_while(of_word).count();
        // Never stands still.
        let len = if len == 0 { self.text[self.at..].chars().next().map_or(0, char::len_utf8) } else { len };
        self.at += len;
    }
}

/// A number or a word, as Python shows it.
pub(super) fn scalar(word: &str) -> Cow<'_, str> {
    match word {
        "null" => "None".into(),
        "true" => "True".into(),
        "false" => "False".into(),
        "-0" => "0".into(),
        word if word.contains(['.', 'e', 'E']) => {
            word.parse().map_or_else(|_| word.into(), |number| text::float(number).into())
        }
        word => word.into(),
    }
}

/// What is between the quotes of a string: its characters; half of a surrogate pair is an error.
pub(super) fn unescape(raw: &str) -> impl Iterator<Item = Result<char, u16>> + Clone + '_ {
    let mut rest = raw.chars();
    std::iter::from_fn(move || {
        let c = rest.next()?;
        if c != '\\' {
            return Some(Ok(c));
        }
        Some(match rest.next()? {
            'n' => Ok('\n'),
            't' => Ok('\t'),
            'r' => Ok('\r'),
            'b' => Ok('\u{8}'),
            'f' => Ok('\u{c}'),
            'u' => unescape_unit(&mut rest),
            c => Ok(c),
        })
    })
}

/// After `\u`: one character, of which a second escape may be the other half.
fn unescape_unit(rest: &mut std::str::Chars<'_>) -> Result<char, u16> {
    let unit = |rest: &mut std::str::Chars<'_>| {
        rest.by_ref().take(4).fold(0_u16, |unit, c| (unit << 4) | c.to_digit(16).unwrap_or(0) as u16)
    };
    let high = unit(rest);
    let mut ahead = rest.clone();
    if (0xd800..0xdc00).contains(&high) && ahead.next() == Some('\\') && ahead.next() == Some('u') {
        let low = unit(&mut ahead);
        if let Some(Ok(c)) = char::decode_utf16([high, low]).next() {
            *rest = ahead;
            return Ok(c);
        }
    }
    char::from_u32(u32::from(high)).ok_or(high)
}
