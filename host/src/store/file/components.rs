//! Where are the bytes of modules? In files that are named by their digest.
//!
//! Invariant: a file that has its final name is whole and on the disk.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use lovage_model::Digest;
use rusqlite::Connection;

use super::fault::Faults;
use crate::store::{Result, StoreError};

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

    /// Makes the folder if it is not there.
    pub(super) fn open(dir: &Path) -> Result<Self> {
        let it = Self::of(dir);
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&it.folder);
        made.map_err(|error| Faults::io(&it.folder, &error))?;
        Ok(it)
    }

    pub(super) fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(format!("{digest}.wasm"))
    }

    /// Writes a component, so that it survives a crash. One that is there is written anew, which heals a spoilt file.
    pub(super) fn write(&self, digest: &Digest, component: &Bytes) -> Result<()> {
        let path = self.path(digest);
        let write = || {
            let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
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

    /// Removes what a crash left between a file and its row.
    pub(super) fn sweep(&self, db: &Connection, faults: &Faults) -> Result<()> {
        let used = digests(db).map_err(|error| faults.explain(&error))?;
        let used: HashSet<PathBuf> = used.iter().map(|digest| self.path(digest)).collect();
        let entries = fs::read_dir(&self.folder).map_err(|error| Faults::io(&self.folder, &error))?;
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            if !used.contains(&path) {
                fs::remove_file(&path).map_err(|error| Faults::io(&path, &error))?;
            }
        }
        Ok(())
    }
}

/// Every component that a row names.
pub(super) fn digests(db: &Connection) -> rusqlite::Result<Vec<Digest>> {
    let mut statement = db.prepare("SELECT DISTINCT digest FROM module ORDER BY digest")?;
    let texts = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(texts.into_iter().filter_map(|text| Digest::try_from(text).ok()).collect())
}
