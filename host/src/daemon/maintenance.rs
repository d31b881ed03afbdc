//! Looking after stores at rest, or in use: checks and backups.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::config::{self, StoreUrl};
use crate::store::file::{self, CheckReport};

/// Reads a whole store and says what is wrong with it; works while a daemon has it open.
pub fn store_check(url: &str) -> anyhow::Result<CheckReport> {
    let directory = directory(url)?;
    file::check(&directory).with_context(|| format!("the store in {} cannot be checked", directory.display()))
}

/// Copies a store, while it is in use if need be; returns the size of the copy in bytes.
pub fn store_backup(url: &str, to: &Path) -> anyhow::Result<u64> {
    let directory = directory(url)?;
    file::backup(&directory, to).with_context(|| format!("the store in {} cannot be copied", directory.display()))
}

fn directory(url: &str) -> anyhow::Result<PathBuf> {
    match config::store_url(url) {
        Ok(StoreUrl::File(directory)) => Ok(directory),
        Ok(StoreUrl::Memory) => bail!("a memory: store is gone with its daemon: there is nothing to look after"),
        Ok(StoreUrl::Redis(_)) => bail!("a Redis store is looked after by Redis: BGSAVE, and redis-check-aof"),
        Err(why) => bail!("the store {:?} {why}", StoreUrl::masked(url)),
    }
}
