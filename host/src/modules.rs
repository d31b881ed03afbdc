//! Which code is a task name?
//!
//! Keeps the active version of every module in memory and answers, for a tenant and a task name, which component runs it.
//! A push is refused whole or stored whole: the component is compiled, checked against the contract and asked for its
//! tasks before the store sees it. A task name belongs to one module of a tenant.

mod loading;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;
use lovage_model::{Digest, ModuleName, ModuleVersion, TaskDefinition, TaskName, TenantId, Timestamp};
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;

use crate::access::Access;
use crate::aside::{aside, to_the_end};
use crate::held::Rooms;
use crate::sandbox::{Refusal, Sandbox};
use crate::store::{Store, StoreError, Upload};
use loading::Troubles;

/// What a push did.
#[derive(Debug, Clone, PartialEq)]
pub struct Pushed {
    /// The version that is active now, or would be.
    pub version: ModuleVersion,
    /// Whether its component was missing from the store, or damaged there, and is there again.
    pub is_restored: bool,
}

/// Why a module was not pushed.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The component is not acceptable.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Another module of the tenant exports a task of the same name.
    #[error(
        "task {task} is already exported by module {module}: rename it (#[task(name = \"...\")]), or remove that module"
    )]
    TaskTaken {
        /// The task.
        task: TaskName,
        /// Who has it.
        module: ModuleName,
    },
    /// The tenant has as much as it may.
    #[error(
        "the tenant has {there} of {most} {what}, and this push needs {more} more: remove modules, or ask the operator for more"
    )]
    Full {
        /// What of: the name of the quota.
        what: &'static str,
        /// How much there is.
        there: u64,
        /// How much there may be.
        most: u64,
        /// How much would come.
        more: u64,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a component cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    /// It cannot be, here or elsewhere.
    #[error("{0}")]
    Unusable(String),
    /// This host cannot for now: its disk, its store or its cache fails. No task is to blame.
    #[error("{0}")]
    NotNow(String),
}

impl From<Refusal> for NotReady {
    fn from(refusal: Refusal) -> Self {
        if refusal.is_of_host() { Self::NotNow(refusal.message) } else { Self::Unusable(refusal.message) }
    }
}

impl From<StoreError> for NotReady {
    fn from(error: StoreError) -> Self {
        Self::NotNow(error.to_string())
    }
}

/// Why a task name leads nowhere.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Unresolved {
    /// No active module exports it.
    #[error("no module exports a task named {name}{}", nearest.as_ref().map(|n| format!(" (did you mean {n}?)")).unwrap_or_default())]
    Unknown {
        /// What was asked for.
        name: String,
        /// The most similar name there is.
        nearest: Option<TaskName>,
    },
    /// Several end in it.
    #[error("{name} could be {}: use the whole name", join(candidates))]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// What it could be.
        candidates: Vec<TaskName>,
    },
}

fn join(names: &[TaskName]) -> String {
    names.iter().map(TaskName::as_str).collect::<Vec<_>>().join(" or ")
}

/// The code behind a task name.
#[derive(Debug, Clone, PartialEq)]
pub struct Code {
    /// The module that exports it.
    pub module: ModuleName,
    /// Its active component.
    pub digest: Digest,
    /// What the module says about the task.
    pub definition: Arc<TaskDefinition>,
}

/// How often what is active of a tenant was read, and how often it had become something else.
#[derive(Debug, Clone, Copy, Default)]
struct Looks {
    count: u64,
    changes: u64,
}

type Table = HashMap<TenantId, HashMap<TaskName, Arc<Code>>>;

/// The modules of all tenants.
pub struct Modules {
    store: Arc<dyn Store>,
    sandbox: Arc<Sandbox>,
    access: Arc<Access>,
    table: RwLock<Table>,
    /// One push at a time: two that export the same name must not both find it free.
    pushing: tokio::sync::Mutex<()>,
    /// Whether other hosts may push as well.
    is_shared: bool,
    looks: Mutex<HashMap<TenantId, Looks>>,
    /// Rings when what is active has become something else.
    changed: Notify,
    /// One compilation of each tenant's at a time, where several share this host: no one's pushes have all compilers.
    compiling: Rooms,
    /// One load of each component at a time: a hundred messages for a module that is not loaded must not compile it a hundred times.
    /// Whoever forgets one is there alone, too: another may be pushing the same. Taken before `pushing`, never after it.
    loading: Rooms<Digest>,
    /// What nobody can run any more, but somebody was loading or pushing when that was seen: it is looked at again with what is next.
    unwanted: Mutex<HashSet<Digest>>,
    /// What could not be loaded.
    troubles: Troubles,
}

