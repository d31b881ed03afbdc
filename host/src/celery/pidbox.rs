//! Remote control as Celery's clients and workers speak it: what is asked of all hosts, who is meant, and what one answers.
//! See <https://docs.celeryq.dev/en/stable/userguide/workers.html#remote-control>.

use lovage_model::{Exception, Fields, Json, TaskId, Timestamp, exc_module};
use serde::{Deserialize, Serialize};

use super::Limits;
use super::channel::{self, Address};
use super::content;
use super::envelope::{Element, Text};
use super::json::dumps;
use super::matcher::Matcher;

/// The exchange that requests go to.
pub const EXCHANGE: &str = "celery.pidbox";

/// Where replies go.
pub const REPLY_EXCHANGE: &str = "reply.celery.pidbox";

/// What cannot be read as a request, or as an answer.
#[derive(Debug, thiserror::Error)]
#[error("nothing of Celery's remote control: {0}")]
pub struct NoRequest(String);

/// Something that is asked of hosts.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// What: `ping`, `revoke`, ...
    pub method: String,
    /// With what.
    pub arguments: Fields,
    /// Of whom.
    pub audience: Audience,
    /// Where the answer goes; none is wanted, if nowhere.
    pub reply_to: Option<ReplyTo>,
    /// What the answer is known by.
    pub ticket: Option<String>,
    /// The logical clock of who asks.
    pub clock: u64,
    /// When nobody waits for an answer any more; none: it is not said.
    pub expires: Option<Timestamp>,
}

/// Which hosts are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// All.
    All,
    /// Those of these names.
    Named(Vec<String>),
    /// Those whose names a pattern matches.
    Matching {
        /// The pattern.
        pattern: String,
        /// What kind of pattern it is: `glob` or `pcre`.
        matcher: String,
    },
}

impl Audience {
    /// Whether a host is meant. A pattern that nobody can read means none.
    pub fn has(&self, hostname: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.iter().any(|name| name == hostname),
            Self::Matching { pattern, matcher } => {
                Matcher::of(matcher, pattern).is_some_and(|matcher| matcher.matches(hostname))
            }
        }
    }
}

/// Where an answer goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyTo {
    /// The exchange.
    pub exchange: String,
    /// Who asked.
    pub routing_key: String,
}

impl ReplyTo {
    /// Of a client with an id of its own.
    pub fn of(client: &str) -> Self {
        Self { exchange: REPLY_EXCHANGE.to_owned(), routing_key: client.to_owned() }
    }

    /// The queue that is bound to it: a list that the client waits at.
    pub fn queue(&self) -> String {
        format!("{}.{}", self.routing_key, self.exchange)
    }
}

/// A request as it is written.
#[derive(Serialize, Deserialize)]
struct Written {
    method: String,
    #[serde(default)]
    arguments: Option<Json>,
    #[serde(default)]
    destination: Option<Vec<String>>,
    #[serde(default)]
    pattern: Option<String>,
    #[serde(default)]
    matcher: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ticket: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reply_to: Option<ReplyTo>,
}

#[derive(Serialize)]
struct Headers {
    clock: u64,
    #[serde(serialize_with = "since_1970")]
    expires: Option<Timestamp>,
}

fn since_1970<S: serde::Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.serialize_f64(time.as_micros() as f64 / 1e6),
        None => serializer.serialize_u8(0),
    }
}

impl Request {
    /// Something that is told to all hosts, and not answered.
    pub fn cast(method: &str, arguments: Fields, clock: u64) -> Self {
        let (audience, reply_to, ticket, expires) = (Audience::All, None, None, None);
        Self { method: method.to_owned(), arguments, audience, reply_to, ticket, clock, expires }
    }

    /// Tells all hosts that tasks are revoked.
    pub fn revoke(tasks: &[TaskId], terminate: bool, clock: u64) -> serde_json::Result<Self> {
        let of = |name: &str, value: Json| (name.to_owned(), value);
        let signal = if terminate { "SIGKILL" } else { "SIGTERM" };
        let arguments =
            [of("task_id", Json::of(tasks)?), of("terminate", Json::of(&terminate)?), of("signal", Json::of(signal)?)];
        Ok(Self::cast("revoke", arguments.into_iter().collect(), clock))
    }

    /// Tells all hosts that tasks with a stamp are revoked.
    pub fn revoke_stamped(stamp: &str, values: &[Json], terminate: bool, clock: u64) -> serde_json::Result<Self> {
        let of = |name: &str, value: Json| (name.to_owned(), value);
        let headers: Fields = [of(stamp, Json::of(values)?)].into_iter().collect();
        let arguments = [of("headers", Json::of(&headers)?), of("terminate", Json::of(&terminate)?)];
        Ok(Self::cast("revoke_by_stamped_headers", arguments.into_iter().collect(), clock))
    }

