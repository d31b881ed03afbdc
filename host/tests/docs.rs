//! The pages for people, held against the sources: settings, names of faults, and everything that a page points to.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use lovage::config::KEYS;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn pages() -> Vec<PathBuf> {
    let folders =
        ["", "docs", "examples/beside-celery", "tasks/digest", "tasks/thumbnail", "tasks/tour", "tasks/wordcount"];
    let files = folders.iter().flat_map(|folder| fs::read_dir(root().join(folder)).expect("a folder"));
    files
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "md"))
        .collect()
}

#[test]
fn every_setting_has_its_row() {
    let page = read("docs/operating.md");
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| `") && line.contains('.')).collect();
    let expected: Vec<String> =
        KEYS.iter().map(|key| format!("| `{}` | `{}` | {} |", key.name, key.default, key.doc)).collect();
    assert_eq!(rows, expected, "docs/operating.md; `lovage config show` has the texts");
}

#[test]
fn every_fault_has_its_row() {
    // The name of a variant: `Self::Panic => "panic",`.
    let quoted = |line: &str| line.split_once("=> \"")?.1.split('"').next().map(str::to_owned);
    let source = read("host/src/attempt.rs");
    let (_, names) = source.split_once("impl FaultKind {").expect("the kinds");
    let (names, _) = names.split_once("\n}\n").expect("their end");
    let mut kinds: BTreeSet<String> = names.lines().filter_map(quoted).collect();
    assert!(kinds.contains("panic"), "{kinds:?}");
    // What is found before a sandbox is needed.
    kinds.extend(["not-registered", "module-unusable", "worker-lost", "poison"].map(str::to_owned));
    let page = read("docs/sandbox.md");
    let (_, table) = page.split_once("| `fault` | Meaning |").expect("the table");
    let row = |line: &str| line.strip_prefix("| `")?.split('`').next().map(str::to_owned);
    let rows: BTreeSet<String> =
        table.lines().skip(1).take_while(|line| line.starts_with('|')).filter_map(row).collect();
    assert_eq!(rows, kinds, "docs/sandbox.md");
}

#[test]
fn links_lead_somewhere() {
    let mut broken = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).expect("a page");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().unwrap_or_default();
            let is_here = !link.contains("://") && !path.is_empty();
            if is_here && !page.parent().expect("its folder").join(path).exists() {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn files_that_pages_name_are_there() {
    let mut missing = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).expect("a page");
        for word in text.split('`').skip(1).step_by(2) {
            let of_ours =
                ["host/", "model/", "client/", "guest-sdk/", "tests/", "tasks/", "docs/", "examples/", "scripts/"];
            if of_ours.iter().any(|folder| word.starts_with(folder)) && !root().join(word).exists() {
                missing.push(format!("{}: {word}", page.display()));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn what_the_readme_lets_people_make_can_be_made() {
    let (readme, makefile) = (read("README.md"), read("Makefile"));
    let known = ["demo", "example", "build", "test", "bench", "lint", "setup", "setup-tests"];
    let is_behind = |c: char| !c.is_alphabetic() && c != '-';
    let targets = readme.split("make ").skip(1).filter_map(|rest| rest.split(is_behind).next());
    for target in targets.filter(|target| known.contains(target)) {
        assert!(makefile.contains(&format!("\n{target}: ")), "make {target}");
    }
    for target in ["demo", "example", "build", "test", "bench"] {
        assert!(readme.contains(&format!("make {target}")), "README.md does not name make {target}");
    }
}

/// Whether a source has a test of this name: one with the attribute, or one that runs over every backend.
fn is_test(text: &str, name: &str) -> bool {
    let Some((before, _)) = text.split_once(&format!("fn {name}(")) else { return false };
    let (above, _) = before.rsplit_once('\n').unwrap_or_default();
    let attributes = above.lines().rev().take_while(|line| line.trim_start().starts_with("#["));
    let listed = text.split("for_each_backend!(").skip(1).filter_map(|rest| rest.split(");").next());
    attributes.into_iter().any(|line| line.contains("test"))
        || listed.flat_map(|list| list.split(',')).any(|listed| listed.trim() == name)
}

#[test]
fn every_promise_names_a_test_that_is_there() {
    let spec = read("docs/SPEC.md");
    let rows = spec.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| No."));
    let (mut numbers, mut faults) = (std::collections::BTreeSet::new(), Vec::new());
    for row in rows {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let kept: Vec<_> = cells.last().expect("cells").split('`').skip(1).step_by(2).collect();
        let is_there = matches!(kept[..], [file, test] if {
            let text = fs::read_to_string(root().join(file)).unwrap_or_default();
            is_test(&text, test)
        });
        if !is_there || !numbers.insert(cells[0]) {
            faults.push(row);
        }
    }
    assert!(faults.is_empty(), "no such test, or the number of another promise: {faults:#?}");
    assert!(numbers.len() > 40, "{numbers:?}");
}
