//! The laws of the house, held against the sources: which room may import which, who may know what, and how large a file
//! may grow. `docs/ARCHITECTURE.md` says why.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Each room with the rooms it may import. Everything may import the model.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    ("cli", &["daemon", "config", "attempt"]),
    (
        "daemon",
        &[
            "config",
            "api",
            "access",
            "beat",
            "control",
            "scheduler",
            "pipeline",
            "queue",
            "modules",
            "outside",
            "sandbox",
            "events",
            "store",
            "attempt",
            "clock",
            "canvas",
            "trace",
        ],
    ),
    ("config", &["beat", "queue", "pipeline", "attempt", "clock"]),
    (
        "api",
        &[
            "access", "beat", "control", "pipeline", "queue", "modules", "outside", "sandbox", "events", "store",
            "attempt", "held", "clock", "aside",
        ],
    ),
    ("access", &["store", "held", "clock"]),
    ("beat", &["access", "queue", "modules", "events", "store", "clock", "aside"]),
    ("control", &["pipeline", "modules", "events", "store", "attempt", "clock", "celery"]),
    ("scheduler", &["pipeline", "store", "clock"]),
    ("outside", &["store", "attempt", "held"]),
    (
        "pipeline",
        &[
            "access", "modules", "outside", "sandbox", "trace", "canvas", "events", "store", "attempt", "fair", "held",
            "clock",
        ],
    ),
    ("queue", &["canvas", "modules"]),
    ("modules", &["access", "sandbox", "store", "held", "clock", "aside"]),
    ("sandbox", &["attempt", "fair", "clock", "aside"]),
    ("trace", &["canvas", "attempt"]),
    ("canvas", &["attempt"]),
    ("events", &["celery"]),
    ("store", &["celery"]),
    ("celery", &[]),
    ("attempt", &[]),
    ("fair", &[]),
    ("held", &[]),
    ("clock", &[]),
    ("aside", &[]),
];

/// What only some files may name.
const ONLY_HERE: &[(&str, &[&str])] = &[
    ("wasmtime", &["sandbox"]),
    ("rusqlite", &["store/file"]),
    ("reqwest", &["outside/http"]),
    ("redis::", &["store/redis", "daemon/serve"]),
    ("axum", &["api"]),
    ("utoipa", &["api"]),
    ("clap::", &["cli"]),
    ("lovage_client", &["cli"]),
    ("println!", &["cli"]),
    ("eprintln!", &["cli"]),
    ("process::exit", &["cli"]),
    ("SystemTime::now", &["clock"]),
    ("Instant::now", &["clock"]),
    ("Timestamp::now", &["clock"]),
];

const MAX_LINES: usize = 400;

/// A source file: its path below `src`, without the ending, and its lines of code without comments and tests.
struct Source {
    path: String,
    code: Vec<String>,
}

impl Source {
    fn room(&self) -> &str {
        self.path.split('/').next().unwrap_or_default()
    }
}

#[test]
fn imports_go_one_way() {
    let allowed: BTreeMap<_, _> = MAY_IMPORT.iter().copied().collect();
    let mut faults = Vec::new();
    for source in sources() {
        for line in &source.code {
            for imported in line.split("crate::").skip(1).chain(line.split("lovage::").skip(1)) {
                let room: String = imported.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                // `use crate::{a, b}` would hide which rooms it names.
                if imported.starts_with(['{', '*']) {
                    faults.push(format!("{} imports several rooms in one line: {}", source.path, line.trim()));
                }
                let may = allowed.get(source.room()).is_some_and(|rooms| rooms.contains(&room.as_str()));
                if allowed.contains_key(room.as_str()) && room != source.room() && !may {
                    faults.push(format!("{} imports {room}: {}", source.path, line.trim()));
                }
            }
        }
    }
    assert!(faults.is_empty(), "against the law of direction:\n{}", faults.join("\n"));
}

#[test]
fn every_room_is_in_the_table() {
    let allowed: BTreeMap<_, _> = MAY_IMPORT.iter().copied().collect();
    for source in sources().iter().filter(|source| source.path != "lib") {
        assert!(allowed.contains_key(source.room()), "{} is no room of the plan", source.path);
    }
}

#[test]
fn who_may_know_what() {
    let mut faults = Vec::new();
    for source in sources() {
        for (word, homes) in ONLY_HERE {
            let at_home = homes.iter().any(|home| source.path == *home || source.path.starts_with(&format!("{home}/")));
            if let Some(line) = source.code.iter().find(|line| !at_home && names(line, word)) {
                faults.push(format!("{} names {word}: {}", source.path, line.trim()));
            }
        }
    }
    assert!(faults.is_empty(), "against the law of knowledge:\n{}", faults.join("\n"));
}

#[test]
fn files_stay_small_and_have_names() {
    for source in sources() {
        let lines = source.code.len();
        assert!(
            lines <= MAX_LINES,
            "{} has {lines} lines without comments and tests, at most {MAX_LINES}",
            source.path
        );
        for vague in ["util", "utils", "common", "manager", "helper", "helpers", "mod", "misc"] {
            assert!(!source.path.split('/').any(|part| part == vague), "{}: {vague} says nothing", source.path);
        }
    }
}

#[test]
fn every_file_says_its_question() {
    for path in paths(&root()) {
        let text = fs::read_to_string(&path).expect("a source file");
        assert!(text.starts_with("//!"), "{} does not begin with what it is about", path.display());
    }
}

#[test]
fn the_plan_says_the_same() {
    let plan =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/ARCHITECTURE.md")).expect("the plan");
    // The words in backticks of each column of the rows of the table with this header.
    let table = |header: &str| -> Vec<Vec<Vec<String>>> {
        let (_, rows) = plan.split_once(header).unwrap_or_else(|| panic!("no table {header}"));
        let words = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        let row = |line: &str| line.trim_matches('|').split('|').map(words).collect();
        rows.lines().skip(2).take_while(|line| line.starts_with('|')).map(row).collect()
    };
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let rooms: Vec<_> = MAY_IMPORT.iter().map(|(room, may)| (owned(&[room]), owned(may))).collect();
    let planned: Vec<_> =
        table("| Room | Question | May import |").iter().map(|row| (row[0].clone(), row[2].clone())).collect();
    assert_eq!(planned, rooms, "the rooms in docs/ARCHITECTURE.md");
    let known: Vec<_> = ONLY_HERE.iter().map(|(word, homes)| (owned(&[word]), owned(homes))).collect();
    let planned: Vec<_> = table("| Word | Known to |").iter().map(|row| (row[0].clone(), row[1].clone())).collect();
    assert_eq!(planned, known, "who may know what in docs/ARCHITECTURE.md");
}

/// Whether a line names the word, and not only a longer one that contains it.
fn names(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '"')
    })
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn paths(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a source directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(paths(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    found
}

fn sources() -> Vec<Source> {
    let root = root();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("a source file");
        let below = path.strip_prefix(&root).expect("below src").with_extension("");
        let code = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let is_code = |line: &&str| !line.trim_start().starts_with("//") && !line.trim().is_empty();
        Source { path: below.display().to_string(), code: code.lines().filter(is_code).map(str::to_owned).collect() }
    };
    // Files that hold nothing but tests, or their fixtures, are free.
    let is_test =
        |source: &Source| source.path.split('/').any(|part| part == "tests" || part == "suite" || part == "fakes");
    paths(&root).into_iter().map(read).filter(|source| !is_test(source)).collect()
}
