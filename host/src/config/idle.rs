//! Which settings that somebody has written do nothing, as the others are?

use super::{Config, Origin, StoreUrl};

impl Config {
    /// What was written and does nothing beside the rest, or less than it says: one line each.
    pub fn idle(&self) -> Vec<String> {
        let written = self.entries.iter().filter(|entry| entry.origin != Origin::Default);
        let idle = written.filter_map(|entry| {
            let (name, origin) = (entry.key.name, &entry.origin);
            self.why_idle(name).map(|why| format!("{name} ({origin}) does nothing: {why}"))
        });
        idle.chain(self.small_batches()).collect()
    }

    fn why_idle(&self, name: &str) -> Option<&'static str> {
        let others = ["results.extended", "results.track_started", "worker.task_events"];
        let is_of_redis = name.starts_with("redis.") || others.contains(&name);
        if is_of_redis && !matches!(self.store, StoreUrl::Redis(_)) {
            return Some("store.url is no Redis server");
        }
        let is_idle = name == "worker.executors" && self.worker.executors.is_none();
        is_idle.then_some("worker.isolation is \"in-process\", so there are no such processes")
    }

    fn small_batches(&self) -> Option<String> {
        let (batch, message) = (self.limits.batch_bytes, self.limits.message_bytes);
        (batch < message).then(|| {
            format!("limits.batch_bytes is {batch}, less than limits.message_bytes, {message}: no batch has a message of that size")
        })
    }
}
