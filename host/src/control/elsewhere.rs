//! What has this host to do with tasks that others run? Who waits for them here is told, and who is to stop them.

use lovage_model::{TaskId, TenantId};
use tokio::sync::broadcast::error::RecvError;

use super::{Control, Found, TOLD};
use crate::attempt::Stop;
use crate::store::Result;

impl Control {
    /// Lets those who follow a task here look again when it has ended at another host, and stops what others say, for ever.
    pub async fn follow_elsewhere(&self) {
        let Some(fanout) = self.store.fanout() else { return std::future::pending().await };
        let (mut ended, mut stops) = (fanout.ended_elsewhere(), fanout.to_stop());
        loop {
            let ended = tokio::select! {
                ended = ended.recv() => ended,
                told = stops.recv() => {
                    self.stop_told(told.as_deref().unwrap_or_default());
                    continue;
                }
            };
            match ended {
                Ok(tasks) if tasks.is_empty() => self.hub.recheck(&TenantId::default()),
                Ok(tasks) => self.hub.recheck_tasks(&tasks),
                // Whoever waits looks again by itself, in a while.
                Err(RecvError::Lagged(lost)) => tracing::debug!(lost, "ends elsewhere came faster than they were told"),
                Err(RecvError::Closed) => return std::future::pending().await,
            }
        }
    }

    fn stop_told(&self, tasks: &[(TenantId, TaskId)]) {
        for (tenant, id) in tasks {
            if !self.running.stop_waiting(tenant, id) {
                self.running.stop(tenant, id, Stop::Revoked);
            }
        }
    }

    /// Tells the others to stop what this host was to stop, and does not run.
    pub(super) async fn stop_elsewhere<'a>(
        &self,
        tenant: &TenantId,
        found: impl Iterator<Item = (&'a TaskId, &'a mut Found)>,
    ) -> Result<()> {
        let Some(fanout) = self.store.fanout() else { return Ok(()) };
        let mut told = Vec::new();
        for (id, found) in found {
            if let Found::Elsewhere(state) = found {
                *found = Found::Done(state.clone(), TOLD);
                told.push(id.clone());
            }
        }
        if told.is_empty() { Ok(()) } else { fanout.stop_elsewhere(tenant, &told).await }
    }
}
