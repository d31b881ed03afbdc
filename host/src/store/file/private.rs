//! Who may read a store? Its owner: it has secrets, arguments and results.
//!
//! A directory of our own making is closed to others. One that was there before may be open, so each file is closed too, before
//! SQLite opens it: what SQLite puts beside a database has that one's mode. Who could open `lock` could hold it.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// What others than the owner may do.
const OTHERS: u32 = 0o077;

/// Opens a file for writing, which is made if it is not there; it is for its owner only.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
    keep(path);
    Ok(file)
}

/// Makes a file that must not be there; it is for its owner only.
pub(super) fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)
}

/// Takes a file or directory that is there from all but its owner.
pub(super) fn keep(path: &Path) {
    let Some(mode) = open_to_others(path) else { return };
    if let Err(error) = fs::set_permissions(path, Permissions::from_mode(mode & !OTHERS)) {
        tracing::warn!(%error, "others may read {}, and this cannot be changed", path.display());
    }
}

/// Warns of a directory that others may look into.
pub(super) fn warn_of(dir: &Path) {
    if open_to_others(dir).is_some() {
        let dir = dir.display();
        tracing::warn!(
            "{dir} is open to other users than its owner: `chmod 700 {dir}` closes it; the store's files are closed"
        );
    }
}

/// The mode of what others have rights to.
fn open_to_others(path: &Path) -> Option<u32> {
    let mode = fs::symlink_metadata(path).ok().filter(|found| !found.is_symlink())?.permissions().mode() & 0o7777;
    Some(mode).filter(|mode| mode & OTHERS != 0)
}
