//! A call that is described, not made: Celery's signature.

mod read;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Json, QueueName, Seconds, TaskId, TaskName, Timestamp};

/// One task with its arguments and options, in Celery's own JSON.
/// See <https://docs.celeryq.dev/en/stable/userguide/canvas.html>.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Signature {
    /// Name of the task.
    pub task: TaskName,
    /// Positional arguments: a JSON array.
    pub args: Json,
    /// Keyword arguments: a JSON object.
    pub kwargs: Json,
    /// How to run it.
    pub options: SignatureOptions,
    /// Which canvas this is: `chain`, `group`, `chord`, `xmap`, `xstarmap`, `chunks`; `null` for a plain task. What it is made
    /// of is in `kwargs`.
    pub subtask_type: Option<String>,
    /// Whether a parent's result is left out of its arguments (`si`).
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

    /// Whether its arguments are a list and a map, as those of a call that a task sends must be; the error says so.
    pub fn check_arguments(&self) -> Result<(), String> {
        if self.args.is_array() && self.kwargs.is_object() {
            Ok(())
        } else {
            Err("a signature's args must be a JSON array and its kwargs a JSON object".to_owned())
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
    /// The task's own options that this call overrides, by name; see [`TaskOptions::overridden`](crate::TaskOptions::overridden).
    #[serde(flatten)]
    pub overrides: BTreeMap<String, Json>,
    /// The names of the stamps.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stamped_headers: Vec<String>,
    /// The stamps, by name: labels by which tasks can be found and revoked.
    #[serde(flatten)]
    pub stamps: BTreeMap<String, Json>,
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
    fn arguments_are_a_list_and_a_map() {
        let call = Signature::new("t.a".parse().unwrap(), Json::empty_array());
        assert_eq!(call.check_arguments(), Ok(()));
        let odd = [
            Signature { args: Json::empty_object(), ..call.clone() },
            Signature { kwargs: Json::empty_array(), ..call },
        ];
        assert!(odd.iter().all(|call| call.check_arguments().is_err()));
    }

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
    fn a_wrong_option_is_named() {
        let error = |text: &str| serde_json::from_str::<SignatureOptions>(text).unwrap_err().to_string();
        assert!(error(r#"{"prioritty":1}"#).contains("prioritty"));
        assert!(error(r#"{"countdown":-1}"#).starts_with("countdown: "));
        assert!(error(r#"{"chord":{"task":"a.b"}}"#).starts_with("chord: "));
    }
}