impl Modules {
    /// Reads what is active. Nothing is compiled: artifacts are loaded at first use.
    pub async fn open(store: Arc<dyn Store>, sandbox: Arc<Sandbox>, access: Arc<Access>) -> Result<Self, StoreError> {
        let (table, pushing, looks, changed, unwanted, troubles) = Default::default();
        let (compiling, loading, is_shared) = (Rooms::of(1), Rooms::of(1), store.is_shared());
        let modules = Self {
            store,
            sandbox,
            access,
            table,
            pushing,
            is_shared,
            looks,
            changed,
            compiling,
            loading,
            unwanted,
            troubles,
        };
        for tenant in modules.store.tenants().await? {
            modules.refresh(&tenant).await?;
        }
        Ok(modules)
    }

    /// Keeps up with what other hosts push, for ever.
    pub async fn follow(&self) {
        loop {
            self.store.modules_changed().await;
            if let Err(error) = self.refresh_all().await {
                tracing::error!(%error, "what other hosts have pushed cannot be read; it is tried again when the next is");
            }
        }
    }

    /// Reads what is active of every tenant that has, or had, a module.
    async fn refresh_all(&self) -> Result<(), StoreError> {
        let _one_at_a_time = self.pushing.lock().await;
        let mut tenants: HashSet<TenantId> = self.store.tenants().await?.into_iter().collect();
        tenants.extend(self.read().keys().cloned());
        for tenant in tenants {
            self.refresh(&tenant).await?;
        }
        Ok(())
    }

    /// Checks a component and makes it the active version of its name. With `dry_run` everything but the storing is done,
    /// and the version it would have is returned.
    pub async fn push(
        &self,
        tenant: &TenantId,
        name: &ModuleName,
        component: Bytes,
        dry_run: bool,
        now: Timestamp,
    ) -> Result<Pushed, PushError> {
        let digest = digest_of(&component).await;
        // Before it is compiled, which costs far more; and again below, when nobody else pushes here.
        self.refuse_full(tenant, name, component.len() as u64, &digest).await?;
        let turn = if self.access.is_shared() { self.compiling.enter(tenant, 1).await } else { None };
        // Until it is stored or forgotten.
        let _alone = self.loading.enter(&digest, 1).await;
        let tasks = self.sandbox.admit(&digest, &component).await?;
        drop(turn);
        let _one_at_a_time = self.pushing.lock().await;
        let mut refused = self.refuse_taken(tenant, name, &tasks);
        if refused.is_ok() {
            refused = self.refuse_full(tenant, name, component.len() as u64, &digest).await;
        }
        if let Err(refused) = refused {
            self.forget_unless_stored(&digest).await?;
            return Err(refused);
        }
        if dry_run {
            self.forget_unless_stored(&digest).await?;
            let newest = self.store.versions(tenant, name).await?.first().map_or(0, |v| v.version);
            let size_bytes = component.len() as u64;
            let (name, version) = (name.clone(), newest + 1);
            let version = ModuleVersion { name, version, digest, size_bytes, pushed_at: now, active: false, tasks };
            return Ok(Pushed { version, is_restored: false });
        }
        let is_restored = self.is_spoilt(tenant, name, &digest).await?;
        let upload = Upload { name: name.clone(), digest, component, tasks };
        let version = self.store.push(tenant, upload, now).await?;
        self.troubles.forget(&version.digest);
        self.refresh(tenant).await?;
        Ok(Pushed { version, is_restored })
    }

    /// The active version of every module, by name.
    pub async fn list(&self, tenant: &TenantId) -> Result<Vec<ModuleVersion>, StoreError> {
        self.store.active(tenant).await
    }

    /// The versions of one module, the newest first.
    pub async fn versions(&self, tenant: &TenantId, name: &ModuleName) -> Result<Vec<ModuleVersion>, StoreError> {
        self.store.versions(tenant, name).await
    }

