//! Texts, bytes and floats as Python shows them.

use std::fmt::Write as _;

/// As `repr(float)`: the shortest text that reads as this number, `1e+16`, `0.1`, `5.0`, `nan`.
pub fn float(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = number.to_string();
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
}

/// As `repr(str)`.
pub(super) fn write_repr(text: impl Iterator<Item = Result<char, u16>> + Clone, out: &mut String) {
    let has = |wanted| text.clone().any(|c| c == Ok(wanted));
    let quote = if has('\'') && !has('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text {
        match c {
            Ok('\\') => out.push_str("\\\\"),
            Ok('\n') => out.push_str("\\n"),
            Ok('\r') => out.push_str("\\r"),
            Ok('\t') => out.push_str("\\t"),
            Ok(c) if c == quote => out.extend(['\\', c]),
            Ok(c) if is_printable(c) => out.push(c),
            Ok(c) => write_escape(u32::from(c), out),
            Err(unit) => write_escape(u32::from(unit), out),
        }
    }
    out.push(quote);
}

fn write_escape(code: u32, out: &mut String) {
    let written = match code {
        0..0x100 => write!(out, "\\x{code:02x}"),
        0x100..0x10000 => write!(out, "\\u{code:04x}"),
        _ => write!(out, "\\U{code:08x}"),
    };
    // A String takes everything.
    written.unwrap_or_default();
}

/// As `str.isprintable` has it: no control, format, unassigned or separating character, but a space is.
fn is_printable(c: char) -> bool {
    if c.is_ascii() {
        return !c.is_ascii_control();
    }
    // Rust goes by the same categories. A character that extends the one before it is escaped only where it is the first.
    let mut pair = [b'a'; 5];
    let len = 1 + c.encode_utf8(&mut pair[1..]).len();
    std::str::from_utf8(&pair[..len]).is_ok_and(|pair| pair.escape_debug().nth(1) == Some(c))
}

/// As `repr(bytes)`.
pub(super) fn bytes_repr(bytes: &[u8]) -> String {
    let quote = if bytes.contains(&b'\'') && !bytes.contains(&b'"') { '"' } else { '\'' };
    let mut out = format!("b{quote}");
    for &byte in bytes {
        match byte {
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            byte if char::from(byte) == quote => out.extend(['\\', quote]),
            b' '..=b'~' => out.push(char::from(byte)),
            byte => write_escape(u32::from(byte), &mut out),
        }
    }
    out.push(quote);
    out
}
