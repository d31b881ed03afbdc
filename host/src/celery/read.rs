//! A message as it lies on a list, read: message protocol 2, and 1.
//!
//! Whatever is wrong with it is an answer: a [`Poison`] with as much of it as could be read.
//! See <https://docs.celeryq.dev/en/stable/internals/protocol.html>.

use std::sync::Arc;

use lovage_model::{Embed, Exception, Json, Message, QueueName, TaskName, WireSignature};
use serde_json::value::RawValue;

use super::content;
use super::envelope::{Element, Text};
use super::headers::Headers;
use super::json;
use super::pairs::Pairs;
use super::poison::{self, Poison};
use super::properties;

/// How much is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes of a body, unpacked.
    pub body_bytes: usize,
}

/// A message that can run.
#[derive(Debug, Clone, PartialEq)]
pub struct Received {
    /// The message, in Celery's own form. Its queue is what its sender called the routing key, if that can be a queue.
    pub message: Message,
    /// How it came.
    pub delivery: Delivery,
}

/// How a message came, by its own words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delivery {
    /// The broker's id of this copy.
    pub tag: String,
    /// Empty if it was sent to a queue by name.
    pub exchange: String,
    /// The queue, if it was sent to one by name.
    pub routing_key: String,
    /// Whether it was delivered before.
    pub redelivered: bool,
    /// Our own mark, if one of us wrote it.
    pub ours: Option<String>,
}

impl Delivery {
    fn of(element: &Element<'_>) -> Self {
        let info: Pairs<'_> = element.properties.read("delivery_info").unwrap_or_default();
        let text = |name: &str| info.read(name).unwrap_or_default();
        let redelivered = [&element.headers, &info].iter().any(|it| it.read("redelivered") == Some(true));
        Self {
            tag: element.property("delivery_tag"),
            exchange: text("exchange"),
            routing_key: text("routing_key"),
            redelivered,
            ours: element.lovage.and_then(|mark| serde_json::from_str(mark.get()).ok()),
        }
    }
}

/// Reads an element of a list, or the message of an entry of `unacked`.
pub fn read(raw: &[u8], limits: &Limits) -> Result<Received, Box<Poison>> {
    let no_message =
        |why| Poison::nameless(Delivery::default(), poison::undecodable(format_args!("no message: {why}")));
    let text = Text::of(raw).map_err(no_message)?;
    let element = Element::parse(&text).map_err(no_message)?;
    let delivery = Delivery::of(&element);
    let body = content::body(&element, limits.body_bytes);
    let mut fault = text.not_finite.map(poison::not_finite);
    let Call { headers, args, kwargs, embed } =
        match body.as_ref().map_err(Exception::clone).and_then(|body| call(&element, body)) {
            Ok(call) => call,
            Err(wrong) => {
                fault.get_or_insert(wrong);
                Call { headers: element.headers.clone(), ..Call::default() }
            }
        };
    // What is carried to others is theirs to read.
    if let Some(shown) = [args, kwargs].into_iter().flatten().find_map(|value| json::carries(value.get())) {
        fault.get_or_insert_with(|| poison::not_finite(shown));
    }
    let mut headers = Headers::new(headers);
    let (id, task) = (headers.id(), headers.task());
    let (Some(id), Some(task)) = (id, task.or_else(|| TaskName::new("unknown").ok())) else {
        let nothing = || poison::invalid("neither its headers nor its body have an id that a task can have");
        return Err(Poison::nameless(delivery, fault.or(headers.fault).unwrap_or_else(nothing)));
    };
    let argsrepr = headers.take("argsrepr");
    let kwargsrepr = headers.take("kwargsrepr");
    let properties = properties::of_the_sender(&element.properties, id.as_str());
    let embed = Embed { properties, argsrepr, kwargsrepr, ..embed_of(embed, &mut headers) };
    let message = Message {
        queue: queue(&delivery),
        priority: properties::priority(&element.properties),
        args: shaped(args, Json::empty_array(), "arguments must be a list", &mut headers),
        kwargs: shaped(kwargs, Json::empty_object(), "keyword arguments must be a mapping", &mut headers),
        embed: Some(Box::new(embed)),
        ..Message::new(id, task)
    };
    let message = headers.fill(message);
    match fault.or(headers.fault) {
        None => Ok(Received { message, delivery }),
        Some(exception) => {
            Err(Box::new(Poison { message: Some(Box::new(message)), misnamed: headers.misnamed, delivery, exception }))
        }
    }
}

