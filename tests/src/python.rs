//! Python with Celery, for tests that hold both against each other.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::daemon::run;

/// The project's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

/// The interpreter of an environment that has Celery; the first who asks installs it.
pub fn python() -> PathBuf {
    run(Command::new(root().join("scripts/python.sh"))).ok().into()
}
