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
                Unkept::Full => format!(
                    "the tenant's values may take {most_bytes} bytes together (its key_value_bytes, or limits.key_value_bytes): drop \
                 some first"
                ),
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
