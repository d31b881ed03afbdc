//! What only looks like a component of the contract, or like a component at all.

use std::fs;

use lovage_tests::artifacts::digest_of;

use crate::lab::{Case, Expected, Lab, case, try_all};
use crate::skeleton::{Holes, SKELETON, binary};

const MISMATCH: Expected = Expected::Refused("contract_mismatch", "lovage:task@0.1");
const NO_TASKS: Expected = Expected::Refused("no_tasks", "export_tasks!");
const DENIED: Expected = Expected::Refused("import_not_allowed", "no task can have");
const INVALID: Expected = Expected::Refused("invalid_component", "");

/// The well-behaved component with one text for another in its interfaces.
fn forged(from: &str, to: &str) -> Vec<u8> {
    assert!(SKELETON.contains(from), "{from}");
    binary(&Holes::default().text().replacen(from, to, 1))
}

fn importing(import: &str) -> Vec<u8> {
    Holes { first: import, ..Holes::default() }.bytes()
}

#[tokio::test]
async fn other_types_under_the_names_of_the_contract_do_not_come_in() {
    let cases: String = (0..1001).map(|n| format!("(case \"c{n}\")")).collect();
    let reject = "(case \"reject\" bool)";
    let types = [
        ("an ending with a case more", forged(reject, "(case \"reject\" bool) (case \"more\")")),
        ("an ending with a case less", forged(reject, "")),
        ("an ending of 1,001 cases more", forged(reject, &cases)),
        (
            "endings in another order",
            forged("(case \"retry\") (case \"replaced\")", "(case \"replaced\") (case \"retry\")"),
        ),
        ("an ending that carries more", forged(reject, "(case \"reject\" u64)")),
        ("a level more", forged("\"warning\" \"error\"", "\"warning\" \"error\" \"fatal\"")),
        (
            "an exception with a field more",
            forged("(field \"traceback\" string)", "(field \"traceback\" string) (field \"x\" u8)"),
        ),
        ("an exception with numbers", forged("(field \"traceback\" string)", "(field \"traceback\" (list u8))")),
        ("limits of another size", forged("(field \"memory-bytes\" u64)", "(field \"memory-bytes\" u32)")),
        (
            "a request that is bytes",
            forged("\"request\" (func (result string))", "\"request\" (func (result (list u8)))"),
        ),
        (
            "a soft limit that is a number",
            forged(
                "\"soft-time-limit-exceeded\" (func (result bool))",
                "\"soft-time-limit-exceeded\" (func (result u32))",
            ),
        ),
        (
            "sleep without an error",
            forged("(param \"seconds\" f64) (result (result (error $exc)))", "(param \"seconds\" f64)"),
        ),
        ("a log of characters", forged("(param \"message\" string)", "(param \"message\" (list char))")),
        ("a parameter more", forged("(param \"message\" string)", "(param \"message\" string) (param \"x\" u8)")),
        ("a function more", forged("(export \"request\"", "(export \"launch\" (func)) (export \"request\"")),
        ("a clock that says texts", forged("\"now\" (func (result u64))", "\"now\" (func (result string))")),
        (
            "random numbers for nothing",
            forged("(param \"len\" u64) (result (list u8))", "(param \"len\" u64) (result (list u64))"),
        ),
    ];
    try_all(
        types
            .into_iter()
            .map(|(name, component)| {
                case(name, component, Expected::RefusedFor(&["contract_mismatch", "invalid_component"]))
            })
            .collect(),
    )
    .await;
}

