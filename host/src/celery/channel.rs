//! What is published on channels, and where: kombu's fanout exchanges on Redis, for events and remote control.
//! See <https://docs.celeryq.dev/projects/kombu/en/stable/reference/kombu.transport.redis.html>.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::json::dumps;

/// The channel of an exchange, on a database of Redis: `/0.celeryev/task.multi`. A prefix of all keys stands before it.
pub fn channel(db: u32, exchange: &str, routing_key: &str) -> String {
    let slash = if routing_key.is_empty() { "" } else { "/" };
    format!("/{db}.{exchange}{slash}{routing_key}")
}

/// An envelope around anything but a task.
#[derive(Serialize)]
pub(super) struct Element<'a, H: Serialize> {
    pub(super) body: String,
    #[serde(rename = "content-encoding")]
    content_encoding: &'a str,
    #[serde(rename = "content-type")]
    content_type: &'a str,
    headers: H,
    properties: Properties<'a>,
}

#[derive(Serialize)]
struct Properties<'a> {
    delivery_mode: u8,
    delivery_info: DeliveryInfo<'a>,
    priority: u8,
    body_encoding: &'a str,
    delivery_tag: &'a str,
}

#[derive(Serialize)]
struct DeliveryInfo<'a> {
    exchange: &'a str,
    routing_key: &'a str,
}

/// To whom an envelope goes, and as which copy.
#[derive(Clone, Copy)]
pub(super) struct Address<'a> {
    pub(super) exchange: &'a str,
    pub(super) routing_key: &'a str,
    /// 1: forgotten with the broker; 2: kept.
    pub(super) delivery_mode: u8,
    /// The broker's id of this copy.
    pub(super) tag: &'a str,
}

/// The envelope of a body that is JSON already.
pub(super) fn envelope<H: Serialize>(body: &str, headers: H, to: Address<'_>) -> serde_json::Result<String> {
    let Address { exchange, routing_key, delivery_mode, tag } = to;
    dumps(&Element {
        body: STANDARD.encode(body),
        content_encoding: "utf-8",
        content_type: "application/json",
        headers,
        properties: Properties {
            delivery_mode,
            delivery_info: DeliveryInfo { exchange, routing_key },
            priority: 0,
            body_encoding: "base64",
            delivery_tag: tag,
        },
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn channels_are_kombus() {
        assert_eq!(super::channel(5, "celeryev", "worker.heartbeat"), "/5.celeryev/worker.heartbeat");
        assert_eq!(super::channel(0, "celery.pidbox", ""), "/0.celery.pidbox");
    }
}
