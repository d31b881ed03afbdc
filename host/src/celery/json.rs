//! JSON as Python's `json` writes and reads it: with blanks after commas and colons, in ASCII alone, and with `NaN`.

use std::borrow::Cow;
use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

/// As `json.dumps` writes it. Fails only for what JSON cannot hold, such as keys that are no texts.
pub fn dumps<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<String> {
    let mut bytes = Vec::with_capacity(1024);
    value.serialize(&mut Serializer::with_formatter(&mut bytes, Python))?;
    String::from_utf8(bytes).map_err(serde::ser::Error::custom)
}

/// Python's separators, ASCII and floats. JSON that is carried as text is written so, too.
struct Python;

impl Formatter for Python {
    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        writer.write_all(lovage_model::python::float(value).as_bytes())
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        write_ascii(writer, fragment)
    }

    fn write_raw_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(['"', ',', ':', ' ', '\n', '\r', '\t']) {
            let (before, from) = rest.split_at(at);
            writer.write_all(before.as_bytes())?;
            rest = match from.as_bytes()[0] {
                b'"' => {
                    let (string, after) = from.split_at(string_len(from));
                    write_ascii(writer, string)?;
                    after
                }
                b',' => writer.write_all(b", ").map(|()| &from[1..])?,
                b':' => writer.write_all(b": ").map(|()| &from[1..])?,
                _ => &from[1..],
            };
        }
        writer.write_all(rest.as_bytes())
    }
}

/// The bytes of the string that a text begins with, quotes and all.
fn string_len(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 1;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

/// A part of a JSON string, escaped already, with `\u` for all that is not printable ASCII.
fn write_ascii<W: ?Sized + Write>(writer: &mut W, text: &str) -> io::Result<()> {
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| !(' '..='~').contains(&c)) {
        let (before, from) = rest.split_at(at);
        writer.write_all(before.as_bytes())?;
        let mut chars = from.chars();
        for unit in chars.next().unwrap_or_default().encode_utf16(&mut [0; 2]) {
            write!(writer, "\\u{unit:04x}")?;
        }
        rest = chars.as_str();
    }
    writer.write_all(rest.as_bytes())
}

/// A number that Python's JSON has, and JSON has not.
struct Number {
    /// As Python writes it.
    written: &'static str,
    /// As Python shows it.
    shown: &'static str,
    /// The text that carries it in JSON. Nobody else escapes such a letter.
    carried: &'static str,
}

static NUMBERS: [Number; 3] = [
    Number { written: "NaN", shown: "nan", carried: r#""\u004eaN""# },
    Number { written: "-Infinity", shown: "-inf", carried: r#""-\u0049nfinity""# },
    Number { written: "Infinity", shown: "inf", carried: r#""\u0049nfinity""# },
];

/// A text of Python's JSON with null for each number that is not finite, and the first of these as Python shows it.
pub(super) fn finite(text: &str) -> (Cow<'_, str>, Option<&'static str>) {
    replaced(text, |_| "null")
}

/// A text of Python's JSON in JSON, where texts carry the numbers that are not finite to who can read them.
pub(super) fn carried(text: &str) -> Cow<'_, str> {
    replaced(text, |number| number.carried).0
}

/// The first number that is carried in a text, as Python shows it.
pub(super) fn carries(text: &str) -> Option<&'static str> {
    let found = NUMBERS.iter().filter_map(|number| Some((text.find(number.carried)?, number.shown)));
    found.min().map(|(_, shown)| shown)
}

/// A text of JSON as Python's, with the numbers that it carries.
pub(super) fn uncarried(text: String) -> String {
    match carries(&text) {
        Some(_) => NUMBERS.iter().fold(text, |text, number| text.replace(number.carried, number.written)),
        None => text,
    }
}

fn replaced(text: &str, instead: impl Fn(&Number) -> &'static str) -> (Cow<'_, str>, Option<&'static str>) {
    if !text.contains("NaN") && !text.contains("Infinity") {
        return (text.into(), None);
    }
    let (mut out, mut rest, mut found) = (String::with_capacity(text.len()), text, None);
    while let Some(at) = rest.find(['"', 'N', 'I', '-']) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let number = NUMBERS.iter().find(|number| from.starts_with(number.written));
        let len = match number {
            Some(number) => {
                found.get_or_insert(number.shown);
                out.push_str(instead(number));
                number.written.len()
            }
            None => {
                let len = if from.starts_with('"') { string_len(from).min(from.len()) } else { 1 };
                out.push_str(&from[..len]);
                len
            }
        };
        rest = &from[len..];
    }
    out.push_str(rest);
    (out.into(), found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lovage_model::Json;

    #[test]
    fn it_is_written_as_python_writes_it() {
        let raw =
            Json::parse("{\"z\":[1,2.50, {} ,[ ]],\"\u{e9}\u{1f600}\":\"a, b: \\\"c\\u00e9\",\n\"n\":null}".to_owned())
                .unwrap();
        let value = serde_json::json!({"a": ["\u{e9}\u{7f}\n\"", 1e16, 0.5]});
        assert_eq!(
            dumps(&(&raw, value)).unwrap(),
            concat!(
                r#"[{"z": [1, 2.50, {}, []], "\u00e9\ud83d\ude00": "a, b: \"c\u00e9", "n": null}, "#,
                r#"{"a": ["\u00e9\u007f\n\"", 1e+16, 0.5]}]"#
            )
        );
    }

    #[test]
    fn numbers_that_are_not_finite_are_found_outside_of_texts() {
        assert_eq!(
            finite(r#"[NaN,-Infinity,{"NaN":"-Infinity \" NaN"},Infinity,-1]"#),
            (r#"[null,null,{"NaN":"-Infinity \" NaN"},null,-1]"#.into(), Some("nan"))
        );
        assert!(matches!(finite(r#"["x", -1]"#), (Cow::Borrowed(_), None)));
        assert_eq!(finite("NaN\"\\").0, "null\"\\");
    }

    #[test]
    fn numbers_that_are_not_finite_are_carried() {
        let text = r#"[1, -Infinity, {"NaN": [NaN, "Infinity", Infinity]}]"#;
        let json = carried(text);
        assert!(Json::parse(json.clone().into_owned()).is_ok(), "{json}");
        assert_eq!((carries(&json), carries(r#"["NaN", "-Infinity"]"#)), (Some("-inf"), None));
        assert_eq!(uncarried(json.into_owned()), text);
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_reads_as_the_same(text in ".{0,40}", eighths in proptest::num::i32::ANY) {
            let number = f64::from(eighths) / 8.0;
            let value = serde_json::json!({"k": [&text, number], &text: null});
            let written = dumps(&value).unwrap();
            assert!(written.is_ascii(), "{written}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&written).unwrap(), value);
            assert_eq!(dumps(&Json::from(value)).unwrap(), written);
        }

        #[test]
        fn any_text_is_looked_through(text in r#"(NaN|-?Infinity|"|\\|[é, ]){0,12}"#) {
            finite(&text);
            let mut out = Vec::new();
            Python.write_raw_fragment(&mut out, &text).unwrap();
        }
    }
}
