//! The properties of a message. Those that the broker sets are written anew each time; the others stay with a message as its
//! sender set them, see [`Embed::properties`].

use lovage_model::{Embed, Fields, Json, Message, TaskId, Timestamp};
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use super::pairs::Pairs;

/// What every message gets where it is put on a list.
const OF_THE_BROKER: [&str; 5] = ["delivery_tag", "body_encoding", "delivery_info", "priority", "expiration"];

/// 0 (first) to 9 (last).
const MAX_PRIORITY: f64 = 9.0;

/// Persistent, as Celery sends all tasks.
const DELIVERY_MODE: &str = "2";

/// What its sender set, without what any message has.
pub(super) fn of_the_sender(properties: &Pairs<'_>, id: &str) -> Json {
    let plain = |name: &str, value: &str| match name {
        "correlation_id" => serde_json::from_str::<TaskId>(value).is_ok_and(|it| it.as_str() == id),
        "reply_to" => matches!(value, "\"\"" | "null"),
        "delivery_mode" => value == DELIVERY_MODE,
        name => OF_THE_BROKER.contains(&name),
    };
    let kept = properties.iter().filter(|(name, value)| !plain(name, value.get()));
    let kept = kept.map(|(name, value)| Ok((name.to_owned(), Json::of_raw(value)?)));
    let kept = kept.collect::<serde_json::Result<Fields>>().and_then(|kept| Json::of(&kept));
    kept.unwrap_or_else(|_| Json::empty_object())
}

/// 0 if it does not say, or says nonsense, as kombu takes it.
pub(super) fn priority(properties: &Pairs<'_>) -> u8 {
    let number: Option<f64> = properties
        .read("priority")
        .or_else(|| properties.read::<String>("priority").and_then(|text| text.parse().ok()));
    // Between 0 and 9, which are exact.
    number.map_or(0, |number| number.clamp(0.0, MAX_PRIORITY) as u8)
}

/// The properties of a message, in kombu's order.
pub(super) struct Written<'a> {
    pub(super) message: &'a Message,
    pub(super) exchange: &'a str,
    pub(super) routing_key: &'a str,
    pub(super) redelivered: bool,
    pub(super) tag: &'a str,
    pub(super) now: Timestamp,
}

#[derive(Serialize)]
struct DeliveryInfo<'a> {
    exchange: &'a str,
    routing_key: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    redelivered: bool,
}

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Message { embed, id, priority, expires, .. } = self.message;
        let mut rest: Fields =
            embed.as_deref().and_then(|Embed { properties, .. }| properties.read().ok()).unwrap_or_default();
        let mut all = serializer.serialize_map(None)?;
        match rest.remove("correlation_id") {
            Some(other) => all.serialize_entry("correlation_id", &other)?,
            None => all.serialize_entry("correlation_id", id)?,
        }
        match rest.remove("reply_to") {
            Some(queue) => all.serialize_entry("reply_to", &queue)?,
            None => all.serialize_entry("reply_to", "")?,
        }
        let delivery_mode = rest.remove("delivery_mode");
        for (name, value) in rest.iter().filter(|(name, _)| !OF_THE_BROKER.contains(name)) {
            all.serialize_entry(name, value)?;
        }
        match delivery_mode {
            Some(other) => all.serialize_entry("delivery_mode", &other)?,
            None => all.serialize_entry("delivery_mode", &2)?,
        }
        if let Some(expires) = expires {
            all.serialize_entry("expiration", &expires.since(self.now).as_millis().to_string())?;
        }
        let Self { exchange, routing_key, redelivered, .. } = *self;
        all.serialize_entry("delivery_info", &DeliveryInfo { exchange, routing_key, redelivered })?;
        all.serialize_entry("priority", priority)?;
        all.serialize_entry("body_encoding", "base64")?;
        all.serialize_entry("delivery_tag", self.tag)?;
        all.end()
    }
}
