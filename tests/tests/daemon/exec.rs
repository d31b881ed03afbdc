//! Tasks without a daemon, and daemons for development.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use lovage_tests::components::Written;
use lovage_tests::daemon::{Process, Ran, command, program, run};
use lovage_tests::guests;
use rustix::process::Signal;
use serde_json::json;

/// The command, which hears SIGHUP: whoever runs the tests may have it ignored, as `nohup` does.
fn hearing_hangups<const N: usize>(args: [&str; N]) -> Command {
    let plain = command(args);
    let mut hearing = Command::new("env");
    hearing.arg("--default-signal=HUP").arg(plain.get_program()).args(plain.get_args()).stdin(Stdio::null());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => hearing.env(name, value),
            None => hearing.env_remove(name),
        };
    }
    hearing
}

fn exec(module: &Path, args: &[&str]) -> Ran {
    run(command(["exec", module.to_str().unwrap()].iter().chain(args)))
}

#[test]
fn every_standard_task_runs_here_and_now() {
    let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(exec(guests::digest(), &["sha256", "abc"]).json(), sha256);
    assert_eq!(exec(guests::digest(), &["hex", "abc", r#"["sha256"]"#]).json(), json!({"sha256": sha256}));
    let counts = exec(guests::wordcount(), &["count", "the sea, the ship", "1"]).json();
    assert_eq!(counts, json!({"the": 2}));
    let merged = exec(guests::wordcount(), &["merge", r#"[{"a": 1}, {"a": 2}]"#]).json();
    assert_eq!(merged, json!({"a": 3}));
}

#[test]
fn a_real_picture_becomes_a_small_one() {
    let picture = concat!("@base64:", env!("CARGO_MANIFEST_DIR"), "/fixtures/gradient.png");
    let made = exec(guests::thumbnail(), &["resize", picture, "--kwargs", r#"{"width": 32, "height": 32}"#]).json();
    assert_eq!((&made["original_width"], &made["original_height"]), (&json!(320), &json!(200)));
    assert_eq!((&made["width"], &made["height"]), (&json!(32), &json!(20)));
    assert!(made["image"].as_str().unwrap().starts_with("iVBORw0KGgo"), "a PNG");
    let told = exec(guests::thumbnail(), &["resize", "bm8gcGljdHVyZQ==", "32", "32"]).fails(1);
    assert!(told.contains("ValueError: image is no PNG or JPEG"), "{told}");
}

#[test]
fn the_tour_runs_without_a_daemon() {
    let tour = |args: &[&str]| exec(guests::tour(), args);
    assert_eq!(tour(&["add", "2", "3"]).ok(), "5");
    let flaky = tour(&["flaky", "2"]);
    assert!(flaky.stderr.contains("retry: ConnectionError: no answer"), "{flaky:?}");
    assert_eq!(flaky.json(), "worked after 2 retries");
    assert_eq!(tour(&["double", "21"]).ok(), "42");
    let progress = tour(&["progress", "2", "0.05"]);
    assert!(progress.stderr.contains("PROGRESS"), "{progress:?}");
    assert!(tour(&["careful", "100", "--soft-time-limit", "0.1"]).ok().starts_with("\"had to stop after"));
    let told = tour(&["sleepy", "100", "--soft-time-limit", "0.1"]).fails(1);
    assert!(told.contains("SoftTimeLimitExceeded"), "{told}");
    let told = tour(&["stubborn", "--time-limit", "0.2"]).fails(1);
    assert!(told.contains("TimeLimitExceeded: 0.2"), "{told}");
    let told = tour(&["greedy", "100", "--memory-bytes", "16777216"]).fails(1);
    assert!(told.contains("MemoryLimitExceeded") && told.contains("fault: memory-limit"), "{told}");
    let told = tour(&["nothing"]).fails(2);
    assert!(told.contains("named nothing; the module has tour.add, "), "{told}");
}

#[test]
fn settings_of_the_environment_hold_for_a_run_without_a_daemon() {
    let with = |value: &str| {
        let mut greedy = command(["exec", guests::tour().to_str().unwrap(), "greedy", "100"]);
        greedy.env("LOVAGE__LIMITS__MEMORY_BYTES", value);
        run(greedy)
    };
    let told = with("16777216").fails(1);
    assert!(told.contains("MemoryLimitExceeded"), "{told}");
    let told = with("much").fails(2);
    assert!(told.contains("LOVAGE__LIMITS__MEMORY_BYTES"), "{told}");
}

#[test]
fn a_run_without_a_daemon_is_of_every_queue() {
    let mut add = command(["exec", guests::tour().to_str().unwrap(), "add", "2", "3"]);
    add.env("LOVAGE__WORKER__QUEUES", "other");
    assert_eq!(run(add).ok(), "5");
}

#[test]
fn a_canvas_runs_without_a_daemon() {
    let canvas = |kind: &str, kwargs: serde_json::Value| json!({"task": format!("celery.{kind}"), "kwargs": kwargs, "subtask_type": kind});
    let add = |args: serde_json::Value| json!({"task": "tour.add", "args": args});
    let header = canvas("group", json!({"tasks": [add(json!([1, 2])), add(json!([3, 4]))]}));
    let chord = canvas("chord", json!({"header": header, "body": {"task": "tour.total"}}));
    let chain = canvas("chain", json!({"tasks": [chord, add(json!([100]))]}));
    assert_eq!(exec(guests::tour(), &["--canvas", &chain.to_string()]).ok(), "110");
    let failing = canvas("chain", json!({"tasks": [{"task": "tour.divide", "args": [1, 0]}, add(json!([1]))]}));
    assert!(exec(guests::tour(), &["--canvas", &failing.to_string()]).fails(1).contains("ZeroDivisionError"));
    assert!(exec(guests::tour(), &["--canvas", &header.to_string()]).fails(2).contains("ends in a group"));
}

#[test]
fn a_development_daemon_pushes_what_changes() {
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("digits.wasm");
    // As a linker does: the file is never seen half written.
    let write = |digit: u8| {
        let made = files.path().join("made");
        fs::write(&made, Written::returning(digit)).unwrap();
        fs::rename(made, &file).unwrap();
    };
    // Its settings hold: it asks for a token.
    let config = files.path().join("lovage.toml");
    fs::write(&config, "[http]\ntokens = \"required\"\n").unwrap();
    let mut process = Process::start(command(["dev", "--config", config.to_str().unwrap(), file.to_str().unwrap()]));
    let url = process.wait_for("export LOVAGE_URL=").split_once('=').unwrap().1.to_owned();
    let token = process.wait_for("export LOVAGE_TOKEN=").split_once('=').unwrap().1.to_owned();
    process.wait_for("there is no such file yet");
    let answer = || {
        let mut command = command(["task", "run", "it.runs"]);
        command.env("LOVAGE_URL", &url).env("LOVAGE_TOKEN", &token);
        run(command).ok()
    };
    write(1);
    process.wait_for("pushed digits 1: it.runs");
    assert_eq!(answer(), "1");
    write(2);
    process.wait_for("pushed digits 2: it.runs");
    assert_eq!(answer(), "2");
    process.signal(Signal::INT);
    assert_eq!(process.wait().code(), Some(0));
}

#[test]
fn whoever_stops_a_task_that_runs_here_is_left_nothing() {
    for (signal, code) in [(Signal::HUP, 129), (Signal::INT, 130), (Signal::TERM, 143)] {
        for task in ["wait_visibly", "spin_visibly"] {
            let home = tempfile::tempdir().unwrap();
            let mut exec = hearing_hangups(["exec", guests::walls().to_str().unwrap(), task]);
            exec.env("TMPDIR", home.path());
            let mut process = Process::start(exec);
            process.wait_for("WAITING");
            process.signal(signal);
            assert_eq!(process.wait().code(), Some(code), "{}", process.said());
            assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0, "{task} and {code}");
        }
    }
}

#[test]
fn a_development_daemon_ends_with_its_terminal_unless_it_is_to_stay() {
    let home = tempfile::tempdir().unwrap();
    let mut dev = hearing_hangups(["dev"]);
    dev.env("TMPDIR", home.path());
    let mut process = Process::start(dev);
    process.wait_for("export LOVAGE_URL=");
    process.signal(Signal::HUP);
    assert_eq!(process.wait().code(), Some(0));
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);

    let mut dev = Command::new("nohup");
    dev.arg(program()).arg("dev").stdin(Stdio::null()).stdout(Stdio::null());
    let mut process = Process::start(dev);
    let url = process.wait_for("export LOVAGE_URL=").split_once('=').unwrap().1.to_owned();
    process.signal(Signal::HUP);
    let mut status = command(["status"]);
    status.env("LOVAGE_URL", url);
    run(status).ok();
    process.signal(Signal::TERM);
    assert_eq!(process.wait().code(), Some(0));
}

#[test]
fn what_a_development_daemon_cannot_do_was_typed() {
    let refused = |args: &[&str]| run(command([&["dev"], args].concat())).fails(2);
    assert!(refused(&["--listen", "0.0.0.0:0"]).contains("loopback"));
    assert!(refused(&["--listen", "here"]).contains("--listen"));
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "[worker]\nconcurency = 3\n").unwrap();
    assert!(refused(&["--config", file.path().to_str().unwrap()]).contains("worker.concurency"));
}

#[test]
fn a_failure_is_told_once() {
    let told = exec(guests::tour(), &["divide", "1", "0"]).fails(1);
    assert!(told.starts_with("task ") && !told.contains("a task failed"), "{told}");
}
