//! The routes of tasks, queues and health.

use std::collections::BTreeMap;
use std::time::Duration;

use lovage_model::api::{
    BatchReply, BatchRequest, ControlReply, Health, PurgeReply, QueueView, RevokeManyRequest, RevokeReply,
    RevokeRequest, SubmitReply, SubmitRequest, TaskLogs, TaskPage,
};
use lovage_model::{Json, QueueName, ResultMeta, ResultTuple, SignatureOptions, State, TaskId, TaskName};
use reqwest::{Method, RequestBuilder, StatusCode};
use uuid::Uuid;

use crate::http::{PROMPT, Patience};
use crate::{AnyResult, AsyncResult, Client, Error, Result, Signature};

/// The longest the daemon holds an answer back.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The most that one request revokes.
const REVOKED_AT_ONCE: usize = 10_000;

/// No body.
const NONE: Option<&()> = None;

/// Which tasks to list; all of them, if empty.
#[derive(Debug, Clone, Default)]
pub struct TaskFilter {
    /// In this state only.
    pub state: Option<State>,
    /// Of this name only.
    pub name: Option<TaskName>,
    /// Of this queue only.
    pub queue: Option<QueueName>,
    /// At most so many on a page; the daemon's choice if left out.
    pub limit: Option<u32>,
    /// From [`TaskPage::next`] of the page before.
    pub cursor: Option<String>,
}

/// What became of a call that was sent.
#[derive(Debug, Clone)]
pub struct Receipt {
    /// Its id, its state and its result.
    pub reply: SubmitReply,
    /// False: it was sent before under the same id, and this changed nothing. (True where an answer was lost: it may be what this sent.)
    pub is_new: bool,
}

/// What a wait for a result found.
#[derive(Debug, Clone)]
pub enum Polled {
    /// The task has ended.
    Ended(ResultMeta),
    /// It has not, yet.
    Running(ResultMeta),
}

impl Client {
    /// Sends a signature, and gives the result of its shape: of a group the members, of a chain the last task with what
    /// comes before it. Returns once all of it is stored and survives a crash.
    pub async fn submit(&self, signature: Signature) -> Result<AnyResult> {
        let body = signature.build()?;
        let ignored = options(&body).is_some_and(|options| options.ignore_result == Some(true));
        let sent = self.result_from_tuple(self.send_request(&body).await?.reply.result_tuple);
        Ok(match sent {
            AnyResult::Task(task) => task.with_ignored(ignored).into(),
            group => group,
        })
    }

    /// Sends what has the result of one task: a task, or a chain or chord that ends in one. (For anything, see
    /// [`Client::submit`]: what ends in a group is sent here as well, and its result is in the error.)
    pub async fn apply_async(&self, signature: Signature) -> Result<AsyncResult> {
        match self.submit(signature).await? {
            AnyResult::Task(task) => Ok(task),
            AnyResult::Group(group) => Err(Error::EndsInGroup(Box::new(group))),
        }
    }

    /// Sends a body as it is, but for an id: what names none gets one here, as Celery's senders give it. So it may be sent again
    /// when the connection breaks and nobody knows what became of it, for as long as [`Client::with_patience`] says, and
    /// runs once.
    ///
    /// A canvas whose parts name ids of their own is sent once: sent again it might be another one.
    pub async fn send_request(&self, body: &SubmitRequest) -> Result<Receipt> {
        let given = options(body).and_then(|options| options.task_id.as_ref());
        let own = if given.is_none() { with_own_id(body) } else { None };
        let (mut patience, mut lost) = (Patience::new(), None::<Error>);
        loop {
            let request = match given {
                Some(id) => self.request(Method::PUT, self.route(&["v1", "tasks", id.as_str()])?),
                None => self.request(Method::POST, self.route(&["v1", "tasks"])?),
            };
            match self.submitted(request.json(own.as_ref().unwrap_or(body))).await {
                Err(error) if given.is_some() || own.is_some() => {
                    if let (Some(own), Some(lost), Some("id_taken")) = (&own, &lost, error.code()) {
                        return self.taken(own, lost).await;
                    }
                    // Once an answer was lost, also a refusal that may pass leaves open what became of the first.
                    if matches!(error, Error::Unreachable { .. }) {
                        lost = Some(error.clone());
                    }
                    if lost.is_none() {
                        return Err(error);
                    }
                    patience.after(error, self).await?;
                }
                Err(error) => return Err(error),
                // What has an id of ours was sent by nobody else.
                Ok(receipt) => {
                    let is_new = receipt.is_new || own.is_some() || lost.is_some();
                    return Ok(Receipt { is_new, ..receipt });
                }
            }
        }
    }

