//! The ends of many tasks, as the daemon pushes them; what is cut off is asked for again.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use lovage_model::api::{Problem, WatchEnd, WatchRequest, Watched};
use lovage_model::{ResultMeta, TaskId};
use reqwest::header::ACCEPT;
use reqwest::{Method, Response};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::http::Patience;
use crate::sse::{Message, Parser};
use crate::{Client, Error, Result};

/// The most tasks of one request; more are watched by several.
const AT_ONCE: usize = 10_000;
/// Results that may wait for whoever reads them, before the daemon has to.
const BACKLOG: usize = 64;
/// The daemon's own clock ends a watch on time; this is for its answer.
const MARGIN: Duration = Duration::from_secs(2);
/// How long to wait before it is asked again what has ended, while there is no stream to be had: after something has, and at most.
const AGAIN: Duration = Duration::from_millis(500);
const LONGEST_AGAIN: Duration = Duration::from_secs(5);

/// What a watch tells.
#[derive(Debug, Clone)]
pub enum Seen {
    /// A task has ended, however it ended.
    Ended(Box<ResultMeta>),
    /// There is no such task.
    Unknown(TaskId),
}

/// The ends of many tasks, in the order in which they come; those that have ended already come first.
#[derive(Debug)]
pub struct Watch {
    seen: mpsc::Receiver<Result<Seen>>,
    /// Ended when this is dropped.
    _pumps: JoinSet<()>,
}

impl Client {
    /// Watches tasks until all have ended, or for so long; zero: tells only which have ended already. Each is told once.
    pub fn watch(&self, ids: impl IntoIterator<Item = TaskId>, wait: Option<Duration>) -> Watch {
        let (sender, seen) = mpsc::channel(BACKLOG);
        let mut once = HashSet::new();
        let ids: Vec<TaskId> = ids.into_iter().filter(|id| once.insert(id.clone())).collect();
        let mut pumps = JoinSet::new();
        for some in ids.chunks(AT_ONCE) {
            pumps.spawn(Pump::new(self.clone(), some.to_vec(), wait).run(sender.clone()));
        }
        Watch { seen, _pumps: pumps }
    }
}

impl Watch {
    /// The next one; none when all have been told, or the time is over. An error is final.
    pub async fn next(&mut self) -> Result<Option<Seen>> {
        let next = self.seen.recv().await.transpose();
        if next.is_err() {
            self.seen.close();
        }
        next
    }
}

/// One request, and those that follow it when it is cut off.
struct Pump {
    client: Client,
    ids: Vec<TaskId>,
    left: HashSet<TaskId>,
    wait: Option<Duration>,
    deadline: Option<Instant>,
    stream: Option<Stream>,
    /// Whether the stream is none that waits, since as many are open as may.
    is_crowded: bool,
    /// When it is asked again then.
    again: Duration,
    patience: Patience,
}

struct Stream {
    body: Response,
    parser: Parser,
    came: VecDeque<Message>,
}

impl Pump {
    fn new(client: Client, ids: Vec<TaskId>, wait: Option<Duration>) -> Self {
        let left = ids.iter().cloned().collect();
        let deadline = wait.and_then(|wait| Instant::now().checked_add(wait));
        let (stream, is_crowded, again, patience) = (None, false, AGAIN, Patience::new());
        Self { client, ids, left, wait, deadline, stream, is_crowded, again, patience }
    }

    async fn run(mut self, sender: mpsc::Sender<Result<Seen>>) {
        loop {
            let next = match self.deadline {
                // Which tasks have ended already is asked once, and takes its time.
                Some(deadline) if self.wait != Some(Duration::ZERO) => {
                    timeout_at(deadline + MARGIN, self.next()).await.unwrap_or(Ok(None))
                }
                _ => self.next().await,
            };
            let Some(next) = next.transpose() else { return };
            let is_last = next.is_err();
            if sender.send(next).await.is_err() || is_last {
                return;
            }
        }
    }

