//! A message as it lies on a list, read: message protocol 2, and 1.
//!
//! Whatever is wrong with it is an answer: a [`Poison`] with as much of it as could be read.
//! See <https://docs.celeryq.dev/en/stable/internals/protocol.html>.

use std::sync::Arc;

use lovage_model::{Embed, Exception, Fields, Json, Message, QueueName, TaskName, WireSignature};

use super::content::{self, Body};
use super::envelope::Element;
use super::headers::Headers;
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
    fn of(element: &Element) -> Self {
        let info: Fields = element.properties().read("delivery_info").unwrap_or_default();
        let text = |name: &str| info.read(name).unwrap_or_default();
        let redelivered = [element.headers(), &info].iter().any(|it| it.read("redelivered") == Some(true));
        Self {
            tag: element.property("delivery_tag"),
            exchange: text("exchange"),
            routing_key: text("routing_key"),
            redelivered,
            ours: element.lovage.as_ref().and_then(|mark| mark.read().ok()),
        }
    }
}

/// Reads an element of a list, or the message of an entry of `unacked`.
pub fn read(raw: &[u8], limits: &Limits) -> Result<Received, Box<Poison>> {
    let element = Element::parse(raw)
        .map_err(|why| Poison::nameless(Delivery::default(), poison::undecodable(format_args!("no message: {why}"))))?;
    let delivery = Delivery::of(&element);
    let body = content::body(&element, limits.body_bytes);
    let not_finite = element.not_finite.or(body.as_ref().ok().and_then(|body| body.not_finite));
    let mut fault = not_finite.map(poison::not_finite);
    let Call { headers, args, kwargs, embed } = match call(&element, body) {
        Ok(call) => call,
        Err(wrong) => {
            fault.get_or_insert(wrong);
            Call { headers: element.headers().clone(), ..Call::default() }
        }
    };
    let mut headers = Headers::new(headers);
    let (id, task) = (headers.id(), headers.task());
    let (Some(id), Some(task)) = (id, task.or_else(|| TaskName::new("unknown").ok())) else {
        let nothing = || poison::invalid("neither its headers nor its body have an id that a task can have");
        return Err(Poison::nameless(delivery, fault.or(headers.fault).unwrap_or_else(nothing)));
    };
    let argsrepr = headers.take("argsrepr");
    let kwargsrepr = headers.take("kwargsrepr");
    let properties = properties::of_the_sender(&element, id.as_str());
    let embed = Embed { properties, argsrepr, kwargsrepr, ..embed_of(embed, &mut headers) };
    let message = Message {
        queue: queue(&delivery),
        priority: properties::priority(&element),
        args: shaped(args, Json::is_array, Json::empty_array, "arguments must be a list", &mut headers),
        kwargs: shaped(
            kwargs,
            Json::is_object,
            Json::empty_object,
            "keyword arguments must be a mapping",
            &mut headers,
        ),
        embed: Some(Box::new(embed)),
        ..Message::new(id, task)
    };
    let message = headers.fill(message);
    match fault.or(headers.fault) {
        None => Ok(Received { message, delivery }),
        Some(exception) => Err(Box::new(Poison { message: Some(Box::new(message)), delivery, exception })),
    }
}

/// The queue that its sender named.
fn queue(delivery: &Delivery) -> QueueName {
    QueueName::new(&delivery.routing_key).unwrap_or_default()
}

/// What is called, still in parts.
#[derive(Default)]
struct Call {
    headers: Fields,
    args: Option<Json>,
    kwargs: Option<Json>,
    embed: Fields,
}

/// In protocol 2 the body is a list of three; in protocol 1 it has everything. There are bodies of the latter kind under
/// headers of the former, which then count.
fn call(element: &Element, body: Result<Body, Exception>) -> Result<Call, Exception> {
    let text = body?.text;
    let json = Json::parse(text).map_err(|error| poison::undecodable(format_args!("the body's JSON: {error}")))?;
    let headers = element.headers();
    if json.is_object() {
        let mut fields: Fields = json.read().map_err(|error| poison::undecodable(format_args!("the body: {error}")))?;
        let (args, kwargs) = (fields.remove("args"), fields.remove("kwargs"));
        let group = fields.remove("taskset").filter(|group| group.as_str() != "null");
        fields.remove("utc");
        let follows = ["callbacks", "errbacks", "chord"];
        let embed = follows.iter().filter_map(|name| Some(((*name).to_owned(), fields.remove(name)?))).collect();
        if let Some(group) = group {
            fields.set("group", group);
        }
        for (name, value) in headers.iter() {
            fields.set(name, value.clone());
        }
        return Ok(Call { headers: fields, args, kwargs, embed });
    }
    let items: Vec<Json> = json.read().map_err(|_| poison::no_triple(None))?;
    let found = items.len();
    let [args, kwargs, embed] = <[Json; 3]>::try_from(items).map_err(|_| poison::no_triple(Some(found)))?;
    let embed: Option<Fields> =
        embed.read().map_err(|error| poison::undecodable(format_args!("what follows the call: {error}")))?;
    Ok(Call { headers: headers.clone(), args: Some(args), kwargs: Some(kwargs), embed: embed.unwrap_or_default() })
}

/// Arguments of the right shape; as other clients than Python's write them, none are none.
fn shaped(value: Option<Json>, fits: fn(&Json) -> bool, none: fn() -> Json, rule: &str, headers: &mut Headers) -> Json {
    match value.filter(|value| value.as_str() != "null") {
        Some(value) if fits(&value) => value,
        None => none(),
        Some(_) => {
            headers.blame(poison::invalid(format_args!("Task {rule}")));
            none()
        }
    }
}

/// What follows, each part by itself: one that cannot be read leaves the others.
fn embed_of(mut fields: Fields, headers: &mut Headers) -> Embed {
    let mut all = |name: &str| -> Vec<WireSignature> {
        let value = fields.remove(name).filter(|value| value.as_str() != "null");
        let read = |value: Json| if value.is_object() { value.read().map(|one| vec![one]) } else { value.read() };
        let read = value.map_or(Ok(Vec::new()), read);
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