/// The queue that its sender named.
fn queue(delivery: &Delivery) -> QueueName {
    QueueName::new(&delivery.routing_key).unwrap_or_default()
}

/// What is called, still in parts.
#[derive(Default)]
struct Call<'a> {
    headers: Pairs<'a>,
    args: Option<&'a RawValue>,
    kwargs: Option<&'a RawValue>,
    embed: Pairs<'a>,
}

/// In protocol 2 the body is a list of three; in protocol 1 it has everything. There are bodies of the latter kind under
/// headers of the former, which then count.
fn call<'a>(element: &Element<'a>, text: &'a str) -> Result<Call<'a>, Exception> {
    let broken = |error: serde_json::Error| poison::undecodable(format_args!("the body's JSON: {error}"));
    if text.trim_start().starts_with('{') {
        let mut fields: Pairs<'_> = serde_json::from_str(text).map_err(broken)?;
        let (args, kwargs) = (fields.take("args"), fields.take("kwargs"));
        fields.take("utc");
        let embed = fields.split_off(&["callbacks", "errbacks", "chord"]);
        let headers = fields.renamed("taskset", "group").with(&element.headers);
        return Ok(Call { headers, args, kwargs, embed });
    }
    let whole: &RawValue = serde_json::from_str(text).map_err(broken)?;
    let items: Vec<&RawValue> = serde_json::from_str(whole.get()).map_err(|_| poison::no_triple(None))?;
    let [args, kwargs, embed] = items[..] else { return Err(poison::no_triple(Some(items.len()))) };
    let embed: Option<Pairs<'_>> = serde_json::from_str(embed.get())
        .map_err(|error| poison::undecodable(format_args!("what follows the call: {error}")))?;
    Ok(Call {
        headers: element.headers.clone(),
        args: Some(args),
        kwargs: Some(kwargs),
        embed: embed.unwrap_or_default(),
    })
}

/// Arguments of the same shape as none are; as other clients than Python's write them, `null` is none.
fn shaped(value: Option<&RawValue>, none: Json, rule: &str, headers: &mut Headers<'_>) -> Json {
    let Some(value) = value.filter(|value| value.get() != "null") else { return none };
    match Json::of_raw(value) {
        Ok(value) if (value.is_array(), value.is_object()) == (none.is_array(), none.is_object()) => return value,
        Ok(_) => headers.blame(poison::invalid(format_args!("Task {rule}"))),
        Err(error) => headers.blame(poison::undecodable(format_args!("the body's JSON: {error}"))),
    }
    none
}

/// What follows, each part by itself: one that cannot be read leaves the others.
fn embed_of(mut fields: Pairs<'_>, headers: &mut Headers<'_>) -> Embed {
    let mut all = |name: &str| -> Vec<WireSignature> {
        let Some(value) = fields.take(name).map(RawValue::get) else { return Vec::new() };
        let one = value.starts_with('{');
        let read = if one { serde_json::from_str(value).map(|one| vec![one]) } else { serde_json::from_str(value) };
        read.unwrap_or_else(|error| {
            headers.blame(poison::invalid(format_args!("{name}: {error}")));
            Vec::new()
        })
    };
    Embed {
        callbacks: all("callbacks"),
        errbacks: all("errbacks"),
        chain: all("chain"),
        chord: all("chord").pop().map(Arc::new),
        ..Embed::default()
    }
}