    async fn next(&mut self) -> Result<Option<Seen>> {
        while !self.left.is_empty() {
            let told = match self.message().await {
                Ok(message) => self.read(message).await,
                Err(error) => Err(error),
            };
            match told {
                Ok(Told::Nothing) => {}
                Ok(Told::Seen(seen)) => return Ok(Some(seen)),
                Ok(Told::End) => return Ok(None),
                Err(error) => {
                    let had_come = self.stream.take().is_some();
                    self.patience.after_stream(had_come, error, &self.client).await?;
                }
            }
        }
        Ok(None)
    }

    /// The next message, over a new connection if need be.
    async fn message(&mut self) -> Result<Message> {
        if self.stream.is_none() {
            let body = self.connect().await?;
            self.stream = Some(Stream { body, parser: Parser::default(), came: VecDeque::new() });
        }
        let stream = self.stream.as_mut().expect("just connected");
        loop {
            if let Some(message) = stream.came.pop_front() {
                if message.event != "problem" {
                    self.patience.renew();
                }
                return Ok(message);
            }
            let Some(bytes) = self.client.chunk(&mut stream.body).await? else {
                return Err(self.client.lost("it ended the watch"));
            };
            let too_large = |_| protocol(&stream.body, "an event is too large");
            stream.parser.feed(&bytes, &mut stream.came).map_err(too_large)?;
        }
    }

    /// A stream; or what has ended by now, if there are as many streams as may be.
    async fn connect(&mut self) -> Result<Response> {
        let left = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()).as_secs_f64());
        let asked = self.ask(left).await;
        self.is_crowded = asked.as_ref().is_err_and(|error| error.code() == Some("quota_exceeded"));
        if self.is_crowded { self.ask(Some(0.0)).await } else { asked }
    }

    async fn ask(&self, wait: Option<f64>) -> Result<Response> {
        let ids = self.ids.iter().filter(|id| self.left.contains(*id)).cloned().collect();
        let request = self.client.request(Method::POST, self.client.route(&["v1", "tasks:watch"])?);
        let request = request.header(ACCEPT, "text/event-stream").json(&WatchRequest { ids, wait });
        self.client.head(request).await
    }

    async fn read(&mut self, message: Message) -> Result<Told> {
        let meta: ResultMeta = match message.event.as_str() {
            "result" => self.parse(&message)?,
            "large" => self.client.task(&self.parse::<Watched>(&message)?.task_id).await?,
            "unknown" => {
                let Watched { task_id } = self.parse(&message)?;
                let is_news = self.left.remove(&task_id);
                self.again = AGAIN;
                return Ok(if is_news { Told::Seen(Seen::Unknown(task_id)) } else { Told::Nothing });
            }
            "problem" => return Err(Error::Problem(Box::new(self.parse::<Problem>(&message)?))),
            "end" if self.parse::<WatchEnd>(&message)?.left > 0 => {
                if !self.is_crowded {
                    return Ok(Told::End);
                }
                self.stream = None;
                // Once more when the time is over, at the latest.
                let left = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
                tokio::time::sleep(left.unwrap_or(self.again).min(self.again)).await;
                self.again = (self.again * 2).min(LONGEST_AGAIN);
                return Ok(Told::Nothing);
            }
            "end" => {
                // All had ended, but one was queued again before it was read.
                self.stream = None;
                return Ok(Told::Nothing);
            }
            _ => return Ok(Told::Nothing),
        };
        if !meta.status.is_terminal() || !self.left.remove(&meta.task_id) {
            return Ok(Told::Nothing);
        }
        self.again = AGAIN;
        Ok(Told::Seen(Seen::Ended(Box::new(meta))))
    }

    fn parse<T: DeserializeOwned>(&self, message: &Message) -> Result<T> {
        serde_json::from_str(&message.data).map_err(|error| Error::Protocol {
            url: self.client.shown_url(),
            why: format!("event {:?}: {error}", message.event),
        })
    }
}

enum Told {
    Nothing,
    Seen(Seen),
    End,
}

fn protocol(response: &Response, why: &str) -> Error {
    Error::Protocol { url: response.url().to_string(), why: why.to_owned() }
}
