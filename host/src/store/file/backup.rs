//! How is a store copied while it is in use?
//!
//! Invariant: what is left under the given name is a whole store, or nothing. Until it is whole and on the disk it is in a hidden
//! directory beside that name, which a crash may leave, and the next copy to the same place takes away.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::components::{Components, digests};
use super::fault::Faults;
use super::schema::open_for_reading;
use super::{DATABASE, database_of, private};
use crate::store::{Result, StoreError};

/// Copies the store of `dir`, as it is at one moment, to `to`, which must not exist; returns the bytes written. The
/// copy can be opened as a store.
pub fn backup(dir: &Path, to: &Path) -> Result<u64> {
    let from = database_of(dir)?;
    let partial = partial_of(to)?;
    let _held = make_anew(&partial)?;
    let copied = must_not_exist(to).and_then(|()| copy(dir, &from, &partial)).and_then(|bytes| {
        fs::rename(&partial, to).map_err(|error| Faults::io(to, &error))?;
        sync(folder_of(to))?;
        Ok(bytes)
    });
    if copied.is_err() {
        // The error to tell is the first one; what cannot be removed is in the way of the next copy, which names it.
        let _ = fs::remove_dir_all(&partial);
    }
    copied
}

/// Where a copy is until it is whole.
fn partial_of(to: &Path) -> Result<PathBuf> {
    let name = to.file_name().ok_or_else(|| StoreError::Failed(format!("{} names no directory", to.display())))?;
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(".partial");
    Ok(to.with_file_name(hidden))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn must_not_exist(to: &Path) -> Result<()> {
    match fs::symlink_metadata(to) {
        Ok(_) => Err(StoreError::Failed(format!("{} exists: name a directory that does not", to.display()))),
        Err(_) => Ok(()),
    }
}

/// Makes an empty directory in the place of what an earlier copy has left, and holds it as long as what is returned lives.
fn make_anew(partial: &Path) -> Result<File> {
    let make = || -> io::Result<Option<File>> {
        let left = left_at(partial)?;
        if let Some(left) = &left
            && !hold(left)?
        {
            return Ok(None);
        }
        match fs::remove_dir_all(partial) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => DirBuilder::new().mode(0o700).create(partial)?,
        }
        let made = File::open(partial)?;
        Ok(hold(&made)?.then_some(made))
    };
    let busy = || StoreError::Failed(format!("{} is being written by another backup", partial.display()));
    make().map_err(|error| Faults::io(partial, &error))?.ok_or_else(busy)
}

/// A directory that is there, and no link to one.
fn left_at(partial: &Path) -> io::Result<Option<File>> {
    match fs::symlink_metadata(partial) {
        Ok(found) if found.is_dir() => File::open(partial).map(Some),
        _ => Ok(None),
    }
}

/// Whether nobody else has it; then nobody else gets it.
fn hold(directory: &File) -> io::Result<bool> {
    match directory.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
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
    sync(&to.join("modules"))?;
    sync(to)?;
    Ok(bytes)
}

fn copy_database(from: &Path, to: &Path) -> Result<()> {
    let faults = Faults::of(from);
    let db = open_for_reading(from, &faults)?;
    let name = to.to_str().ok_or_else(|| StoreError::Failed(format!("{} is not UTF-8", to.display())))?;
    // SQLite writes into a file that is there, if it is empty.
    private::create(to).map_err(|error| Faults::io(to, &error))?;
    db.execute("VACUUM INTO ?1", [name]).map_err(|error| faults.explain(&error))?;
    Ok(())
}

fn copy_component(from: &Path, to: &Path) -> Result<()> {
    match File::open(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(StoreError::Failed(format!(
            "{} is missing: its module was removed during the backup, or `lovage store check` will name it",
            from.display()
        ))),
        Err(error) => Err(Faults::io(from, &error)),
        Ok(mut component) => private::create(to)
            .and_then(|mut copy| io::copy(&mut component, &mut copy))
            .map(drop)
            .map_err(|error| Faults::io(to, &error)),
    }
}

fn sync(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| Faults::io(folder, &error))
}

fn synced_length(path: &Path) -> Result<u64> {
    let length = || -> io::Result<u64> {
        let file = File::open(path)?;
        file.sync_all()?;
        Ok(file.metadata()?.len())
    };
    length().map_err(|error| Faults::io(path, &error))
}
