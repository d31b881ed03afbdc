//! Does docs/states.md show the changes of state that there are? `UPDATE_DOCS=1` writes them into it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use lovage_model::{CHANGES, State};

/// The states in the order of a task's life.
static STATES: [State; 10] = [
    State::Pending,
    State::Received,
    State::Started,
    lovage_model::CUSTOM,
    State::Retry,
    State::Rejected,
    State::Success,
    State::Failure,
    State::Revoked,
    State::Ignored,
];

fn name(state: Option<&State>) -> &str {
    match state {
        None => "[*]",
        Some(State::Custom(_)) => "CUSTOM",
        Some(known) => known.as_str(),
    }
}

/// One arrow for each two states, with all that leads from one to the other.
fn diagram() -> String {
    let mut arrows: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for change in CHANGES {
        for from in change.from {
            // A state that stays as it is, is no change; states of one's own can follow each other.
            for to in change.to.iter().filter(|&to| to != from || name(to.as_ref()) == "CUSTOM") {
                arrows.entry((name(from.as_ref()), name(to.as_ref()))).or_default().push(change.cause);
            }
        }
    }
    let lines = arrows.into_iter().map(|((from, to), causes)| format!("    {from} --> {to}: {}", causes.join(", ")));
    format!("```mermaid\nstateDiagram-v2\n{}\n```\n", lines.collect::<Vec<_>>().join("\n"))
}

fn changes() -> String {
    let mut table = "| What happens | From | To | |\n|---|---|---|---|\n".to_owned();
    let shown = |state: &Option<State>| state.as_ref().map_or("-".to_owned(), |state| name(Some(state)).to_owned());
    let all = |states: &[Option<State>]| states.iter().map(shown).collect::<Vec<_>>().join(", ");
    for change in CHANGES {
        writeln!(table, "| {} | {} | {} | {} |", change.cause, all(change.from), all(change.to), change.meaning)
            .unwrap();
    }
    table
}

fn groups() -> String {
    let of = |wanted: fn(&State) -> bool| {
        let names: Vec<&str> = STATES.iter().filter(|state| wanted(state)).map(|state| name(Some(state))).collect();
        names.join(", ")
    };
    let rows = [
        ("`READY_STATES`", "the result is there", of(State::is_ready)),
        ("`UNREADY_STATES`", "it is not", of(|state| !state.is_ready())),
        ("`EXCEPTION_STATES`", "the result is an exception", of(State::is_exception)),
        ("`PROPAGATE_STATES`", "`get` raises it", of(State::propagates)),
        ("ended", "nothing happens any more without an order", of(State::is_terminal)),
    ];
    let mut table = "| | Meaning | States |\n|---|---|---|\n".to_owned();
    for (set, meaning, states) in rows {
        writeln!(table, "| {set} | {meaning} | {states} |").unwrap();
    }
    table
}

/// The page with a part of it written anew.
fn with(page: &str, part: &str, text: &str) -> String {
    let start = format!("<!-- generated: {part} -->\n");
    let (before, rest) = page.split_once(&start).unwrap_or_else(|| panic!("docs/states.md has no {start}"));
    let (_, after) = rest.split_once("<!-- end -->").expect("the part has an end");
    format!("{before}{start}{text}<!-- end -->{after}")
}

#[test]
fn the_page_shows_every_change() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/states.md");
    let page = fs::read_to_string(&path).expect("docs/states.md");
    let parts = [("diagram", diagram()), ("changes", changes()), ("groups", groups())];
    let expected = parts.iter().fold(page.clone(), |page, (part, text)| with(&page, part, text));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, expected).expect("docs/states.md can be written");
    } else {
        assert_eq!(page, expected, "UPDATE_DOCS=1 cargo test --locked --workspace --test states writes it");
    }
}
