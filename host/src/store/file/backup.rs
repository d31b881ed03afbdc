//! How is a store copied while it is in use?
//!
//! Invariant: what is left under the given name is a whole store, or nothing.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use super::components::{Components, digests};
use super::fault::Faults;
use super::schema::open_for_reading;
use super::{DATABASE, database_of};
use crate::store::{Result, StoreError};

/// Copies the store of `dir`, as it is at one moment, to `to`, which must not exist; returns the bytes written. The
/// copy can be opened as a store.
pub fn backup(dir: &Path, to: &Path) -> Result<u64> {
    let from = database_of(dir)?;
    make_new(to)?;
    let copied = copy(dir, &from, to);
    if copied.is_err() {
        // The error to tell is the first one; what cannot be removed is named by it too.
        let _ = fs::remove_dir_all(to);
    }
    copied
}

fn make_new(to: &Path) -> Result<()> {
    match DirBuilder::new().mode(0o700).create(to) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(StoreError::Failed(format!("{} exists: name a directory that does not", to.display())))
        }
        made => made.map_err(|error| Faults::io(to, &error)),
    }
}

fn copy(dir: &Path, from: &Path, to: &Path) -> Result<u64> {
    let database = to.join(DATABASE);
    copy_database(from, &database)?;
    let (old, new) = (Components::of(dir), Components::open(to)?);
    let faults = Faults::of(&database);
    let named = open_for_reading(&database, &faults)?;
    let digests = digests(&named).map_err(|error| faults.explain(&error))?;
    drop(named);
    let mut bytes = synced_length(&database)?;
    for digest in &digests {
        copy_component(&old.path(digest), &new.path(digest))?;
        bytes += synced_length(&new.path(digest))?;
    }
    for folder in [
        to.join("modules").as_path(),
        to,
        to.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new(".")),
    ] {
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| Faults::io(folder, &error))?;
    }
    Ok(bytes)
}

fn copy_database(from: &Path, to: &Path) -> Result<()> {
    let faults = Faults::of(from);
    let db = open_for_reading(from, &faults)?;
    let name = to.to_str().ok_or_else(|| StoreError::Failed(format!("{} is not UTF-8", to.display())))?;
    db.execute("VACUUM INTO ?1", [name]).map_err(|error| faults.explain(&error))?;
    Ok(())
}

fn copy_component(from: &Path, to: &Path) -> Result<()> {
    match fs::copy(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(StoreError::Failed(format!(
            "{} is missing: its module was removed during the backup, or `lovage store check` will name it",
            from.display()
        ))),
        copied => copied.map(drop).map_err(|error| Faults::io(to, &error)),
    }
}

fn synced_length(path: &Path) -> Result<u64> {
    let length = || -> io::Result<u64> {
        let file = File::open(path)?;
        file.sync_all()?;
        Ok(file.metadata()?.len())
    };
    length().map_err(|error| Faults::io(path, &error))
}
