//! Daemons that must not start, and whether they say why.

use std::fs;
use std::path::Path;

use lovage_tests::daemon::{Daemon, Process, Ran, command, run};
use lovage_tests::guests;

fn serve(store: &str, flags: &[&str]) -> Ran {
    run(command(["serve", "--store", store, "--listen", "127.0.0.1:0"].iter().chain(flags)))
}

#[test]
fn two_daemons_do_not_share_a_store() {
    let daemon = Daemon::start(&[guests::tour()], &[]);
    let told = serve(&daemon.store_url(), &[]).fails(1);
    assert!(told.contains("in use by another lovage daemon"), "{told}");
    assert_eq!(daemon.lovage(["task", "run", "tour.add", "2", "3"]).ok(), "5");
}

#[test]
fn a_port_has_one_daemon() {
    let daemon = Daemon::start(&[], &[]);
    let address = daemon.url().trim_start_matches("http://");
    let told = run(command(["serve", "--store", "memory:", "--listen", address])).fails(1);
    assert!(told.contains(address) && told.contains("--listen"), "{told}");
}

#[test]
fn wrong_settings_are_told_all_at_once() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "[worker]\nconcurency = 3\n[limits]\nmemory_bytes = \"much\"\n").unwrap();
    let told = serve("memory:", &["--config", file.path().to_str().unwrap()]).fails(2);
    assert!(told.contains("worker.concurency") && told.contains("worker.concurrency"), "{told}");
    assert!(told.contains("limits.memory_bytes"), "{told}");
    let told = serve("memory:", &["--listen", "0.0.0.0:0"]).fails(2);
    assert!(told.contains("cannot be used multiple times") || told.contains("loopback"), "{told}");
    let mut command = command(["serve", "--store", "memory:"]);
    command.env("LOVAGE__WORKER__LEASE_SECONDS", "1");
    let told = run(command).fails(2);
    assert!(told.contains("LOVAGE__WORKER__LEASE_SECONDS") && told.contains("from 2 to 3600"), "{told}");
}

#[test]
fn idle_connections_keep_nobody_out_where_files_are_few() {
    use std::io::{Read, Write};
    const FILES: u32 = 100;
    let mut daemon = Daemon::with_files(FILES);
    let address = daemon.url().trim_start_matches("http://").to_owned();
    let idle: Vec<_> = (0..2 * FILES).map(|_| std::net::TcpStream::connect(&address).unwrap()).collect();
    let mut next = std::net::TcpStream::connect(&address).unwrap();
    next.set_read_timeout(Some(lovage_tests::daemon::PATIENCE / 3)).unwrap();
    next.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut line = [0; 12];
    next.read_exact(&mut line).expect("it is let in");
    assert_eq!(&line, b"HTTP/1.1 200");
    drop(idle);
    daemon.process().wait_for("cannot accept a connection");
    assert!(daemon.process().said().contains("http.max_connections"), "{}", daemon.process().said());
}

/// A store that a daemon has closed: everything is in its database.
fn closed() -> Daemon {
    let mut daemon = Daemon::start(&[guests::tour()], &[]);
    daemon.lovage(["task", "run", "tour.add", "2", "3"]).ok();
    daemon.terminate();
    daemon
}

fn database(daemon: &Daemon) -> std::path::PathBuf {
    daemon.store().join("lovage.db")
}

fn change(path: &Path, at: usize, bytes: &[u8]) {
    let mut content = fs::read(path).unwrap();
    content[at..at + bytes.len()].copy_from_slice(bytes);
    fs::write(path, content).unwrap();
}

#[test]
fn a_store_of_a_later_version_is_left_alone() {
    let daemon = closed();
    // SQLite keeps a number for its users at this place of a database.
    change(&database(&daemon), 60, &999_u32.to_be_bytes());
    let before = fs::read(database(&daemon)).unwrap();
    let told = serve(&daemon.store_url(), &[]).fails(1);
    assert!(told.contains("999") && told.contains("use a newer lovage"), "{told}");
    assert!(fs::read(database(&daemon)).unwrap() == before);
}

#[test]
fn a_store_that_is_none_is_refused() {
    let daemon = closed();
    assert_eq!(run(command(["store", "check", "--store", &daemon.store_url()])).code, Some(0));
    change(&database(&daemon), 0, b"not a database at all");
    let told = serve(&daemon.store_url(), &[]).fails(1);
    assert!(told.contains("corrupt") || told.contains("not a database"), "{told}");
    assert_ne!(run(command(["store", "check", "--store", &daemon.store_url()])).code, Some(0));
}

#[test]
fn a_backup_of_a_store_in_use_can_be_opened() {
    let daemon = Daemon::start(&[guests::tour()], &[]);
    daemon.lovage(["task", "run", "tour.add", "2", "3", "--id", "kept"]).ok();
    let place = tempfile::tempdir().unwrap();
    let copy = place.path().join("copy");
    run(command(["store", "backup", "--store", &daemon.store_url(), copy.to_str().unwrap()])).ok();
    let store = format!("file:{}", copy.display());
    let mut process = Process::start(command(["serve", "--store", &store, "--listen", "127.0.0.1:0"]));
    let line = process.wait_for("api ");
    let mut result = command(["task", "result", "kept"]);
    result.env("LOVAGE_URL", line.split_whitespace().last().unwrap());
    assert_eq!(run(result).ok(), "5");
}
