//! What happens to tasks, as it happens; a stream that is cut is taken up where it was.

use std::collections::VecDeque;

use lovage_model::{Event, TaskId};
use reqwest::header::{ACCEPT, HeaderName, HeaderValue};
use reqwest::{Method, Response, StatusCode};

use crate::http::Patience;
use crate::sse::{Message, Parser};
use crate::{Client, Error, Result};

/// Events of one task until it ends, or of all tasks.
///
/// [`EventStream::next`] may be dropped while it waits (as `tokio::select!` does): nothing is lost.
#[derive(Debug)]
pub struct EventStream {
    client: Client,
    task: Option<TaskId>,
    body: Option<Response>,
    parser: Parser,
    came: VecDeque<Message>,
    patience: Patience,
    ended: bool,
}

impl Client {
    /// What happens to a task, from now on, until it ends. Connects when the first event is asked for.
    pub fn events(&self, id: &TaskId) -> EventStream {
        EventStream::new(self.clone(), Some(id.clone()))
    }

    /// What happens to all tasks, from now on.
    pub fn all_events(&self) -> EventStream {
        EventStream::new(self.clone(), None)
    }
}

impl EventStream {
    fn new(client: Client, task: Option<TaskId>) -> Self {
        let (parser, came) = (Parser::default(), VecDeque::new());
        Self { client, task, body: None, parser, came, patience: Patience::new(), ended: false }
    }

    /// The next event; none after the last one of a task. An error is final.
    pub async fn next(&mut self) -> Result<Option<Event>> {
        loop {
            if self.ended {
                return Ok(None);
            }
            if let Some(message) = self.came.pop_front() {
                // A notice of the stream itself, such as that events were lost: the store has what they said.
                if !message.event.starts_with("task-") {
                    continue;
                }
                let event = self.read(&message)?;
                self.ended = self.task.is_some() && event.kind.is_terminal();
                return Ok(Some(event));
            }
            if let Err(error) = self.fill().await {
                let had_come = self.body.take().is_some();
                self.patience.after_stream(had_come, error, &self.client).await?;
            }
        }
    }

    /// Gets more bytes, over a new connection if need be.
    async fn fill(&mut self) -> Result<()> {
        let Some(body) = &mut self.body else {
            self.parser.restart();
            self.body = self.connect().await?;
            self.ended = self.body.is_none();
            return Ok(());
        };
        match self.client.chunk(body).await? {
            Some(bytes) => {
                self.patience.renew();
                let url = body.url().to_string();
                let fed = self.parser.feed(&bytes, &mut self.came);
                fed.map_err(|_| Error::Protocol { url, why: "an event is too large".to_owned() })
            }
            None if self.has_ended().await? => {
                self.ended = true;
                Ok(())
            }
            None => Err(self.client.lost("it ended the stream of events")),
        }
    }

    /// None: there will be no more events (204).
    async fn connect(&self) -> Result<Option<Response>> {
        let url = match &self.task {
            Some(id) => self.client.route(&["v1", "tasks", id.as_str(), "events"])?,
            None => self.client.route(&["v1", "events"])?,
        };
        let mut request = self.client.request(Method::GET, url).header(ACCEPT, "text/event-stream");
        if let Some(id) = self.parser.last_id().and_then(|id| HeaderValue::from_str(id).ok()) {
            request = request.header(HeaderName::from_static("last-event-id"), id);
        }
        let response = self.client.head(request).await?;
        Ok((response.status() != StatusCode::NO_CONTENT).then_some(response))
    }

    /// Whether a stream that ended without a last event did so because the task had ended before.
    async fn has_ended(&self) -> Result<bool> {
        match &self.task {
            Some(id) => Ok(self.client.task(id).await?.status.is_terminal()),
            None => Ok(false),
        }
    }

    fn read(&self, message: &Message) -> Result<Event> {
        serde_json::from_str(&message.data).map_err(|error| Error::Protocol {
            url: self.client.shown_url(),
            why: format!("event {:?}: {error}", message.event),
        })
    }
}
