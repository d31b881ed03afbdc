//! Who asks, and what may he do?
//!
//! Keeps the tenants and tokens of the store in memory, answers for each request whose it is, and changes them. A token is
//! `lovage_ID_SECRET`: the id is shown and logged, of the secret only its SHA-256 is kept.
//!
//! Invariants:
//! - A secret is in the answer that issues it and nowhere else.
//! - Hashes are compared in constant time; which ids there are is no secret.
//! - Once there was a token, every request needs one, also after all have ended: then a start of the daemon issues another.
//! - So the first one can make others.
//! - What is revoked on one host is refused on all as soon as they hear of it; no answer is kept beyond that.
//!
//! Absent: HTTP, and counting how much a tenant uses.

mod fuel;
mod limits;
mod rate;
mod streams;
mod tenants;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lovage_model::{
    Digest, IssuedToken, NewToken, Scope, TenantId, TenantPolicy, TenantView, Timestamp, TokenId, TokenView,
};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::sync::watch;

use crate::store::{Store, StoreError, Token};

use fuel::Fuel;
pub use rate::Later;
use rate::Rates;
use streams::Streams;
pub use streams::{OpenStream, TooMany};

/// What every token begins with, so that scanners of secrets find those that leak.
const PREFIX: &str = "lovage_";
/// 256 bits.
const SECRET_BYTES: usize = 32;
const ID_BYTES: usize = 6;
/// The longest name that people may give a token, in bytes.
const NOTE_BYTES: usize = 200;
/// The longest life that may be asked for; who wants more leaves it out.
const LONGEST_LIFE: Duration = Duration::from_secs(100 * 366 * 86_400);

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Whose request it is.
    pub tenant: TenantId,
    /// The token; none: a daemon that was given none asks for none.
    pub token: Option<TokenId>,
}

/// Why somebody may not ask.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// There is no token.
    #[error("this daemon asks for a token: send Authorization: Bearer, set LOVAGE_TOKEN, or pass --token")]
    Missing,
    /// It is none of ours, has ended or was revoked; which of them is not told.
    #[error("the token is not known here, has expired or was revoked: ask the operator for another")]
    Unknown,
    /// It is good for other things.
    #[error("the token {id} is good for {}, and this needs {needed}", names(has))]
    Scope {
        /// The token.
        id: TokenId,
        /// What it is good for.
        has: BTreeSet<Scope>,
        /// What is needed.
        needed: Scope,
    },
}

fn names(scopes: &BTreeSet<Scope>) -> String {
    scopes.iter().map(|scope| scope.name()).collect::<Vec<_>>().join(", ")
}

/// Why tenants or tokens were not changed.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// A field is not what it must be; the text says which, and what it may be.
    #[error("{0}")]
    Invalid(String),
    /// There is no such tenant.
    #[error("no tenant is called {0}; `lovage tenant add {0}` adds it")]
    UnknownTenant(TenantId),
    /// There is no such token.
    #[error("no token has the id {0}; `lovage token list` shows what there is")]
    UnknownToken(TokenId),
    /// It has something that nobody could reach without it.
    #[error("the tenant {tenant} has {what}: {cure}")]
    TenantBusy {
        /// Which.
        tenant: TenantId,
        /// What it has.
        what: String,
        /// What to do first.
        cure: &'static str,
    },
    /// It would be the first, and nobody could make another: from then on each request needs one.
    #[error(
        "from the first token on every request needs one, so it must be one that can make others: `lovage token add --scope \
         admin`, of the tenant default; then, with that as LOVAGE_TOKEN, this one"
    )]
    FirstToken,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Debug, Default)]
struct Book {
    tokens: HashMap<TokenId, Token>,
    tenants: BTreeMap<TenantId, TenantView>,
    /// Those of them that do not share as all others do.
    limited: Arc<Vec<TenantView>>,
}

/// Whether a policy says anything of how tenants share what is leased. (All are named: whoever adds one says which it is.)
fn is_limited(policy: &TenantPolicy) -> bool {
    let TenantPolicy {
        weight,
        running_tasks,
        fuel_per_day,
        queued_tasks: _,
        scheduled_tasks: _,
        submits_per_second: _,
        memory_bytes: _,
        time_limit_seconds: _,
        fuel: _,
        message_bytes: _,
        result_bytes: _,
        output_bytes: _,
        subtasks: _,
        streams: _,
        key_value_bytes: _,
        modules: _,
        module_bytes: _,
    } = policy;
    weight.is_some() || running_tasks.is_some() || fuel_per_day.is_some()
}

