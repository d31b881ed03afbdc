//! Celery's `saferepr`: a `repr` of at most so many characters and three levels, with its brackets closed. It is what events
//! and messages show of arguments and results. Texts are not escaped in it.
//! See <https://docs.celeryq.dev/en/stable/reference/celery.utils.saferepr.html>.

use super::scan::{Scanner, scalar, unescape};
use super::tagged::{self, Tagged};
use crate::Json;

/// What is nested deeper is shown as `[...]`.
const MAX_LEVELS: usize = 3;

/// A value in about so many characters.
pub fn saferepr(value: &Json, max_chars: usize) -> String {
    Writer::of(max_chars).write(value, false)
}

/// Positional arguments, an array, as the tuple that they are in Python, in about so many characters.
pub fn saferepr_args(args: &Json, max_chars: usize) -> String {
    Writer::of(max_chars).write(args, true)
}

/// There is no room for more.
struct Full;

struct Writer {
    out: String,
    room: usize,
    /// What closes the brackets that are open.
    open: Vec<&'static str>,
}

impl Writer {
    fn of(max_chars: usize) -> Self {
        Self { out: String::new(), room: max_chars, open: Vec::new() }
    }

    fn write(mut self, value: &Json, as_tuple: bool) -> String {
        let mut scanner = Scanner::new(value.as_str());
        if self.value(&mut scanner, as_tuple).is_err() {
            self.out.push_str(", ...");
            self.out.extend(self.open.iter().rev().copied());
        }
        self.out
    }

    fn value(&mut self, scanner: &mut Scanner<'_>, as_tuple: bool) -> Result<(), Full> {
        match scanner.peek() {
            Some(b'[') => self.list(scanner, as_tuple),
            Some(b'{') => match tagged::take(scanner) {
                Some(Tagged::Bytes(bytes)) => self.token(|room| bytes_in(&bytes, room)),
                Some(Tagged::Shown(text)) => self.token(|room| shortened(text.chars(), room)),
                None => self.dict(scanner),
            },
            Some(b'"') => self.text(scanner.string()),
            Some(_) => {
                let word = scalar(scanner.skip());
                self.token(|room| shortened(word.chars(), room))
            }
            None => Ok(()),
        }
    }

    fn list(&mut self, scanner: &mut Scanner<'_>, as_tuple: bool) -> Result<(), Full> {
        if self.open.len() >= MAX_LEVELS {
            scanner.skip();
            return self.literal("[...]");
        }
        self.literal(if as_tuple { "(" } else { "[" })?;
        scanner.step();
        let is_single = as_tuple && {
            let mut ahead = scanner.clone();
            ahead.skip();
            ahead.peek() == Some(b']')
        };
        self.open.push(match (as_tuple, is_single && scanner.peek() != Some(b']')) {
            (false, _) => "]",
            (true, false) => ")",
            (true, true) => ",)",
        });
        let mut first = true;
        while !matches!(scanner.peek(), None | Some(b']')) {
            if !std::mem::take(&mut first) {
                self.literal(", ")?;
            }
            self.value(scanner, false)?;
        }
        self.close(scanner);
        Ok(())
    }

    fn dict(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Full> {
        if self.open.len() >= MAX_LEVELS {
            scanner.skip();
            return self.literal("{...}");
        }
        self.literal("{")?;
        scanner.step();
        self.open.push("}");
        let mut first = true;
        while scanner.peek() == Some(b'"') {
            if !std::mem::take(&mut first) {
                self.literal(", ")?;
            }
            self.text(scanner.string())?;
            self.literal(": ")?;
            self.value(scanner, false)?;
        }
        self.close(scanner);
        Ok(())
    }

    /// A closing bracket is written even where there is no room: nothing is left out by it.
    fn close(&mut self, scanner: &mut Scanner<'_>) {
        scanner.step();
        if let Some(bracket) = self.open.pop() {
            self.out.push_str(bracket);
            self.room = self.room.saturating_sub(bracket.len());
        }
    }

    fn literal(&mut self, text: &'static str) -> Result<(), Full> {
        self.token(|_| text.to_owned())
    }

    fn text(&mut self, raw: &str) -> Result<(), Full> {
        let text = unescape(raw).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER));
        self.token(|room| format!("'{}'", shortened(text, room).replace('\'', "\\'")))
    }

    fn token(&mut self, write: impl FnOnce(usize) -> String) -> Result<(), Full> {
        if self.room == 0 {
            return Err(Full);
        }
        let token = write(self.room);
        self.room = self.room.saturating_sub(token.chars().count());
        self.out.push_str(&token);
        Ok(())
    }
}

/// Less than so many characters, or as many up to the last space among them.
fn shortened(text: impl Iterator<Item = char>, room: usize) -> String {
    let (mut short, mut len) = (String::new(), 0);
    for c in text.take(room) {
        short.push(c);
        len += 1;
    }
    if len < room {
        return short;
    }
    short.truncate(short.rfind(' ').unwrap_or(short.len()));
    short + "..."
}

/// Bytes that are text as that, others in hexadecimal.
fn bytes_in(bytes: &[u8], room: usize) -> String {
    let (bytes, dots) = if bytes.len() > room { (&bytes[..room], "...") } else { (bytes, "") };
    match std::str::from_utf8(bytes) {
        Ok(text) => format!("b'{text}{dots}'"),
        Err(_) => format!("b'{}{dots}'", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
    }
}
