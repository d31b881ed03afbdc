//! What is the value of an argument? JSON when it reads as JSON, else a string; `@` and `-` read it from elsewhere.

use std::io::Read;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lovage_model::Json;

use super::exit::Usage;

/// For `--help`.
pub(crate) const RULES: &str = "\
Values of ARG:
  5  [1,2]  true  \"5\"    JSON, when it reads as JSON
  hello world            else a string
  @FILE                  the text of a file, as one string
  @base64:FILE           the bytes of a file in base64, as one string
  @@home                 a string that starts with @: \"@home\"
  -                      the text of standard input, as one string
  -- -x                  after --, nothing is an option";

/// Standard input, which can be read once.
pub(crate) struct Stdin<R>(Option<R>);

impl<R: Read> Stdin<R> {
    /// Not read yet.
    pub(crate) fn new(reader: R) -> Self {
        Self(Some(reader))
    }

    fn text(&mut self, what: &str) -> anyhow::Result<String> {
        let Some(mut reader) = self.0.take() else {
            return Err(Usage::error(format!("{what}: `-` reads standard input, and was used before: use it once")));
        };
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).map_err(|error| Usage::error(format!("{what}: standard input: {error}")))?;
        utf8(bytes, what, "standard input")
    }
}

/// All positional arguments, as a JSON array.
pub(crate) fn arguments(texts: &[String], stdin: &mut Stdin<impl Read>) -> anyhow::Result<Json> {
    let values: Vec<Json> = texts
        .iter()
        .enumerate()
        .map(|(index, text)| argument(text, &format!("argument {}", index + 1), stdin))
        .collect::<anyhow::Result<_>>()?;
    Ok(Json::of(&values)?)
}

/// Arguments that begin like JSON and are none: they are sent as strings, which may not be what was meant.
pub(crate) fn doubts(texts: &[String]) -> Vec<String> {
    let doubt = |(index, text): (usize, &String)| {
        let error = Json::parse(text.clone()).err().filter(|_| text.trim_start().starts_with(['[', '{', '"']))?;
        let place = index + 1;
        Some(format!("warning: argument {place} begins like JSON, but is none ({error}): it is sent as a string"))
    };
    texts.iter().enumerate().filter_map(doubt).collect()
}

/// One argument.
fn argument(text: &str, what: &str, stdin: &mut Stdin<impl Read>) -> anyhow::Result<Json> {
    match text.strip_prefix('@') {
        _ if text == "-" => Ok(Json::of(&stdin.text(what)?)?),
        None => json_or_string(text, what),
        Some(rest) if rest.starts_with('@') => Ok(Json::of(rest)?),
        Some(rest) => match rest.strip_prefix("base64:") {
            Some(path) => Ok(Json::of(&STANDARD.encode(bytes(path, what).map_err(or_string)?))?),
            None => Ok(Json::of(&utf8(bytes(rest, what).map_err(or_string)?, what, rest)?)?),
        },
    }
}

fn json_or_string(text: &str, what: &str) -> anyhow::Result<Json> {
    match Json::parse(text.to_owned()) {
        Ok(json) => Ok(json),
        // It is JSON, but not one that can be accepted: not to be sent as a string by surprise.
        Err(error) if error.is_data() => Err(Usage::error(format!("{what}: {error}"))),
        Err(_) => Ok(Json::of(text)?),
    }
}

/// A whole JSON document given as itself, `@FILE` or `-`.
pub(crate) fn document(text: &str, what: &str, stdin: &mut Stdin<impl Read>) -> anyhow::Result<Json> {
    let (text, place) = match text.strip_prefix('@') {
        _ if text == "-" => (stdin.text(what)?, " in standard input".to_owned()),
        Some(path) => (utf8(bytes(path, what)?, what, path)?, format!(" in {path}")),
        None => (text.to_owned(), String::new()),
    };
    Json::parse(text).map_err(|error| Usage::error(format!("{what}: not JSON{place}: {error}")))
}

/// A text given as `@FILE` or `-`: never as itself, since command lines are seen by others.
pub(crate) fn text(from: &str, what: &str, stdin: &mut Stdin<impl Read>) -> anyhow::Result<String> {
    match from.strip_prefix('@') {
        _ if from == "-" => stdin.text(what),
        Some(path) => utf8(bytes(path, what)?, what, path),
        None => {
            Err(Usage::error(format!("{what} is read from standard input or from @FILE, so that nobody else sees it")))
        }
    }
}

