//! What is kept of a message that was taken and not acknowledged: `[message, exchange, routing key]`, the value of its tag in
//! the hash `unacked`; and what it becomes when it is put back.
//! See <https://docs.celeryq.dev/projects/kombu/en/stable/reference/kombu.transport.redis.html>.

use lovage_model::{Fields, Json};
use serde_json::value::RawValue;

use super::json::dumps;

/// A message that was taken, and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unacked {
    /// The element that it was.
    pub element: String,
    /// Empty if it was sent to a queue by name.
    pub exchange: String,
    /// The queue, if it was sent to one by name.
    pub routing_key: String,
}

impl Unacked {
    /// The value for the hash.
    pub fn write(&self) -> serde_json::Result<String> {
        let (exchange, routing_key) = (dumps(&self.exchange)?, dumps(&self.routing_key)?);
        Ok(format!("[{}, {exchange}, {routing_key}]", self.element))
    }

    /// Reads what any worker kept; none, if it is nothing of the kind.
    pub fn read(raw: &[u8]) -> Option<Self> {
        let (element, exchange, routing_key): (Box<RawValue>, Option<String>, Option<String>) =
            serde_json::from_slice(raw).ok()?;
        let (exchange, routing_key) = (exchange.unwrap_or_default(), routing_key.unwrap_or_default());
        Some(Self { element: element.get().to_owned(), exchange, routing_key })
    }

    /// The element that is put back: it says that it was delivered before. As it was, if it is no message.
    pub fn restored(self) -> String {
        let marked = serde_json::from_str::<Fields>(&self.element).ok().and_then(|mut all| {
            let mut properties: Fields = all.read("properties").unwrap_or_default();
            let mut info: Fields = properties.read("delivery_info").unwrap_or_default();
            let mut headers: Fields = all.read("headers").unwrap_or_default();
            info.set("redelivered", Json::of(&true).ok()?);
            headers.set("redelivered", Json::of(&true).ok()?);
            properties.set("delivery_info", Json::of(&info).ok()?);
            all.set("headers", Json::of(&headers).ok()?);
            all.set("properties", Json::of(&properties).ok()?);
            dumps(&all).ok()
        });
        marked.unwrap_or(self.element)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_back_says_that_it_was_delivered_before() {
        let raw = r#"[{"body": "x", "headers": {"id": "a"}, "properties": {"delivery_info": {"exchange": ""}}}, "", "celery"]"#;
        let unacked = Unacked::read(raw.as_bytes()).unwrap();
        assert_eq!((unacked.write().unwrap().as_str(), unacked.routing_key.as_str()), (raw, "celery"));
        assert_eq!(
            unacked.restored(),
            concat!(
                r#"{"body": "x", "headers": {"id": "a", "redelivered": true}, "#,
                r#""properties": {"delivery_info": {"exchange": "", "redelivered": true}}}"#
            )
        );
        let odd = Unacked { element: "1".to_owned(), exchange: String::new(), routing_key: String::new() };
        assert_eq!(odd.restored(), "1");
        assert_eq!(Unacked::read(b"[1]"), None);
    }
}
