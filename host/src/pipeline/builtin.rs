//! Which tasks does the host run by itself?
//!
//! Those that Celery has in every app: maps, `celery.accumulate`, `celery.backend_cleanup`, and `celery.ping`. What a map
//! calls runs in the sandbox.

use std::future::Future;
use std::sync::Arc;

use lovage_model::{AttemptLog, Exception, Json, Message, Request, TaskId, TaskName, Timestamp, Usage, exc_module};

use super::attempting::{Unattempted, in_force};
use super::mapped::{self, Items};
use super::outcomes::of_message;
use super::{Listed, Pipeline, canvases};
use crate::attempt::{Attempt, Effects, Grants, Outcome, Progress, Report};
use crate::canvas::{Invalid, Mapped, Rules, builtin};
use crate::clock;
use crate::store::{Lease, Result, Store};

/// How many results are dropped in one step.
const SWEEP_AT_ONCE: usize = 1000;

impl Pipeline {
    /// Runs the task of a map for each of its items; `star`: an item is a list of arguments.
    pub(super) async fn run_each(
        &self,
        lease: &Lease,
        listed: &Listed,
        grants: Grants,
        star: bool,
    ) -> std::result::Result<Report, Unattempted> {
        let (name, items) = match read(&lease.message, star, self.rules_of(&lease.tenant)) {
            Ok(read) => read,
            Err(why) => return Ok(report(Err(why))),
        };
        if let Ok(whole) = name.parse() {
            // Another host may have been given it just now.
            self.modules.code_anywhere(&lease.tenant, &whole).await;
        }
        let Ok(code) = self.modules.resolve(&lease.tenant, &name) else {
            return Ok(report(Err(Exception::new(exc_module::CELERY, "NotRegistered", name))));
        };
        self.ready(listed, &code, &grants).await?;
        let options = in_force(Some(&code), &lease.message);
        self.tell_begun(lease, &options).await;
        let grants = Grants { capabilities: self.granted.to(&lease.tenant, &code.module), ..grants };
        let attending = self.attend(lease, listed, &code, &grants);
        let request = of_each(self.request(lease, &grants, &options), &code.definition.name);
        // The first item is charged for the message; the others for what they are told besides.
        let mut first = Some(self.overhead.expected(&lease.tenant));
        let Message { args, kwargs, .. } = &lease.message;
        let told_bytes = of_message(&lease.message) - args.as_str().len() - kwargs.as_str().len();
        let one = |args: Json, grants: Grants| {
            let item = || self.overhead.item(&lease.tenant, told_bytes + args.as_str().len());
            let overhead = first.take().unwrap_or_else(item);
            let grants = Grants { overhead, ..grants };
            let request = Request { args, ..request.clone() };
            // As in Celery the handlers of a task that is called as a function are not called.
            let (tenant, module) = (lease.tenant.clone(), code.digest.clone());
            let attempt = Attempt { tenant, module, request, handlers: Vec::new() };
            let (stopped, attending) = (listed.stopped.clone(), Arc::clone(&attending) as Arc<dyn Progress>);
            async move {
                let stop = *stopped.borrow();
                match stop {
                    Some(stop) => Report::stopped(stop),
                    None => self.sandbox.run(attempt, grants, attending, stopped).await,
                }
            }
        };
        Ok(attending.beside(Box::pin(mapped::run(items, grants, one)), &*self.store, lease.key).await)
    }

    /// Runs one of the others.
    pub(super) async fn run_builtin(&self, lease: &Lease) -> std::result::Result<Report, Unattempted> {
        let message = &lease.message;
        Ok(report(match message.task.as_str() {
            builtin::ACCUMULATE => accumulated(message),
            builtin::BACKEND_CLEANUP => {
                self.expire(clock::now()).await.map_err(|error| Unattempted::NotNow(error.to_string()))?;
                Ok(Json::null())
            }
            _ => Ok(Json::from(serde_json::Value::from("pong"))),
        }))
    }

    /// Drops the results whose time is over.
    pub async fn expire(&self, now: Timestamp) -> Result<u64> {
        expire(&*self.store, now.before(self.result_expires)).await
    }
}

/// Drops the results of before a time, of all tenants, and what was kept of groups; returns how many results there were.
pub async fn expire(store: &dyn Store, before: Timestamp) -> Result<u64> {
    let dropped = sweep(|| store.expire(before, SWEEP_AT_ONCE)).await?;
    sweep(|| store.expire_groups(before, SWEEP_AT_ONCE)).await?;
    Ok(dropped)
}

/// Sweeps until there is nothing left; returns how much there was.
async fn sweep<F: Future<Output = Result<u64>>>(some: impl Fn() -> F) -> Result<u64> {
    let mut all = 0;
    loop {
        let dropped = some().await?;
        all += dropped;
        if dropped < SWEEP_AT_ONCE as u64 {
            return Ok(all);
        }
    }
}

/// What a map calls. As in Celery, what its signature says besides the name does not count.
#[derive(serde::Deserialize)]
struct Called {
    task: TaskName,
}

/// What a map calls, and with which arguments.
fn read(message: &Message, star: bool, rules: Rules) -> std::result::Result<(String, Items<'_>), Exception> {
    let wrong = |why: Invalid| Exception::new(exc_module::BUILTINS, "TypeError", format!("{}: {why}", message.task));
    let mapped = Mapped::<Called>::of(&message.kwargs).map_err(wrong)?;
    let items = mapped.items(star, rules).map_err(wrong)?;
    Ok((mapped.task.task.to_string(), Items::of(items, star)))
}

