//! Where are the bytes of modules? In files that are named by their digest.
//!
//! Invariants:
//! - A file that has its final name is whole and on the disk.
//! - What we did not name is not ours to remove.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, DirEntry, File};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use lovage_model::Digest;
use rusqlite::Connection;

use super::fault::Faults;
use super::private;
use crate::store::{Result, StoreError};

/// What the name of a file begins with that is being written; six letters or digits follow.
const HALF: &str = ".tmp";

/// The folder of components.
#[derive(Debug, Clone)]
pub(super) struct Components {
    folder: PathBuf,
}

impl Components {
    /// Where they are in a store's directory; nothing is made.
    pub(super) fn of(dir: &Path) -> Self {
        Self { folder: dir.join("modules") }
    }

    /// Makes the folder if it is not there; it is for its owner only.
    pub(super) fn open(dir: &Path) -> Result<Self> {
        let it = Self::of(dir);
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&it.folder);
        made.map_err(|error| Faults::io(&it.folder, &error))?;
        private::keep(&it.folder);
        Ok(it)
    }

    pub(super) fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(format!("{digest}.wasm"))
    }

    /// Writes a component, so that it survives a crash. One that is there is written anew, which heals a spoilt file.
    pub(super) fn write(&self, digest: &Digest, component: &Bytes) -> Result<()> {
        let path = self.path(digest);
        let write = || {
            let mut file = tempfile::Builder::new().prefix(HALF).tempfile_in(&self.folder)?;
            file.write_all(component)?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            File::open(&self.folder)?.sync_all()
        };
        write().map_err(|error| Faults::io(&path, &error))
    }

    /// The bytes of a component that a row names.
    pub(super) fn read(&self, digest: &Digest) -> Result<Bytes> {
        let path = self.path(digest);
        match fs::read(&path) {
            Ok(bytes) => Ok(bytes.into()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(StoreError::Corrupt(format!("{} is missing: push the module again", path.display())))
            }
            Err(error) => Err(Faults::io(&path, &error)),
        }
    }

    pub(super) fn remove(&self, digest: &Digest) -> Result<()> {
        let path = self.path(digest);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Faults::io(&path, &error)),
            _ => Ok(()),
        }
    }

    /// Removes what a crash left between a file and its row. A database that is new has left nothing: what is there is of
    /// one that was here before, and may come back.
    pub(super) fn sweep(&self, db: &Connection, faults: &Faults) -> Result<()> {
        let used = digests(db).map_err(|error| faults.explain(&error))?;
        let missing = self.missing(&used);
        if let Some(first) = missing.first() {
            let (count, all, first) = (missing.len(), used.len(), first.display());
            tracing::warn!(
                "{count} of {all} components are missing, such as {first}: tasks of their modules wait until these are pushed \
                 again; `lovage store check` names them all"
            );
        }
        let used: HashSet<PathBuf> = used.iter().map(|digest| self.path(digest)).collect();
        let left: Vec<PathBuf> = self.ours()?.into_iter().filter(|path| !used.contains(path)).collect();
        if !left.is_empty() && is_new(db).map_err(|error| faults.explain(&error))? {
            let (count, folder) = (left.len(), self.folder.display());
            tracing::warn!(
                "{folder} has {count} components of a database that is not here: put it back before the next start, which \
                 removes them"
            );
            return Ok(());
        }
        left.iter().try_for_each(|path| fs::remove_file(path).map_err(|error| Faults::io(path, &error)))
    }

    /// The files of components that are not there.
    pub(super) fn missing(&self, digests: &[Digest]) -> Vec<PathBuf> {
        digests.iter().map(|digest| self.path(digest)).filter(|path| !path.is_file()).collect()
    }

    /// The files that were written here by us, whole or not.
    fn ours(&self) -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(&self.folder).map_err(|error| Faults::io(&self.folder, &error))?;
        let is_file = |entry: &DirEntry| entry.file_type().is_ok_and(|kind| kind.is_file());
        let ours =
            entries.filter_map(std::io::Result::ok).filter(|entry| is_ours(&entry.file_name()) && is_file(entry));
        Ok(ours.map(|entry| entry.path()).collect())
    }
}

/// Whether we give files this name: a digest's, or that of one that is being written.
fn is_ours(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    let is_whole = name.strip_suffix(".wasm").is_some_and(|digest| Digest::try_from(digest.to_owned()).is_ok());
    let is_half = |rest: &str| rest.len() == 6 && rest.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_whole || name.strip_prefix(HALF).is_some_and(is_half)
}

/// Whether the database is open for the first time.
fn is_new(db: &Connection) -> rusqlite::Result<bool> {
    db.query_row("SELECT opens <= 1 FROM store", [], |row| row.get(0))
}

/// Every component that a row names.
pub(super) fn digests(db: &Connection) -> rusqlite::Result<Vec<Digest>> {
    let mut statement = db.prepare("SELECT DISTINCT digest FROM module ORDER BY digest")?;
    let texts = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(texts.into_iter().filter_map(|text| Digest::try_from(text).ok()).collect())
}