    /// Makes the version before the active one active; none if there is none.
    pub async fn rollback(&self, tenant: &TenantId, name: &ModuleName) -> Result<Option<ModuleVersion>, PushError> {
        let _one_at_a_time = self.pushing.lock().await;
        let versions = self.store.versions(tenant, name).await?;
        let mut older = versions.iter().skip_while(|v| !v.active).skip(1);
        if let Some(before) = older.next() {
            self.refuse_taken(tenant, name, &before.tasks)?;
        }
        let version = self.store.rollback(tenant, name).await?;
        self.refresh(tenant).await?;
        Ok(version)
    }

    /// Drops a module; whether there was one. It goes whole, whether anybody waits for that or not: what was compiled would stay for
    /// ever.
    pub async fn remove(self: &Arc<Self>, tenant: &TenantId, name: &ModuleName) -> Result<bool, StoreError> {
        let (modules, tenant, name) = (Arc::clone(self), tenant.clone(), name.clone());
        to_the_end(async move { modules.remove_whole(&tenant, &name).await }).await
    }

    async fn remove_whole(&self, tenant: &TenantId, name: &ModuleName) -> Result<bool, StoreError> {
        let one_at_a_time = self.pushing.lock().await;
        let versions = self.store.versions(tenant, name).await?;
        let removed = self.store.remove(tenant, name).await?;
        let mut ended = self.refresh(tenant).await;
        drop(one_at_a_time);
        for version in versions {
            let _alone = self.loading.enter(&version.digest, 1).await;
            // One that fails keeps no other.
            ended = ended.and(self.forget_unless_stored(&version.digest).await);
        }
        ended.map(|()| removed)
    }

    /// The code behind a whole task name: what a message is run with.
    pub fn code(&self, tenant: &TenantId, task: &TaskName) -> Option<Arc<Code>> {
        self.read().get(tenant)?.get(task).cloned()
    }

    /// The same, after another look at the store where another host may have pushed it just now: who sends a task right after its
    /// push must not meet a host that has not heard of it.
    pub async fn code_anywhere(&self, tenant: &TenantId, task: &TaskName) -> Option<Arc<Code>> {
        let known = self.code(tenant, task);
        if known.is_some() || !self.is_shared {
            return known;
        }
        let seen = self.looks_at(tenant).count;
        let _one_at_a_time = self.pushing.lock().await;
        // Whoever waited here need not look again if somebody has begun to after it came.
        if self.looks_at(tenant).count == seen
            && let Err(error) = self.refresh(tenant).await
        {
            tracing::error!(%task, %error, "whether another host has pushed a task cannot be read");
        }
        self.code(tenant, task)
    }

    /// The code a person means: a whole name, or its last part while only one task ends in it.
    pub fn resolve(&self, tenant: &TenantId, name: &str) -> Result<Arc<Code>, Unresolved> {
        let table = self.read();
        let empty = HashMap::new();
        let tasks = table.get(tenant).unwrap_or(&empty);
        find(tasks.keys(), name).map(|whole| Arc::clone(&tasks[whole]))
    }

    fn refuse_taken(&self, tenant: &TenantId, module: &ModuleName, tasks: &[TaskDefinition]) -> Result<(), PushError> {
        for task in tasks {
            if let Some(code) = self.code(tenant, &task.name).filter(|code| code.module != *module) {
                return Err(PushError::TaskTaken { task: task.name.clone(), module: code.module.clone() });
            }
        }
        Ok(())
    }

    /// Refuses what a tenant has no room for. The version that is active already takes none.
    async fn refuse_full(
        &self,
        tenant: &TenantId,
        name: &ModuleName,
        size_bytes: u64,
        digest: &Digest,
    ) -> Result<(), PushError> {
        let policy = self.access.policy(tenant);
        if policy.modules.is_none() && policy.module_bytes.is_none() {
            return Ok(());
        }
        let active = self.store.active(tenant).await?;
        if active.iter().any(|version| version.name == *name && version.digest == *digest) {
            return Ok(());
        }
        let mut bytes = 0;
        for module in &active {
            bytes += self.store.versions(tenant, &module.name).await?.iter().map(|one| one.size_bytes).sum::<u64>();
        }
        let is_new = active.iter().all(|version| version.name != *name);
        let (modules, one_more) = (active.len() as u64, u64::from(is_new));
        for (what, there, most, more) in
            [("modules", modules, policy.modules, one_more), ("module_bytes", bytes, policy.module_bytes, size_bytes)]
        {
            if let Some(most) = most.filter(|most| more > 0 && there.saturating_add(more) > *most) {
                return Err(PushError::Full { what, there, most, more });
            }
        }
        Ok(())
    }

