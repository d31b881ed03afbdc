//! The example of `docs/beside-celery.md`, run as people run it: a real Celery worker, its client, and Lovage on one Redis.

use std::fs;
use std::path::Path;
use std::process::Command;

use lovage_tests::{artifacts, daemon, guests};
use tempfile::TempDir;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

#[test]
fn a_celery_client_calls_celery_and_lovage_and_chains_them() {
    let cache = TempDir::with_prefix("lovage-test-").expect("a temporary directory");
    artifacts::seed(cache.path(), &[guests::thumbnail()]).expect("a temporary directory");
    let mut example = Command::new(root().join("examples/beside-celery/run.sh"));
    example
        .env("LOVAGE", daemon::program())
        .env("MODULES", guests::thumbnail().parent().expect("its directory"))
        .env("LOVAGE__CACHE__DIR", cache.path())
        .env("NO_COLOR", "1");
    let said = daemon::run(example).ok();
    let results: Vec<&str> = said.lines().filter_map(|line| Some(line.split_once(": ")?.1.trim())).collect();
    let expected = ["238740 characters of base64", "16 x 10", "8 5", "12", "ValueError", "'thumbnail.unknown'"];
    assert_eq!(results, expected, "{said}");
}

#[test]
fn the_page_says_what_the_example_does() {
    let [page, application] = ["docs/beside-celery.md", "examples/beside-celery/gallery.py"]
        .map(|path| fs::read_to_string(root().join(path)).expect("it is there"));
    let of_the_application: Vec<&str> = page.lines().filter(|line| line.starts_with("app.conf.")).collect();
    assert_eq!(of_the_application.len(), 1, "{of_the_application:?}");
    assert!(application.contains(of_the_application[0]), "{}", of_the_application[0]);
}
