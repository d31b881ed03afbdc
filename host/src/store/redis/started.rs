//! Do Celery's clients see that a task runs? Where the operator wants it: Celery's `task_track_started`.
//!
//! As everywhere here a task is STARTED once a host has it. That is one more write for each, which nobody needs to whom hosts
//! say it; so it is off unless it is asked for.

use futures_util::future::join_all;
use lovage_model::{Json, State};
use serde_json::json;

use super::RedisStore;
use crate::store::Lease;

impl RedisStore {
    /// Tells it of what this host has just taken. Who is not told sees PENDING a little longer: it is no reason not to run.
    pub(super) async fn tell_started(&self, leases: &[Lease]) {
        if !self.options.track_started {
            return;
        }
        let own = Json::from(json!({ "pid": std::process::id(), "hostname": self.hostname }));
        let tracked = leases.iter().filter(|lease| !lease.message.untracked);
        let told = tracked.map(|lease| self.tell_state(lease.key, State::Started.as_str().to_owned(), own.clone()));
        for error in join_all(told).await.into_iter().filter_map(Result::err) {
            tracing::warn!(%error, "clients of Celery were not told that a task runs");
        }
    }
}
