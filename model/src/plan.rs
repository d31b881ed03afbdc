//! A canvas, expanded: the tasks that it is made of, what each waits for, and where their values come together.
//!
//! Every id that a plan gives away is that of a task in it, so nobody waits for what does not exist; and every task waits
//! for at most one thing and is for at most one thing, so a plan of n tasks has n messages of bounded size, however deep
//! its chains are.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{Json, Message, TaskId, Then};

/// What one call comes to. It is stored whole or not at all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// The tasks.
    pub tasks: Vec<Planned>,
    /// Where values come together.
    pub joins: Vec<Join>,
}

/// One task of a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// Its message.
    pub message: Message,
    /// The task or the join whose value it waits for; none: it can run at once.
    pub awaits: Option<TaskId>,
}

/// The header of a chord: complete once each of its parts has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Join {
    /// Its id: that of the group.
    pub group: TaskId,
    /// How many parts it has.
    pub size: u32,
    /// What the list of their values is for.
    pub then: Then,
}

impl Plan {
    /// Of one task that can run at once.
    pub fn of(message: Message) -> Self {
        Self { tasks: vec![Planned { message, awaits: None }], joins: Vec::new() }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty() && self.joins.is_empty()
    }

    /// Adds another one.
    pub fn append(&mut self, other: Self) {
        self.tasks.extend(other.tasks);
        self.joins.extend(other.joins);
    }
}

/// What a task, a join or a part of it ended with, for those that wait for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrival {
    /// A value: also of a task whose result is ignored.
    Value(Json),
    /// No value.
    Failed {
        /// The task that failed first.
        task: TaskId,
        /// Why.
        exception: crate::Exception,
    },
}

impl Arrival {
    /// About how large it is, in bytes.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Value(value) => value.as_str().len(),
            Self::Failed { exception, .. } => exception.exc_message.as_str().len(),
        }
    }
}

/// A result as Celery passes it around: `[[id, parent], null]`, or `[[id, parent], [member, ...]]` for a group.
/// See <https://docs.celeryq.dev/en/stable/reference/celery.result.html#celery.result.result_from_tuple>.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultTuple {
    /// The task, or the group.
    pub id: TaskId,
    /// What came before it in its chain.
    pub parent: Option<Box<Self>>,
    /// The members, if it is a group.
    pub children: Option<Vec<Self>>,
}

impl ResultTuple {
    /// The most results before one that are written: JSON that is nested deeper cannot be read everywhere.
    pub const MAX_PARENTS: usize = 30;

    /// Of one task.
    pub fn of(id: TaskId) -> Self {
        Self { id, parent: None, children: None }
    }

    fn write<S: Serializer>(&self, parents: usize, serializer: S) -> Result<S::Ok, S::Error> {
        let parent = self.parent.as_deref().filter(|_| parents > 0).map(|parent| Limited(parent, parents - 1));
        let children =
            self.children.as_ref().map(|all| all.iter().map(|one| Limited(one, parents)).collect::<Vec<_>>());
        ((&self.id, parent), children).serialize(serializer)
    }
}

struct Limited<'a>(&'a ResultTuple, usize);

impl Serialize for Limited<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.write(self.1, serializer)
    }
}

impl Serialize for ResultTuple {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.write(Self::MAX_PARENTS, serializer)
    }
}

impl<'de> Deserialize<'de> for ResultTuple {
    /// As Celery reads it: an id alone is a task without a parent.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected a result tuple: [[id, parent], null or [members]]")]
        enum Written {
            Id(TaskId),
            Pair(Head, Option<Vec<ResultTuple>>),
        }
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected an id, or [id, parent]")]
        enum Head {
            Id(TaskId),
            Pair(TaskId, Option<Box<ResultTuple>>),
        }
        match Written::deserialize(deserializer).map_err(D::Error::custom)? {
            Written::Id(id) | Written::Pair(Head::Id(id), None) => Ok(Self::of(id)),
            Written::Pair(Head::Id(id), children) => Ok(Self { id, parent: None, children }),
            Written::Pair(Head::Pair(id, parent), children) => Ok(Self { id, parent, children }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tuples_are_celerys() {
        let text = r#"[["g",[["a",null],null]],[[["b",null],null],[["c",null],null]]]"#;
        let tuple: ResultTuple = serde_json::from_str(text).unwrap();
        assert_eq!(tuple.children.as_ref().unwrap().len(), 2);
        assert_eq!(serde_json::to_string(&tuple).unwrap(), text);
        assert_eq!(serde_json::from_str::<ResultTuple>("\"a\"").unwrap(), ResultTuple::of("a".parse().unwrap()));
    }

    #[test]
    fn a_long_line_of_parents_is_cut() {
        let id = |n: usize| TaskId::new(n.to_string()).unwrap();
        let mut tuple = ResultTuple::of(id(0));
        for n in 1..1000 {
            tuple = ResultTuple { parent: Some(Box::new(tuple)), ..ResultTuple::of(id(n)) };
        }
        let read: ResultTuple = serde_json::from_str(&serde_json::to_string(&tuple).unwrap()).unwrap();
        let parents = std::iter::successors(read.parent.as_deref(), |one| one.parent.as_deref()).count();
        assert_eq!(parents, ResultTuple::MAX_PARENTS);
    }
}
