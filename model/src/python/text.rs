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
    let sign = if number.is_sign_negative() { "-" } else { "" };
    let (digits, point) = decimal(number.abs());
    let (head, tail) = digits.split_at(1);
    let dot = if tail.is_empty() { "" } else { "." };
    match point - 1 {
        exponent @ ..-4 => format!("{sign}{head}{dot}{tail}e-{:02}", -exponent),
        exponent @ 16.. => format!("{sign}{head}{dot}{tail}e+{exponent:02}"),
        _ if point <= 0 => format!("{sign}0.{}{digits}", "0".repeat(point.unsigned_abs() as usize)),
        _ => {
            let digits = format!("{digits:0<width$}", width = point as usize + 1);
            let (whole, fraction) = digits.split_at(point as usize);
            format!("{sign}{whole}.{fraction}")
        }
    }
}

/// The fewest digits that read as this number, and after how many of them the point stands. (Where two texts of so many
/// digits are equally close, Rust's own formatting takes another one than Python does.)
fn decimal(number: f64) -> (String, i32) {
    let text = serde_json::Number::from_f64(number).map_or_else(|| "0.0".to_owned(), |number| number.to_string());
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let significant = all.trim_start_matches('0');
    let zeros = i32::try_from(all.len() - significant.len()).unwrap_or(0);
    let point = i32::try_from(whole.len()).unwrap_or(0) - zeros + exponent.parse::<i32>().unwrap_or(0);
    match significant.trim_end_matches('0') {
        "" => ("0".to_owned(), 1),
        digits => (digits.to_owned(), point),
    }
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
