//! Tasks, as they are known: lists, metas, logs.

use axum::Json;
use axum::extract::State;
use lovage_model::api::{Problem, TaskLogs, TaskPage};
use lovage_model::{QueueName, ResultMeta, State as TaskState, TaskId, TaskName};
use serde::Deserialize;

use super::Shared;
use super::input::{Asked, Named, Reads};
use super::problem::{BAD_QUERY, Failure, Reply};
use crate::store::Filter;

/// Tasks of a page, if the caller does not say.
const PAGE: usize = 50;
/// The most tasks of a page.
const LARGEST_PAGE: usize = 200;

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    /// In this state only, such as FAILURE.
    #[param(value_type = Option<String>)]
    state: Option<TaskState>,
    /// Of this name only.
    #[param(value_type = Option<String>)]
    name: Option<TaskName>,
    /// Of this queue only.
    #[param(value_type = Option<String>)]
    queue: Option<QueueName>,
    /// At most so many: 1 to 200, or else 50.
    limit: Option<usize>,
    /// `next` of the page before.
    cursor: Option<String>,
}

impl ListQuery {
    fn filter(self) -> Reply<Filter> {
        let limit = self.limit.unwrap_or(PAGE);
        if !(1..=LARGEST_PAGE).contains(&limit) {
            return Err(BAD_QUERY.because(format!("limit is {limit}: ask for 1 to {LARGEST_PAGE}")));
        }
        let before = self.cursor.map(|cursor| {
            let known = cursor.strip_prefix('t').and_then(|number| i64::from_str_radix(number, 36).ok());
            known.ok_or_else(|| BAD_QUERY.because(format!("cursor is {cursor:?}: pass `next` of the page before")))
        });
        Ok(Filter { state: self.state, name: self.name, queue: self.queue, before: before.transpose()?, limit })
    }
}

/// Reads the query of a list of tasks, and drops it: for the fuzzer.
#[cfg(fuzzing)]
pub fn read_filter(query: &str) {
    let Ok(uri) = format!("/v1/tasks?{query}").parse() else { return };
    if let Ok(axum::extract::Query(query)) = axum::extract::Query::<ListQuery>::try_from_uri(&uri) {
        let _ = query.filter();
    }
}

/// Writes a number so that `from_str_radix(_, 36)` reads it: a cursor is not to be counted with.
fn cursor(number: i64) -> String {
    let mut digits = Vec::new();
    let mut rest = number.unsigned_abs();
    loop {
        digits.push(char::from_digit((rest % 36) as u32, 36).expect("a digit"));
        rest /= 36;
        if rest == 0 {
            break;
        }
    }
    let sign = if number < 0 { "-" } else { "" };
    format!("t{sign}{}", digits.iter().rev().collect::<String>())
}

/// A page of tasks, the newest first.
#[utoipa::path(get, path = "/v1/tasks", tag = "tasks", params(ListQuery), responses((status = 200, body = TaskPage),
    (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn list_tasks(
    State(rooms): State<Shared>,
    Reads(tenant): Reads,
    Asked(query): Asked<ListQuery>,
) -> Reply<Json<TaskPage>> {
    let filter = query.filter()?;
    let _place = rooms.listing(&tenant).await;
    let page = rooms.api.store.list(&tenant, filter).await?;
    Ok(Json(TaskPage { tasks: page.tasks, next: page.next.map(cursor) }))
}

/// Everything about a task: Celery's result meta, and what only a sandbox knows.
#[utoipa::path(get, path = "/v1/tasks/{id}", tag = "tasks",
    params(("id" = String, Path, description = "The task's id")), responses((status = 200, body = ResultMeta),
    (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn show_task(
    State(rooms): State<Shared>,
    Reads(tenant): Reads,
    Named(id): Named<TaskId>,
) -> Reply<Json<ResultMeta>> {
    let _place = rooms.reading(&tenant).await;
    let meta = rooms.api.store.task(&tenant, &id).await?.ok_or_else(|| Failure::unknown_id(&id))?;
    rooms.explained(&tenant, meta).await.map(Json)
}

/// What a task wrote, attempt by attempt.
#[utoipa::path(get, path = "/v1/tasks/{id}/logs", tag = "tasks",
    params(("id" = String, Path, description = "The task's id")), responses((status = 200, body = TaskLogs),
    (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn show_logs(
    State(rooms): State<Shared>,
    Reads(tenant): Reads,
    Named(id): Named<TaskId>,
) -> Reply<Json<TaskLogs>> {
    let _place = rooms.reading(&tenant).await;
    // The running one first: an attempt that ends in between is then shown twice rather than not at all.
    let running = rooms.api.running.log(&tenant, &id);
    let attempts = rooms.api.store.logs(&tenant, &id).await?.ok_or_else(|| Failure::unknown_id(&id))?;
    Ok(Json(TaskLogs { attempts, running }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back() {
        for number in [0, 1, 35, 36, 123_456_789, i64::MAX, -1] {
            let query = ListQuery { cursor: Some(cursor(number)), state: None, name: None, queue: None, limit: None };
            assert_eq!(query.filter().unwrap().before, Some(number));
        }
    }
}
