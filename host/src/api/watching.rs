//! The ends of many tasks, pushed as they come.
//!
//! The watch begins before the store is read, so an end in between is not missed; and a task is read when it may have
//! ended, not at every event. Whoever is cut off asks again for what is left.

use std::convert::Infallible;
use std::pin::Pin;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Sse;
use axum::response::sse::Event as Line;
use futures_util::stream::{self, Stream};
use lovage_model::TaskId;
use lovage_model::api::{Problem, WatchEnd, WatchRequest, Watched};
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Sleep;

use super::Shared;
use super::body::{self, Cap};
use super::input::Listens;
use super::problem::{Failure, INVALID_REQUEST, Reply};
use crate::access::{Caller, OpenStream};
use crate::clock;
use crate::events::Watch;

/// The most tasks of one watch.
const TASKS: usize = 10_000;
/// The most bytes of a result that is pushed: what is larger waits until whoever wants it has room for it.
const PUSHED_BYTES: usize = 256 << 10;
/// A comment is sent after so long without an event.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How many tasks are looked at with each comment, in case that one ended unheard.
const LOOKED_AT: usize = 100;

/// What is read of a watch before its ids are.
#[derive(Deserialize)]
struct Brief {
    wait: Option<f64>,
}

/// Pushes the result of each task once it has ended.
#[utoipa::path(post, path = "/v1/tasks:watch", tag = "tasks", request_body = WatchRequest,
    responses((status = 200, description = "An event for each task that has ended, then `end`", body = String, content_type = "text/event-stream"),
        (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn watch_tasks(
    State(rooms): State<Shared>,
    Listens(caller): Listens,
    request: Request,
) -> Reply<Sse<impl Stream<Item = Result<Line, Infallible>>>> {
    let text = body::json_text(request, Cap::ids()).await?;
    let Brief { wait } = body::parse(&text.bytes)?;
    let wait = wait.map(span).transpose()?;
    let waits = wait != Some(Duration::ZERO);
    // Ids take much more memory than their text, so they are read by who holds a stream; or in its turn, by who does not wait:
    // that one keeps its place until its answer is read, and nobody who waits may stand behind it.
    let (open, place) =
        if waits { (Some(rooms.open_stream(&caller)?), None) } else { (None, rooms.answering(&caller.tenant).await) };
    let WatchRequest { ids, .. } = body::parse(&text.bytes)?;
    drop(text);
    if ids.len() > TASKS {
        return Err(INVALID_REQUEST.because(format!("ids: {} of them, the limit is {TASKS}: watch several", ids.len())));
    }
    let deadline = wait.map(|span| Box::pin(tokio::time::sleep(span)));
    let watch = rooms.api.hub.watch(&caller.tenant, ids);
    let feed = Feed { rooms, caller, open, _place: place, watch, deadline, over: false };
    Ok(Sse::new(feed.stream()))
}

fn span(seconds: f64) -> Reply<Duration> {
    let why = |_| INVALID_REQUEST.because(format!("wait: is {seconds}: a number of seconds, 0 or more"));
    Duration::try_from_secs_f64(seconds).map_err(why)
}

/// One watch on its way.
struct Feed {
    rooms: Shared,
    caller: Caller,
    /// None: only what has ended already is told.
    open: Option<OpenStream>,
    _place: Option<OwnedSemaphorePermit>,
    watch: Watch,
    deadline: Option<Pin<Box<Sleep>>>,
    over: bool,
}

impl Feed {
    fn stream(self) -> impl Stream<Item = Result<Line, Infallible>> {
        stream::unfold(self, |mut feed| async move { feed.next().await.map(|line| (Ok(line), feed)) })
    }

    async fn next(&mut self) -> Option<Line> {
        loop {
            // Also while there is always one that is due. A daemon that goes down tells what has ended before it leaves: whoever
            // asks only that, while the last tasks run, is answered.
            if self.over || self.rooms.api.access.is_barred(&self.caller, clock::now()) {
                return None;
            }
            if let Some(id) = self.watch.take_due() {
                match self.look(&id).await {
                    Some(line) => return Some(line),
                    None => continue,
                }
            }
            let left = self.watch.left();
            if left == 0 || self.open.is_none() {
                return Some(self.end(left));
            }
            tokio::select! {
                biased;
                () = self.watch.any_due() => {}
                () = passed(&mut self.deadline) => return Some(self.end(left)),
                () = self.rooms.over(&self.caller) => return None,
                () = tokio::time::sleep(HEARTBEAT) => {
                    self.watch.doubt(LOOKED_AT);
                    return Some(Line::default().comment("still here"));
                }
            }
        }
    }

    /// None: it has not ended.
    async fn look(&mut self, id: &TaskId) -> Option<Line> {
        let watched = || Watched { task_id: id.clone() };
        let place = self.rooms.reading(&self.caller.tenant).await;
        let known = self.rooms.api.store.task(&self.caller.tenant, id).await;
        drop(place);
        let said = match known {
            Ok(Some(meta)) if !meta.status.is_terminal() => return None,
            Ok(Some(meta)) => match json(&meta) {
                large if large.len() > PUSHED_BYTES => line("large", &json(&watched())),
                small => line("result", &small),
            },
            Ok(None) => line("unknown", &json(&watched())),
            Err(error) => {
                self.over = true;
                return Some(line("problem", &json(&Failure::from(error).problem())));
            }
        };
        self.watch.done(id);
        Some(said)
    }

    fn end(&mut self, left: usize) -> Line {
        self.over = true;
        line("end", &json(&WatchEnd { left }))
    }
}

async fn passed(deadline: &mut Option<Pin<Box<Sleep>>>) {
    match deadline {
        Some(deadline) => deadline.await,
        None => std::future::pending().await,
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("what is sent is JSON")
}

fn line(event: &str, data: &str) -> Line {
    Line::default().event(event).data(data)
}
