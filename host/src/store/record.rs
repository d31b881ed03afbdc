//! What is known about one task, and how does a client read it?
//!
//! Backends keep these facts where they like; what a client sees is made of them here, so that it is the same for all.

use std::collections::BTreeSet;
use std::fmt;

use lovage_model::{Json, Message, ResultMeta, ResultTuple, State, TaskId, Timestamp, Usage};
use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};

use super::FREE_SLOT;

/// The most children that are kept of a task; the newest ones.
pub(super) const MAX_CHILDREN: usize = 10_000;

/// The most attempts of a task whose logs are kept; the newest ones.
pub(super) const MAX_LOGS: usize = 20;

/// The most bytes of messages that one lease call reads, the first message apart, and of results that are read at once.
pub(super) const MAX_LEASED_BYTES: usize = 64 * 1024 * 1024;

/// A list ends once it has so many bytes, and says where the next one begins: what is listed may be megabytes each.
pub const MAX_LISTED_BYTES: usize = 16 * 1024 * 1024;

/// How large something is as JSON, in bytes.
pub fn json_bytes<T: serde::Serialize>(value: &T) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // What could not be written would not be shown either.
    let _ = serde_json::to_writer(&mut count, value);
    count.0
}

/// Everything a store knows about a task.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Record {
    pub(super) message: Message,
    pub(super) submitted_at: Timestamp,
    /// What the last settlement left; PENDING before the first. A lease covers it, and uncovers it when it lapses.
    pub(super) state: State,
    /// When it ended; set exactly while `state` is terminal.
    pub(super) ended: Option<Timestamp>,
    /// The host that ran it last, the present one not counted.
    pub(super) worker: Option<String>,
    pub(super) deliveries: u32,
    pub(super) kept: Kept,
    pub(super) place: Place,
}

/// What the last settlement kept.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Kept {
    pub(super) result: Json,
    pub(super) traceback: Option<String>,
    pub(super) fault: Option<String>,
    /// The tasks that its attempts so far have sent, see [`more_children`].
    pub(super) children: Vec<ResultTuple>,
    pub(super) usage: Option<Usage>,
}

impl Default for Kept {
    /// Nothing: no attempt has ended yet.
    fn default() -> Self {
        Self { result: Json::null(), traceback: None, fault: None, children: Vec::new(), usage: None }
    }
}

/// Where a task's message is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Place {
    /// It could run now.
    Ready,
    /// It waits for its ETA.
    Scheduled,
    /// It waits for something else to end.
    Blocked {
        /// What.
        awaited: TaskId,
        /// Whether that is a join; else it is a task.
        group: bool,
    },
    /// A host has it.
    Leased(Leasehold),
    /// There is none: the task has ended.
    Nowhere,
}

/// What a lease covers a record with while it lasts.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Leasehold {
    pub(super) worker: String,
    /// The state that the task set itself, with its meta.
    pub(super) own: Option<(String, Json)>,
}

impl Record {
    /// A task that was queued just now; the caller puts its message into its place.
    pub(super) fn new(message: Message, now: Timestamp, place: Place) -> Self {
        Self {
            message,
            submitted_at: now,
            state: State::Pending,
            ended: None,
            worker: None,
            deliveries: 0,
            kept: Kept::default(),
            place,
        }
    }

    /// The state, as a client reads it.
    pub(super) fn status(&self) -> State {
        match &self.place {
            Place::Leased(Leasehold { own: Some((name, _)), .. }) => State::from_name(name),
            Place::Leased(_) if self.message.untracked => State::Pending,
            Place::Leased(_) => State::Started,
            _ => self.state.clone(),
        }
    }

    /// Everything, as a client reads it.
    pub(super) fn meta(self) -> ResultMeta {
        let status = self.status();
        let waiting_for = match &self.place {
            Place::Ready => Some(FREE_SLOT.to_owned()),
            // It was postponed, which nothing but a rate limit does.
            Place::Scheduled if self.message.eta.is_none() => Some("rate limit".to_owned()),
            Place::Scheduled => Some("eta".to_owned()),
            Place::Blocked { awaited, group: true } => Some(format!("group {awaited}")),
            Place::Blocked { awaited, group: false } => Some(format!("task {awaited}")),
            Place::Leased(_) | Place::Nowhere => None,
        };
        let Kept { result, traceback, fault, children, usage } = self.kept;
        let (worker, result, traceback, fault) = match self.place {
            Place::Leased(held) => (Some(held.worker), held.own.map_or_else(Json::null, |(_, meta)| meta), None, None),
            _ => (self.worker, result, traceback, fault),
        };
        ResultMeta {
            date_done: self.ended.filter(|_| status.is_ready()),
            task_id: self.message.id,
            status,
            result,
            traceback,
            children,
            parent_id: self.message.parent_id,
            name: self.message.task,
            shadow: self.message.shadow,
            args: self.message.args,
            kwargs: self.message.kwargs,
            worker,
            retries: self.message.retries,
            queue: self.message.queue.into(),
            fault,
            root_id: self.message.root_id,
            submitted_at: self.submitted_at,
            eta: self.message.eta,
            waiting_for,
            deliveries: self.deliveries,
            usage,
        }
    }
}

