//! What is asked of this host by Celery's remote control, and what does it answer?
//!
//! `celery inspect`, `celery control`, Flower and other workers publish requests for all hosts; each answers those that mean it
//! into the list of whoever asked. Requests are dealt with in their order. One that cannot be read, or that nobody waits for any
//! more, changes nothing and ends nothing.
//! See <https://docs.celeryq.dev/en/stable/userguide/workers.html#remote-control>.

mod asked;
mod conf;
mod ordered;

use std::time::Duration;

use lovage_model::{Exception, Fields, Json, TenantId, exc_module};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::broadcast::error::RecvError;

use super::{Celeryev, Control};
use crate::celery::Limits;
use crate::celery::pidbox::{self, Reply, ReplyTo, Request};
use crate::clock;
use crate::store::{Fanout, StoreError};

/// How long an answer waits for whoever asked: longer than anybody waits for it.
const ANSWER_KEPT: Duration = Duration::from_secs(60);
/// How large a request or an answer may be.
const REQUEST_BYTES: usize = 4 << 20;
/// How long other hosts have to say what was revoked before this one came.
const GREETING: Duration = Duration::from_secs(1);

/// Answers what is asked of this host.
pub struct Pidbox {
    /// Who carries it out.
    pub control: Control,
    /// Who publishes events of this host.
    pub celeryev: std::sync::Arc<Celeryev>,
    /// The settings of this host, as they are shown.
    pub conf: Value,
}

/// Why something was not done: as Celery says it.
enum No {
    /// An exception: its `repr` is the answer.
    Raised(Exception),
    /// A text.
    Said(String),
}

type Answer = Result<Json, No>;

impl From<StoreError> for No {
    fn from(error: StoreError) -> Self {
        Self::raised("RuntimeError", error.to_string())
    }
}

impl No {
    fn raised(exc_type: &str, text: impl Into<String>) -> Self {
        Self::Raised(Exception::new(exc_module::BUILTINS, exc_type, text.into()))
    }

    fn json(self) -> Json {
        match self {
            Self::Raised(exception) => pidbox::error(&exception),
            Self::Said(text) => serde_json::json!({ "error": text }).into(),
        }
    }
}

fn limits() -> Limits {
    Limits { body_bytes: REQUEST_BYTES }
}

fn answer<T: Serialize + ?Sized>(value: &T) -> Answer {
    Json::of(value).map_err(|error| No::raised("ValueError", error.to_string()))
}

fn ok(text: impl Into<String>) -> Answer {
    Ok(serde_json::json!({ "ok": text.into() }).into())
}

/// An argument, if it is there and not null; what is of another type is an error.
fn argument<T: DeserializeOwned>(arguments: &Fields, name: &str) -> Result<Option<T>, No> {
    let Some(value) = arguments.get(name).filter(|value| value.as_str() != "null") else { return Ok(None) };
    value.read().map(Some).map_err(|error| No::raised("TypeError", format!("{name}: {error}")))
}

fn needed<T: DeserializeOwned>(arguments: &Fields, name: &str) -> Result<T, No> {
    argument(arguments, name)?.ok_or_else(|| No::raised("TypeError", format!("missing 1 required argument: '{name}'")))
}

impl Pidbox {
    /// Answers for ever, where there is anybody who could ask.
    pub async fn run(self) {
        let Some(fanout) = self.control.store.fanout() else { return std::future::pending().await };
        let mut asked = fanout.asked();
        // Where answers to this host's own question go.
        let mailbox = uuid::Uuid::new_v4().to_string();
        self.greet(fanout, &mailbox).await;
        let answered = tokio::time::sleep(GREETING);
        tokio::pin!(answered);
        let mut greets = true;
        loop {
            tokio::select! {
                () = &mut answered, if greets => {
                    greets = false;
                    self.learn(fanout, &mailbox).await;
                }
                raw = asked.recv() => match raw {
                    Ok(raw) => self.attend(fanout, &raw).await,
                    Err(RecvError::Lagged(lost)) => {
                        tracing::warn!(lost, "requests of remote control came faster than they could be answered");
                    }
                    Err(RecvError::Closed) => return std::future::pending().await,
                },
            }
        }
    }