#[tokio::test]
async fn other_exports_under_the_names_of_the_contract_do_not_come_in() {
    let export = "(export \"lovage:task/tasks@0.1.0\" (instance $tasks))";
    let named = |name: &str| forged("lovage:task/tasks@0.1.0", name);
    let describe = |result: &str| {
        let lift = "(func $describe (result string)\n    (canon lift (core func $i \"describe\") (memory (core memory $libc \"memory\")) (realloc (core func $libc \"realloc\"))))";
        forged(lift, &format!("(func $describe {result} (canon lift (core func $i \"describe\")))"))
    };
    let run = "(param \"task\" string) (param \"args\" string) (param \"kwargs\" string)";
    let tasks = "(instance $tasks (export \"describe\" (func $describe)) (export \"run\" (func $run)))";
    try_all(vec![
        case("the next version", named("lovage:task/tasks@0.2.0"), NO_TASKS),
        case("a version to come", named("lovage:task/tasks@1.0.0"), NO_TASKS),
        case("no version", named("lovage:task/tasks"), NO_TASKS),
        case("a prerelease", named("lovage:task/tasks@0.1.0-rc.1"), Expected::Harmless),
        case("a patch to come", named("lovage:task/tasks@0.1.99"), Expected::Harmless),
        case("a huge patch", named("lovage:task/tasks@0.1.18446744073709551615"), Expected::Harmless),
        case("a version that is none", named("lovage:task/tasks@0.1.0.0"), INVALID),
        case("somebody else's tasks", named("acme:task/tasks@0.1.0"), NO_TASKS),
        case(
            "tasks that are a function",
            forged(export, "(export \"lovage:task/tasks@0.1.0\" (func $describe))"),
            Expected::RefusedFor(&["contract_mismatch", "invalid_component"]),
        ),
        case(
            "tasks that are a component",
            forged(export, "(component $c) (export \"lovage:task/tasks@0.1.0\" (component $c))"),
            INVALID,
        ),
        case(
            "tasks that are a module",
            forged(export, "(core module $c) (export \"lovage:task/tasks@0.1.0\" (core module $c))"),
            MISMATCH,
        ),
        case("tasks that are empty", forged(tasks, "(instance $tasks)"), MISMATCH),
        case(
            "tasks that cannot be run",
            forged(tasks, "(instance $tasks (export \"describe\" (func $describe)))"),
            MISMATCH,
        ),
        case(
            "tasks that run as they describe",
            forged(tasks, "(instance $tasks (export \"describe\" (func $describe)) (export \"run\" (func $describe)))"),
            MISMATCH,
        ),
        case("a description that is a number", describe("(result u32)"), MISMATCH),
        case("a description that is a float", describe("(result char)"), MISMATCH),
        case("kwargs under another name", forged(run, &run.replace("kwargs", "kw")), Expected::Harmless),
        case("kwargs that are bytes", forged(run, &run.replace("\"kwargs\" string", "\"kwargs\" (list u8)")), MISMATCH),
        case(
            "no kwargs",
            forged(run, "(param \"task\" string) (param \"args\" string)"),
            Expected::RefusedFor(&["contract_mismatch", "invalid_component"]),
        ),
        case(
            "an ending that is a text",
            forged("(error $ending))", "(error string))"),
            Expected::RefusedFor(&["contract_mismatch", "invalid_component"]),
        ),
    ])
    .await;
}

#[tokio::test]
async fn imports_that_nobody_has_do_not_come_in() {
    let mut cases: Vec<Case> = [
        "wasi:http/handler@0.3.0",
        "wasi:https/types@0.2.0",
        "wasi:keyvalue/store@0.2.0",
        "wasi:keyvalue/batch@0.2.0-draft",
        "lovage:task/secrets@0.2.0",
        "wasi:nn/graph@0.2.0",
        "wasi:threads/spawn@0.2.0",
        "wasi:io/poll@0.3.0",
        "wasi:io/poll@0.20.0",
        "wasi:iot/poll@0.2.0",
        "wasi:cli/stdout@10.2.0",
        "lovage:task/host@0.2.0",
        "lovage:task/hosts@0.1.0",
        "lovage:task/host",
        "lovage:tasks/host@0.1.0",
        "acme:billing/charge",
    ]
    .into_iter()
    .map(|name| case(name, importing(&format!("(import \"{name}\" (instance))")), DENIED))
    .collect();
    for (name, import) in [
        ("a function", "(import \"spawn\" (func (param \"command\" string)))"),
        ("a component", "(import \"any\" (component))"),
        ("a module", "(import \"any\" (core module (export \"f\" (func))))"),
        ("a type", "(import \"any\" (type (sub resource)))"),
        ("code by its address", "(import \"url=<https://example.org/a.wasm>\" (component))"),
        ("code by its digest", "(import \"locked-dep=<a:b@1.0.0>,integrity=<sha256-AAAA>\" (component))"),
    ] {
        cases.push(case(name, importing(import), Expected::RefusedFor(&["import_not_allowed", "invalid_component"])));
    }
    for (name, import) in [
        ("a function under an interface's name", "(import \"lovage:task/host@0.1.9\" (func))"),
        ("a module under an interface's name", "(import \"wasi:io/streams@0.2.9\" (core module))"),
        (
            "a resource that is not the host's",
            "(import \"wasi:io/poll@0.2.9\" (instance (export \"pollable\" (type (sub resource))) (export \"stranger\" (type (sub resource)))))",
        ),
        (
            "an interface that is not there",
            "(import \"wasi:io/secrets@0.2.0\" (instance (export \"read\" (func (result string)))))",
        ),
    ] {
        cases.push(case(name, importing(import), Expected::RefusedFor(&["contract_mismatch", "invalid_component"])));
    }
    cases.push(case(
        "an empty interface that is not there",
        importing("(import \"wasi:io/secrets@0.2.0\" (instance))"),
        Expected::Harmless,
    ));
    try_all(cases).await;
}

