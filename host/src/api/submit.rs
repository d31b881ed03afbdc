//! Submits: one, one under the client's own id, and many.
//!
//! An id makes a submit safe to repeat: the same call under the same id is answered with the task that is there.
//!
//! What is large is read and expanded on another thread, one at a time of each tenant: here it would keep everybody waiting.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header::LOCATION};
use axum::response::{IntoResponse, Response};
use lovage_model::api::{BatchItem, BatchReply, BatchRequest, Problem, SubmitReply, SubmitRequest};
use lovage_model::{
    Event, Json as Raw, Message, Plan, ResultMeta, ResultTuple, Room, State as TaskState, TaskId, TenantId,
};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::body::{self, Cap, Whole};
use super::input::{Named, Submits, header};
use super::problem::{BODY_TOO_LARGE, DRAINING, Failure, ID_TAKEN, INVALID_REQUEST, QUEUE_FULL, Reply};
use super::{Places, Rooms, Shared};
use crate::aside::aside;
use crate::clock;
use crate::queue::{self, Ids, Sent};
use crate::store::{Quota, Submitted};

/// The most submits of a batch.
const BATCH: usize = 1000;
/// How much larger than the largest batch all messages may be that come of one.
const EXPANDED: usize = 4;
/// What a message takes besides its arguments and what it says under names.
const EACH_BYTES: usize = 1 << 10;
/// A submit of more bytes is read and expanded on another thread; for less that costs more than it saves.
const SMALL_BYTES: usize = 16 << 10;

/// About how large a message is.
fn bytes(message: &Message) -> usize {
    EACH_BYTES + message.args.as_str().len() + message.kwargs.as_str().len() + message.named_bytes()
}

