//! Messages that wait for their time.

use async_trait::async_trait;
use lovage_model::{Message, TenantId, Timestamp};

use super::Result;

/// Messages that wait for their time: an ETA of their own, or one they were [postponed](super::Orders::postpone) to.
#[async_trait]
pub trait Waiting: Send + Sync {
    /// Messages of a tenant that wait for their time, with that time, the earliest first.
    async fn scheduled(&self, tenant: &TenantId, max: usize) -> Result<Vec<(Timestamp, Message)>>;

    /// Lets messages that were postponed be leased at once; each is named by its task's number (that of its
    /// [`LeaseKey`](super::LeaseKey)) and the time it was postponed to. One that does not wait for that time any more is
    /// passed over; returns how many were not.
    async fn hasten(&self, postponed: Vec<(i64, Timestamp)>, now: Timestamp) -> Result<u64>;
}
