//! What is this host told to do by Celery's `control`?

use lovage_model::{
    Exception, Fields, Json, QueueName, RateLimit, Seconds, TaskId, TaskName, TenantId, TimeLimit, python,
};

use super::{Answer, No, Pidbox, argument, exc_module, needed, ok};
use crate::celery::inspected;
use crate::clock;
use crate::control::Found;
use crate::pipeline::Share;

/// What is said of an order that the sandbox has no use for.
const NO_POOL: &str = "each attempt has a sandbox of its own: there are no processes to restart";

impl Pidbox {
    /// None: it is no order that there is.
    pub(super) async fn ordered(&self, method: &str, arguments: &Fields) -> Result<Option<Json>, No> {
        match method {
            "revoke" => self.revoke(arguments, argument(arguments, "terminate")?.unwrap_or_default()).await,
            "terminate" => self.revoke(arguments, true).await,
            "revoke_by_stamped_headers" => self.revoke_stamped(arguments).await,
            "rate_limit" => self.rate_limit(arguments),
            "time_limit" => self.time_limit(arguments),
            "enable_events" => ok(self.enable_events(true)),
            "disable_events" => ok(self.enable_events(false)),
            "heartbeat" => {
                self.celeryev.beat().await;
                Ok(Json::null())
            }
            "add_consumer" => self.add_consumer(needed(arguments, "queue")?).await,
            "cancel_consumer" => self.cancel_consumer(needed(arguments, "queue")?).await,
            "pool_grow" => self.resize(argument(arguments, "n")?.unwrap_or(1)),
            "pool_shrink" => self.resize(fewer(argument(arguments, "n")?)),
            "autoscale" => Err(No::raised("ValueError", "Autoscale not enabled")),
            "pool_restart" => Err(No::raised("ValueError", NO_POOL)),
            "shutdown" => {
                tracing::info!("told to shut down by remote control");
                self.control.standing.leave();
                Ok(Json::null())
            }
            // Who leads matters to nobody here: what must be done once is decided by the store.
            "election" => Ok(Json::null()),
            _ => return Ok(None),
        }
        .map(Some)
    }

    async fn revoke(&self, arguments: &Fields, terminate: bool) -> Answer {
        let (ids, tenant, now) = (ids_of(arguments, "task_id")?, TenantId::default(), clock::now());
        let found = self.control.revoke_here(&tenant, &ids, terminate, now).await?;
        let those = |which: fn(&Found) -> bool| -> Vec<TaskId> {
            ids.iter().zip(&found).filter(|(_, found)| which(found)).map(|(id, _)| id.clone()).collect()
        };
        self.control.foretell(&tenant, &those(|found| *found == Found::Unknown), now).await?;
        // One that runs goes on; if it is tried again, that does not begin.
        let runs = those(|found| matches!(found, Found::Elsewhere(_)));
        self.control.standing.foretold.revoke(&tenant, &runs, now);
        if !terminate {
            return ok(format!("tasks {} flagged as revoked", inspected::set(&ids)));
        }
        let done = ids.iter().zip(&found).filter(|(_, found)| matches!(found, Found::Done(..)));
        let done: Vec<&str> = done.map(|(id, _)| id.as_str()).collect();
        ok(if done.is_empty() {
            "terminate: tasks unknown".to_owned()
        } else {
            format!("terminate: {}", done.join(", "))
        })
    }

    async fn revoke_stamped(&self, arguments: &Fields) -> Answer {
        let terminate = argument(arguments, "terminate")?.unwrap_or_default();
        let headers = headers_of(arguments)?;
        let (tenant, now, mut stopped) = (TenantId::default(), clock::now(), false);
        for (stamp, values) in headers.iter() {
            let values = if values.is_array() { values.read().unwrap_or_default() } else { vec![values.clone()] };
            self.control.standing.foretold.revoke_stamped(&tenant, stamp, &values, now);
            let found = self.control.revoke_stamped_here(&tenant, (stamp, &values), terminate, now).await?;
            stopped |= found.iter().any(|(_, found)| matches!(found, Found::Done(..)));
        }
        let shown = python::repr(&Json::of(&headers).unwrap_or_else(|_| Json::empty_object()));
        ok(match (terminate, stopped) {
            (false, _) => format!("headers {shown} flagged as revoked, but not terminated"),
            (true, false) => format!("headers {shown} were not terminated"),
            (true, true) => format!("headers {shown} revoked"),
        })
    }

    /// The task that an order is about, if it runs here.
    fn task(&self, arguments: &Fields) -> Result<(TenantId, TaskName), No> {
        let (tenant, named) = (TenantId::default(), needed::<TaskName>(arguments, "task_name")?);
        let is_known = self.control.modules.code(&tenant, &named).is_some();
        if is_known { Ok((tenant, named)) } else { Err(No::Said("unknown task".to_owned())) }
    }

    fn rate_limit(&self, arguments: &Fields) -> Answer {
        let written = arguments.get("rate_limit").filter(|value| value.as_str() != "null");
        let limit = written.map(Json::read::<RateLimit>).transpose().map_err(|error| {
            let why = Exception::new(exc_module::BUILTINS, "ValueError", error.to_string());
            No::Said(format!("Invalid rate limit string: {}", why.repr()))
        })?;
        let task = self.task(arguments)?;
        let is_none = limit.is_none_or(|limit| limit.per_second().is_none());
        // None means none here, as in Celery, and not what the task declares.
        self.control.standing.set_rate_limit(task, limit.or_else(|| "0".parse().ok()));
        ok(if is_none { "rate limit disabled successfully" } else { "new rate limit set successfully" })
    }

