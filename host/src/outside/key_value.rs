//! The key-value store of tasks: buckets of their tenant, on the store that has everything else.
//!
//! A change is kept when it is made, not when the attempt ends: an attempt that is run again finds what the first has done.

use super::{May, Outside};
use crate::attempt::{Bytes, KEYS_IN_A_PAGE, KeyValueCall, KeyValueDo, KeyValueFault, KeyValueFound, MAX_KEY_BYTES};
use crate::store::{Place, StoreError, Unkept};

impl Outside {
    pub(super) async fn key_value(&self, may: &May, asked: KeyValueCall) -> Result<KeyValueFound, KeyValueFault> {
        if !may.capabilities.key_value {
            return Err(KeyValueFault::AccessDenied);
        }
        let KeyValueCall { bucket, key, call } = asked;
        let after = if let KeyValueDo::ListKeys(Some(after)) = &call { after.len() } else { 0 };
        if bucket.len().max(key.len()).max(after) > MAX_KEY_BYTES {
            return Err(KeyValueFault::Other(format!("a bucket's name and a key have at most {MAX_KEY_BYTES} bytes")));
        }
        let most_bytes = self.most_bytes(may.key_value_bytes);
        let place = Place::of_tasks(may.tenant.clone(), &bucket, key);
        let unkept = |why| {
            KeyValueFault::Other(match why {
                Unkept::Full => super::no_room(most_bytes),
                Unkept::NoCount => "what is there is no whole number, or would be too large for one".to_owned(),
            })
        };
        match call {
            KeyValueDo::Get => {
                let found = self.store.value(place).await.map_err(failed)?;
                Ok(KeyValueFound::Value(found.map(|value| Bytes(value.into()))))
            }
            KeyValueDo::Set(Bytes(value)) if value.len() > may.payload_bytes => {
                Err(KeyValueFault::Other(format!("a value of {} bytes: at most {}", value.len(), may.payload_bytes)))
            }
            KeyValueDo::Set(Bytes(value)) => {
                let kept = self.store.keep_value(place, value.into(), most_bytes).await.map_err(failed)?;
                kept.map(|()| KeyValueFound::Done).map_err(unkept)
            }
            KeyValueDo::Delete => {
                self.store.drop_value(place).await.map_err(failed)?;
                Ok(KeyValueFound::Done)
            }
            KeyValueDo::Increment(by) => {
                let added = self.store.add_to_value(place, by, most_bytes).await.map_err(failed)?;
                added.map(KeyValueFound::Sum).map_err(unkept)
            }
            KeyValueDo::ListKeys(after) => {
                let Place { tenant, bucket, .. } = place;
                let keys = self.store.keys_of_values(tenant, bucket, after, KEYS_IN_A_PAGE).await.map_err(failed)?;
                Ok(KeyValueFound::Keys(keys))
            }
        }
    }
}

/// A guest is not told where the store is, or what it said.
fn failed(error: StoreError) -> KeyValueFault {
    tracing::error!(%error, "the key-value store failed a task");
    KeyValueFault::Other("the store failed: the daemon's log says why".to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lovage_model::{ModuleName, TenantId};
    use tokio::sync::Semaphore;

    use super::*;
    use crate::attempt::Capabilities;
    use crate::store::memory::MemoryStore;

    #[tokio::test]
    async fn a_task_that_has_no_room_is_told_of_all_that_takes_it() {
        let outside = Outside::new(Arc::new(MemoryStore::new()), 100);
        let may = May {
            tenant: TenantId::default(),
            module: ModuleName::new("m").unwrap(),
            capabilities: Arc::new(Capabilities { key_value: true, ..Capabilities::default() }),
            payload_bytes: 1000,
            key_value_bytes: None,
            under_way: Semaphore::new(1),
        };
        let call = KeyValueDo::Set(Bytes(vec![0; 100]));
        let asked = KeyValueCall { bucket: "b".to_owned(), key: "k".to_owned(), call };
        let Err(KeyValueFault::Other(why)) = outside.key_value(&may, asked).await else { panic!("it is kept") };
        assert!(why.contains("secrets") && why.contains("saved groups") && why.contains("100 bytes"), "{why}");
    }
}
