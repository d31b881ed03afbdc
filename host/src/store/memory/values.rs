//! Values by key, in memory.

use async_trait::async_trait;
use bytes::Bytes;
use lovage_model::TenantId;

use super::{Inner, MemoryStore};
use crate::store::values::{fits, size_of, sum};
use crate::store::{Place, Result, Unkept, Values};

#[async_trait]
impl Values for MemoryStore {
    async fn value(&self, place: Place) -> Result<Option<Bytes>> {
        Ok(self.open()?.values.get(&place).cloned())
    }

    async fn keep_value(&self, place: Place, value: Bytes, most_bytes: u64) -> Result<std::result::Result<(), Unkept>> {
        Ok(self.open()?.keep(place, value, most_bytes))
    }

    async fn add_to_value(&self, place: Place, by: u64, most_bytes: u64) -> Result<std::result::Result<u64, Unkept>> {
        let inner = &mut *self.open()?;
        let sum = sum(inner.values.get(&place).map(|there| &**there), by);
        Ok(sum.and_then(|sum| inner.keep(place, sum.to_string().into(), most_bytes).map(|()| sum)))
    }

    async fn drop_value(&self, place: Place) -> Result<bool> {
        let inner = &mut *self.open()?;
        let Some(there) = inner.values.remove(&place) else { return Ok(false) };
        let size = size_of(&place, &there);
        *inner.value_room.entry(place.tenant).or_default() -= size;
        Ok(true)
    }

    async fn drop_values(&self, tenant: TenantId) -> Result<()> {
        let inner = &mut *self.open()?;
        inner.values.retain(|place, _| place.tenant != tenant);
        inner.groups.retain(|(of, _), _| *of != tenant);
        inner.value_room.remove(&tenant);
        Ok(())
    }

    async fn keys_of_values(
        &self,
        tenant: TenantId,
        bucket: String,
        after: Option<String>,
        max: usize,
    ) -> Result<Vec<String>> {
        let inner = self.open()?;
        let is_first = after.is_none();
        let first = Place { tenant, bucket, key: after.unwrap_or_default() };
        let from = inner.values.range(&first..).map(|(place, _)| place).filter(|place| is_first || **place != first);
        let of_bucket = from.take_while(|place| place.tenant == first.tenant && place.bucket == first.bucket);
        Ok(of_bucket.take(max).map(|place| place.key.clone()).collect())
    }
}

impl Inner {
    fn keep(&mut self, place: Place, value: Bytes, most_bytes: u64) -> std::result::Result<(), Unkept> {
        let before = self.values.get(&place).map_or(0, |there| size_of(&place, there));
        if !self.take_room(&place.tenant, before, size_of(&place, &value), most_bytes) {
            return Err(Unkept::Full);
        }
        self.values.insert(place, value);
        Ok(())
    }

    /// Takes room for something instead of what took so much before; whether there was any.
    pub(super) fn take_room(&mut self, tenant: &TenantId, before: u64, after: u64, most_bytes: u64) -> bool {
        let room = self.value_room.entry(tenant.clone()).or_default();
        let has_room = fits(*room, before, after, most_bytes);
        if has_room {
            *room = *room - before + after;
        }
        has_room
    }
}
