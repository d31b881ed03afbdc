//! What waits in a queue: a call with everything needed to run it, as Celery's message protocol 2 has it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Embed, Json, QueueName, ResultTuple, Seconds, Signature, TaskId, TaskName, TaskOptions, Timestamp};

/// Soft and hard limit of one run, in seconds of wall time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct TimeLimit {
    /// After this the task is told, if set.
    pub soft: Option<Seconds>,
    /// After this the task is killed, if set.
    pub hard: Option<Seconds>,
}

/// A message: one task waiting to run. See
/// <https://docs.celeryq.dev/en/stable/internals/protocol.html> for the meaning of each field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// The task's id, the same for all its attempts.
    pub id: TaskId,
    /// Name of the task.
    pub task: TaskName,
    /// Positional arguments: a JSON array.
    pub args: Json,
    /// Keyword arguments: a JSON object.
    pub kwargs: Json,
    /// Queue it waits in.
    pub queue: QueueName,
    /// 0 (first) to 9 (last).
    #[serde(default)]
    pub priority: u8,
    /// How often it has been retried.
    #[serde(default)]
    pub retries: u32,
    /// Not to be run before this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta: Option<Timestamp>,
    /// Not to be started after this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// Limits asked for; the operator's and the task's own apply as well.
    #[serde(default)]
    pub timelimit: TimeLimit,
    /// Fuel asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fuel: Option<u64>,
    /// The first ancestor; the task itself if it has no parent.
    pub root_id: TaskId,
    /// The task that sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<TaskId>,
    /// Whether its result is dropped; the task's own declaration holds if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignore_result: Option<bool>,
    /// Another name for logs and lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<String>,
    /// Who sent it, for people to read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// How often the task had been delivered before this message was made: an attempt that a crash undid is told apart
    /// from a retry by it.
    #[serde(default)]
    pub earlier_deliveries: u32,
    /// Whether it was refused by its task and queued again, see [`TaskOptions::runs_once`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub requeued: bool,
    /// How many times it has been replaced by another task.
    #[serde(default)]
    pub replaced_task_nesting: u32,
    /// How many tasks are above it: 0 for one that a client sent.
    #[serde(default)]
    pub depth: u32,
    /// Headers of the sender's own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Json>,
    /// Labels by which it can be found and revoked.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub stamps: BTreeMap<String, Json>,
    /// The task's own options that its sender overrides, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub overrides: BTreeMap<String, Json>,
    /// Whether it shows as PENDING while it runs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub untracked: bool,
    /// Whether it waits for another, or did until it ended: it has not got what it waited for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unreleased: bool,
    /// While it waits for another: run no earlier than so long after that has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub countdown: Option<Seconds>,
    /// While it waits for another: revoke instead of starting it so long after that has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<Seconds>,
    /// Whether the result of what it waits for is left out of its arguments.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub immutable: bool,
    /// Sent with its result once it has returned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub callbacks: Vec<Signature>,
    /// Sent with its id once it has failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errbacks: Vec<Signature>,
    /// The group it is a member of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<TaskId>,
    /// Which member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_index: Option<u32>,
    /// What its end is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub then: Option<Then>,
    /// What follows it in its canvas: recorded among its children once it has returned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub successor: Option<ResultTuple>,
    /// What it carries, if it is in Celery's own form. Then `callbacks`, `errbacks`, `then` and `successor` are empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embed: Option<Box<Embed>>,
}

/// What the end of a task, or of a join, is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// Tasks wait for it: they start with its value, or fail with it.
    Next,
    /// It is a part of a join: the header of a chord.
    Part {
        /// The join.
        group: TaskId,
        /// Its place in the list of values.
        index: u32,
    },
}

impl Message {
    /// The most values of stamps that a task is found by, all its stamps together. (Clients of Celery's may send more: then it is
    /// found by the first.)
    pub const MOST_STAMPS: usize = 100;

    /// Whether an earlier delivery of so many, the present one included, ended without an outcome.
    pub fn is_redelivered(&self, deliveries: u32) -> bool {
        deliveries > self.earlier_deliveries + 1
    }

    /// Whether its result is dropped: its own wish, or what its task declares.
    pub fn ignores_result(&self, options: &TaskOptions) -> bool {
        self.ignore_result.unwrap_or(options.ignore_result)
    }

    /// How many bytes it says under names: its headers, its stamps and the options that it overrides.
    pub fn named_bytes(&self) -> usize {
        let named = [&self.headers, &self.stamps, &self.overrides].into_iter().flatten();
        named.map(|(name, value)| name.len() + value.as_str().len()).sum()
    }

    /// A call of a task without arguments, which nobody sent and nobody waits for.
    pub fn new(id: TaskId, task: TaskName) -> Self {
        Self {
            root_id: id.clone(),
            id,
            task,
            args: Json::empty_array(),
            kwargs: Json::empty_object(),
            queue: QueueName::default(),
            priority: 0,
            retries: 0,
            eta: None,
            expires: None,
            timelimit: TimeLimit::default(),
            fuel: None,
            parent_id: None,
            ignore_result: None,
            shadow: None,
            origin: None,
            earlier_deliveries: 0,
            requeued: false,
            replaced_task_nesting: 0,
            depth: 0,
            headers: BTreeMap::new(),
            stamps: BTreeMap::new(),
            overrides: BTreeMap::new(),
            untracked: false,
            unreleased: false,
            countdown: None,
            expires_in: None,
            immutable: false,
            callbacks: Vec::new(),
            errbacks: Vec::new(),
            group: None,
            group_index: None,
            then: None,
            successor: None,
            embed: None,
        }
    }

    /// The message with the value of what it waited for before its other arguments, unless it is immutable; its countdown
    /// and expiry begin now. Fails for arguments nested too deep, see [`Json::MAX_DEPTH`].
    pub fn receive(self, value: &Json, now: Timestamp) -> Result<Self, serde_json::Error> {
        let args = if self.immutable { self.args } else { self.args.after(value)? };
        let eta = self.countdown.map(|countdown| now.after(countdown.duration())).or(self.eta);
        let expires = self.expires_in.map(|seconds| now.after(seconds.duration())).or(self.expires);
        Ok(Self { args, eta, expires, unreleased: false, countdown: None, expires_in: None, ..self })
    }
}
