//! What Celery's own tools and Celery's own tests make of Lovage.

use std::process::{Command, Stdio};

use lovage_tests::daemon::{Daemon, program, run};
use lovage_tests::python::{python, root};
use lovage_tests::redis::RedisServer;
use lovage_tests::{artifacts, guests};
use tempfile::TempDir;

/// A script of `tests/parity`.
fn script(name: &str) -> Command {
    let mut script = Command::new(python());
    script.arg(name).current_dir(root().join("tests/parity")).env("PYTHONDONTWRITEBYTECODE", "1");
    script
}

#[test]
fn celerys_command_line_and_flower_see_lovage_as_they_see_a_worker() {
    let server = RedisServer::start();
    let settings = "[worker]\nqueues = [\"sandboxed\"]\nconcurrency = 4\ntask_events = \"yes\"\n";
    let host = Daemon::host(&server.url(), "lovage@control", &[guests::tour()], settings);
    host.push(guests::tour()).ok();
    let mut control = script("control.py");
    control.args([&server.url(), "lovage@control"]);
    let seen = run(control).ok();
    assert_eq!(seen.matches("same shape: ").count(), 9, "{seen}");
    assert_eq!(seen.matches("same answer: ").count(), 9, "{seen}");
    assert!(seen.ends_with("seen: Flower, with both nodes and every task"), "{seen}");
}

/// Has `differential.py` leave what a killed worker leaves.
fn lose(server: &RedisServer) {
    let mut lose = script("differential.py");
    lose.args(["lose", &server.url()]);
    run(lose).ok();
}

/// What came of the work of `differential.py`.
fn differential(server: &RedisServer) -> String {
    let mut work = script("differential.py");
    work.args(["work", &server.url()]);
    run(work).ok()
}

#[test]
fn what_is_left_in_redis_and_told_to_monitors_is_what_celery_leaves_and_tells() {
    let celery = {
        let server = RedisServer::start();
        // A worker looks for it once in its first minute.
        lose(&server);
        let mut worker = script("differential.py");
        let mut worker =
            worker.args(["worker", &server.url()]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let done = differential(&server);
        worker.kill().unwrap();
        worker.wait().unwrap();
        done
    };
    let lovage = {
        let server = RedisServer::start();
        let settings = "[worker]\nqueues = [\"celery\", \"other\"]\nconcurrency = 2\ntask_events = \"yes\"\n";
        let host = Daemon::host(&server.url(), "lovage@differential", &[guests::tour(), guests::handlers()], settings);
        host.push(guests::tour()).ok();
        host.push(guests::handlers()).ok();
        lose(&server);
        differential(&server)
    };
    let home = TempDir::with_prefix("lovage-test-").expect("a temporary directory");
    let [of_celery, of_lovage] = [("celery", celery), ("lovage", lovage)].map(|(name, done)| {
        let file = home.path().join(name);
        std::fs::write(&file, done).unwrap();
        file
    });
    let mut compare = script("differential.py");
    compare.arg("compare").args([of_celery, of_lovage]);
    let said = run(compare).ok();
    assert!(said.contains("36 cases"), "{said}");
}

/// Those of Celery's integration tests that any worker can pass (`tests/parity/suite.txt`) and that are chosen by pytest's `-k`.
/// `make celery-suite` runs all of them.
fn suite(chosen: &str) {
    let cache = TempDir::with_prefix("lovage-test-").expect("a temporary directory");
    artifacts::seed(cache.path(), &[guests::celery_suite()]).expect("a temporary directory");
    let mut suite = Command::new(root().join("scripts/celery-suite.sh"));
    suite
        .args(["-k", chosen])
        .env("LOVAGE", program())
        .env("SUITE_MODULE", guests::celery_suite())
        .env("LOVAGE__CACHE__DIR", cache.path());
    let ran = run(suite);
    let summary = ran.stdout.lines().last().unwrap_or_default();
    assert!(ran.code == Some(0) && summary.contains(" passed"), "{}\n{}", ran.stdout, ran.stderr);
    println!("{summary}");
}

/// Those that wait for minutes for what must not happen.
const SLOW: &str = "allow_error_cb_on_chord_header or test_nested_chord_header_link_error or test_retry";

#[test]
fn celerys_own_tests_of_tasks_and_remote_control_pass() {
    suite(&format!("not test_canvas and not test_beat and not ({SLOW}) or test_retry_"));
}

#[test]
fn celerys_own_tests_of_chains_and_groups_pass() {
    suite(&format!("test_canvas and not test_chord and not ({SLOW})"));
}

#[test]
fn celerys_own_tests_of_chords_pass() {
    suite(&format!("test_canvas and test_chord and not ({SLOW})"));
}
