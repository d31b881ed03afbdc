//! What does a task have done for it outside of its sandbox?
//!
//! It asks; here is looked at what it was granted, by this daemon and not by the process that runs it, and then it is done.
//! Nothing here knows of sandboxes or queues.

mod addresses;
mod http;
mod key_value;
mod names;

use std::sync::Arc;

use bytes::Bytes;
use lovage_model::{ModuleName, SecretName, TenantId, TenantPolicy};
use tokio::sync::Semaphore;

use crate::attempt::{Answer, Ask, Capabilities, Grants, HTTP_AT_ONCE, HttpFault, KeyValueDo, KeyValueFault};
use crate::held::{Holdings, Rooms};
use crate::store::{self, Place, Store};
use http::Http;

/// The longest secret, in bytes.
pub const MAX_SECRET_BYTES: usize = 64 << 10;

/// Connections at once that are opened for tasks. Each is an open file.
pub const MOST_CONNECTIONS: usize = 512;

/// Calls of a tenant's tasks to the store at once; others of it wait, so that they are no line for another tenant's messages.
const STORE_CALLS: u32 = 4;

/// What the values of one tenant may take that wait to be kept, in bytes.
const MOST_WAITING_BYTES: u64 = 64 << 20;

/// Who does it.
pub struct Outside {
    store: Arc<dyn Store>,
    store_calls: Rooms,
    /// The values of each tenant that wait to be kept, in bytes.
    waiting: Holdings,
    http: Http,
    /// What a tenant's values may take, in bytes, if it is not said of the tenant.
    key_value_bytes: u64,
}

/// What one attempt may have done for it.
pub struct May {
    tenant: TenantId,
    module: ModuleName,
    capabilities: Arc<Capabilities>,
    /// How large what goes out or comes in may be.
    payload_bytes: usize,
    /// What all values of the tenant may take; none: as much as those of any.
    key_value_bytes: Option<u64>,
    /// For requests.
    under_way: Semaphore,
}

impl May {
    /// What an attempt of a module may have done that was granted this.
    pub fn of(tenant: TenantId, module: ModuleName, grants: &Grants, policy: &TenantPolicy) -> Self {
        Self {
            tenant,
            module,
            capabilities: Arc::clone(&grants.capabilities),
            payload_bytes: grants.payload_bytes,
            key_value_bytes: policy.key_value_bytes,
            under_way: Semaphore::new(HTTP_AT_ONCE),
        }
    }
}

/// Why something of a tenant is not kept, where all of it may take so many bytes.
pub fn no_room(most_bytes: u64) -> String {
    format!(
        "what the tenant's tasks keep, its secrets and its saved groups may take {most_bytes} bytes together (its \
         key_value_bytes, or limits.key_value_bytes): take away some first"
    )
}

impl Outside {
    /// On a store, where the values of each tenant may take so many bytes.
    pub fn new(store: Arc<dyn Store>, key_value_bytes: u64) -> Self {
        let (store_calls, waiting, http) = (Rooms::of(STORE_CALLS), Holdings::default(), Http::default());
        Self { store, store_calls, waiting, http, key_value_bytes }
    }

    /// Does what is asked, or says why not.
    pub async fn answer(&self, may: &May, ask: Ask) -> Answer {
        match ask {
            Ask::Http(request) => {
                let Ok(_place) = may.under_way.try_acquire() else {
                    return Answer::Http(Err(HttpFault::ConnectionLimitReached));
                };
                Answer::Http(self.http.send(may, request).await)
            }
            Ask::KeyValue(call) => {
                let mut waits = self.waiting.of(&may.tenant);
                if let KeyValueDo::Set(value) = &call.call
                    && !waits.more(value.0.len() as u64, MOST_WAITING_BYTES)
                {
                    let why = "the tenant's tasks keep too much at once: try again when some of it is kept";
                    return Answer::KeyValue(Err(KeyValueFault::Other(why.to_owned())));
                }
                let _place = self.store_calls.enter(&may.tenant, 1).await;
                Answer::KeyValue(self.key_value(may, call).await)
            }
            Ask::Secret(name) => {
                let _place = self.store_calls.enter(&may.tenant, 1).await;
                Answer::Secret(self.secret(may, &name).await)
            }
        }
    }

    /// Sets a secret for the tasks of a module. Not if the tenant's values would then take more than they may, `own_bytes` or
    /// what all may: the least of these.
    pub async fn set_secret(
        &self,
        tenant: TenantId,
        module: &ModuleName,
        name: &SecretName,
        secret: Bytes,
        own_bytes: Option<u64>,
    ) -> store::Result<Result<(), u64>> {
        let most_bytes = self.most_bytes(own_bytes);
        let kept = self.store.keep_value(Place::of_secret(tenant, module, name), secret, most_bytes).await?;
        Ok(kept.map_err(|_full| most_bytes))
    }

    /// Takes a secret away; whether there was one.
    pub async fn remove_secret(&self, tenant: TenantId, module: &ModuleName, name: &SecretName) -> store::Result<bool> {
        self.store.drop_value(Place::of_secret(tenant, module, name)).await
    }

    /// How much the values and saved groups of a tenant may take together: what it may itself, or all: the least of these.
    pub fn most_bytes(&self, own: Option<u64>) -> u64 {
        own.map_or(self.key_value_bytes, |own| own.min(self.key_value_bytes))
    }

    async fn secret(&self, may: &May, name: &str) -> Result<Option<String>, String> {
        // What cannot be the name of one was not set.
        let Ok(name) = name.parse() else { return Ok(None) };
        let found = self.store.value(Place::of_secret(may.tenant.clone(), &may.module, &name)).await;
        let found = found.map_err(|error| {
            tracing::error!(%error, "a secret could not be read");
            "the secret cannot be read now: the daemon's log says why".to_owned()
        })?;
        Ok(found.map(|secret| String::from_utf8_lossy(&secret).into_owned()))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::attempt::{self, KeyValueCall, KeyValueFound};
    use crate::store::memory::MemoryStore;

    #[tokio::test]
    async fn values_that_wait_to_be_kept_take_so_much_and_no_more() {
        let outside = Outside::new(Arc::new(MemoryStore::new()), 1 << 40);
        let quarter = MOST_WAITING_BYTES as usize / 4;
        let may = May {
            tenant: TenantId::default(),
            module: ModuleName::new("m").unwrap(),
            capabilities: Arc::new(Capabilities { key_value: true, ..Capabilities::default() }),
            payload_bytes: quarter,
            key_value_bytes: None,
            under_way: Semaphore::new(HTTP_AT_ONCE),
        };
        let set = |bytes: usize| {
            let call = KeyValueDo::Set(attempt::Bytes(vec![0; bytes]));
            Ask::KeyValue(KeyValueCall { bucket: "b".to_owned(), key: "k".to_owned(), call })
        };
        let busy = outside.store_calls.enter(&may.tenant, STORE_CALLS).await;
        let mut waiting: Vec<_> = (0..4).map(|_| Box::pin(outside.answer(&may, set(quarter)))).collect();
        assert!(waiting.iter_mut().all(|one| one.as_mut().now_or_never().is_none()));
        let refused = outside.answer(&may, set(1)).now_or_never();
        assert!(matches!(refused, Some(Answer::KeyValue(Err(KeyValueFault::Other(_))))), "{refused:?}");
        drop(busy);
        for one in waiting {
            assert_eq!(one.await, Answer::KeyValue(Ok(KeyValueFound::Done)));
        }
        assert_eq!(outside.answer(&may, set(1)).await, Answer::KeyValue(Ok(KeyValueFound::Done)));
    }
}
