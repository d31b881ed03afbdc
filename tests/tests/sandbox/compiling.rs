//! Compiled once, believed only if it is ours, and never at the daemon's expense.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use lovage::sandbox::{Compiler, Refusal, Sandbox, Settings};
use lovage_tests::artifacts::{self, digest_of};
use lovage_tests::components::Written;
use lovage_tests::{daemon, guests};

use crate::lab;

fn sandbox(cache: &Path, compiler: Compiler) -> Sandbox {
    Sandbox::new(Settings { concurrency: 2, ..lab::settings(cache, compiler) }).unwrap()
}

/// A compiler that cannot even be started.
fn none() -> Compiler {
    child("/nowhere/lovage".into(), 1 << 30, 60)
}

fn child(program: PathBuf, memory_bytes: u64, seconds: u64) -> Compiler {
    Compiler::Child { program, memory_bytes, time: Duration::from_secs(seconds) }
}

async fn admit(sandbox: &Sandbox, component: &[u8]) -> Result<(), Refusal> {
    sandbox.admit(&digest_of(component), component).await.map(drop)
}

/// A cache with the tour in it.
fn seeded() -> tempfile::TempDir {
    let cache = tempfile::tempdir().unwrap();
    artifacts::seed(cache.path(), &[guests::tour()]).unwrap();
    cache
}

fn tour() -> Vec<u8> {
    fs::read(guests::tour()).unwrap()
}

/// All that is in a cache, by its path there; the directory of code is there always.
fn files(cache: &Path) -> Vec<String> {
    let code = cache.join("code");
    let entries = fs::read_dir(cache).unwrap().chain(fs::read_dir(&code).unwrap()).map(|entry| entry.unwrap().path());
    let inside = |path: PathBuf| path.strip_prefix(cache).unwrap().to_string_lossy().into_owned();
    let mut names: Vec<_> = entries.filter(|path| *path != code).map(inside).collect();
    names.sort();
    names
}

fn artifact(cache: &Path, flavour: &str) -> PathBuf {
    let names = files(cache);
    let name = names.iter().find(|name| name.contains(flavour) && name.ends_with(".cwasm"));
    cache.join(name.unwrap_or_else(|| panic!("{flavour} in {names:?}")))
}

#[tokio::test]
async fn what_was_compiled_is_not_compiled_again() {
    let cache = seeded();
    let sandbox = sandbox(cache.path(), none());
    admit(&sandbox, &tour()).await.unwrap();
    assert!(sandbox.load_cached(&digest_of(&tour()), true).await.unwrap(), "for runs with fuel, too");
}

#[tokio::test]
async fn what_was_not_compiled_needs_a_compiler() {
    let cache = tempfile::tempdir().unwrap();
    let refusal = admit(&sandbox(cache.path(), none()), &tour()).await.unwrap_err();
    assert_eq!(refusal.code, "compiler_unavailable", "{refusal}");
    assert_eq!(files(cache.path()), ["key"]);
}

#[tokio::test]
async fn a_changed_artifact_is_not_run_but_made_again() {
    for flavour in ["epoch", "fuel"] {
        let cache = seeded();
        let path = artifact(cache.path(), flavour);
        let original = fs::read(&path).unwrap();
        let mut changed = original.clone();
        changed[original.len() / 2] ^= 1;
        fs::write(&path, &changed).unwrap();

        let unable = sandbox(cache.path(), none());
        let found = unable.load_cached(&digest_of(&tour()), flavour == "fuel").await.unwrap();
        assert!(!found, "{flavour}: it is as if it were not there");

        let able = sandbox(cache.path(), Compiler::InProcess);
        assert!(!able.load_cached(&digest_of(&tour()), flavour == "fuel").await.unwrap());
        able.prepare(&digest_of(&tour()), &tour()).await.unwrap();
        assert!(able.load_cached(&digest_of(&tour()), flavour == "fuel").await.unwrap());
        assert!(fs::read(&path).unwrap() != changed, "{flavour}: another one took its place");
    }
}

#[tokio::test]
async fn an_artifact_signed_by_somebody_else_is_not_run() {
    let cache = seeded();
    fs::write(cache.path().join("key"), [7; 32]).unwrap();
    let sandbox = sandbox(cache.path(), none());
    assert!(!sandbox.load_cached(&digest_of(&tour()), false).await.unwrap());
}

#[tokio::test]
async fn a_child_compiles_as_well() {
    let cache = tempfile::tempdir().unwrap();
    let component = Written::default().bytes();
    admit(&sandbox(cache.path(), child(daemon::program(), 2 << 30, 60)), &component).await.unwrap();
    assert_eq!(files(cache.path()).iter().filter(|name| name.ends_with(".cwasm")).count(), 2);
}

/// Thousands of functions: seconds of work.
fn giant() -> Vec<u8> {
    let step = "(local.set 0 (i32.add (i32.mul (local.get 0) (i32.const 7)) (i32.load (local.get 0))))".repeat(200);
    let function = format!("(func (param i32) (result i32) {step} (local.get 0))");
    Written { body: &function.repeat(3000), ..Written::default() }.bytes()
}

/// The shell leaves it a pipe, which ends for us when nobody has the other end any more.
#[test]
fn the_compiler_has_nothing_of_what_was_open_before() {
    let place = tempfile::tempdir().unwrap();
    let component = place.path().join("component.wasm");
    fs::write(&component, giant()).unwrap();
    let mut compiler = Command::new("sh")
        .args(["-c", "exec \"$@\" 9>&2 2>/dev/null", "sh"])
        .arg(daemon::program())
        .arg("compile-child")
        .arg(&component)
        .arg(place.path())
        .args(["2147483648", "60"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    compiler.stderr.take().unwrap().read_to_end(&mut Vec::new()).unwrap();
    assert!(compiler.try_wait().unwrap().is_none(), "it had the pipe until it ended");
    compiler.kill().unwrap();
    compiler.wait().unwrap();
}

#[tokio::test]
async fn who_breaks_the_compiler_breaks_nothing_else() {
    let giant = giant();
    let invalid = b"\0asm\x0d\0\x01\0nonsense".to_vec();
    for (component, memory_bytes, seconds, code, says) in [
        (&giant, 2 << 30, 1, "compile_too_long", "compile.time_limit_seconds"),
        (&giant, 96 << 20, 60, "compile_failed", "compile.memory_bytes"),
        (&invalid, 2 << 30, 60, "invalid_component", "not a valid component"),
    ] {
        let cache = tempfile::tempdir().unwrap();
        let sandbox = sandbox(cache.path(), child(daemon::program(), memory_bytes, seconds));
        let refusal = admit(&sandbox, component).await.unwrap_err();
        assert_eq!(refusal.code, code, "{refusal}");
        assert!(refusal.message.contains(says), "{refusal}");
        assert_eq!(files(cache.path()), ["key"], "{code}");
    }
}
