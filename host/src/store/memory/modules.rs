//! Modules: every version of every module of every tenant.

use std::collections::BTreeSet;

use async_trait::async_trait;
use bytes::Bytes;
use lovage_model::{Digest, ModuleName, ModuleVersion, TenantId, Timestamp};

use super::{Inner, MemoryStore};
use crate::store::{Modules, Result, Upload};

#[async_trait]
impl Modules for MemoryStore {
    async fn push(&self, tenant: &TenantId, upload: Upload, now: Timestamp) -> Result<ModuleVersion> {
        let Upload { name, digest, component, mut tasks } = upload;
        let inner = &mut *self.open()?;
        let versions = inner.modules.entry((tenant.clone(), name.clone())).or_default();
        if let Some(same) = versions.iter().find(|version| version.active && version.digest == digest) {
            inner.components.insert(digest, component);
            return Ok(same.clone());
        }
        for version in versions.iter_mut() {
            version.active = false;
        }
        tasks.sort_by(|a, b| a.name.cmp(&b.name));
        let version = ModuleVersion {
            name,
            version: versions.last().map_or(1, |last| last.version + 1),
            digest: digest.clone(),
            size_bytes: component.len() as u64,
            pushed_at: now,
            active: true,
            tasks,
        };
        versions.push(version.clone());
        inner.components.insert(digest, component);
        Ok(version)
    }

    async fn active(&self, tenant: &TenantId) -> Result<Vec<ModuleVersion>> {
        let inner = self.open()?;
        let own = inner.modules.iter().filter(|((owner, _), _)| owner == tenant);
        Ok(own.flat_map(|(_, versions)| versions).filter(|version| version.active).cloned().collect())
    }

    async fn versions(&self, tenant: &TenantId, name: &ModuleName) -> Result<Vec<ModuleVersion>> {
        let inner = self.open()?;
        let versions = inner.modules.get(&(tenant.clone(), name.clone()));
        Ok(versions.map_or_else(Vec::new, |versions| versions.iter().rev().cloned().collect()))
    }

    async fn rollback(&self, tenant: &TenantId, name: &ModuleName) -> Result<Option<ModuleVersion>> {
        let inner = &mut *self.open()?;
        let Some(versions) = inner.modules.get_mut(&(tenant.clone(), name.clone())) else { return Ok(None) };
        let Some(now) = versions.iter().position(|version| version.active).filter(|&at| at > 0) else {
            return Ok(None);
        };
        versions[now].active = false;
        versions[now - 1].active = true;
        Ok(Some(versions[now - 1].clone()))
    }

    async fn remove(&self, tenant: &TenantId, name: &ModuleName) -> Result<bool> {
        let inner = &mut *self.open()?;
        let there = inner.modules.remove(&(tenant.clone(), name.clone())).is_some();
        drop_unused(inner);
        Ok(there)
    }

    async fn component(&self, digest: &Digest) -> Result<Option<Bytes>> {
        Ok(self.open()?.components.get(digest).cloned())
    }

    async fn tenants(&self) -> Result<Vec<TenantId>> {
        let inner = self.open()?;
        let of_modules = inner.modules.keys().map(|(tenant, _)| tenant.clone());
        let of_tasks = inner.tasks.all().map(|(_, task)| task.tenant.clone());
        Ok(of_modules.chain(of_tasks).collect::<BTreeSet<_>>().into_iter().collect())
    }
}

fn drop_unused(inner: &mut Inner) {
    let used: BTreeSet<&Digest> = inner.modules.values().flatten().map(|version| &version.digest).collect();
    inner.components.retain(|digest, _| used.contains(digest));
}
