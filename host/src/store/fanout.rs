//! How do hosts, Celery's workers and its clients reach all of each other at once?

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lovage_model::{TaskId, TenantId, Timestamp};
use tokio::sync::broadcast;

use super::Result;

/// Celery's exchanges for everybody: what is said there reaches who listens just then, and nobody later. A store that
/// clients of Celery share has them.
#[async_trait]
pub trait Fanout: Send + Sync {
    /// Says something on an exchange: an envelope of Celery's.
    async fn publish(&self, exchange: &str, routing_key: &str, envelope: &str) -> Result<()>;

    /// Puts an answer where who asked waits for it: in a list. What nobody takes is gone after `keep`.
    async fn answer(&self, list: &str, envelope: &str, keep: Duration) -> Result<()>;

    /// Lets others answer a question of this host's, which names `to` as where the answers go.
    async fn expect_answers(&self, to: &str) -> Result<()>;

    /// The answers that have come, and no more are expected.
    async fn answers(&self, to: &str) -> Result<Vec<bytes::Bytes>>;

    /// Where the server is, in the words of Celery's `stats`.
    fn broker(&self) -> serde_json::Value;

    /// What is asked of all hosts by remote control, from now on, own questions included.
    fn asked(&self) -> broadcast::Receiver<bytes::Bytes>;

    /// Which tasks have ended at other hosts, from now on, those of one step together. None of them: any may have,
    /// since nobody could say so for a while.
    fn ended_elsewhere(&self) -> broadcast::Receiver<Arc<[(TenantId, TaskId)]>>;

    /// Tells all other hosts to stop tasks of a tenant's, whichever of them runs them. (Remote control is the default tenant's.)
    async fn stop_elsewhere(&self, tenant: &TenantId, ids: &[TaskId]) -> Result<()>;

    /// Which tasks other hosts tell all to stop, from now on.
    fn to_stop(&self) -> broadcast::Receiver<Arc<[(TenantId, TaskId)]>>;

    /// Writes REVOKED as the result of tasks of which nothing is known yet, so that nobody waits for them.
    async fn revoke_unseen(&self, ids: &[TaskId], now: Timestamp) -> Result<()>;
}
