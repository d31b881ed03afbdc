//! Do Celery's clients see that a task runs? Where the operator wants it: Celery's `task_track_started`.
//!
//! That is one more write for each, which nobody needs to whom hosts say it; so it is off unless it is asked for.

use lovage_model::{Json, State};
use serde_json::json;

use super::RedisStore;
use crate::store::LeaseKey;

impl RedisStore {
    /// Tells it of a task whose attempt begins. Who is not told sees PENDING a little longer: it is no reason not to run.
    pub(super) async fn tell_started(&self, key: LeaseKey) {
        if !self.options.track_started {
            return;
        }
        let own = Json::from(json!({ "pid": std::process::id(), "hostname": self.hostname }));
        if let Err(error) = self.tell_state(key, State::Started.as_str().to_owned(), own).await {
            tracing::warn!(%error, "clients of Celery were not told that a task runs");
        }
    }
}
