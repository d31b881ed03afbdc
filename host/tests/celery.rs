//! Does docs/celery.md say all that it promises, and is what it says shown by tests that there are?

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use lovage_model::TaskOptions;

const MEMBERS: &str = include_str!("celery-members.txt");

/// The first line of a table whose rows are claims.
const CLAIMS: &str = "| Celery | Here | | Why, or the difference | Test |";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

fn page() -> String {
    fs::read_to_string(root().join("docs/celery.md")).expect("docs/celery.md")
}

/// A table: the heading above it, its first line, and the cells of its rows.
struct Table {
    heading: String,
    head: String,
    rows: Vec<Vec<String>>,
}

fn tables(page: &str) -> Vec<Table> {
    let (mut tables, mut heading): (Vec<Table>, _) = (Vec::new(), "");
    let mut inside = false;
    for line in page.lines() {
        let is_row = line.starts_with('|');
        match (is_row, inside) {
            (true, false) => {
                tables.push(Table { heading: heading.to_owned(), head: line.to_owned(), rows: Vec::new() });
            }
            (true, true) if !line.starts_with("|---") => tables.last_mut().expect("a table").rows.push(cells(line)),
            _ => {}
        }
        inside = is_row;
        heading = line.strip_prefix('#').map_or(heading, |rest| rest.trim_start_matches('#').trim());
    }
    tables
}

fn cells(line: &str) -> Vec<String> {
    let line = line.trim_matches('|').replace("\\|", "\u{0}");
    line.split('|').map(|cell| cell.trim().replace('\u{0}', "|")).collect()
}

/// What stands in a cell in code.
fn codes(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// The tests of the workspace, and the cases of the suite of the stores.
fn tests() -> BTreeSet<String> {
    let mut tests = BTreeSet::new();
    for folder in ["host", "model", "client", "guest-sdk", "tests", "tasks"] {
        for file in sources(&root().join(folder)) {
            let is_suite = file.components().any(|part| part.as_os_str() == "suite");
            let source = fs::read_to_string(&file).expect("a source");
            let mut due = false;
            for line in source.lines() {
                due |= ["#[test]", "#[tokio::test"].iter().any(|mark| line.trim_start().starts_with(mark));
                let Some((_, rest)) = line.split_once("fn ") else { continue };
                let name = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
                if due || (is_suite && rest.contains("bench: Bench)")) {
                    tests.insert(name.to_owned());
                }
                due = false;
            }
        }
    }
    tests
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

#[test]
fn every_public_member_has_its_row() {
    let mut expected: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut section = "";
    for line in MEMBERS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_prefix('[') {
            Some(name) => section = name.trim_end_matches(']'),
            None => expected.entry(section).or_default().push(line),
        }
    }
    let page = page();
    let tables = tables(&page);
    let mut rows: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for table in tables.iter().filter(|table| table.heading.starts_with("celery.")) {
        rows.insert(&table.heading, table.rows.iter().flat_map(|row| codes(&row[0])).collect());
    }
    assert!(expected.len() == 7 && expected.values().all(|members| members.len() > 10), "{:?}", expected.keys());
    assert_eq!(rows, expected, "docs/celery.md and host/tests/celery-members.txt");
}

#[test]
fn every_claim_is_shown_by_a_test_and_everything_else_has_a_reason() {
    let (page, tests) = (page(), tests());
    let mut wrong = Vec::new();
    let tables = tables(&page);
    let claims: Vec<_> = tables.iter().filter(|table| table.head == CLAIMS).collect();
    for row in claims.iter().flat_map(|table| &table.rows) {
        let [name, _, verdict, why, shown] = row.as_slice() else { panic!("{row:?}: not five cells") };
        let fault = match verdict.as_str() {
            "same" | "better" if codes(shown).next().is_none() => "names no test",
            "better" | "not applicable" if why.is_empty() => "gives no reason",
            "same" | "better" | "not applicable" | "not yet" => continue,
            _ => "is neither same, better, not applicable nor not yet",
        };
        wrong.push(format!("{name} {fault}"));
    }
    for table in tables.iter().filter(|table| table.head.ends_with("| Test |")) {
        for row in &table.rows {
            let shown = codes(row.last().expect("cells"));
            wrong.extend(shown.filter(|test| !tests.contains(*test)).map(|test| format!("{}: no test {test}", row[0])));
        }
    }
    assert!(claims.len() >= 9 && tests.len() > 300, "{} tables, {} tests", claims.len(), tests.len());
    assert!(wrong.is_empty(), "docs/celery.md: {wrong:#?}");
}

#[test]
fn the_options_have_the_defaults_that_the_page_says() {
    let page = page();
    let tables = tables(&page);
    let options = tables.iter().find(|table| table.heading == "Task options").expect("the table");
    let rows: Vec<(&str, &str)> =
        options.rows.iter().map(|row| (row[0].trim_matches('`'), row[2].trim_matches('`'))).collect();
    let defaults = serde_json::to_value(TaskOptions::default()).expect("plain data");
    let of = |name: &str| match &defaults[name] {
        serde_json::Value::Null if ["autoretry_for", "dont_autoretry_for", "throws"].contains(&name) => "[]".to_owned(),
        value => value.to_string(),
    };
    let expected: Vec<(&str, String)> = TaskOptions::NAMES.iter().map(|name| (*name, of(name))).collect();
    assert_eq!(rows, expected.iter().map(|(name, value)| (*name, value.as_str())).collect::<Vec<_>>());
}

#[test]
fn every_event_has_its_row() {
    let source = fs::read_to_string(root().join("model/src/event.rs")).expect("the events");
    let known: BTreeSet<&str> =
        source.split("#[serde(rename = \"").skip(1).filter_map(|it| it.split('"').next()).collect();
    let page = page();
    let tables = tables(&page);
    let events = tables.iter().find(|table| table.heading == "Events").expect("the table");
    let rows: BTreeSet<&str> = events.rows.iter().map(|row| row[0].trim_matches('`')).collect();
    assert!(known.contains("task-sent"), "{known:?}");
    assert_eq!(rows, known);
}
