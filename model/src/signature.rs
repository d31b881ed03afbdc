//! A call that is described, not made: Celery's signature.

use std::collections::BTreeMap;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};

use crate::{Json, QueueName, Seconds, TaskId, TaskName, TaskOptions, Timestamp};

/// One task with its arguments and options, in Celery's own JSON.
/// See <https://docs.celeryq.dev/en/stable/userguide/canvas.html>.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// Name of the task.
    pub task: TaskName,
    /// Positional arguments: a JSON array.
    #[serde(default = "Json::empty_array")]
    pub args: Json,
    /// Keyword arguments: a JSON object.
    #[serde(default = "Json::empty_object")]
    pub kwargs: Json,
    /// How to run it.
    #[serde(default)]
    pub options: SignatureOptions,
    /// Which canvas this is: `chain`, `group`, `chord`, `xmap`, `xstarmap`, `chunks`; `null` for a plain task. What it is made
    /// of is in `kwargs`.
    #[serde(default)]
    pub subtask_type: Option<String>,
    /// Whether a parent's result is left out of its arguments (`si`).
    #[serde(default)]
    pub immutable: bool,
}

impl Signature {
    /// A call of a task with nothing but positional arguments.
    pub fn new(task: TaskName, args: Json) -> Self {
        Self {
            task,
            args,
            kwargs: Json::empty_object(),
            options: SignatureOptions::default(),
            subtask_type: None,
            immutable: false,
        }
    }
}

/// What `apply_async` takes besides arguments. Names and units are Celery's.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct SignatureOptions {
    /// The id the task will have; a new one if left out. Of a chain: of its last task; of a chord: of its body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<TaskId>,
    /// The id that a group will have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_id: Option<TaskId>,
    /// Queue to go to; that of the sender's choice if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueName>,
    /// 0 (first) to 9 (last), as on Celery's Redis transport.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// Run no earlier than this many seconds from now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub countdown: Option<Seconds>,
    /// Run no earlier than at this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eta: Option<Timestamp>,
    /// Revoke instead of starting it after this: seconds from now, or a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<Expires>,
    /// Hard limit in seconds: the task is killed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_limit: Option<Seconds>,
    /// Soft limit in seconds: the task is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soft_time_limit: Option<Seconds>,
    /// Units of fuel the task may burn; see docs on limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fuel: Option<u64>,
    /// Keep no result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignore_result: Option<bool>,
    /// Another name for logs and lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow: Option<String>,
    /// Headers of the author's own, kept across retries.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Json>,
    /// Sent with its result once it has returned.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub link: Vec<Signature>,
    /// Sent with its id once it has failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub link_error: Vec<Signature>,
    /// Whether the task that sends it lists it among its children.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add_to_parent: Option<bool>,
    /// The task's own options that this call overrides, by name; see [`TaskOptions::overridden`].
    #[serde(flatten)]
    pub overrides: BTreeMap<String, Json>,
    /// The names of the stamps.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stamped_headers: Vec<String>,
    /// The stamps, by name: labels by which tasks can be found and revoked.
    #[serde(flatten)]
    pub stamps: BTreeMap<String, Json>,
}

/// What a host sets by itself when it sends a task, and finds in signatures that a Celery client has frozen.
const OF_THE_SENDER: [&str; 6] = ["reply_to", "root_id", "parent_id", "group_index", "replaced_task_nesting", "chord"];

impl<'de> Deserialize<'de> for SignatureOptions {
    /// Celery writes stamps and options side by side: what `stamped_headers` names is a stamp, a name that is neither that
    /// nor an option is an error.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut all = BTreeMap::<String, Json>::deserialize(deserializer)?;
        // `max_retries` is the one that `null` says something about: for ever.
        all.retain(|name, value| value.as_str() != "null" || name == "max_retries");
        let one_or_many = |all: &mut BTreeMap<String, Json>, name| -> Result<Vec<Signature>, D::Error> {
            match all.get(name) {
                Some(one) if !one.is_array() => Ok(take(all, name)?.into_iter().collect()),
                _ => Ok(take(all, name)?.unwrap_or_default()),
            }
        };
        let stamped_headers: Vec<String> = take(&mut all, "stamped_headers")?.unwrap_or_default();
        let stamps = stamped_headers.iter().filter_map(|name| all.remove_entry(name)).collect();
        if all.contains_key("chord") {
            return Err(D::Error::custom("chord: is set by the host; send a signature of subtask_type \"chord\""));
        }
        for name in OF_THE_SENDER {
            all.remove(name);
        }
        let options = Self {
            task_id: take(&mut all, "task_id")?,
            group_id: take(&mut all, "group_id")?,
            queue: take(&mut all, "queue")?,
            priority: take(&mut all, "priority")?,
            countdown: take(&mut all, "countdown")?,
            eta: take(&mut all, "eta")?,
            expires: take(&mut all, "expires")?,
            time_limit: take(&mut all, "time_limit")?,
            soft_time_limit: take(&mut all, "soft_time_limit")?,
            fuel: take(&mut all, "fuel")?,
            ignore_result: take(&mut all, "ignore_result")?,
            shadow: take(&mut all, "shadow")?,
            headers: take(&mut all, "headers")?.unwrap_or_default(),
            link: one_or_many(&mut all, "link")?,
            link_error: one_or_many(&mut all, "link_error")?,
            add_to_parent: take(&mut all, "add_to_parent")?,
            overrides: all,
            stamped_headers,
            stamps,
        };
        if let Some(unknown) = options.overrides.keys().find(|name| !TaskOptions::knows(name)) {
            return Err(D::Error::custom(format_args!("{unknown}: there is no such option")));
        }
        // One that stands alone is written back as a list, which is deeper.
        match options.depth_of_links() {
            depth if depth > Json::MAX_DEPTH => Err(D::Error::custom(format_args!(
                "link, link_error: nested {depth} deep once written as lists; at most {} is accepted",
                Json::MAX_DEPTH
            ))),
            _ => Ok(options),
        }
    }
}

