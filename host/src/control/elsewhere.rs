//! Who waits here for tasks that other hosts run?

use lovage_model::TenantId;
use tokio::sync::broadcast::error::RecvError;

use super::Control;

impl Control {
    /// Lets those who follow a task here look again when it has ended at another host, for ever.
    pub async fn follow_elsewhere(&self) {
        let Some(fanout) = self.store.fanout() else { return std::future::pending().await };
        let mut ended = fanout.ended_elsewhere();
        loop {
            match ended.recv().await {
                Ok(tasks) if tasks.is_empty() => self.hub.recheck(&TenantId::default()),
                Ok(tasks) => self.hub.recheck_tasks(&tasks),
                // Whoever waits looks again by itself, in a while.
                Err(RecvError::Lagged(lost)) => tracing::debug!(lost, "ends elsewhere came faster than they were told"),
                Err(RecvError::Closed) => return std::future::pending().await,
            }
        }
    }
}
