//! The headers of a message: which there are, and how each is read and written. Those that nobody here knows are the
//! sender's own.

use std::collections::BTreeMap;

use lovage_model::{Exception, Json, Message, Seconds, TaskId, TaskName, TimeLimit, Timestamp, python};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Serialize, Serializer};

use super::pairs::Pairs;
use super::poison;

/// Headers, of which those that are known are taken one by one, and the first thing that is wrong.
pub(super) struct Headers<'a> {
    fields: Pairs<'a>,
    pub(super) fault: Option<Exception>,
    /// The id, if no task can have it.
    pub(super) misnamed: Option<String>,
}

impl<'a> Headers<'a> {
    pub(super) fn new(fields: Pairs<'a>) -> Self {
        Self { fields, fault: None, misnamed: None }
    }

    pub(super) fn blame(&mut self, fault: Exception) {
        self.fault.get_or_insert(fault);
    }

    /// A header that is there and not `null`.
    pub(super) fn take<T: Deserialize<'a>>(&mut self, name: &str) -> Option<T> {
        let value = self.fields.take(name)?;
        serde_json::from_str(value.get()).inspect_err(|error| self.blame(wrong(name, value.get(), error))).ok()
    }

    /// A time. As in Celery no text is no time.
    fn time(&mut self, name: &str) -> Option<Timestamp> {
        let text = self.take::<String>(name).filter(|text| !text.is_empty())?;
        Timestamp::parse(&text)
            .inspect_err(|error| {
                let short: String = text.chars().take(80).collect();
                self.blame(poison::invalid(format_args!("invalid {name} value {short:?}: {error}")));
            })
            .ok()
    }

    /// `[hard, soft]`. Celery takes 0 for none; more than there can be is as good as the most.
    fn timelimit(&mut self) -> TimeLimit {
        let [hard, soft] = self.take::<[Option<f64>; 2]>("timelimit").unwrap_or_default();
        let mut limit = |seconds: Option<f64>| {
            let seconds = Seconds::new(seconds.filter(|seconds| *seconds != 0.0)?.min(Seconds::MAX));
            seconds.inspect_err(|error| self.blame(poison::invalid(format_args!("timelimit: {error}")))).ok()
        };
        TimeLimit { hard: limit(hard), soft: limit(soft) }
    }

    /// Reads all into a message that has nothing but its id.
    pub(super) fn fill(&mut self, message: Message) -> Message {
        let Own { fuel, depth, overrides, untracked, requeued, earlier_deliveries } =
            self.take(Own::NAME).unwrap_or_default();
        for done in ["lang", "compression", "redelivered", "stamped_headers"] {
            self.fields.take(done);
        }
        Message {
            shadow: self.take("shadow"),
            eta: self.time("eta"),
            expires: self.time("expires"),
            group: self.take("group"),
            group_index: self.take("group_index"),
            retries: self.take("retries").unwrap_or_default(),
            timelimit: self.timelimit(),
            root_id: self.take("root_id").unwrap_or_else(|| message.id.clone()),
            parent_id: self.take("parent_id"),
            origin: self.take("origin"),
            ignore_result: self.take("ignore_result"),
            replaced_task_nesting: self.take("replaced_task_nesting").unwrap_or_default(),
            stamps: self.take("stamps").unwrap_or_default(),
            headers: self.rest(),
            fuel,
            depth,
            overrides,
            untracked,
            requeued,
            earlier_deliveries,
            ..message
        }
    }

    /// Those of the sender's own.
    fn rest(&mut self) -> BTreeMap<String, Json> {
        let rest = self.fields.kept();
        rest.unwrap_or_else(|error| {
            self.blame(poison::invalid(format_args!("headers: {error}")));
            BTreeMap::new()
        })
    }

    /// A name that no task can have is spelled with `_`.
    pub(super) fn task(&mut self) -> Option<TaskName> {
        let name: String = self.take("task")?;
        if let Ok(task) = TaskName::new(&name) {
            return Some(task);
        }
        self.blame(poison::not_registered(&name));
        Some(TaskName::spelled(&name))
    }

    /// One that no task can have is spelled with `%`.
    pub(super) fn id(&mut self) -> Option<TaskId> {
        let value = self.fields.take("id")?.get();
        let error = match serde_json::from_str(value) {
            Ok(id) => return Some(id),
            Err(error) => error,
        };
        self.blame(wrong("id", value, &error));
        let text: String = serde_json::from_str(value).ok()?;
        let id = TaskId::new(spelled(&text)).ok()?;
        self.misnamed = Some(text);
        Some(id)
    }
}