    fn time_limit(&self, arguments: &Fields) -> Answer {
        let (soft, hard) = (argument::<Seconds>(arguments, "soft")?, argument::<Seconds>(arguments, "hard")?);
        let task = self.task(arguments)?;
        if soft.zip(hard).is_some_and(|(soft, hard)| soft > hard) {
            return Err(No::Said("soft is above hard: the soft limit must come first".to_owned()));
        }
        let limit = (soft.is_some() || hard.is_some()).then_some(TimeLimit { soft, hard });
        self.control.standing.set_time_limit(task, limit);
        ok("time limits set successfully")
    }

    fn enable_events(&self, enabled: bool) -> String {
        let already = if self.celeryev.enable(enabled) { "" } else { "already " };
        format!("task events {already}{}", if enabled { "enabled" } else { "disabled" })
    }

    async fn add_consumer(&self, queue: QueueName) -> Answer {
        let mut queues = self.control.queues(&TenantId::default(), clock::now()).await?;
        queues.insert(queue.clone());
        self.control.standing.take(|share| share.queues = Some(queues));
        ok(format!("add consumer {queue}"))
    }

    async fn cancel_consumer(&self, queue: QueueName) -> Answer {
        let mut queues = self.control.queues(&TenantId::default(), clock::now()).await?;
        queues.remove(&queue);
        self.control.standing.take(|share| share.queues = Some(queues));
        ok(format!("no longer consuming from {queue}"))
    }

    /// So many slots more, or fewer. There is room for as many as the operator configured.
    fn resize(&self, by: i64) -> Answer {
        let (most, mut refused) = (self.control.host.concurrency, None);
        self.control.standing.take(|share: &mut Share| {
            let wanted = i64::try_from(share.slots).unwrap_or(i64::MAX).saturating_add(by);
            match usize::try_from(wanted) {
                Ok(wanted) if (1..=most).contains(&wanted) => share.slots = wanted,
                _ => refused = Some(wanted),
            }
        });
        match refused {
            None => ok(format!("pool will {}", if by < 0 { "shrink" } else { "grow" })),
            Some(wanted) => Err(No::Said(format!(
                "{wanted} tasks at once are not possible: from 1 to {most}, which is worker.concurrency of this host"
            ))),
        }
    }
}

/// By how many slots a pool changes that is to shrink by so many.
fn fewer(slots: Option<i64>) -> i64 {
    slots.unwrap_or(1).saturating_neg()
}

/// Ids: one, a list of them, or the keys of an object (what older workers send). A UUID of Python's is an object, too, and one id.
pub(super) fn ids_of(arguments: &Fields, name: &str) -> Result<Vec<TaskId>, No> {
    let Some(value) = arguments.get(name).filter(|value| value.as_str() != "null") else { return Ok(Vec::new()) };
    let ids = match value.read::<TaskId>() {
        Ok(id) => Ok(vec![id]),
        Err(_) if value.is_array() => value.read(),
        Err(_) if value.is_object() => {
            value.read::<Fields>().and_then(|keys| keys.iter().map(|(id, _)| Json::of(id)?.read()).collect())
        }
        Err(error) => Err(error),
    };
    ids.map_err(|error| No::raised("ValueError", format!("{name}: {error}")))
}

/// Stamps by their names; or, as the command line sends them, a list of `name=value`.
fn headers_of(arguments: &Fields) -> Result<Fields, No> {
    let value: Json = needed(arguments, "headers")?;
    if !value.is_array() {
        return value.read().map_err(|error| No::raised("TypeError", format!("headers: {error}")));
    }
    let pairs: Vec<String> = value.read().map_err(|error| No::raised("TypeError", format!("headers: {error}")))?;
    let pair = |pair: &String| {
        let (name, value) = pair.split_once('=').ok_or_else(|| No::raised("IndexError", "list index out of range"))?;
        Ok((name.to_owned(), Json::of(value).unwrap_or_else(|_| Json::null())))
    };
    pairs.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ids_are_one_or_many_or_keys() {
        let uuid = json!({ "__type__": "uuid", "__value__": { "hex": "0123456789abcdef0123456789abcdef" } });
        let written = "01234567-89ab-cdef-0123-456789abcdef";
        for (value, expected) in [
            (json!("a"), vec!["a"]),
            (json!(["a", uuid]), vec!["a", written]),
            (json!({ "a": {}, "b": {} }), vec!["a", "b"]),
            (uuid.clone(), vec![written]),
            (json!(null), vec![]),
        ] {
            let arguments: Fields = [("task_id".to_owned(), Json::from(value))].into_iter().collect();
            let Ok(ids) = ids_of(&arguments, "task_id") else { panic!("{arguments:?}") };
            assert_eq!(ids.iter().map(TaskId::as_str).collect::<Vec<_>>(), expected);
        }
        let arguments: Fields = [("task_id".to_owned(), Json::from(json!(7)))].into_iter().collect();
        assert!(ids_of(&arguments, "task_id").is_err());
    }

    #[test]
    fn a_pool_shrinks_by_any_number() {
        assert_eq!([None, Some(3), Some(i64::MIN)].map(fewer), [-1, -3, i64::MAX]);
    }
}