impl SignatureOptions {
    /// How deep the JSON of the deeper of `link` and `link_error` is, as it is written.
    fn depth_of_links(&self) -> usize {
        self.link.iter().chain(&self.link_error).map(|linked| 1 + linked.depth()).max().unwrap_or_default()
    }
}

impl Signature {
    /// How deep its JSON is, as it is written.
    fn depth(&self) -> usize {
        1 + self.args.depth().max(self.kwargs.depth()).max(1 + self.options.depth_of_links())
    }
}

/// One option out of many; the error names it.
fn take<T: DeserializeOwned, E: serde::de::Error>(
    all: &mut BTreeMap<String, Json>,
    name: &str,
) -> Result<Option<T>, E> {
    let value = all.remove(name).map(|value| value.read());
    value.transpose().map_err(|error| E::custom(format_args!("{name}: {error}")))
}

/// When a message expires: Celery takes a number of seconds or a time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected seconds (0 to a year) or a time in ISO 8601")]
pub enum Expires {
    /// Seconds after it is sent.
    In(Seconds),
    /// At a time.
    At(Timestamp),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_stand_beside_options_as_celery_writes_them() {
        let text =
            r#"{"queue":"slow","max_retries":7,"stamped_headers":["build"],"build":[12],"chord":null,"root_id":"r"}"#;
        let options: SignatureOptions = serde_json::from_str(text).unwrap();
        assert_eq!(options.stamps["build"].as_str(), "[12]");
        assert_eq!(options.overrides["max_retries"].as_str(), "7");
        let again = serde_json::to_string(&options).unwrap();
        assert_eq!(again, r#"{"queue":"slow","max_retries":7,"stamped_headers":["build"],"build":[12]}"#);
        assert_eq!(serde_json::from_str::<SignatureOptions>(&again).unwrap(), options);
    }

    #[test]
    fn a_link_is_one_or_many() {
        let one: SignatureOptions = serde_json::from_str(r#"{"link":{"task":"a.b"}}"#).unwrap();
        let many: SignatureOptions = serde_json::from_str(r#"{"link":[{"task":"a.b"}]}"#).unwrap();
        assert_eq!(one, many);
    }

    #[test]
    fn what_is_read_can_be_read_again() {
        let nested = |levels: usize, (open, close): (&str, &str)| {
            let open = format!(r#"{{"task":"a.b","options":{{"link":{open}"#);
            format!("{}{}{}", open.repeat(levels), r#"{"task":"a.b"}"#, format!("{close}}}}}").repeat(levels))
        };
        let deepest = (1..63).rev().map(|levels| nested(levels, ("", "")));
        let read = deepest.map(|text| serde_json::from_str::<Signature>(&text)).find_map(Result::ok).unwrap();
        assert_eq!(serde_json::from_str::<Signature>(&serde_json::to_string(&read).unwrap()).unwrap(), read);
        let error = serde_json::from_str::<Signature>(&nested(50, ("", ""))).unwrap_err().to_string();
        assert!(error.contains("nested") && error.contains("127"), "{error}");
        assert!(serde_json::from_str::<Signature>(&nested(40, ("[", "]"))).is_ok());
    }

    #[test]
    fn a_wrong_option_is_named() {
        let error = |text: &str| serde_json::from_str::<SignatureOptions>(text).unwrap_err().to_string();
        assert!(error(r#"{"prioritty":1}"#).contains("prioritty"));
        assert!(error(r#"{"countdown":-1}"#).starts_with("countdown: "));
        assert!(error(r#"{"chord":{"task":"a.b"}}"#).starts_with("chord: "));
    }
}