/// Tenants and tokens.
pub struct Access {
    store: Arc<dyn Store>,
    /// Whether tokens are asked for even if there never was one.
    required: bool,
    book: RwLock<Arc<Book>>,
    /// One look at a time: what was read before a change must not take the place of what was read after it.
    looking: tokio::sync::Mutex<()>,
    rates: Rates,
    streams: Streams,
    uploads: Streams,
    /// Requests that wait for results.
    waits: Streams,
    fuel: Fuel,
    /// Counts the changes.
    changed: watch::Sender<u64>,
}

impl Access {
    /// Reads what there is.
    pub async fn open(store: Arc<dyn Store>, required: bool) -> Result<Self, StoreError> {
        let (book, looking, rates, streams, uploads, waits, fuel) = Default::default();
        let access = Self {
            store,
            required,
            book,
            looking,
            rates,
            streams,
            uploads,
            waits,
            fuel,
            changed: watch::Sender::new(0),
        };
        access.refresh().await?;
        Ok(access)
    }

    /// Keeps up with what other hosts change, for ever.
    pub async fn follow(&self) {
        loop {
            self.store.access_changed().await;
            while let Err(error) = self.refresh().await {
                tracing::error!(%error, "tenants and tokens cannot be read; what is known still holds");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }

    /// A token for the operator, if tokens are asked for and none that could make others holds.
    pub async fn bootstrap(&self, now: Timestamp) -> Result<Option<IssuedToken>, AccessError> {
        let holds = |token: &Token| token.view.holds(now) && token.view.allows(Scope::Admin);
        if !self.is_required() || self.book().tokens.values().any(holds) {
            return Ok(None);
        }
        let note = "made when the daemon started".to_owned();
        let scopes = [Scope::Admin].into();
        let new = NewToken { tenant: TenantId::default(), scopes, note, expires_seconds: None };
        self.issue(new, now).await.map(Some)
    }

    /// Whether every request needs a token.
    pub fn is_required(&self) -> bool {
        self.required || !self.book().tokens.is_empty()
    }

    /// Who it is that presents this, if he may do what needs `scope`.
    pub fn identify(&self, presented: Option<&str>, scope: Scope, now: Timestamp) -> Result<Caller, Denied> {
        let book = self.book();
        if !self.required && book.tokens.is_empty() {
            return Ok(Caller { tenant: TenantId::default(), token: None });
        }
        let (id, hash) = read(presented.ok_or(Denied::Missing)?).ok_or(Denied::Unknown)?;
        let token = book.tokens.get(&id).ok_or(Denied::Unknown)?;
        let is_same = token.hash.as_str().as_bytes().ct_eq(hash.as_str().as_bytes());
        if !bool::from(is_same) || !token.view.holds(now) {
            return Err(Denied::Unknown);
        }
        if !token.view.allows(scope) {
            return Err(Denied::Scope { id, has: token.view.scopes.clone(), needed: scope });
        }
        Ok(Caller { tenant: token.view.tenant.clone(), token: Some(id) })
    }

    /// Returns when who asked may not any more: its token was revoked, or its time is over.
    pub async fn barred(&self, caller: &Caller) {
        let Some(id) = &caller.token else {
            // Tokens are asked for from the first one on, also from who is here already.
            return self.wait_for(|book| !book.tokens.is_empty()).await;
        };
        let ends = self.book().tokens.get(id).and_then(|token| token.view.expires_at);
        let expired = async {
            match ends {
                Some(end) => tokio::time::sleep(end.since(crate::clock::now())).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = expired => {}
            () = self.wait_for(|book| book.tokens.get(id).is_none_or(|token| token.view.revoked_at.is_some())) => {}
        }
    }

    /// Whether who asked may not any more: what [`Access::barred`] waits for.
    pub fn is_barred(&self, caller: &Caller, now: Timestamp) -> bool {
        let book = self.book();
        match &caller.token {
            Some(id) => book.tokens.get(id).is_none_or(|token| !token.view.holds(now)),
            None => !book.tokens.is_empty(),
        }
    }

    async fn wait_for(&self, is: impl Fn(&Book) -> bool) {
        let mut changed = self.changed.subscribe();
        while !is(&self.book()) {
            if changed.changed().await.is_err() {
                std::future::pending().await
            }
        }
    }

    /// Makes a token; this is the only time that it is told.
    pub async fn issue(&self, new: NewToken, now: Timestamp) -> Result<IssuedToken, AccessError> {
        let NewToken { tenant, scopes, note, expires_seconds } = new;
        if scopes.is_empty() {
            return Err(AccessError::Invalid("scopes is empty: name one of read, submit, deploy, admin".to_owned()));
        }
        if note.len() > NOTE_BYTES || note.chars().any(char::is_control) {
            return Err(AccessError::Invalid(format!("note must be at most {NOTE_BYTES} bytes, without line breaks")));
        }
        let life = expires_seconds.map(Duration::from_secs);
        if life.is_some_and(|life| life.is_zero() || life > LONGEST_LIFE) {
            let most = LONGEST_LIFE.as_secs();
            return Err(AccessError::Invalid(format!("expires_seconds must be from 1 to {most}, or left out")));
        }
        if !self.exists(&tenant) {
            return Err(AccessError::UnknownTenant(tenant));
        }
        let is_operators = tenant == TenantId::default() && scopes.contains(&Scope::Admin);
        if !is_operators && !self.is_required() {
            return Err(AccessError::FirstToken);
        }
        let (id, secret) = (random_id()?, URL_SAFE_NO_PAD.encode(random::<SECRET_BYTES>()?));
        let expires_at = life.map(|life| now.after(life));
        let view = TokenView { id, tenant, scopes, note, created_at: now, expires_at, revoked_at: None };
        let token = format!("{PREFIX}{}_{secret}", view.id);
        self.store.keep_token(Token { view: view.clone(), hash: hash(&secret) }).await?;
        self.refresh().await?;
        Ok(IssuedToken { token, view })
    }

    /// Ends a token: requests with it are refused from now on, and its event streams end.
    pub async fn revoke(&self, id: &TokenId, now: Timestamp) -> Result<TokenView, AccessError> {
        // As it is in the store: another host may have revoked it before.
        self.refresh().await?;
        let known = self.book().tokens.get(id).cloned();
        let mut token = known.ok_or_else(|| AccessError::UnknownToken(id.clone()))?;
        if token.view.revoked_at.is_none() {
            token.view.revoked_at = Some(now);
            self.store.keep_token(token.clone()).await?;
            self.refresh().await?;
        }
        Ok(token.view)
    }

    /// Every token there ever was, the oldest first.
    pub fn tokens(&self) -> Vec<TokenView> {
        let mut all: Vec<_> = self.book().tokens.values().map(|token| token.view.clone()).collect();
        all.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        all
    }

    fn exists(&self, tenant: &TenantId) -> bool {
        *tenant == TenantId::default() || self.book().tenants.contains_key(tenant)
    }

    fn book(&self) -> Arc<Book> {
        Arc::clone(&self.book.read().unwrap_or_else(PoisonError::into_inner))
    }

    async fn refresh(&self) -> Result<(), StoreError> {
        let _one_at_a_time = self.looking.lock().await;
        let tokens = self.store.tokens().await?.into_iter().map(|token| (token.view.id.clone(), token)).collect();
        let tenants = self.store.registered().await?;
        let limited = Arc::new(tenants.iter().filter(|tenant| is_limited(&tenant.policy)).cloned().collect());
        let tenants = tenants.into_iter().map(|it| (it.name.clone(), it)).collect();
        *self.book.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Book { tokens, tenants, limited });
        self.changed.send_modify(|count| *count += 1);
        Ok(())
    }
}

/// The id of what somebody presents, and the hash of its secret.
fn read(presented: &str) -> Option<(TokenId, Digest)> {
    let (id, secret) = presented.strip_prefix(PREFIX)?.split_once('_')?;
    Some((TokenId::new(id).ok()?, hash(secret)))
}

fn hash(secret: &str) -> Digest {
    Digest::from_bytes(&Sha256::digest(secret).into())
}

fn random_id() -> Result<TokenId, AccessError> {
    let bytes = random::<ID_BYTES>()?;
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(TokenId::new(text).expect("hexadecimal digits"))
}

fn random<const N: usize>() -> Result<[u8; N], AccessError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| StoreError::Failed(format!("the system gives no random numbers: {error}")))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
