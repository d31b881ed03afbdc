//! Modules: pushed, refused, rolled back, removed.

use std::fs;

use lovage_tests::components::Written;
use lovage_tests::daemon::Daemon;
use lovage_tests::guests;

#[test]
fn the_active_version_is_what_runs() {
    let daemon = Daemon::start(&[], &[]);
    let files = tempfile::tempdir().unwrap();
    let push = |digit: u8, more: &[&str]| {
        let file = files.path().join(format!("{digit}.wasm"));
        fs::write(&file, Written::returning(digit)).unwrap();
        daemon.lovage(["module", "push", "digits", file.to_str().unwrap()].iter().chain(more))
    };
    let run = || daemon.lovage(["task", "run", "it.runs"]).ok();
    assert!(push(1, &["--dry-run"]).stderr.contains("nothing was stored"));
    daemon.lovage(["task", "run", "it.runs"]).fails(3);

    push(1, &[]).ok();
    assert_eq!(run(), "1");
    push(2, &[]).ok();
    assert_eq!(run(), "2");
    assert!(push(2, &[]).stderr.contains("unchanged"));
    daemon.lovage(["module", "rollback", "digits"]).ok();
    assert_eq!(run(), "1");
    let told = daemon.lovage(["module", "rollback", "digits"]).fails(2);
    assert!(told.contains("no_older_version"), "{told}");

    let told = daemon.lovage(["module", "push", "others", files.path().join("1.wasm").to_str().unwrap()]).fails(2);
    assert!(told.contains("task_name_taken") && told.contains("digits"), "{told}");
    daemon.lovage(["module", "rm", "digits"]).ok();
    daemon.lovage(["task", "run", "it.runs"]).fails(3);
    assert_eq!(daemon.lovage(["module", "list", "-o", "json"]).ok(), "[]");
}

#[test]
fn a_push_of_what_is_active_restores_it() {
    let files = tempfile::tempdir().unwrap();
    let (store, file) = (files.path().join("store"), files.path().join("1.wasm"));
    let daemon = Daemon::host(&format!("file:{}", store.display()), "lovage@here", &[], "");
    fs::write(&file, Written::returning(1)).unwrap();
    let push = || daemon.lovage(["module", "push", "digits", file.to_str().unwrap()]);
    push().ok();
    let components = fs::read_dir(store.join("modules")).unwrap();
    let paths: Vec<_> = components.map(|entry| entry.unwrap().path()).collect();
    let [component] = &paths[..] else { panic!("{paths:?}") };
    fs::write(component, Written::returning(2)).unwrap();
    assert!(push().stderr.contains("restored"));
    assert_eq!(fs::read(component).unwrap(), fs::read(&file).unwrap());
    fs::remove_file(component).unwrap();
    assert!(push().stderr.contains("restored"));
    assert!(push().stderr.contains("unchanged"));
}

#[test]
fn what_is_refused_says_why_and_leaves_nothing() {
    let daemon = Daemon::configured(&[], "[limits]\nmodule_bytes = 65536\n");
    let files = tempfile::tempdir().unwrap();
    let native = files.path().join("native.wasm");
    fs::write(&native, b"\x7fELF...").unwrap();
    for (file, says) in [(guests::tour(), "limits.module_bytes"), (native.as_path(), "not_a_component")] {
        let told = daemon.push(file).fails(2);
        assert!(told.contains(says), "{told}");
    }
    assert_eq!(daemon.lovage(["module", "list", "-o", "json"]).ok(), "[]");
    let cache = daemon.store().join("cache");
    let left = |directory| fs::read_dir(directory).unwrap().count();
    assert_eq!((left(cache.join("code")), left(cache)), (0, 2), "the key, and no code");
}

#[test]
fn modules_outlive_the_daemon_and_are_compiled_again_if_need_be() {
    let mut daemon = Daemon::start(&[], &[]);
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("digits.wasm");
    fs::write(&file, Written::returning(7)).unwrap();
    daemon.push(&file).ok();
    daemon.terminate();
    fs::remove_dir_all(daemon.store().join("cache")).unwrap();
    daemon.restart();
    assert_eq!(daemon.lovage(["task", "run", "it.runs"]).ok(), "7");
    assert_eq!(daemon.lovage(["task", "run", "it.runs", "--fuel", "100000"]).ok(), "7");
}
