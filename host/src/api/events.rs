//! Events as server-sent events, for one task and for all of a tenant.
//!
//! A task's stream subscribes, then reads the store: it starts with what is known, so nothing is missed, and ends after
//! the task's end. `id` is the number to resume from (`Last-Event-ID`). Who was too slow gets an event `lagged`. Streams of all events
//! rest between what they write, the longer the more of them a tenant has open: see `OpenStream::rest`.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName};
use axum::response::Sse;
use axum::response::sse::Event as Line;
use futures_util::FutureExt;
use futures_util::stream::{self, Stream};
use lovage_model::api::Problem;
use lovage_model::{Called, Event, EventKind, Exception, ResultMeta, State as TaskState, TaskId};

use super::Shared;
use super::input::{Listens, Named, header};
use super::problem::{BAD_QUERY, Failure, Reply};
use crate::access::{Caller, OpenStream};
use crate::clock;
use crate::events::{Notice, Numbered, Subscription};

/// A comment is sent after so long without an event, and the store is looked at.
const HEARTBEAT: Duration = Duration::from_secs(15);
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// What happens to a task, from what is known now to its end.
#[utoipa::path(get, path = "/v1/tasks/{id}/events", tag = "events",
    params(("id" = String, Path, description = "The task's id"),
        ("Last-Event-ID" = Option<u64>, Header, description = "Resume after this event")),
    responses((status = 200, description = "Events, until the task has ended", body = String, content_type = "text/event-stream"),
        (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn task_events(
    State(rooms): State<Shared>,
    Listens(caller): Listens,
    Named(id): Named<TaskId>,
    headers: HeaderMap,
) -> Reply<Sse<impl Stream<Item = Result<Line, Infallible>>>> {
    let after = last_event_id(&headers)?;
    let open = rooms.open_stream(&caller)?;
    let subscription = rooms.api.hub.follow(&caller.tenant, &id, after);
    let place = rooms.reading(&caller.tenant).await;
    let meta = rooms.api.store.task(&caller.tenant, &id).await?.ok_or_else(|| Failure::unknown_id(&id))?;
    drop(place);
    let mut feed = Feed::new(rooms, caller, open, Some(id), subscription);
    // Who resumes without a gap has seen the start; an end that is not among what follows must still be told.
    let resumes = after.is_some() && feed.subscription.complete();
    if !resumes || (meta.status.is_terminal() && !feed.subscription.has_missed()) {
        feed.tell_known(&meta);
    }
    Ok(Sse::new(feed.stream()))
}

/// What happens to all tasks, until the caller leaves.
#[utoipa::path(get, path = "/v1/events", tag = "events",
    params(("Last-Event-ID" = Option<u64>, Header, description = "Resume after this event")),
    responses((status = 200, description = "Events", body = String, content_type = "text/event-stream"),
        (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn all_events(
    State(rooms): State<Shared>,
    Listens(caller): Listens,
    headers: HeaderMap,
) -> Reply<Sse<impl Stream<Item = Result<Line, Infallible>>>> {
    let open = rooms.open_stream(&caller)?;
    let subscription = rooms.api.hub.listen(&caller.tenant, last_event_id(&headers)?);
    Ok(Sse::new(Feed::new(rooms, caller, open, None, subscription).stream()))
}

fn last_event_id(headers: &HeaderMap) -> Reply<Option<u64>> {
    let Some(text) = header(headers, &LAST_EVENT_ID) else { return Ok(None) };
    let wrong = |_| BAD_QUERY.because(format!("Last-Event-ID is {text:?}: pass the id of the last event you got"));
    text.parse().map(Some).map_err(wrong)
}

/// One stream on its way.
struct Feed {
    rooms: Shared,
    caller: Caller,
    open: OpenStream,
    /// When what it writes now began.
    began: Instant,
    /// The task; none: all of the tenant's.
    task: Option<TaskId>,
    subscription: Subscription,
    lines: VecDeque<Line>,
    ended: bool,
}

impl Feed {
    fn new(rooms: Shared, caller: Caller, open: OpenStream, task: Option<TaskId>, subscription: Subscription) -> Self {
        let lagged = (!subscription.complete()).then(|| lagged(None));
        let (began, lines) = (clock::instant(), lagged.into_iter().collect());
        Self { rooms, caller, open, began, task, subscription, lines, ended: false }
    }

    fn stream(self) -> impl Stream<Item = Result<Line, Infallible>> {
        stream::unfold(self, |mut feed| async move { feed.next().await.map(|line| (Ok(line), feed)) })
    }

    async fn next(&mut self) -> Option<Line> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Some(line);
            }
            if self.ended {
                return None;
            }
            // Also while there is always a notice.
            if self.rooms.api.access.is_barred(&self.caller, clock::now()) {
                return None;
            }
            let mut notice = self.subscription.next().now_or_never();
            if notice.is_none() {
                let (rest, subscription) = (self.rest(), &mut self.subscription);
                let next = async {
                    if !rest.is_zero() {
                        tokio::time::sleep(rest).await;
                    }
                    tokio::time::timeout(HEARTBEAT, subscription.next()).await.ok()
                };
                notice = tokio::select! {
                    next = next => next,
                    () = self.rooms.over(&self.caller) => return None,
                };
                self.began = clock::instant();
            }
            match notice {
                Some(notice) => self.take(notice).await,
                None => {
                    self.lines.push_back(Line::default().comment("still here"));
                    self.look().await;
                }
            }
        }
    }

    /// How long it still has to rest from what it wrote last.
    fn rest(&self) -> Duration {
        let rest = if self.task.is_some() { Duration::ZERO } else { self.open.rest() };
        rest.saturating_sub(clock::instant().saturating_duration_since(self.began))
    }

    async fn take(&mut self, notice: Notice) {
        match notice {
            Notice::Event(numbered) => {
                self.ended = self.task.is_some() && numbered.event.kind.is_terminal();
                self.lines.push_back(line(&numbered));
            }
            Notice::Lagged(lost) => {
                self.lines.push_back(lagged(Some(lost)));
                self.look().await;
            }
            Notice::Recheck => self.look().await,
        }
    }

    /// Reads the store: an end whose event was lost, or never was, ends the stream too.
    async fn look(&mut self) {
        let Some(id) = &self.task else { return };
        let _place = self.rooms.reading(&self.caller.tenant).await;
        match self.rooms.api.store.task(&self.caller.tenant, id).await {
            Ok(Some(meta)) if meta.status.is_terminal() => self.tell_known(&meta),
            Ok(Some(_)) => {}
            // Forgotten or not readable: the next request will be told which.
            Ok(None) | Err(_) => self.ended = true,
        }
    }

    fn tell_known(&mut self, meta: &ResultMeta) {
        let event = known(meta);
        self.ended = meta.status.is_terminal();
        self.lines
            .push_back(line(&Numbered { sequence: Some(self.subscription.sequence()), event: Arc::new(event.into()) }));
    }
}

fn line(numbered: &Numbered) -> Line {
    let json = numbered.event.text(|event| serde_json::to_string(event).expect("an event is JSON"));
    let line = Line::default().event(numbered.event.kind.name()).data(json);
    match numbered.sequence {
        Some(sequence) => line.id(sequence.to_string()),
        None => line,
    }
}

/// Tells that events were lost: how many, if that is known.
fn lagged(lost: Option<u64>) -> Line {
    Line::default().event("lagged").data(serde_json::json!({ "lost": lost }).to_string())
}

/// The event that led to what is known.
fn known(meta: &ResultMeta) -> Event {
    let exception = || meta.result.read::<Exception>().map(|exception| exception.to_string()).unwrap_or_default();
    let traceback = meta.traceback.clone();
    let kind = match &meta.status {
        TaskState::Pending => EventKind::Sent { call: None },
        TaskState::Received => EventKind::Received { call: None },
        TaskState::Started => EventKind::Started,
        TaskState::Success => {
            let runtime = meta.usage.map(|usage| usage.wall_seconds).unwrap_or_default();
            EventKind::succeeded(&meta.result, Called::MAX_BYTES, runtime)
        }
        TaskState::Failure => EventKind::Failed { exception: exception(), repr: String::new(), traceback },
        TaskState::Retry => EventKind::Retried { exception: exception(), repr: String::new(), traceback },
        TaskState::Revoked => {
            let reason = exception();
            EventKind::Revoked { terminated: reason.ends_with("terminated"), expired: reason.ends_with("expired") }
        }
        TaskState::Rejected => EventKind::Rejected { requeue: true },
        TaskState::Ignored => EventKind::Ignored,
        TaskState::Custom(state) => EventKind::progress(state, &meta.result),
    };
    let timestamp = meta.date_done.unwrap_or(meta.submitted_at);
    Event::new(meta.task_id.clone(), meta.name.clone(), timestamp, kind)
}
