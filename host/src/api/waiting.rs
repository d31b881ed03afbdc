//! What keeps a task that is ready to run?

use lovage_model::{QueueName, ResultMeta, TenantId};

use super::Rooms;
use super::problem::Reply;
use crate::store::FREE_SLOT;

impl Rooms {
    /// What is known of a task; of one that is ready, with what else than a slot it waits for, if that is known here.
    pub(super) async fn explained(&self, tenant: &TenantId, meta: ResultMeta) -> Reply<ResultMeta> {
        if meta.waiting_for.as_deref() != Some(FREE_SLOT) {
            return Ok(meta);
        }
        let Ok(queue) = meta.queue.parse::<QueueName>() else { return Ok(meta) };
        let why = if self.api.store.is_paused(tenant, &queue).await? {
            format!("queue {queue} is paused")
        } else if self.api.standing.share().borrow().queues.as_ref().is_some_and(|taken| !taken.contains(&queue)) {
            // Another host may.
            format!("this host takes nothing from queue {queue}")
        } else if self.takes_nothing() {
            "this host takes no tasks: it drains".to_owned()
        } else {
            return Ok(meta);
        };
        Ok(ResultMeta { waiting_for: Some(why), ..meta })
    }
}
