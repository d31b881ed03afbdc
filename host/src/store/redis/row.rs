//! What is known of a task, as a script read it?

use lovage_model::{Json, Message, ResultTuple, State, TaskId, Timestamp};
use serde::Deserialize;

use super::fault::Faults;
use super::texts;
use super::wire::Blob;
use crate::store::record::{Kept, Leasehold, Place, Record};
use crate::store::{Result, StoreError};

/// A row, as far as a client sees it. See `scripts/rows.lua` for the names.
#[derive(Debug, Deserialize)]
pub(super) struct Row {
    pub(super) id: String,
    pub(super) n: String,
    m: Blob,
    raw: Option<String>,
    q: String,
    pub(super) st: String,
    pub(super) pl: String,
    de: String,
    lw: Option<String>,
    own: Option<String>,
    ownm: Option<String>,
    wo: Option<String>,
    sub: String,
    pub(super) en: Option<String>,
    re: Option<String>,
    tb: Option<String>,
    fa: Option<String>,
    us: Option<String>,
    #[serde(default)]
    children: Vec<String>,
    aw: Option<String>,
    ag: Option<String>,
}

impl Row {
    /// Its message.
    pub(super) fn message(&self, faults: &Faults) -> Result<Message> {
        read_message(&self.m, self.raw.is_some(), &self.q)
            .map_err(|error| faults.garbled(&format!("task {}", self.id), &error))
    }

    pub(super) fn record(self, faults: &Faults) -> Result<Record> {
        let message = self.message(faults)?;
        let garbled = |what: &dyn std::fmt::Display| faults.garbled(&format!("task {}", self.id), what);
        let time = |text: &str| text.parse().map(Timestamp::from_micros).map_err(|error| garbled(&error));
        let value = |text: &Option<String>| {
            let text = text.clone().unwrap_or_else(|| "null".to_owned());
            Json::parse(text).map_err(|error| garbled(&error))
        };
        let is_leased = self.pl == "l";
        let place = match self.pl.as_str() {
            "r" | "o" => Place::Ready,
            "s" => Place::Scheduled,
            "b" => {
                let awaited = self.aw.as_deref().unwrap_or_default();
                let awaited = TaskId::new(awaited).map_err(|error| garbled(&error))?;
                Place::Blocked { awaited, group: self.ag.as_deref() == Some("1") }
            }
            "l" => {
                let own = match &self.own {
                    Some(name) => Some((name.clone(), value(&self.ownm)?)),
                    None => None,
                };
                Place::Leased(Leasehold { worker: self.lw.clone().unwrap_or_default(), own })
            }
            "e" => Place::Nowhere,
            other => return Err(garbled(&format!("it is at {other:?}"))),
        };
        let children = self.children.iter().map(|text| serde_json::from_str::<ResultTuple>(text));
        let some = |text: Option<String>| text.filter(|text| !text.is_empty());
        let kept = Kept {
            result: value(&self.re)?,
            traceback: some(self.tb.clone()),
            fault: some(self.fa.clone()),
            children: children.collect::<std::result::Result<_, _>>().map_err(|error| garbled(&error))?,
            usage: self.us.as_ref().and_then(|text| serde_json::from_str(text).ok()),
        };
        let is_ended = matches!(place, Place::Nowhere);
        Ok(Record {
            submitted_at: time(&self.sub)?,
            state: State::from_name(&self.st),
            ended: match &self.en {
                Some(text) if is_ended => Some(time(text)?),
                _ => None,
            },
            worker: self.wo.clone().filter(|_| !is_leased),
            deliveries: self.de.parse().map_err(|error| garbled(&error))?,
            message,
            kept,
            place,
        })
    }
}

/// A message as a row keeps it: ours, or as a client sent it.
pub(super) fn read_message(text: &Blob, raw: bool, queue: &str) -> std::result::Result<Message, String> {
    if raw {
        let queue = queue.parse().unwrap_or_default();
        return texts::received(&text.0, &queue).map_err(|poison| poison.to_string());
    }
    serde_json::from_slice(&text.0).map_err(|error| error.to_string())
}

/// A time as a row has it.
pub(super) fn micros(text: &str) -> std::result::Result<Timestamp, StoreError> {
    let time = text.parse().map(Timestamp::from_micros);
    time.map_err(|error| StoreError::Corrupt(format!("{text:?} is no time: {error}")))
}