    /// What became of a call that got no answer, and whose id is taken when it is sent again. Nobody else has that id: so the call was
    /// stored, and is another one by now, since its task has replaced itself or is tried again with other arguments.
    async fn taken(&self, own: &SubmitRequest, lost: &Error) -> Result<Receipt> {
        let id = options(own).and_then(|options| options.task_id.clone()).filter(|_| !is_canvas(own));
        // Only the daemon knows what other ids a canvas has.
        let Some(id) = id else { return Err(lost.clone()) };
        let state = self.task(&id).await.map_err(|_| lost.clone())?.status;
        Ok(Receipt { reply: SubmitReply { id: id.clone(), state, result_tuple: ResultTuple::of(id) }, is_new: true })
    }

    async fn submitted(&self, request: RequestBuilder) -> Result<Receipt> {
        let response = self.send(request.timeout(PROMPT)).await?;
        let is_new = response.status() == StatusCode::ACCEPTED;
        Ok(Receipt { reply: self.json(response).await?, is_new })
    }

    /// Sends up to 1,000 tasks at once: one answer for each, in order.
    pub async fn submit_batch(&self, tasks: Vec<SubmitRequest>) -> Result<BatchReply> {
        self.call(Method::POST, &["v1", "tasks:batch"], Some(&BatchRequest { tasks })).await
    }

    /// The handle of a task that was sent before.
    pub fn async_result(&self, id: TaskId) -> AsyncResult {
        AsyncResult::new(self.clone(), id)
    }

    /// A page of tasks, newest first.
    pub async fn tasks(&self, filter: &TaskFilter) -> Result<TaskPage> {
        let limit = filter.limit.map(|limit| limit.to_string());
        let pairs = [
            ("state", filter.state.as_ref().map(State::as_str)),
            ("name", filter.name.as_ref().map(TaskName::as_str)),
            ("queue", filter.queue.as_ref().map(QueueName::as_str)),
            ("limit", limit.as_deref()),
            ("cursor", filter.cursor.as_deref()),
        ];
        let query: Vec<_> = pairs.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
        let request = self.request(Method::GET, self.route(&["v1", "tasks"])?).query(&query).timeout(PROMPT);
        self.json(self.send(request).await?).await
    }

    /// Everything about a task.
    pub async fn task(&self, id: &TaskId) -> Result<ResultMeta> {
        self.get(&["v1", "tasks", id.as_str()]).await
    }

    /// Asks for a result; the daemon holds its answer back until the task has ended, or `wait`, in whole seconds,
    /// is over. At most a minute: to wait longer, [`AsyncResult::wait`].
    pub async fn poll_result(&self, id: &TaskId, wait: Duration) -> Result<Polled> {
        let wait = wait.min(LONGEST_WAIT).as_secs_f64().round();
        let request = self
            .request(Method::GET, self.route(&["v1", "tasks", id.as_str(), "result"])?)
            .query(&[("wait", wait.to_string())])
            .timeout(Duration::from_secs_f64(wait) + PROMPT);
        let response = self.send(request).await?;
        match response.status() {
            StatusCode::OK => Ok(Polled::Ended(self.json(response).await?)),
            StatusCode::ACCEPTED => Ok(Polled::Running(self.json(response).await?)),
            other => Err(Error::Protocol { url: response.url().to_string(), why: format!("status {other}") }),
        }
    }

    /// What each attempt of a task wrote.
    pub async fn logs(&self, id: &TaskId) -> Result<TaskLogs> {
        self.get(&["v1", "tasks", id.as_str(), "logs"]).await
    }

    /// Keeps a task from running; with `terminate`, stops it too if it runs.
    pub async fn revoke(&self, id: &TaskId, terminate: bool) -> Result<ControlReply> {
        self.call(Method::POST, &["v1", "tasks", id.as_str(), "revoke"], Some(&RevokeRequest { terminate })).await
    }