/// As much of an id as one can have, with every character that none can have by its bytes.
fn spelled(id: &str) -> String {
    let one = |c: char| match TaskId::new(c.to_string()) {
        Ok(_) => c.to_string(),
        Err(_) => c.to_string().bytes().map(|byte| format!("%{byte:02x}")).collect(),
    };
    let mut spelled: String = id.chars().take(255).map(one).collect();
    spelled.truncate(spelled.floor_char_boundary(255));
    spelled
}

fn wrong(name: &str, value: &str, error: &serde_json::Error) -> Exception {
    let short: String = value.chars().take(80).collect();
    poison::invalid(format_args!("{name} is {short}: {error}"))
}

/// What a message of ours says beside what Celery knows, in one header.
#[derive(Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Own {
    #[serde(skip_serializing_if = "Option::is_none")]
    fuel: Option<u64>,
    #[serde(skip_serializing_if = "is_zero")]
    depth: u32,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    overrides: BTreeMap<String, Json>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    untracked: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    requeued: bool,
    #[serde(skip_serializing_if = "is_zero")]
    earlier_deliveries: u32,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Own {
    const NAME: &str = "lovage";

    fn of(message: &Message) -> Self {
        let Message { fuel, depth, overrides, untracked, requeued, earlier_deliveries, .. } = message;
        let (fuel, depth, overrides) = (*fuel, *depth, overrides.clone());
        Self {
            fuel,
            depth,
            overrides,
            untracked: *untracked,
            requeued: *requeued,
            earlier_deliveries: *earlier_deliveries,
        }
    }
}

/// The most characters of arguments that are shown.
const REPR_CHARS: usize = 1024;

/// The headers of a message, in Celery's order.
pub(super) struct Written<'a> {
    pub(super) message: &'a Message,
    pub(super) origin: &'a str,
    pub(super) redelivered: bool,
    pub(super) compression: Option<&'a str>,
}

/// A number of seconds as its sender wrote it: `30`, not `30.0`.
struct Whole(f64);

impl Serialize for Whole {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.fract() == 0.0 { serializer.serialize_u64(self.0 as u64) } else { serializer.serialize_f64(self.0) }
    }
}

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Message { embed, timelimit, args, kwargs, stamps, .. } = self.message;
        let embed = embed.as_deref();
        let argsrepr = embed.and_then(|embed| embed.argsrepr.clone());
        let kwargsrepr = embed.and_then(|embed| embed.kwargsrepr.clone());
        let seconds = |limit: Option<Seconds>| limit.map(|limit| Whole(limit.get()));
        let mut all = serializer.serialize_map(None)?;
        all.serialize_entry("lang", "py")?;
        match embed.and_then(|embed| embed.named.as_ref()) {
            Some(named) => all.serialize_entry("task", named)?,
            None => all.serialize_entry("task", &self.message.task)?,
        }
        all.serialize_entry("id", &self.message.id)?;
        all.serialize_entry("shadow", &self.message.shadow)?;
        all.serialize_entry("eta", &self.message.eta)?;
        all.serialize_entry("expires", &self.message.expires)?;
        all.serialize_entry("group", &self.message.group)?;
        all.serialize_entry("group_index", &self.message.group_index)?;
        all.serialize_entry("retries", &self.message.retries)?;
        all.serialize_entry("timelimit", &[seconds(timelimit.hard), seconds(timelimit.soft)])?;
        all.serialize_entry("root_id", &self.message.root_id)?;
        all.serialize_entry("parent_id", &self.message.parent_id)?;
        all.serialize_entry("argsrepr", &argsrepr.unwrap_or_else(|| python::saferepr_args(args, REPR_CHARS)))?;
        all.serialize_entry("kwargsrepr", &kwargsrepr.unwrap_or_else(|| python::saferepr(kwargs, REPR_CHARS)))?;
        all.serialize_entry("origin", self.message.origin.as_deref().unwrap_or(self.origin))?;
        all.serialize_entry("ignore_result", &self.message.ignore_result)?;
        all.serialize_entry("replaced_task_nesting", &self.message.replaced_task_nesting)?;
        let names: Vec<&String> = stamps.keys().collect();
        all.serialize_entry("stamped_headers", &Some(names).filter(|names| !names.is_empty()))?;
        all.serialize_entry("stamps", stamps)?;
        for (name, value) in &self.message.headers {
            all.serialize_entry(name, value)?;
        }
        let own = Own::of(self.message);
        if own != Own::default() {
            all.serialize_entry(Own::NAME, &own)?;
        }
        if let Some(compression) = self.compression {
            all.serialize_entry("compression", compression)?;
        }
        if self.redelivered {
            all.serialize_entry("redelivered", &true)?;
        }
        all.end()
    }
}
