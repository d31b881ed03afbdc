//! The codecs held against what Celery itself said to Redis: `tests/parity/transcripts`, recorded by `tests/parity/record.py`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lovage_model::{Fields, Json, Timestamp};

use super::*;

mod events;
mod messages;
mod pidboxes;
mod poisons;
mod properties;
mod results;

const LIMITS: Limits = Limits { body_bytes: 1 << 20 };

/// One command of a transcript.
struct Said {
    at: Timestamp,
    command: String,
    words: Vec<Vec<u8>>,
}

impl Said {
    fn key(&self) -> &str {
        std::str::from_utf8(&self.words[0]).unwrap()
    }

    fn last(&self) -> &[u8] {
        self.words.last().unwrap()
    }
}

macro_rules! transcripts {
    ($($name:ident)*) => {
        /// Every transcript, by its name.
        const TRANSCRIPTS: &[(&str, &str)] = &[$((
            stringify!($name),
            include_str!(concat!("../../../tests/parity/transcripts/", stringify!($name), ".txt")),
        )),*];
    };
}

transcripts!(
    chained chorded compressed compressed_results failed lifetime msgpack options plain protocol1 python_types remote
    retried revoked stamped
);

fn transcript(name: &str) -> Vec<Said> {
    let (_, text) = TRANSCRIPTS.iter().find(|(it, _)| *it == name).unwrap();
    text.lines().map(said).collect()
}

fn said(line: &str) -> Said {
    let mut words = line.split('\t');
    let at: f64 = words.next().unwrap().parse().unwrap();
    Said {
        at: Timestamp::from_micros((at * 1e6) as i64),
        command: words.next().unwrap().to_owned(),
        words: words
            .map(|word| match word.strip_prefix("base64:") {
                Some(bytes) => STANDARD.decode(bytes).unwrap(),
                None => word.as_bytes().to_vec(),
            })
            .collect(),
    }
}

/// What was put on lists for tasks.
fn elements(name: &str) -> Vec<Said> {
    let mut all = transcript(name);
    all.retain(|said| said.command.ends_with("PUSH") && !said.key().ends_with(".pidbox"));
    all
}

fn json(text: &str) -> Json {
    Json::parse(text.to_owned()).unwrap()
}

/// The header of a chord is written as a list, or as a group: it is the same.
fn plain_header(name: &str, value: &Json) -> Json {
    let tasks = || value.read::<Fields>().ok()?.read::<Fields>("kwargs")?.read("tasks");
    if name == "header" { tasks().unwrap_or_else(|| value.clone()) } else { value.clone() }
}

/// What means the same as if it were not there, in a message or in the options of a signature.
const SAYS_NOTHING: [&str; 4] = [r#""chain":[]"#, r#""chain":null"#, r#""parent_id":null"#, r#""root_id":null"#];

/// JSON with the keys of its objects in order and without blanks, so that equal texts are equal values. Keys that are in
/// `but`, and those that say nothing, are left out.
fn canonical(value: &Json, but: &[&str]) -> String {
    if value.is_object() {
        let fields: Fields = value.read().unwrap();
        let mut all: Vec<_> = fields
            .iter()
            .filter(|(name, _)| !but.contains(name))
            .map(|(name, value)| format!("{name:?}:{}", canonical(&plain_header(name, value), but)))
            .filter(|field| !SAYS_NOTHING.contains(&field.as_str()))
            .collect();
        all.sort();
        format!("{{{}}}", all.join(","))
    } else if value.is_array() {
        let items: Vec<Json> = value.read().unwrap();
        format!("[{}]", items.iter().map(|item| canonical(item, but)).collect::<Vec<_>>().join(","))
    } else {
        value.to_string()
    }
}