    /// Reads what was published on the channel of [`EXCHANGE`].
    pub fn read(raw: &[u8], limits: &Limits) -> Result<Self, NoRequest> {
        let text = Text::of(raw).map_err(NoRequest)?;
        let element = Element::parse(&text).map_err(NoRequest)?;
        let body = content::body(&element, limits.body_bytes).map_err(|error| NoRequest(error.to_string()))?;
        let no_request = |error: serde_json::Error| NoRequest(error.to_string());
        let written: Written = Json::parse(body).and_then(|body| body.read()).map_err(no_request)?;
        let arguments = written.arguments.filter(|it| it.as_str() != "null").map(|it| it.read()).transpose();
        let (clock, expires) = (element.headers.read("clock"), element.headers.read("expires"));
        Ok(Self {
            method: written.method,
            arguments: arguments.map_err(no_request)?.unwrap_or_default(),
            audience: match (written.destination, written.pattern, written.matcher) {
                (Some(names), ..) if !names.is_empty() => Audience::Named(names),
                (_, Some(pattern), Some(matcher)) if !pattern.is_empty() && !matcher.is_empty() => {
                    Audience::Matching { pattern, matcher }
                }
                _ => Audience::All,
            },
            reply_to: written.reply_to,
            ticket: written.ticket,
            clock: clock.unwrap_or_default(),
            expires: expires
                .filter(|seconds| *seconds > 0.0)
                .map(|seconds: f64| Timestamp::from_micros((seconds * 1e6) as i64)),
        })
    }

    /// What is published on the channel of [`EXCHANGE`]. Each copy has an id of its own.
    pub fn write(&self, tag: &str) -> serde_json::Result<String> {
        let (destination, pattern, matcher) = match self.audience.clone() {
            Audience::All => (None, None, None),
            Audience::Named(names) => (Some(names), None, None),
            Audience::Matching { pattern, matcher } => (None, Some(pattern), Some(matcher)),
        };
        let (method, arguments) = (self.method.clone(), Some(Json::of(&self.arguments)?));
        let (ticket, reply_to) = (self.ticket.clone(), self.reply_to.clone());
        let body = dumps(&Written { method, arguments, destination, pattern, matcher, ticket, reply_to })?;
        let to = Address { exchange: EXCHANGE, routing_key: "", delivery_mode: 2, tag };
        channel::envelope(&body, Headers { clock: self.clock, expires: self.expires }, to)
    }
}

/// What a host answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply<'a> {
    /// The host.
    pub hostname: &'a str,
    /// What it says.
    pub answer: &'a Json,
    /// Who asked.
    pub to: &'a ReplyTo,
    /// What was asked.
    pub ticket: Option<&'a str>,
    /// The host's logical clock.
    pub clock: u64,
}

impl Reply<'_> {
    /// The element for the list that [`ReplyTo::queue`] names. Each copy has an id of its own.
    pub fn write(&self, tag: &str) -> serde_json::Result<String> {
        #[derive(Serialize)]
        struct Headers<'a> {
            ticket: Option<&'a str>,
            clock: u64,
        }
        let body = dumps(&std::collections::BTreeMap::from([(self.hostname, self.answer)]))?;
        let ReplyTo { exchange, routing_key } = self.to;
        let to = Address { exchange, routing_key, delivery_mode: 1, tag };
        channel::envelope(&body, Headers { ticket: self.ticket, clock: self.clock }, to)
    }
}

/// Reads what hosts answered, by their names.
pub fn read_answers(raw: &[u8], limits: &Limits) -> Result<Fields, NoRequest> {
    let text = Text::of(raw).map_err(NoRequest)?;
    let element = Element::parse(&text).map_err(NoRequest)?;
    let body = content::body(&element, limits.body_bytes).map_err(|error| NoRequest(error.to_string()))?;
    Json::parse(body).and_then(|body| body.read()).map_err(|error| NoRequest(error.to_string()))
}

/// The answer to what went wrong: `{"error": "KeyError('nosuch')"}`.
pub fn error(exception: &Exception) -> Json {
    serde_json::json!({ "error": exception.repr() }).into()
}

/// The answer to a method that there is not.
pub fn unknown(method: &str) -> Json {
    error(&Exception::new(exc_module::BUILTINS, "KeyError", method))
}
