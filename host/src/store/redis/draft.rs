//! How is a message written down? Each once for Lua, with everything that a script must know of it.

use lovage_model::{Join, Message, Plan, Planned, Then, Timestamp};
use serde::Serialize;

use super::texts;
use crate::store::record::stamps;
use crate::store::{Result, StoreError};

/// What a label costs beside its text: it is an entry of its own.
const LABEL_BYTES: usize = 256;

/// A message for a script.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Draft {
    id: String,
    na: String,
    q: String,
    pr: u8,
    /// The message, as the row keeps it.
    m: String,
    /// Its element on a list, behind the first brace.
    el: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    eta: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aw: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    th: Option<String>,
    ro: String,
    rt: u32,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    ut: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    inl: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sl: Vec<String>,
}

impl Draft {
    pub(super) fn of(planned: &Planned, now: Timestamp) -> Result<Self> {
        Self::new(&planned.message, planned.awaits.as_ref().map(ToString::to_string), now)
    }

    /// Of one that waits for nothing.
    pub(super) fn free(message: &Message, now: Timestamp) -> Result<Self> {
        Self::new(message, None, now)
    }

    fn new(message: &Message, aw: Option<String>, now: Timestamp) -> Result<Self> {
        let element = texts::element(message, now)?;
        Ok(Self {
            id: message.id.to_string(),
            na: message.task.to_string(),
            q: message.queue.to_string(),
            pr: message.priority,
            m: text(message)?,
            el: element[1..].to_owned(),
            eta: message.eta.map(Timestamp::as_micros),
            aw,
            th: message.then.as_ref().map(then),
            ro: message.root_id.to_string(),
            rt: message.retries,
            ut: message.untracked,
            inl: message.embed.is_some(),
            sl: stamps(message).into_iter().map(|(name, value)| label(&name, &value)).collect(),
        })
    }
}

/// How a script finds the tasks with a stamp.
pub(super) fn label(name: &str, value: &str) -> String {
    format!("{name}\0{value}")
}

/// What an end is for, as scripts read it.
pub(super) fn then(then: &Then) -> String {
    match then {
        Then::Next => "N".to_owned(),
        Then::Part { group, index } => format!("P{index}:{group}"),
    }
}

/// The same, read.
pub(super) fn read_then(text: &str) -> Option<Then> {
    let Some(part) = text.strip_prefix('P') else { return (text == "N").then_some(Then::Next) };
    let (index, group) = part.split_once(':')?;
    Some(Then::Part { group: group.parse().ok()?, index: index.parse().ok()? })
}

/// A plan for a script.
#[derive(Debug, Clone, Serialize)]
pub(super) struct DraftPlan {
    tasks: Vec<Draft>,
    joins: Vec<DraftJoin>,
}

#[derive(Debug, Clone, Serialize)]
struct DraftJoin {
    group: String,
    size: u32,
    th: String,
}

impl DraftPlan {
    pub(super) fn of(plan: &Plan, now: Timestamp) -> Result<Self> {
        let tasks = plan.tasks.iter().map(|planned| Draft::of(planned, now)).collect::<Result<_>>()?;
        let join = |join: &Join| DraftJoin { group: join.group.to_string(), size: join.size, th: then(&join.then) };
        Ok(Self { tasks, joins: plan.joins.iter().map(join).collect() })
    }

    pub(super) fn tasks(&self) -> usize {
        self.tasks.len()
    }

    /// About how much of it a script writes.
    pub(super) fn bytes(&self) -> usize {
        let of = |draft: &Draft| {
            let labels: usize = draft.sl.iter().map(|label| LABEL_BYTES + label.len()).sum();
            draft.m.len() + draft.el.len() + labels
        };
        self.tasks.iter().map(of).sum()
    }
}

/// JSON for a script.
pub(super) fn text<T: Serialize + ?Sized>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| StoreError::Failed(format!("it cannot be written as JSON: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_end_is_for_is_read_as_it_is_written() {
        let part = Then::Part { group: "a:b".parse().unwrap(), index: 7 };
        for one in [Then::Next, part] {
            assert_eq!(read_then(&then(&one)), Some(one));
        }
        assert_eq!(read_then("Q"), None);
        assert_eq!(read_then("P1"), None);
    }
}
