//! Compiled code on disk: made once, by a child process, and loaded by mapping the file.
//!
//! Loading an artifact runs it as machine code, so only what this daemon made is ever loaded: each file has a MAC beside
//! it, with a key that lives in the cache directory and is readable by the daemon's user only. Code has a directory of its own, which
//! is all of the cache that the processes see that run it. What does not verify, or was
//! made by another engine, is as if it were not there.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use lovage_model::Digest;
use sha2::Sha256;

use super::engine::Flavour;

const KEY_BYTES: usize = 32;
/// How the names of places for compilations begin.
const WORKPLACE: &str = "compile-";
/// Nobody compiles for so long.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

/// The cache of artifacts.
#[derive(Debug)]
pub(super) struct Artifacts {
    directory: PathBuf,
    key: [u8; KEY_BYTES],
}

impl Artifacts {
    /// Opens the cache, with a new key if there is none.
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(code_directory(directory))?;
        sweep(directory);
        let path = directory.join("key");
        let key = match read_key(&path)? {
            Some(key) => key,
            None => write_key(&path)?,
        };
        Ok(Self { directory: directory.to_owned(), key })
    }

    /// Where all artifacts are, and nothing else.
    pub(super) fn code(&self) -> PathBuf {
        code_directory(&self.directory)
    }

    /// Where the artifact of a component is, or will be.
    pub(super) fn path(&self, digest: &Digest, flavour: Flavour, compatibility: &str) -> PathBuf {
        self.code().join(format!("{digest}-{}-{compatibility}.cwasm", flavour.name()))
    }

    /// A place of its own for a compilation, on the same file system.
    pub(super) fn workplace(&self) -> io::Result<tempfile::TempDir> {
        tempfile::Builder::new().prefix(WORKPLACE).tempdir_in(&self.directory)
    }

    /// Takes a file that the compiler made into the cache.
    pub(super) fn adopt(&self, made: &Path, path: &Path) -> io::Result<()> {
        let mut mac_file = tempfile::NamedTempFile::new_in(&self.directory)?;
        mac_file.write_all(&self.mac(path, made)?.finalize().into_bytes())?;
        mac_file.persist(mac_path(path))?;
        fs::rename(made, path)
    }

    /// Whether the artifact is there and is ours.
    pub(super) fn verify(&self, path: &Path) -> io::Result<bool> {
        let Some(expected) = read_if_there(&mac_path(path))? else { return Ok(false) };
        match self.mac(path, path) {
            Ok(mac) => Ok(mac.verify_slice(&expected).is_ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Forgets an artifact.
    pub(super) fn discard(&self, path: &Path) -> io::Result<()> {
        for path in [path.to_owned(), mac_path(path)] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Covers the file's name as well: digest, flavour and engine cannot be swapped.
    fn mac(&self, path: &Path, content: &Path) -> io::Result<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("a MAC takes a key of any length");
        mac.update(path.file_name().unwrap_or_default().as_encoded_bytes());
        let mut file = fs::File::open(content)?;
        let mut buffer = vec![0; 64 << 10];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(mac),
                n => mac.update(&buffer[..n]),
            }
        }
    }
}

/// Removes what compilations have left whose process was killed. One that cannot be removed harms nobody.
fn sweep(cache: &Path) {
    let Ok(entries) = fs::read_dir(cache) else { return };
    for entry in entries.flatten() {
        let is_old = || entry.metadata().and_then(|of| of.modified()).ok()?.elapsed().ok().map(|age| age > ABANDONED);
        if entry.file_name().as_encoded_bytes().starts_with(WORKPLACE.as_bytes()) && is_old() == Some(true) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn code_directory(cache: &Path) -> PathBuf {
    cache.join("code")
}

fn mac_path(path: &Path) -> PathBuf {
    path.with_extension("mac")
}

fn read_if_there(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn read_key(path: &Path) -> io::Result<Option<[u8; KEY_BYTES]>> {
    // A key cut short by a crash is no key; what it signed is compiled again.
    Ok(read_if_there(path)?.and_then(|bytes| bytes.try_into().ok()))
}

fn write_key(path: &Path) -> io::Result<[u8; KEY_BYTES]> {
    let mut key = [0; KEY_BYTES];
    fs::File::open("/dev/urandom")?.read_exact(&mut key)?;
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(&key)?;
    file.sync_all()?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_killed_compilations_left_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let artifacts = Artifacts::open(directory.path()).unwrap();
        let (old, new) = (artifacts.workplace().unwrap().keep(), artifacts.workplace().unwrap().keep());
        fs::write(old.join("component.wasm"), "a").unwrap();
        let then = std::time::SystemTime::now() - 2 * ABANDONED;
        fs::File::open(&old).unwrap().set_modified(then).unwrap();
        Artifacts::open(directory.path()).unwrap();
        assert!(!old.exists() && new.exists(), "somebody may compile there");
    }

    #[test]
    fn only_what_was_adopted_unchanged_verifies() {
        let directory = tempfile::tempdir().unwrap();
        let artifacts = Artifacts::open(directory.path()).unwrap();
        let digest = Digest::from_bytes(&[7; 32]);
        let path = artifacts.path(&digest, Flavour::Epoch, "0");
        assert!(!artifacts.verify(&path).unwrap());

        let made = directory.path().join("made");
        fs::write(&made, b"code").unwrap();
        artifacts.adopt(&made, &path).unwrap();
        assert!(Artifacts::open(directory.path()).unwrap().verify(&path).unwrap(), "after a restart");

        let other = artifacts.path(&digest, Flavour::Fuel, "0");
        fs::copy(&path, &other).unwrap();
        fs::copy(mac_path(&path), mac_path(&other)).unwrap();
        assert!(!artifacts.verify(&other).unwrap(), "under another name");

        fs::write(&path, b"evil").unwrap();
        assert!(!artifacts.verify(&path).unwrap(), "after a change");
        artifacts.discard(&path).unwrap();
        assert!(!path.exists());
    }
}
