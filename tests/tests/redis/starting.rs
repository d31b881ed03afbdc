//! What a daemon says of a server that it should not trust, or cannot use: what happened, and what to do.

use lovage_tests::daemon::{Process, command, run};
use lovage_tests::redis::RedisServer;
use rustix::process::Signal;
use tempfile::TempDir;

/// What is said when it does not start.
fn refused(store: &str) -> String {
    let home = TempDir::new().unwrap();
    let mut serve = command(["serve", "--store", store, "--listen", "127.0.0.1:0"]);
    serve.env("LOVAGE__CACHE__DIR", home.path());
    let ran = run(serve);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(!ran.stderr.contains("RedisError") && !ran.stderr.contains("panicked"), "{}", ran.stderr);
    ran.stderr
}

/// What is said when it does.
fn warned(store: &str) -> String {
    let home = TempDir::new().unwrap();
    let mut serve = command(["serve", "--store", store, "--listen", "127.0.0.1:0"]);
    serve.env("LOVAGE__CACHE__DIR", home.path());
    let mut process = Process::start(serve);
    process.wait_for("modules  ");
    process.signal(Signal::TERM);
    process.wait();
    process.said().to_owned()
}

fn says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in:\n{text}");
    }
}

#[test]
fn a_server_that_may_lose_tasks_is_refused_or_warned_of() {
    let evicting = RedisServer::with(&["--save", "", "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]);
    says(&refused(&evicting.url()), &["allkeys-lru", "CONFIG SET maxmemory-policy noeviction"]);
    let volatile = RedisServer::with(&["--save", "", "--maxmemory", "100mb", "--maxmemory-policy", "volatile-lru"]);
    says(&warned(&volatile.url()), &["volatile-lru", "noeviction", "CONFIG SET appendonly yes"]);
    let lazy = RedisServer::with(&["--save", "", "--appendonly", "yes", "--appendfsync", "everysec"]);
    says(&warned(&lazy.url()), &["CONFIG SET appendfsync always"]);
    let careful = RedisServer::start();
    let said = warned(&careful.url());
    assert!(!said.contains("WARN"), "{said}");
}

#[test]
fn a_server_that_cannot_be_used_is_told_with_its_cure() {
    let server = RedisServer::with(&["--save", "", "--requirepass", "hunter2"]);
    let at = format!("127.0.0.1:{}", server.port());
    says(&refused(&server.url()), &[&at, "password"]);
    let wrong = format!("redis://:wrong@{at}/0");
    let said = refused(&wrong);
    says(&said, &[&at, "password"]);
    assert!(!said.contains("wrong"), "{said}");
    says(&refused(&format!("redis://:hunter2@{at}/99")), &[&at, "no database of that number"]);
    says(&refused("redis://127.0.0.1:1/0"), &["127.0.0.1:1"]);
    says(&refused("redis://nowhere.invalid/0"), &["nowhere.invalid"]);
}

#[test]
fn a_second_host_of_a_name_is_refused() {
    let server = RedisServer::start();
    let home = TempDir::new().unwrap();
    let mut first = command(["serve", "--store", &server.url(), "--listen", "127.0.0.1:0", "--hostname", "a@test"]);
    first.env("LOVAGE__CACHE__DIR", home.path());
    let mut first = Process::start(first);
    first.wait_for("modules  ");
    let other = TempDir::new().unwrap();
    let mut second = command(["serve", "--store", &server.url(), "--listen", "127.0.0.1:0", "--hostname", "a@test"]);
    second.env("LOVAGE__CACHE__DIR", other.path());
    says(&run(second).fails(1), &["a@test", "worker.hostname"]);
}
