//! Looking after stores at rest, or in use: checks and backups.

use std::path::Path;

use anyhow::{Context as _, bail};

use crate::config::StoreUrl;
use crate::store::file::{self, CheckReport};

/// Reads a whole store and says what is wrong with it; works while a daemon has it open.
pub fn store_check(store: &StoreUrl) -> anyhow::Result<CheckReport> {
    let directory = directory(store)?;
    file::check(directory).with_context(|| format!("the store in {} cannot be checked", directory.display()))
}

/// Copies a store, while it is in use if need be; returns the size of the copy in bytes.
pub fn store_backup(store: &StoreUrl, to: &Path) -> anyhow::Result<u64> {
    let directory = directory(store)?;
    file::backup(directory, to).with_context(|| format!("the store in {} cannot be copied", directory.display()))
}

fn directory(store: &StoreUrl) -> anyhow::Result<&Path> {
    match store {
        StoreUrl::File(directory) => Ok(directory),
        StoreUrl::Memory => bail!("a memory: store is gone with its daemon: there is nothing to look after"),
        StoreUrl::Redis(_) => bail!("a Redis store is looked after by Redis: BGSAVE, and redis-check-aof"),
    }
}
