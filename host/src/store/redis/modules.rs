//! Modules: every version of every module of every tenant, for all hosts.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use lovage_model::{Digest, ModuleName, ModuleVersion, TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use super::RedisStore;
use super::draft::text;
use super::script::Script;
use super::wire::Blob;
use crate::store::{Modules, Result, StoreError, Upload};

/// How a digest is used less or more.
#[derive(Serialize)]
struct Change {
    digest: Digest,
    change: i64,
}

/// A change of one module's versions.
#[derive(Serialize)]
struct Args<'a> {
    tenant: &'a TenantId,
    name: &'a ModuleName,
    /// What the versions must be.
    before: &'a str,
    /// What they become; none: the module is dropped.
    after: Option<String>,
    /// Of the component that comes with it.
    digest: Option<&'a Digest>,
    users: Vec<Change>,
}

#[derive(Serialize)]
struct Shelf<'a> {
    tenant: Option<&'a TenantId>,
    name: Option<&'a ModuleName>,
    digest: Option<&'a Digest>,
}

#[derive(Deserialize)]
struct Shelved {
    #[serde(default)]
    modules: Vec<String>,
    #[serde(default)]
    tenants: Vec<TenantId>,
    component: Option<Blob>,
    /// It is not there, though a version has it.
    #[serde(default)]
    is_lost: bool,
}

#[async_trait]
impl Modules for RedisStore {
    async fn push(&self, tenant: &TenantId, upload: Upload, now: Timestamp) -> Result<ModuleVersion> {
        let Upload { name, digest, component, mut tasks } = upload;
        tasks.sort_by(|a, b| a.name.cmp(&b.name));
        loop {
            let (before, mut versions) = self.shelved(tenant, &name).await?;
            if let Some(same) = versions.iter().find(|version| version.active && version.digest == digest) {
                // The component is written anew, which heals one that is spoilt.
                let (after, digest) = (Some(before.clone()), Some(&digest));
                let args = Args { tenant, name: &name, before: &before, after, digest, users: vec![] };
                if self.link.ask_with::<bool>(Script::Modules, &args, &component).await? {
                    return Ok(same.clone());
                }
                continue;
            }
            versions.iter_mut().for_each(|version| version.active = false);
            let version = ModuleVersion {
                name: name.clone(),
                version: versions.last().map_or(1, |last| last.version + 1),
                digest: digest.clone(),
                size_bytes: component.len() as u64,
                pushed_at: now,
                active: true,
                tasks: tasks.clone(),
            };
            versions.push(version.clone());
            let args = Args {
                tenant,
                name: &name,
                before: &before,
                after: Some(text(&versions)?),
                digest: Some(&digest),
                users: vec![Change { digest: digest.clone(), change: 1 }],
            };
            if self.link.ask_with::<bool>(Script::Modules, &args, &component).await? {
                return Ok(version);
            }
        }
    }

    async fn active(&self, tenant: &TenantId) -> Result<Vec<ModuleVersion>> {
        let found = self.shelf(Shelf { tenant: Some(tenant), name: None, digest: None }).await?;
        let mut active = Vec::new();
        for versions in found.modules {
            active.extend(self.versions_of(&versions)?.into_iter().filter(|version| version.active));
        }
        active.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(active)
    }

    async fn versions(&self, tenant: &TenantId, name: &ModuleName) -> Result<Vec<ModuleVersion>> {
        let (_, mut versions) = self.shelved(tenant, name).await?;
        versions.reverse();
        Ok(versions)
    }

    async fn rollback(&self, tenant: &TenantId, name: &ModuleName) -> Result<Option<ModuleVersion>> {
        loop {
            let (before, mut versions) = self.shelved(tenant, name).await?;
            let Some(now) = versions.iter().position(|version| version.active).filter(|&at| at > 0) else {
                return Ok(None);
            };
            versions[now].active = false;
            versions[now - 1].active = true;
            let after = Some(text(&versions)?);
            let args = Args { tenant, name, before: &before, after, digest: None, users: vec![] };
            if self.link.ask::<bool>(Script::Modules, &args).await? {
                return Ok(Some(versions.swap_remove(now - 1)));
            }
        }
    }

    async fn remove(&self, tenant: &TenantId, name: &ModuleName) -> Result<bool> {
        loop {
            let (before, versions) = self.shelved(tenant, name).await?;
            if versions.is_empty() {
                return Ok(false);
            }
            let mut users = BTreeMap::<Digest, i64>::new();
            for version in versions {
                *users.entry(version.digest).or_default() -= 1;
            }
            let users = users.into_iter().map(|(digest, change)| Change { digest, change }).collect();
            let args = Args { tenant, name, before: &before, after: None, digest: None, users };
            if self.link.ask::<bool>(Script::Modules, &args).await? {
                return Ok(true);
            }
        }
    }

    async fn component(&self, digest: &Digest) -> Result<Option<Bytes>> {
        let found = self.shelf(Shelf { tenant: None, name: None, digest: Some(digest) }).await?;
        if found.is_lost {
            return Err(StoreError::Corrupt(format!("component {digest} is missing: push the module again")));
        }
        Ok(found.component.map(|component| component.0.into()))
    }

    async fn tenants(&self) -> Result<Vec<TenantId>> {
        let mut tenants = self.shelf(Shelf { tenant: None, name: None, digest: None }).await?.tenants;
        tenants.sort();
        Ok(tenants)
    }

    async fn modules_changed(&self) {
        self.bell.modules_changed().await;
    }
}

impl RedisStore {
    async fn shelf(&self, what: Shelf<'_>) -> Result<Shelved> {
        self.link.call(Script::Shelf, &what).await
    }

    /// The versions of a module, as they are written and read, the oldest first.
    async fn shelved(&self, tenant: &TenantId, name: &ModuleName) -> Result<(String, Vec<ModuleVersion>)> {
        let mut found = self.shelf(Shelf { tenant: Some(tenant), name: Some(name), digest: None }).await?;
        let Some(written) = found.modules.pop() else { return Ok((String::new(), Vec::new())) };
        let versions = self.versions_of(&written)?;
        Ok((written, versions))
    }

    fn versions_of(&self, written: &str) -> Result<Vec<ModuleVersion>> {
        serde_json::from_str(written).map_err(|error| self.link.faults.garbled("the versions of a module", &error))
    }
}