/// Bytes of all kinds, and components with a few of theirs changed.
#[tokio::test]
async fn bytes_that_are_no_component_do_not_come_in() {
    const NONE: Expected = Expected::Refused("not_a_component", "");
    let good = Holes::default().bytes();
    let cut = |bytes: usize| good[..bytes].to_vec();
    let with = |at: usize, byte: u8| {
        let mut changed = good.clone();
        changed[at] = byte;
        changed
    };
    let mut cases = vec![
        case("nothing", Vec::new(), NONE),
        case("a byte", vec![0], NONE),
        case("a preamble", cut(8), Expected::Refused("no_tasks", "")),
        case("half of a preamble", cut(6), NONE),
        case("text", b"(component)".to_vec(), NONE),
        case("text after spaces", b"  (component)".to_vec(), NONE),
        case("a module", binary("(module)"), NONE),
        case("a program", b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec(), NONE),
        case("an archive", b"\x1f\x8b\x08\0\0\0\0\0\0\x03".to_vec(), NONE),
        case("a script", b"#!/bin/sh\nexit\n".to_vec(), NONE),
        case("another version", with(4, 0x0c), NONE),
        case("another layer", with(6, 2), NONE),
        case("a section that is not there", [&cut(8)[..], &[0x3f, 0x01, 0x00]].concat(), INVALID),
        case("a section of four GiB", [&cut(8)[..], &[1, 0xff, 0xff, 0xff, 0xff, 0x0f]].concat(), INVALID),
        case("a section of a length without end", [&cut(8)[..], &[1], &[0x80; 64]].concat(), INVALID),
        case(
            "a billion types that are not there",
            [&cut(8)[..], &[7, 5, 0xff, 0xff, 0xff, 0xff, 0x0f]].concat(),
            Expected::Refused("too_large", "types"),
        ),
        case("a good component, twice", [&good[..], &good[..]].concat(), INVALID),
        case("a good component and a byte", [&good[..], &[0]].concat(), INVALID),
    ];
    // A number for each: what changes is the same on each machine.
    let mut seed = 0x9e37_79b9_u64;
    for n in 0..60 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = 8 + usize::try_from(seed >> 33).unwrap() % (good.len() - 8);
        let name = format!("byte {at} changed ({n})");
        // One that is not changed at all is the neighbour.
        let byte = (seed >> 24) as u8;
        cases.push(case(name, with(at, if byte == good[at] { !byte } else { byte }), Expected::Harmless));
        cases.push(case(
            format!("cut at {at} ({n})"),
            cut(at),
            Expected::RefusedFor(&["invalid_component", "no_tasks"]),
        ));
    }
    try_all(cases).await;
}

/// What the compiler makes is believed where the compiler put it, and nowhere else.
#[tokio::test]
async fn compiled_code_cannot_be_uploaded() {
    let mut lab = Lab::new().await;
    let made = |lab: &Lab| {
        let files = fs::read_dir(lab.cache().join("code")).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|ending| ending == "cwasm")).collect::<Vec<_>>()
    };
    let artifacts = made(&lab);
    assert_eq!(artifacts.len(), 2, "the neighbour's");
    for path in artifacts {
        let code = fs::read(&path).unwrap();
        let disguised = [&Holes::default().bytes()[..8], &code[..]].concat();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        lab.tries(case(name.clone(), code, Expected::Refused("not_a_component", "precompiled"))).await;
        lab.tries(case(name, disguised, INVALID)).await;
    }
    // Code of another component under this one's name, signature and all.
    let (mine, other) = (Holes::default().bytes(), Holes { memory: "2", ..Holes::default() }.bytes());
    lab.sandbox.admit(&digest_of(&other), &other).await.unwrap();
    let swapped = Holes { memory: "3", ..Holes::default() }.bytes();
    for path in made(&lab) {
        for ending in ["cwasm", "mac"] {
            let from = path.with_extension(ending);
            let to = from.to_string_lossy().replace(&digest_of(&other).to_string(), &digest_of(&swapped).to_string());
            fs::copy(&from, to.replace(&digest_of(&mine).to_string(), "0")).unwrap();
        }
    }
    for fuel in [false, true] {
        assert_eq!(lab.sandbox.load_cached(&digest_of(&swapped), fuel).await, Ok(false));
    }
    lab.ends();
}
