//! Builds the task modules that the tests run, as components, into a target directory of their own (Cargo holds the lock
//! of the usual one while this runs), and tells the tests where each is.

use std::path::{Path, PathBuf};
use std::process::Command;

const TASKS: [&str; 4] = ["digest", "thumbnail", "tour", "wordcount"];
const GUESTS: [&str; 11] = [
    "celery_suite",
    "duplicate",
    "empty",
    "handlers",
    "liar",
    "load",
    "meddling",
    "mumbling",
    "reaching",
    "restless",
    "walls",
];

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned();
    for watched in
        ["guest-sdk/src", "guest-sdk/macros/src", "guest-sdk/wit", "model/src", "tasks", "tests/guests", ".cargo"]
    {
        println!("cargo:rerun-if-changed={}", root.join(watched).display());
    }
    let target = root.join("target/guests");
    build(&root, &target, &["-p", "lovage-digest", "-p", "thumbnail", "-p", "tour", "-p", "wordcount"]);
    build(&root, &target, &["-p", "lovage-test-guests", "--examples"]);
    println!("cargo:rustc-env=GUEST_ARTIFACTS={}", target.join("artifacts").display());
    let made = target.join("wasm32-wasip2/guest");
    for task in TASKS {
        tell(task, made.join(format!("{task}.wasm")));
    }
    for guest in GUESTS {
        tell(guest, made.join(format!("examples/{guest}.wasm")));
    }
}

fn build(root: &Path, target: &Path, what: &[&str]) {
    let mut cargo = Command::new(std::env::var_os("CARGO").expect("cargo runs this"));
    cargo
        .args(["build", "--quiet", "--locked", "--profile", "guest", "--target", "wasm32-wasip2", "--target-dir"])
        .arg(target);
    cargo.args(what).current_dir(root);
    // What Cargo set for the host's build does not hold for the guests'.
    for name in ["CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"] {
        cargo.env_remove(name);
    }
    let built = cargo.status().expect("cargo starts").success();
    assert!(built, "the guests do not build; is the target there? rustup target add wasm32-wasip2");
}

fn tell(name: &str, path: PathBuf) {
    assert!(path.is_file(), "{} was not built", path.display());
    println!("cargo:rustc-env=GUEST_{}={}", name.to_uppercase(), path.display());
}
