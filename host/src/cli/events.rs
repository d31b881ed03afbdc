//! `lovage events`: what happens, as it happens.

use lovage_model::Event;

use super::exit::Exit;
use super::screen::Format;
use super::{Session, escape};

/// Shows all events until it is stopped. One document a line: what is still coming cannot be one document.
pub(crate) async fn watch(session: &Session) -> anyhow::Result<Exit> {
    let Session { client, screen } = session;
    let mut events = client.all_events();
    while let Some(event) = events.next().await? {
        let json = serde_json::to_string(&event)?;
        match screen.format {
            Format::Table => screen.data(&line(&event, &json))?,
            Format::Json | Format::Jsonl => screen.raw_json(&json)?,
        }
    }
    Ok(Exit::Done)
}

/// When, what, whose, and the fields that the others do not have.
fn line(event: &Event, json: &str) -> String {
    let mut fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(json).unwrap_or_default();
    for known in ["type", "uuid", "name", "timestamp", "hostname"] {
        fields.remove(known);
    }
    fields.retain(|_, value| !value.is_null());
    let more: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let when = event.timestamp.to_string();
    let when = when.get(11..23).unwrap_or(&when);
    let text = format!("{when} {:<15} {} {} {}", event.kind.name(), event.name, event.uuid, more.join(" "));
    escape::line(text.trim_end()).into_owned()
}

#[cfg(test)]
mod tests {
    use lovage_model::{EventKind, Message, Timestamp};

    use super::*;

    #[test]
    fn an_event_is_a_line_that_a_guest_cannot_break() {
        let message = Message::new("a".parse().unwrap(), "tour.add".parse().unwrap());
        let at = Timestamp::parse("2026-11-21T07:30:00.5Z").unwrap();
        let shown = |event: Event| line(&event, &serde_json::to_string(&event).unwrap());
        let sent = shown(Event::sent(&message, at));
        let expected = "07:30:00.500 task-sent       tour.add a args=\"[]\" kwargs=\"{}\" queue=\"celery\" retries=0 root_id=\"a\"";
        assert_eq!(sent, expected);
        let kind = EventKind::Custom { event: "x\n\u{1b}[2J".to_owned(), fields: serde_json::json!({"n": 1}) };
        let custom = shown(Event::of(&message, at, kind));
        assert!(!custom.contains(['\n', '\u{1b}']) && custom.ends_with("fields={\"n\":1}"), "{custom}");
    }
}