    /// Asks the others what was revoked, and tells them what this host knows.
    async fn greet(&self, fanout: &dyn Fanout, mailbox: &str) {
        let revoked = self.control.standing.foretold.ids(&TenantId::default(), clock::now());
        let of = |name: &str, value: serde_json::Result<Json>| Ok((name.to_owned(), value?));
        let arguments = [of("from_node", Json::of(&self.control.host.hostname)), of("revoked", Json::of(&revoked))];
        let arguments = arguments.into_iter().collect::<serde_json::Result<Fields>>();
        let request = arguments.map(|arguments| Request {
            reply_to: Some(ReplyTo::of(mailbox)),
            ticket: Some(mailbox.to_owned()),
            ..Request::cast("hello", arguments, self.control.clock.forward())
        });
        let asked = async {
            fanout.expect_answers(mailbox).await?;
            self.control.cast(request).await
        };
        if let Err(error) = asked.await {
            tracing::warn!(%error, "other hosts could not be asked what was revoked");
        }
    }

    /// What the others have answered.
    async fn learn(&self, fanout: &dyn Fanout, mailbox: &str) {
        let answers = match fanout.answers(mailbox).await {
            Ok(answers) => answers,
            Err(error) => return tracing::warn!(%error, "what other hosts know of revoked tasks could not be read"),
        };
        let answers: Vec<Fields> = answers.iter().filter_map(|raw| pidbox::read_answers(raw, &limits()).ok()).collect();
        let known = answers.iter().flat_map(Fields::iter).filter_map(|(_, known)| known.read::<Fields>().ok());
        for known in known {
            self.control.clock.adjust(known.read("clock").unwrap_or_default());
            if let Ok(ids) = ordered::ids_of(&known, "revoked") {
                self.control.standing.foretold.revoke(&TenantId::default(), &ids, clock::now());
            }
        }
    }

    async fn attend(&self, fanout: &dyn Fanout, raw: &[u8]) {
        let request = match Request::read(raw, &limits()) {
            Ok(request) => request,
            Err(error) => return tracing::warn!(%error, "what was asked of all hosts cannot be read"),
        };
        self.control.clock.adjust(request.clock);
        let hostname = &self.control.host.hostname;
        if !request.audience.has(hostname) || request.expires.is_some_and(|expires| expires < clock::now()) {
            return;
        }
        let answer = match self.answer(&request).await {
            // Celery's own workers do not answer themselves.
            Ok(None) => return,
            Ok(Some(answer)) => answer,
            Err(no) => no.json(),
        };
        let Some(to) = &request.reply_to else { return };
        let clock = self.control.clock.forward();
        let reply = Reply { hostname, answer: &answer, to, ticket: request.ticket.as_deref(), clock };
        let sent = match reply.write(&uuid::Uuid::new_v4().to_string()) {
            Ok(envelope) => fanout.answer(&to.queue(), &envelope, ANSWER_KEPT).await,
            Err(error) => Err(StoreError::Failed(error.to_string())),
        };
        if let Err(error) = sent {
            tracing::warn!(%error, method = %request.method, "a request of remote control was not answered");
        }
    }

    /// None: there is nothing to say.
    async fn answer(&self, request: &Request) -> Result<Option<Json>, No> {
        if request.method == "hello" {
            return self.hello(&request.arguments);
        }
        let known = match self.asked(&request.method, &request.arguments).await? {
            Some(answer) => Some(answer),
            None => self.ordered(&request.method, &request.arguments).await?,
        };
        Ok(Some(known.unwrap_or_else(|| pidbox::unknown(&request.method))))
    }

    /// Another host has come: it learns what was revoked, and tells.
    fn hello(&self, arguments: &Fields) -> Result<Option<Json>, No> {
        let from: String = needed(arguments, "from_node")?;
        if from == self.control.host.hostname {
            return Ok(None);
        }
        let (now, foretold) = (clock::now(), &self.control.standing.foretold);
        foretold.revoke(&TenantId::default(), &ordered::ids_of(arguments, "revoked")?, now);
        let revoked = foretold.ids(&TenantId::default(), now);
        answer(&serde_json::json!({ "revoked": revoked, "clock": self.control.clock.forward() })).map(Some)
    }
}
