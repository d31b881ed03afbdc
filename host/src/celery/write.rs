//! A message as it lies on a list, written: message protocol 2, as Celery and kombu write it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lovage_model::{Json, Message, Timestamp, WireSignature};
use serde::Serialize;

use super::json::{dumps, uncarried};
use super::{compression, headers, properties};

/// What a message does not say, and its envelope does.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    /// A mark of our own, which stands first.
    pub ours: Option<&'a str>,
    /// The broker's id of this copy: a new one for each.
    pub tag: &'a str,
    /// Who sends it, `gen123@host`, if the message does not say.
    pub origin: &'a str,
    /// Whether it was delivered before.
    pub redelivered: bool,
    /// From when its expiry counts.
    pub now: Timestamp,
}

#[derive(Serialize)]
struct Element<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    lovage: Option<&'a str>,
    body: String,
    #[serde(rename = "content-encoding")]
    content_encoding: &'a str,
    #[serde(rename = "content-type")]
    content_type: &'a str,
    headers: headers::Written<'a>,
    properties: properties::Written<'a>,
}

/// The element of a list that is this message, compressed if its options ask for it. Fails for nothing that can be in one.
pub fn write(message: &Message, envelope: &Envelope<'_>) -> serde_json::Result<String> {
    let (body, compression) = packed(message, uncarried(body(message)?));
    dumps(&Element {
        lovage: envelope.ours,
        body: STANDARD.encode(body),
        content_encoding: "utf-8",
        content_type: "application/json",
        headers: headers::Written { message, origin: envelope.origin, redelivered: envelope.redelivered, compression },
        properties: properties::Written {
            message,
            exchange: "",
            routing_key: message.queue.as_str(),
            redelivered: envelope.redelivered,
            tag: envelope.tag,
            now: envelope.now,
        },
    })
}

/// The body, and in which way it is compressed. One that does not get shorter is not.
fn packed(message: &Message, body: String) -> (Vec<u8>, Option<&'static str>) {
    let way = message.overrides.get("compression").and_then(|way| way.read().ok()).flatten();
    let packed = way.and_then(|way| compression::pack(way, body.as_bytes()).ok());
    match packed.filter(|(_, packed)| packed.len() < body.len()) {
        Some((name, packed)) => (packed, Some(name)),
        None => (body.into_bytes(), None),
    }
}

/// What follows the call: `null` where there is nothing.
#[derive(Serialize)]
struct Follows<'a, S: Serialize> {
    callbacks: Option<&'a [S]>,
    errbacks: Option<&'a [S]>,
    chain: Option<&'a [WireSignature]>,
    chord: Option<&'a WireSignature>,
}

/// `[args, kwargs, {"callbacks", "errbacks", "chain", "chord"}]`
fn body(message: &Message) -> serde_json::Result<String> {
    let Message { args, kwargs, .. } = message;
    match &message.embed {
        Some(embed) => triple(
            args,
            kwargs,
            &Follows {
                callbacks: some(&embed.callbacks),
                errbacks: some(&embed.errbacks),
                chain: some(&embed.chain),
                chord: embed.chord.as_deref(),
            },
        ),
        None => triple(
            args,
            kwargs,
            &Follows {
                callbacks: some(&message.callbacks),
                errbacks: some(&message.errbacks),
                chain: None,
                chord: None,
            },
        ),
    }
}

fn triple<S: Serialize>(args: &Json, kwargs: &Json, follows: &Follows<'_, S>) -> serde_json::Result<String> {
    dumps(&(args, kwargs, follows))
}

fn some<T>(all: &[T]) -> Option<&[T]> {
    Some(all).filter(|all| !all.is_empty())
}