/// `--kwargs`: a JSON object; an empty one if left out.
pub(crate) fn kwargs(text: Option<&str>, stdin: &mut Stdin<impl Read>) -> anyhow::Result<Json> {
    let Some(text) = text else { return Ok(Json::empty_object()) };
    let example = r#"a JSON object is wanted, such as '{"x": 1}'"#;
    let json = document(text, "--kwargs", stdin).map_err(|error| Usage::error(format!("{error}; {example}")))?;
    if json.is_object() { Ok(json) } else { Err(Usage::error(format!("--kwargs: {json}: {example}"))) }
}

fn bytes(path: &str, what: &str) -> anyhow::Result<Vec<u8>> {
    std::fs::read(Path::new(path)).map_err(|error| Usage::error(format!("{what}: @{path}: {error}")))
}

/// Of an argument, and of nothing else, the text itself may have been meant.
fn or_string(error: anyhow::Error) -> anyhow::Error {
    Usage::error(format!("{error} (for a string that starts with @, write @@)"))
}

fn utf8(bytes: Vec<u8>, what: &str, place: &str) -> anyhow::Result<String> {
    let hint = "not UTF-8 text; for bytes, @base64:FILE";
    String::from_utf8(bytes).map_err(|_| Usage::error(format!("{what}: {place}: {hint}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stdin(text: &str) -> Stdin<&[u8]> {
        Stdin::new(text.as_bytes())
    }

    fn one(text: &str) -> String {
        argument(text, "argument 1", &mut stdin("in\n")).unwrap().to_string()
    }

    #[test]
    fn the_rule() {
        let table = [
            ("5", "5"),
            ("-5", "-5"),
            ("123456789012345678901234567890", "123456789012345678901234567890"),
            ("1.10", "1.10"),
            (r#"{"z":1,"a":[2]}"#, r#"{"z":1,"a":[2]}"#),
            ("\"5\"", "\"5\""),
            ("null", "null"),
            ("hello", "\"hello\""),
            ("hello world", "\"hello world\""),
            ("[1,", "\"[1,\""),
            ("", "\"\""),
            ("NaN", "\"NaN\""),
            ("@@home", "\"@home\""),
            ("a@b", "\"a@b\""),
            ("-", "\"in\\n\""),
        ];
        for (typed, value) in table {
            assert_eq!(one(typed), value, "{typed:?}");
        }
    }

    #[test]
    fn what_begins_like_json_and_is_none_is_doubted() {
        let doubted = |text: &str| doubts(&["5".to_owned(), text.to_owned()]);
        for text in ["[1,", " {x: 1}", "\"a", "[1] 2"] {
            let doubt = doubted(text).pop().unwrap_or_else(|| panic!("{text}"));
            assert!(doubt.contains("argument 2 begins like JSON") && doubt.contains("sent as a string"), "{doubt}");
        }
        for text in ["[1]", "hello", "a[1", "-", "@x", "\"5\"", ""] {
            assert!(doubted(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn files_are_strings_or_base64() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        std::fs::write(path("five"), "5").unwrap();
        std::fs::write(path("bytes"), [0xff, 0x00]).unwrap();
        assert_eq!(one(&format!("@{}", path("five"))), "\"5\"");
        assert_eq!(one(&format!("@base64:{}", path("bytes"))), "\"/wA=\"");
        let refused = |text: String| argument(&text, "argument 1", &mut stdin("")).unwrap_err().to_string();
        assert!(refused(format!("@{}", path("bytes"))).contains("@base64:"));
        let missing = refused(format!("@{}", path("none")));
        assert!(missing.starts_with("argument 1: @") && missing.contains("@@"), "{missing}");
    }

    #[test]
    fn standard_input_is_read_once_and_bombs_are_refused() {
        let again = arguments(&["-".to_owned(), "-".to_owned()], &mut stdin("x")).unwrap_err();
        assert!(again.to_string().starts_with("argument 2: "), "{again}");
        let bomb = format!("{}{}", "[".repeat(200), "]".repeat(200));
        assert!(argument(&bomb, "argument 1", &mut stdin("")).unwrap_err().to_string().contains("nested"));
    }

    #[test]
    fn kwargs_are_an_object_or_an_error() {
        assert_eq!(kwargs(None, &mut stdin("")).unwrap().as_str(), "{}");
        assert_eq!(kwargs(Some("-"), &mut stdin(r#"{"x":1}"#)).unwrap().as_str(), r#"{"x":1}"#);
        for (bad, says) in [("[1]", "a JSON object is wanted"), ("{x:1}", "not JSON"), ("@/nowhere", "/nowhere")] {
            let error = kwargs(Some(bad), &mut stdin("")).unwrap_err().to_string();
            assert!(error.starts_with("--kwargs") && error.contains(says) && !error.contains("@@"), "{error}");
        }
    }
}
