//! An executor that lies about a component.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use lovage::sandbox::{Compiler, Executors, Sandbox, Settings};
use lovage_tests::artifacts::digest_of;
use lovage_tests::daemon;
use serde_json::{Value, json};

use crate::lab::MEMORY;
use crate::skeleton::Holes;

/// A word as it passes the door: its length, then its JSON.
fn frame(word: &Value) -> Vec<u8> {
    let text = word.to_string();
    let length = u32::try_from(text.len()).expect("a short one").to_le_bytes();
    [&length[..], text.as_bytes()].concat()
}

#[tokio::test]
async fn one_that_refuses_a_component_is_not_believed() {
    let (place, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let component = Holes::default().bytes();
    let digest = digest_of(&component);
    let ready = json!({"Ready": {"allocator": "Pool", "walls": {"landlock": true, "seccomp": true}}});
    let refusal = json!({"code": "too_demanding", "message": "a lie"});
    let lies = ["Epoch", "Fuel"]
        .map(|flavour| frame(&json!({"Loaded": {"digest": digest, "flavour": flavour, "refusal": refusal}})));
    fs::write(place.path().join("ready"), frame(&ready)).unwrap();
    fs::write(place.path().join("lies"), lies.concat()).unwrap();
    let (here, real) = (place.path().display(), daemon::program());
    // The first that is started lies; all others are what they should be.
    let script = format!(
        "#!/bin/sh\nif mkdir '{here}/lied' 2>/dev/null; then\n  cat '{here}/ready' >&0\n  while cat '{here}/lies' >&0; do sleep 0.1; \
         done\nfi\nexec '{}' executor-child\n",
        real.display()
    );
    let program = place.path().join("executor");
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    let compiler = Compiler::Child { program: real, memory_bytes: 768 << 20, time: Duration::from_secs(120) };
    let executors = Some(Executors { program, count: 1, granted: Vec::new() });
    let cache = cache.path().to_owned();
    let settings = Settings { concurrency: 2, memory_bytes: MEMORY, cache, compiler, executors };
    let sandbox = Sandbox::new(settings).expect("a sandbox");
    let admitted = sandbox.admit(&digest, &component).await;
    assert_eq!(admitted.map(|tasks| tasks.len()), Ok(1));
    assert!(place.path().join("lied").exists(), "one has lied");
}