/// The children of a task once another attempt has sent these.
pub(super) fn more_children(mut old: Vec<ResultTuple>, new: Vec<ResultTuple>) -> Vec<ResultTuple> {
    old.extend(new);
    let surplus = old.len().saturating_sub(MAX_CHILDREN);
    old.drain(..surplus);
    old
}

/// The labels by which a message is found: each name with each of its values, written one way. Of very many, which only clients of
/// Celery's send, it is found by the first: each is an entry of its own, written while others wait.
pub(super) fn stamps(message: &Message) -> BTreeSet<(String, String)> {
    let entries = message.stamps.iter().flat_map(|(name, value)| {
        let items = if value.is_array() { value.read::<Items>().ok() } else { None };
        let Items(values) = items.unwrap_or_else(|| Items(vec![value.clone()]));
        values.into_iter().map(|value| (name.clone(), canonical(&value)))
    });
    entries.take(Message::MOST_STAMPS).collect()
}

/// The values of a stamp that is a list, as many as count: the others are passed over while they are read.
struct Items(Vec<Json>);

impl<'de> Deserialize<'de> for Items {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Items;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Items, A::Error> {
                let mut items = Vec::new();
                while items.len() < Message::MOST_STAMPS {
                    let Some(item) = list.next_element()? else { return Ok(Items(items)) };
                    items.push(item);
                }
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Items(items))
            }
        }
        deserializer.deserialize_seq(List)
    }
}

/// A value, written so that equal values are equal texts, whatever blanks, escapes and order of keys they came with.
pub(super) fn canonical(value: &Json) -> String {
    let text = value.as_str().trim();
    // Numbers of any size are told apart.
    let is_number = text.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    match value.read::<serde_json::Value>() {
        Ok(value) if !is_number => value.to_string(),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Json {
        Json::parse(text.to_owned()).unwrap()
    }

    #[test]
    fn stamps_are_found_by_each_of_their_values() {
        let stamps_of = |text: &str| {
            let message = Message::new("a".parse().unwrap(), "tour.add".parse().unwrap());
            stamps(&Message { stamps: [("job".to_owned(), json(text))].into(), ..message })
        };
        assert_eq!(stamps_of(r#"["a", "\u0062", "a"]"#).len(), 2);
        assert!(stamps_of(r#"["a", "\u0062"]"#).contains(&("job".to_owned(), r#""b""#.to_owned())));
        assert_eq!(stamps_of(r#"{"b": 1, "a": 2}"#), stamps_of(r#"{"a":2,"b":1}"#));
        assert_ne!(stamps_of("123456789012345678901"), stamps_of("123456789012345678902"));
        assert!(stamps_of("[]").is_empty());
    }

    #[test]
    fn of_very_many_stamps_the_first_count() {
        let message = Message::new("a".parse().unwrap(), "tour.add".parse().unwrap());
        let many: Vec<usize> = (0..Message::MOST_STAMPS + 50).collect();
        let all = [("a", json("7")), ("b", Json::of(&many).unwrap())].map(|(name, value)| (name.to_owned(), value));
        let found = stamps(&Message { stamps: all.into(), ..message });
        assert_eq!(found.len(), Message::MOST_STAMPS);
        let last = (Message::MOST_STAMPS - 2).to_string();
        for (name, value) in [("a", "7"), ("b", "0"), ("b", last.as_str())] {
            assert!(found.contains(&(name.to_owned(), value.to_owned())), "{name}: {value}");
        }
    }

    #[test]
    fn a_shadow_is_shown_beside_the_name() {
        let message = Message::new("a".parse().unwrap(), "tour.add".parse().unwrap());
        let message = Message { shadow: Some("sum".to_owned()), ..message };
        let meta = Record::new(message, Timestamp::from_micros(0), Place::Ready).meta();
        assert_eq!((meta.name.as_str(), meta.shadow.as_deref()), ("tour.add", Some("sum")));
    }

    #[test]
    fn the_newest_children_are_kept() {
        let tuple = |n: usize| ResultTuple::of(TaskId::new(n.to_string()).unwrap());
        let all = more_children((0..MAX_CHILDREN).map(tuple).collect(), vec![tuple(MAX_CHILDREN)]);
        assert_eq!((all.len(), &all[0]), (MAX_CHILDREN, &tuple(1)));
    }
}