/// The longest Idempotency-Key, in bytes.
const KEY_BYTES: usize = 255;
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Queues a task. Answered when the message survives a crash.
#[utoipa::path(post, path = "/v1/tasks", tag = "tasks", request_body = SubmitRequest,
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key is the same task")),
    responses((status = 202, description = "Queued; Location is the task", body = SubmitReply),
        (status = 200, description = "It was there already", body = SubmitReply),
        (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn submit_task(
    State(rooms): State<Shared>,
    Submits(tenant): Submits,
    request: Request,
) -> Reply<Response> {
    let id = keyed(&tenant, request.headers())?;
    let asked = body::json_text(request, Cap::call(rooms.api.limits.rules.message_bytes)).await?;
    submit(&rooms, &tenant, asked, id, "Idempotency-Key").await
}

/// Queues a task under an id of the client's own. The same call again changes nothing.
#[utoipa::path(put, path = "/v1/tasks/{id}", tag = "tasks", request_body = SubmitRequest,
    params(("id" = String, Path, description = "The task's id")),
    responses((status = 202, description = "Queued", body = SubmitReply),
        (status = 200, description = "It was there already: its state now", body = SubmitReply),
        (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn submit_task_as(
    State(rooms): State<Shared>,
    Submits(tenant): Submits,
    Named(id): Named<TaskId>,
    request: Request,
) -> Reply<Response> {
    let asked = body::json_text(request, Cap::call(rooms.api.limits.rules.message_bytes)).await?;
    submit(&rooms, &tenant, asked, Some(id), "the path").await
}

/// Queues up to 1,000 tasks; each is answered on its own.
#[utoipa::path(post, path = "/v1/tasks:batch", tag = "tasks", request_body = BatchRequest,
    responses((status = 200, description = "One answer for each, in order", body = BatchReply),
        (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn submit_batch(
    State(rooms): State<Shared>,
    Submits(tenant): Submits,
    request: Request,
) -> Reply<Json<BatchReply>> {
    let asked = body::json_text(request, Cap::batch(rooms.api.bodies.batch_bytes)).await?;
    let own = (Arc::clone(&rooms), tenant.clone());
    let looked = apart(&rooms.admitting, &tenant, move || admit_all(&own.0, &own.1, &asked.bytes)).await?;
    let answers = store(&rooms, &tenant, looked).await?;
    let item = |answer: Reply<Stored>| match answer {
        Ok(stored) => BatchItem::Accepted(stored.reply),
        Err(failure) => BatchItem::Refused(failure.problem()),
    };
    Ok(Json(BatchReply { results: answers.into_iter().map(item).collect() }))
}

/// A batch whose calls are read one by one, so that a wrong one does not spoil the others.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch {
    tasks: Vec<Raw>,
}

/// A call that was admitted: its plan, and its result.
struct Admitted {
    sent: Sent,
    given_by: &'static str,
}

/// Calls that were looked at, and the plans of those that may be stored.
struct Looked {
    calls: Vec<Reply<Admitted>>,
    plans: Vec<Plan>,
}

impl Looked {
    fn at(calls: Vec<Reply<Admitted>>) -> Self {
        let admitted = calls.iter().filter_map(|call| call.as_ref().ok());
        let plans = admitted.map(|admitted| admitted.sent.plan.clone()).collect();
        Self { calls, plans }
    }
}

/// A call that is stored now.
struct Stored {
    reply: SubmitReply,
    is_new: bool,
}

async fn submit(
    rooms: &Shared,
    tenant: &TenantId,
    asked: Whole,
    id: Option<TaskId>,
    given_by: &'static str,
) -> Reply<Response> {
    let one = |admitted: Admitted| Looked::at(vec![Ok(admitted)]);
    let looked = if asked.bytes.len() <= SMALL_BYTES {
        admit(rooms, tenant, &asked.bytes, id, given_by).map(one)?
    } else {
        let own = (Arc::clone(rooms), tenant.clone());
        let look = move || admit(&own.0, &own.1, &asked.bytes, id, given_by).map(one);
        apart(&rooms.admitting, tenant, look).await?
    };
    let answer = store(rooms, tenant, looked).await?.pop().expect("one answer for each");
    let Stored { reply, is_new } = answer?;
    let status = if is_new { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok((status, [(LOCATION, location(&reply.id))], Json(reply)).into_response())
}

/// Does what may take a while where nobody waits for it but who asked, in one of the tenant's places.
async fn apart<T: Send + 'static>(places: &Places, tenant: &TenantId, what: impl FnOnce() -> T + Send + 'static) -> T {
    let place = places.enter(tenant, 1).await;
    let work = move || {
        // Held to its end, also if whoever asked has left.
        let _place = place;
        what()
    };
    aside(work).await
}

/// The plans of a batch, each call for itself.
fn admit_all(rooms: &Rooms, tenant: &TenantId, batch: &[u8]) -> Reply<Looked> {
    // Read as it is, a list would be taken for the values of the object, whose first is a list, too.
    if batch.trim_ascii_start().starts_with(b"[") {
        return Err(INVALID_REQUEST.because("the body is a list: send an object, {\"tasks\": [...]}"));
    }
    let Batch { tasks } = body::parse(batch)?;
    if tasks.len() > BATCH {
        return Err(
            INVALID_REQUEST.because(format!("tasks: {} of them, the limit is {BATCH}: send several", tasks.len()))
        );
    }
    let too_much = || {
        BODY_TOO_LARGE.because(format!(
            "the messages of this batch are more than {EXPANDED} times limits.batch_bytes: send it in another one"
        ))
    };
    let mut left = Some(EXPANDED * rooms.api.bodies.batch_bytes + BATCH * EACH_BYTES);
    let one = |task: &Raw| -> Reply<Admitted> {
        // Once it is too much, of the rest is not even looked how much it would be.
        let room = left.ok_or_else(too_much)?;
        let admitted = admit(rooms, tenant, task.as_str().as_bytes(), None, "the path")?;
        // A small call may be many large messages: what a group says is said in each.
        left = room.checked_sub(admitted.sent.plan.tasks.iter().map(|task| bytes(&task.message)).sum());
        left.map(|_| admitted).ok_or_else(too_much)
    };
    Ok(Looked::at(tasks.iter().map(one).collect()))
}

/// The plan of a call; `id` is what `given_by` says, if it says any.
fn admit(
    rooms: &Rooms,
    tenant: &TenantId,
    asked: &[u8],
    id: Option<TaskId>,
    given_by: &'static str,
) -> Reply<Admitted> {
    if rooms.is_draining() {
        return Err(DRAINING.because("submit again when the daemon is back"));
    }
    let call = queue::call(body::parse::<SubmitRequest>(asked)?)?;
    let ids = match (id, call.options.task_id.clone()) {
        (Some(id), Some(other)) if id != other => {
            return Err(INVALID_REQUEST
                .because(format!("options.task_id: is {other}, but {given_by} makes the id {id}: leave one out")));
        }
        (Some(id), _) | (None, Some(id)) => Ids::Given(id),
        (None, None) => Ids::New(TaskId::from_uuid(Uuid::now_v7())),
    };
    let known = queue::Known { modules: &rooms.api.modules, tenant };
    let limits = rooms.api.limits.of(&rooms.api.access.policy(tenant));
    let sent = queue::admit(call, ids, &known, &limits, clock::now())?;
    Ok(Admitted { sent, given_by })
}

/// Stores what was admitted, each plan whole or not at all, and answers for all.
async fn store(rooms: &Rooms, tenant: &TenantId, looked: Looked) -> Reply<Vec<Reply<Stored>>> {
    let (now, room) = (clock::now(), rooms.api.access.room(tenant, rooms.api.limits.room));
    let Looked { calls, plans } = looked;
    rooms.api.access.may_submit(tenant, plans.iter().map(|plan| plan.tasks.len()).sum(), now)?;
    let mut found = rooms.api.store.submit(tenant, plans, now, room).await?.into_iter();
    let (mut answers, mut messages) = (Vec::with_capacity(calls.len()), Vec::new());
    for one in calls {
        answers.push(match one {
            Err(failure) => Err(failure),
            Ok(Admitted { sent, given_by }) => match found.next().expect("one answer for each plan") {
                Submitted::Stored => {
                    messages.extend(sent.plan.tasks.into_iter().map(|task| task.message));
                    Ok(Stored { reply: reply(sent.result, TaskState::Pending), is_new: true })
                }
                Submitted::Exists => existing(rooms, tenant, sent).await,
                Submitted::Taken(id) => Err(taken(&id, given_by)),
                Submitted::Full(quota) => Err(QUEUE_FULL.because(full(quota, room))),
                Submitted::Failed(error) => Err(error.into()),
            },
        });
    }
    rooms.api.hub.announce_with(tenant, || messages.iter().map(|message| Event::sent(message, now)).collect());
    Ok(answers)
}

fn full(quota: Quota, room: Room) -> String {
    let (most, what, field) = match quota {
        Quota::ScheduledTasks => (room.scheduled_tasks, "wait for their eta or countdown", quota.field()),
        Quota::QueuedTasks | Quota::Descendants => (room.queued_tasks, "wait", quota.field()),
    };
    format!(
        "{most} tasks may {what} ({field} of the tenant, or limits.{field}), and no more have room: try again later"
    )
}

fn taken(id: &TaskId, given_by: &str) -> Failure {
    ID_TAKEN
        .because(format!("{id} is a task of another call, or of this one when some of its tasks have been forgotten or have expired: give this one \
         another id (in its options, or by {given_by})"))
}

/// The tasks that have the ids already, if they are the same call. The ids of a canvas are made of one, so its first task,
/// which waited for nobody, speaks for all.
async fn existing(rooms: &Rooms, tenant: &TenantId, sent: Sent) -> Reply<Stored> {
    let Sent { mut plan, result } = sent;
    let Message { id, task, args, kwargs, .. } = plan.tasks.swap_remove(0).message;
    // Forgotten in between: the same submit will go through now.
    let meta = rooms.api.store.task(tenant, &id).await?.ok_or_else(|| Failure::unknown_id(&id))?;
    if meta.name != task || !is_same(&meta, &args, &kwargs) {
        return Err(ID_TAKEN.because(format!(
            "{id} is another call of {}, or one with other arguments: use a new id for this call of {task}",
            meta.name
        )));
    }
    let last = if id == result.id { Some(meta) } else { rooms.api.store.task(tenant, &result.id).await? };
    let state = last.map_or(TaskState::Pending, |last| last.status);
    Ok(Stored { reply: reply(result, state), is_new: false })
}

fn is_same(meta: &ResultMeta, args: &Raw, kwargs: &Raw) -> bool {
    let same = |a: &Raw, b: &Raw| a == b || without_spaces(a.as_str()).eq(without_spaces(b.as_str()));
    same(&meta.args, args) && same(&meta.kwargs, kwargs)
}

/// A JSON text without the spaces between its tokens. (Parsing would take large integers for one another.)
fn without_spaces(json: &str) -> impl Iterator<Item = char> {
    let (mut in_string, mut escaped) = (false, false);
    json.chars().filter(move |c| {
        let keep = in_string || !c.is_ascii_whitespace();
        in_string ^= *c == '"' && !escaped;
        escaped = *c == '\\' && !escaped;
        keep
    })
}

fn reply(result: ResultTuple, state: TaskState) -> SubmitReply {
    SubmitReply { id: result.id.clone(), state, result_tuple: result }
}

/// Where a task is read. An id may hold what a path may not.
pub(crate) fn location(id: &TaskId) -> String {
    let mut path = String::from("/v1/tasks/");
    for byte in id.as_str().bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    path
}

/// The id that an Idempotency-Key stands for: a UUID made of tenant and key, so that nothing needs to be remembered.
fn keyed(tenant: &TenantId, headers: &HeaderMap) -> Reply<Option<TaskId>> {
    if !headers.contains_key(IDEMPOTENCY_KEY) {
        return Ok(None);
    }
    let key = header(headers, &IDEMPOTENCY_KEY).filter(|key| !key.is_empty() && key.len() <= KEY_BYTES);
    let key =
        key.ok_or_else(|| INVALID_REQUEST.because(format!("Idempotency-Key: 1 to {KEY_BYTES} ASCII characters")))?;
    let digest = Sha256::new().chain_update(tenant.as_str()).chain_update([0]).chain_update(key).finalize();
    let bytes = digest[..16].try_into().expect("16 of 32 bytes");
    Ok(Some(TaskId::from_uuid(uuid::Builder::from_custom_bytes(bytes).into_uuid())))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn what_a_message_says_under_names_counts() {
        let message = || Message::new("a".parse().unwrap(), "tour.add".parse().unwrap());
        let named: BTreeMap<_, _> = [("n".to_owned(), Raw::of(&"x".repeat(1000)).unwrap())].into();
        for one in [
            Message { headers: named.clone(), ..message() },
            Message { stamps: named.clone(), ..message() },
            Message { overrides: named.clone(), ..message() },
        ] {
            assert!(bytes(&one) > bytes(&message()) + 1000, "{one:?}");
        }
    }

    #[test]
    fn spaces_count_in_strings_only() {
        let compact = |text: &str| without_spaces(text).collect::<String>();
        assert_eq!(compact("[1, \"a b\\\" c\", {\"k\" :\n2}]"), "[1,\"a b\\\" c\",{\"k\":2}]");
        assert_eq!(compact(r#"["\\" , 1]"#), r#"["\\",1]"#);
    }

    #[test]
    fn a_location_is_an_address() {
        let id = TaskId::new("a/b?c#é").unwrap();
        assert_eq!(location(&id), "/v1/tasks/a%2Fb%3Fc%23%C3%A9");
    }

    #[test]
    fn a_key_stands_for_one_id_of_one_tenant() {
        let headers = |key: &'static str| HeaderMap::from_iter([(IDEMPOTENCY_KEY, key.parse().unwrap())]);
        let (own, other) = (TenantId::default(), TenantId::new("other").unwrap());
        let id = keyed(&own, &headers("k")).unwrap();
        assert!(id.is_some() && id == keyed(&own, &headers("k")).unwrap());
        assert!(id != keyed(&other, &headers("k")).unwrap() && id != keyed(&own, &headers("l")).unwrap());
        assert!(keyed(&own, &headers("")).is_err());
        assert_eq!(keyed(&own, &HeaderMap::new()).unwrap(), None);
    }

    #[tokio::test]
    async fn of_one_tenant_one_large_submit_is_looked_at_at_a_time() {
        let (places, own, other) = (Places::of(1), TenantId::default(), TenantId::new("other").unwrap());
        let place = places.enter(&own, 1).await;
        let mut second = Box::pin(apart(&places, &own, || 2));
        assert!((&mut second).now_or_never().is_none());
        assert_eq!(apart(&places, &other, || 3).await, 3);
        drop(place);
        assert_eq!(second.await, 2);
        assert!(places.enter(&own, 1).now_or_never().is_some(), "its place is free again");
    }
}