/// What all items of a map are told, but for their arguments: those of the map, which hold all of them, are not carried to each.
fn of_each(request: Request, task: &TaskName) -> Request {
    Request { task: task.clone(), args: Json::empty_array(), kwargs: Json::empty_object(), ..request }
}

/// One of its arguments, or all of them.
fn accumulated(message: &Message) -> std::result::Result<Json, Exception> {
    #[derive(serde::Deserialize)]
    struct Choice {
        index: Option<i64>,
    }
    let wrong = |error: serde_json::Error| Exception::new(exc_module::BUILTINS, "TypeError", error.to_string());
    let Some(index) = message.kwargs.read::<Choice>().map_err(wrong)?.index else { return Ok(message.args.clone()) };
    let mut args: Vec<Json> = message.args.read().map_err(wrong)?;
    let count = i64::try_from(args.len()).unwrap_or(i64::MAX);
    // From the end, if it is negative.
    let place = usize::try_from(if index < 0 { index.saturating_add(count) } else { index });
    match place {
        Ok(place) if place < args.len() => Ok(args.swap_remove(place)),
        _ => Err(Exception::new(exc_module::BUILTINS, "IndexError", "tuple index out of range")),
    }
}

/// Runs a canvas that was called as a task.
pub(super) fn run_canvas(message: &Message) -> Report {
    match canvases::sends(message, || TaskId::from_uuid(uuid::Uuid::now_v7())) {
        Ok((effects, result)) => Report { effects, ..report(Ok(result)) },
        Err(exception) => report(Err(exception)),
    }
}

fn report(ended: std::result::Result<Json, Exception>) -> Report {
    let outcome = ended.map_or_else(|exception| Outcome::Raised(exception, None), Outcome::Returned);
    Report { outcome, effects: Effects::default(), usage: Usage::default(), log: AttemptLog::default() }
}

#[cfg(test)]
mod tests {
    use lovage_model::{Plan, Room, TenantId};

    use super::*;
    use crate::store::Broker;
    use crate::store::memory::MemoryStore;

    fn json(text: &str) -> Json {
        Json::parse(text.to_owned()).unwrap()
    }

    fn message(task: &str, args: &str, kwargs: &str) -> Message {
        let (args, kwargs) = (json(args), json(kwargs));
        Message { args, kwargs, ..Message::new("a".parse().unwrap(), task.parse().unwrap()) }
    }

    #[tokio::test]
    async fn what_is_over_is_dropped_and_counted() {
        let (store, tenant, now) = (MemoryStore::new(), TenantId::default(), clock::now());
        let ids = ["a", "b", "c"].map(|id| TaskId::new(id).unwrap());
        let plans = ids.iter().map(|id| Plan::of(Message::new(id.clone(), "t".parse().unwrap()))).collect();
        store.submit(&tenant, plans, now, Room::UNLIMITED).await.unwrap();
        for id in &ids[..2] {
            store.revoke(&tenant, id, now).await.unwrap();
        }
        let later = now.after(std::time::Duration::from_secs(1));
        assert_eq!(expire(&store, later).await.unwrap(), 2, "one waits");
        assert_eq!(expire(&store, later).await.unwrap(), 0);
    }

    #[test]
    fn accumulate_is_celerys() {
        let of = |args: &str, kwargs: &str| {
            let ended = accumulated(&message(builtin::ACCUMULATE, args, kwargs));
            ended.map_or_else(|exception| exception.to_string(), |value| value.to_string())
        };
        assert_eq!(of("[[1,2],3]", r#"{"index":0}"#), "[1,2]");
        assert_eq!(of("[1,2]", r#"{"index":-1}"#), "2");
        assert_eq!(of("[1,2]", "{}"), "[1,2]");
        for index in [2, -3, i64::MIN, i64::MAX] {
            assert_eq!(of("[1,2]", &format!("{{\"index\":{index}}}")), "IndexError: tuple index out of range");
        }
    }

    #[test]
    fn a_map_gives_each_item_and_a_starmap_each_list() {
        let of = |it: &str, star| {
            let kwargs = format!("{{\"task\":{{\"task\":\"t.inner\",\"args\":[9]}},\"it\":{it}}}");
            let message = message(if star { builtin::STARMAP } else { builtin::MAP }, "[]", &kwargs);
            let rules = Rules { message_bytes: 100, canvas_tasks: 2, lineage_depth: 0, replacements: 0 };
            let (name, items) = read(&message, star, rules).map_err(|wrong| wrong.to_string())?;
            Ok::<_, String>((name, items.map(|args| args.unwrap().to_string()).collect::<Vec<_>>()))
        };
        let (name, items) = of("[1,[2]]", false).unwrap();
        assert_eq!(name, "t.inner");
        assert_eq!(items, ["[1]", "[[2]]"]);
        assert_eq!(of("[[1,2],[]]", true).unwrap().1, ["[1,2]", "[]"]);
        let wrong = of("[[1],2]", true).unwrap_err();
        assert!(wrong.starts_with("TypeError") && wrong.contains("it[1]"), "{wrong}");
        let many = of("[1,2,3]", false).unwrap_err();
        assert!(many.contains("3 items") && many.contains("limits.canvas_tasks"), "{many}");
    }

    #[test]
    fn no_item_of_a_map_is_told_of_all_the_others() {
        let map = message(builtin::MAP, "[0]", r#"{"task":{"task":"t.inner"},"it":[1,2]}"#);
        let each = of_each(Request::of(&map, "here", false), &"t.inner".parse().unwrap());
        assert_eq!((each.task.as_str(), each.args.as_str(), each.kwargs.as_str()), ("t.inner", "[]", "{}"));
        assert_eq!(each.id, map.id);
    }
}
