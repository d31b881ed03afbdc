//! What does this host say of itself to Celery's `inspect`?

use std::collections::BTreeMap;

use lovage_model::{Fields, Json, TaskId, TenantId};
use serde_json::json;

use super::{Answer, No, Pidbox, answer, argument, conf, ok, ordered};
use crate::celery::inspected::{self, Scheduled, Task};
use crate::clock;

/// The attributes of tasks that `registered` shows if nobody says which: Celery's own choice.
const SHOWN: [&str; 3] = ["exchange", "routing_key", "rate_limit"];

impl Pidbox {
    /// None: it is no question that there is.
    pub(super) async fn asked(&self, method: &str, arguments: &Fields) -> Result<Option<Json>, No> {
        let (control, tenant) = (&self.control, TenantId::default());
        match method {
            "ping" => ok("pong"),
            "clock" => answer(&json!({ "clock": control.clock.value() })),
            "active" | "dump_active" => {
                answer(&control.active(&tenant).await?.iter().map(Task::of).collect::<Vec<_>>())
            }
            "reserved" | "dump_reserved" => {
                answer(&control.reserved(&tenant).await?.iter().map(Task::of).collect::<Vec<_>>())
            }
            "scheduled" | "dump_schedule" => {
                answer(&control.scheduled(&tenant).await?.iter().map(Scheduled::of).collect::<Vec<_>>())
            }
            "revoked" | "dump_revoked" => answer(&control.revoked(&tenant).await?),
            "registered" | "dump_tasks" => self.registered(arguments).await,
            "stats" => self.stats(),
            "active_queues" => self.active_queues().await,
            "query_task" => self.query_task(&ordered::ids_of(arguments, "ids")?).await,
            "conf" | "dump_conf" => answer(&conf::conf(&self.conf, &self.control)),
            "report" => ok(conf::report(&self.conf, &self.control)),
            "memsample" => answer(&memory()),
            "objgraph" | "memdump" => {
                return Err(No::raised("NotImplementedError", format!("{method}: there are no Python objects here")));
            }
            _ => return Ok(None),
        }
        .map(Some)
    }

    async fn registered(&self, arguments: &Fields) -> Answer {
        let wanted: Vec<String> = argument(arguments, "taskinfoitems")?.unwrap_or_default();
        let wanted = if wanted.is_empty() { SHOWN.map(str::to_owned).to_vec() } else { wanted };
        let (tenant, mut all) = (TenantId::default(), Vec::new());
        for version in self.control.modules.list(&tenant).await? {
            for task in version.tasks {
                let mut options = Json::of(&task.options).and_then(|it| it.read::<Fields>()).unwrap_or_default();
                options.set("name", Json::of(task.name.as_str()).unwrap_or_else(|_| Json::null()));
                if let Some(limit) = self.control.standing.ordered(&tenant, &task.name).rate_limit {
                    options.set("rate_limit", Json::of(&limit).unwrap_or_else(|_| Json::null()));
                }
                let text = |name: &String| {
                    let value = options.get(name).filter(|value| value.as_str() != "null")?;
                    Some(format!("{name}={}", value.read().unwrap_or_else(|_| value.to_string())))
                };
                let shown: Vec<String> = wanted.iter().filter_map(text).collect();
                let named = task.name.to_string();
                all.push(if shown.is_empty() { named } else { format!("{named} [{}]", shown.join(" ")) });
            }
        }
        if argument(arguments, "builtins")?.unwrap_or_default() {
            all.extend(inspected::BUILTINS.map(str::to_owned));
        }
        all.sort_unstable();
        answer(&all)
    }

    fn stats(&self) -> Answer {
        let stats = self.control.stats(&TenantId::default(), clock::now());
        let mut all = Json::of(&stats).and_then(|it| it.read::<Fields>()).unwrap_or_default();
        // Celery tells its clock as a text.
        let clock = Json::of(&self.control.clock.value().to_string()).unwrap_or_else(|_| Json::null());
        all.set("clock", clock);
        let broker = self.control.store.fanout().map_or(serde_json::Value::Null, |fanout| fanout.broker());
        all.set("broker", broker.into());
        all.set("rusage", json!("N/A").into());
        answer(&all)
    }

    /// Those that it was told to take from; else all that there are, and Celery's default.
    async fn active_queues(&self) -> Answer {
        let names = self.control.queues(&TenantId::default(), clock::now()).await?;
        answer(&names.iter().map(|name| inspected::queue(name.as_str())).collect::<Vec<_>>())
    }

    async fn query_task(&self, ids: &[TaskId]) -> Answer {
        let found = self.control.query_task(&TenantId::default(), ids).await?;
        let shown: BTreeMap<&TaskId, (&str, Task<'_>)> =
            found.iter().map(|(id, (place, info))| (id, (place.as_str(), Task::of(info)))).collect();
        answer(&shown)
    }
}

/// What of this process is in memory, as Celery shows it.
fn memory() -> Option<String> {
    let pages: f64 = std::fs::read_to_string("/proc/self/statm").ok()?.split(' ').nth(1)?.parse().ok()?;
    Some(format!("{:.2}MB", pages * rustix::param::page_size() as f64 / f64::from(1 << 20)))
}

#[cfg(test)]
mod tests {
    use crate::canvas::builtin;
    use crate::celery::inspected;

    #[test]
    fn the_tasks_of_every_application_are_those_that_hosts_run() {
        let mut names: Vec<&str> = builtin::ALL.into_iter().chain(builtin::CANVASES).collect();
        names.sort_unstable();
        assert_eq!(names, inspected::BUILTINS);
    }
}