    /// How often what is active of a tenant has become something else, as far as this host knows.
    pub fn changes(&self, tenant: &TenantId) -> u64 {
        self.looks_at(tenant).changes
    }

    /// Returns when what is active of some tenant has become something else since the last call returned.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    fn looks_at(&self, tenant: &TenantId) -> Looks {
        self.looks().get(tenant).copied().unwrap_or_default()
    }

    fn looks(&self) -> MutexGuard<'_, HashMap<TenantId, Looks>> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn refresh(&self, tenant: &TenantId) -> Result<(), StoreError> {
        self.looks().entry(tenant.clone()).or_default().count += 1;
        let mut tasks = HashMap::new();
        for version in self.store.active(tenant).await? {
            for definition in version.tasks {
                let (module, digest) = (version.name.clone(), version.digest.clone());
                tasks.insert(
                    definition.name.clone(),
                    Arc::new(Code { module, digest, definition: Arc::new(definition) }),
                );
            }
        }
        let (superseded, is_change) = {
            let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
            let before = table.insert(tenant.clone(), tasks).unwrap_or_default();
            let is_change = before != table[tenant];
            let active: HashSet<&Digest> = table.values().flat_map(HashMap::values).map(|code| &code.digest).collect();
            let mut superseded = std::mem::take(&mut *self.unwanted());
            superseded.extend(before.into_values().map(|code| code.digest.clone()));
            superseded.retain(|digest| !active.contains(digest));
            (superseded, is_change)
        };
        if is_change {
            self.looks().entry(tenant.clone()).or_default().changes += 1;
            self.changed.notify_one();
        }
        for digest in superseded {
            // Not what somebody is just loading, or pushes again: they have a use for it.
            match self.loading.try_enter(&digest) {
                Some(_alone) => self.sandbox.unload(&digest),
                None => _ = self.unwanted().insert(digest),
            }
        }
        Ok(())
    }

    fn unwanted(&self) -> MutexGuard<'_, HashSet<Digest>> {
        self.unwanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was compiled is of no use without its component, and would stay for ever.
    async fn forget_unless_stored(&self, digest: &Digest) -> Result<(), StoreError> {
        match self.store.component(digest).await {
            Ok(None) => self.sandbox.forget(digest),
            // One that is lost there has its version still.
            Ok(Some(_)) | Err(StoreError::Corrupt(_)) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The digest of a component.
pub async fn digest_of(component: &Bytes) -> Digest {
    let component = component.clone();
    aside(move || Digest::from_bytes(&Sha256::digest(&component).into())).await
}

/// Finds the whole name that a person means among those there are.
pub fn find<'a>(names: impl Iterator<Item = &'a TaskName> + Clone, wanted: &str) -> Result<&'a TaskName, Unresolved> {
    if let Some(whole) = names.clone().find(|name| name.as_str() == wanted) {
        return Ok(whole);
    }
    let ends_so = |name: &&TaskName| name.as_str().rsplit_once('.').is_some_and(|(_, last)| last == wanted);
    let mut candidates: Vec<&TaskName> = names.clone().filter(ends_so).collect();
    candidates.sort();
    match candidates.as_slice() {
        [one] => Ok(one),
        [] => Err(Unresolved::Unknown { name: wanted.to_owned(), nearest: nearest(names, wanted) }),
        several => Err(Unresolved::Ambiguous {
            name: wanted.to_owned(),
            candidates: several.iter().map(|name| (*name).clone()).collect(),
        }),
    }
}

fn nearest<'a>(names: impl Iterator<Item = &'a TaskName>, wanted: &str) -> Option<TaskName> {
    const SIMILAR: f64 = 0.75;
    let alike = |name: &TaskName| {
        let last = name.as_str().rsplit('.').next().unwrap_or_default();
        strsim::jaro_winkler(name.as_str(), wanted).max(strsim::jaro_winkler(last, wanted))
    };
    let scored = names.map(|name| (alike(name), name)).filter(|(score, _)| *score >= SIMILAR);
    scored.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name.clone())
}

#[cfg(test)]
mod tests;