    /// Revokes several tasks by one request: one answer for each, in order. (More than 10,000 are several requests.)
    pub async fn revoke_many(&self, ids: Vec<TaskId>, terminate: bool) -> Result<RevokeReply> {
        let mut all = RevokeReply { results: Vec::with_capacity(ids.len()) };
        for some in ids.chunks(REVOKED_AT_ONCE) {
            let body = RevokeManyRequest { ids: some.to_vec(), terminate, ..RevokeManyRequest::default() };
            let reply: RevokeReply = self.call(Method::POST, &["v1", "tasks:revoke"], Some(&body)).await?;
            all.results.extend(reply.results);
        }
        Ok(all)
    }

    /// Revokes every task that has any of these stamps and has not ended: names, each with a value or an array of values. One
    /// answer for each task that was found.
    pub async fn revoke_by_stamped_headers(
        &self,
        headers: BTreeMap<String, Json>,
        terminate: bool,
    ) -> Result<RevokeReply> {
        let body = RevokeManyRequest { stamped_headers: headers, terminate, ..RevokeManyRequest::default() };
        self.call(Method::POST, &["v1", "tasks:revoke"], Some(&body)).await
    }

    /// Queues a task that has ended once more, under its id.
    pub async fn retry(&self, id: &TaskId) -> Result<ControlReply> {
        self.call(Method::POST, &["v1", "tasks", id.as_str(), "retry"], NONE).await
    }

    /// Drops a task that has ended, with its result and log.
    pub async fn forget(&self, id: &TaskId) -> Result<ControlReply> {
        self.call(Method::DELETE, &["v1", "tasks", id.as_str()], NONE).await
    }

    /// Every queue that has a message.
    pub async fn queues(&self) -> Result<Vec<QueueView>> {
        self.get(&["v1", "queues"]).await
    }

    /// Revokes everything that waits in a queue.
    pub async fn purge(&self, queue: &QueueName) -> Result<PurgeReply> {
        self.call(Method::POST, &["v1", "queues", queue.as_str(), "purge"], NONE).await
    }

    /// Whether the daemon is there.
    pub async fn livez(&self) -> Result<Health> {
        self.health("livez").await
    }

    /// Whether the daemon can take tasks; if not, the error is its problem.
    pub async fn readyz(&self) -> Result<Health> {
        self.health("readyz").await
    }

    /// The daemon's OpenAPI document.
    pub async fn openapi(&self) -> Result<Json> {
        self.get(&["openapi.json"]).await
    }

    async fn health(&self, which: &str) -> Result<Health> {
        let response = self.send_any(self.request(Method::GET, self.route(&[which])?).timeout(PROMPT)).await?;
        match response.status() {
            StatusCode::OK => self.json(response).await,
            _ => Err(self.refusal(response).await),
        }
    }
}

/// The same call under an id that nobody else has. None: its parts may name ids, which it would not go with.
fn with_own_id(body: &SubmitRequest) -> Option<SubmitRequest> {
    let inside = match &body.signature {
        Some(call) => [Some(&call.args), Some(&call.kwargs)],
        None => [body.args.as_ref(), body.kwargs.as_ref()],
    };
    let names = |part: &Json| ["\"task_id\"", "\"group_id\""].iter().any(|key| part.as_str().contains(key));
    let names_group = options(body).is_some_and(|options| options.group_id.is_some());
    if is_canvas(body) && (names_group || inside.into_iter().flatten().any(names)) {
        return None;
    }
    let mut own = body.clone();
    let options = match &mut own.signature {
        Some(call) => &mut call.options,
        None => own.options.get_or_insert_default(),
    };
    // As the daemon makes them: those of one time stay together in a store's index.
    options.task_id = Some(TaskId::from_uuid(Uuid::now_v7()));
    Some(own)
}

/// Whether it may be more than one task.
fn is_canvas(body: &SubmitRequest) -> bool {
    let (task, is_typed) = match &body.signature {
        Some(call) => (Some(&call.task), call.subtask_type.is_some()),
        None => (body.task.as_ref(), false),
    };
    is_typed || task.is_some_and(|task| task.as_str().starts_with("celery."))
}

fn options(body: &SubmitRequest) -> Option<&SignatureOptions> {
    body.options.as_ref().or(body.signature.as_ref().map(|signature| &signature.options))
}
