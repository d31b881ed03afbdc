//! What tasks and tenants keep beside their results: values by key, in buckets of a tenant.

use async_trait::async_trait;
use bytes::Bytes;
use lovage_model::{ModuleName, ResultTuple, SecretName, TaskId, TenantId};

use super::{Result, StoreError};

/// What each value counts beside its key and its bytes, so that empty ones are not free.
pub const VALUE_OVERHEAD_BYTES: u64 = 64;

/// Where a value is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Whose.
    pub tenant: TenantId,
    /// In which bucket: any text.
    pub bucket: String,
    /// Under which key: any text.
    pub key: String,
}

impl Place {
    /// Where a task of a tenant keeps something.
    pub fn of_tasks(tenant: TenantId, bucket: &str, key: String) -> Self {
        Self { tenant, bucket: format!("tasks:{bucket}"), key }
    }

    /// Where a tenant keeps a secret for the tasks of one of its modules.
    pub fn of_secret(tenant: TenantId, module: &ModuleName, name: &SecretName) -> Self {
        Self { tenant, bucket: format!("secrets:{module}"), key: name.to_string() }
    }
}

/// Why a value was not kept. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unkept {
    /// All values of the tenant would take more than they may.
    Full,
    /// What is there is no whole number from 0 to 2⁶³ - 1 in decimal digits, or would be none any more.
    NoCount,
}

/// Values by key. Each call is one step.
#[async_trait]
pub trait Values: Send + Sync {
    /// What is there.
    async fn value(&self, place: Place) -> Result<Option<Bytes>>;

    /// Keeps a value instead of what is there. The values of the tenant together, with their keys, the names of
    /// their buckets and [`VALUE_OVERHEAD_BYTES`] for each, and its saved groups may then take `most_bytes`; one that takes no more than
    /// what it replaces is always kept.
    async fn keep_value(&self, place: Place, value: Bytes, most_bytes: u64) -> Result<std::result::Result<(), Unkept>>;

    /// Adds to a number; none counts as 0. Returns the sum.
    async fn add_to_value(&self, place: Place, by: u64, most_bytes: u64) -> Result<std::result::Result<u64, Unkept>>;

    /// Drops a value; whether there was one.
    async fn drop_value(&self, place: Place) -> Result<bool>;

    /// Drops all that a tenant keeps: the values of every bucket, and its saved groups.
    async fn drop_values(&self, tenant: TenantId) -> Result<()>;

    /// The keys of a bucket in the order of their bytes, those after one, `max` at most.
    async fn keys_of_values(
        &self,
        tenant: TenantId,
        bucket: String,
        after: Option<String>,
        max: usize,
    ) -> Result<Vec<String>>;
}

/// How much a value takes. The name of its bucket is kept with each.
pub(super) fn size_of(place: &Place, value: &[u8]) -> u64 {
    (place.bucket.len() + place.key.len() + value.len()) as u64 + VALUE_OVERHEAD_BYTES
}

/// Whether there is room for something instead of what took `before`, where all that the tenant keeps takes `taken`.
pub(super) fn fits(taken: u64, before: u64, after: u64, most_bytes: u64) -> bool {
    after <= before || taken.saturating_sub(before).saturating_add(after) <= most_bytes
}

/// A group as it is kept, and how much it takes.
pub(super) fn written_group(id: &TaskId, group: &ResultTuple) -> Result<(String, u64)> {
    let body = serde_json::to_string(group).map_err(|error| StoreError::Failed(error.to_string()))?;
    let size = (id.as_str().len() + body.len()) as u64 + VALUE_OVERHEAD_BYTES;
    Ok((body, size))
}

/// What a number becomes.
pub(super) fn sum(there: Option<&[u8]>, by: u64) -> std::result::Result<u64, Unkept> {
    let there = there.map_or(Some(0), |digits| {
        let text = std::str::from_utf8(digits).ok()?;
        // As it is written here: no signs, no zeros before it.
        text.parse::<u64>().ok().filter(|number| number.to_string() == text)
    });
    let sum = there.and_then(|there| there.checked_add(by)).filter(|sum| i64::try_from(*sum).is_ok());
    sum.ok_or(Unkept::NoCount)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_no_more_than_before_always_fits() {
        assert!(fits(9, 4, 7, 12) && !fits(9, 4, 8, 12));
        assert!(fits(20, 4, 4, 12));
        // Also where less is counted than there is.
        assert!(fits(1, 4, 12, 12) && !fits(1, 4, 13, 12));
    }
}
