//! Which messages follow?
//!
//! Turns calls into messages: a client's signature, a guest's subtask, a retry, a replacement. A canvas (chain, group,
//! chord, chunks, any in any other) is expanded once, whole, into a [`Plan`]: see there what its tasks know of each other.
//! Pure: ids, the time and what is known of tasks come with the [`Scope`].
//!
//! Invariants:
//! - A plan of n tasks is made in the time of n, and no message of it is larger than its own call.
//! - An id stands for one task of a plan, and for nothing else.
//! - Nothing of a call that is wrong anywhere becomes a plan.
//!
//! Absent: maps, which are one message for whoever runs it, and the store's word on ids that are taken already.

mod again;
mod build;
pub mod inline;
mod one;
mod read;
mod typing;

use std::collections::HashSet;
use std::sync::Arc;

use lovage_model::{
    Arrival, Exception, Json, Message, Plan, Planned, ResultTuple, Room, Signature, TaskDefinition, TaskId, TaskName,
    TenantPolicy, Then, Timestamp, exc_module,
};

pub use again::again;
use build::{Builder, Place};
pub use one::Mapped;
pub(crate) use one::bytes as call_bytes;

/// Tasks that the host runs by itself.
pub mod builtin {
    /// Runs a task for each item.
    pub const MAP: &str = "celery.map";
    /// Runs a task for each list of arguments.
    pub const STARMAP: &str = "celery.starmap";
    /// Returns the list that it is given: what a group that replaces a task ends in.
    pub const ACCUMULATE: &str = "celery.accumulate";
    /// Drops the results whose time is over.
    pub const BACKEND_CLEANUP: &str = "celery.backend_cleanup";
    /// Answers `pong`.
    pub const PING: &str = "celery.ping";

    /// Sends a starmap for each few items.
    pub const CHUNKS: &str = "celery.chunks";
    /// Sends tasks.
    pub const GROUP: &str = "celery.group";
    /// Sends tasks, and another one for their results.
    pub const CHORD: &str = "celery.chord";
    /// Fails, as in Celery: a chain is no task.
    pub const CHAIN: &str = "celery.chain";

    /// All that are sent as one message.
    pub const ALL: [&str; 5] = [MAP, STARMAP, ACCUMULATE, BACKEND_CLEANUP, PING];
    /// Canvases, which clients of Celery may call as tasks.
    pub const CANVASES: [&str; 4] = [CHUNKS, GROUP, CHORD, CHAIN];

    /// Whether it is one of them.
    pub fn has(name: &str) -> bool {
        ALL.contains(&name) || CANVASES.contains(&name)
    }
}

/// Why a call cannot become a plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {message}")]
pub struct Invalid {
    /// Which part of the call, such as `options.priority` or `tasks[2].args`.
    pub field: String,
    /// What is wrong with it, and what is allowed.
    pub message: String,
    /// What kind of fault it is.
    pub kind: Fault,
}

/// Kinds of faults in a call, for those who must tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// A field is not what it must be.
    Wrong,
    /// It is larger than the operator allows.
    TooLarge,
    /// It names a task that there is not.
    UnknownTask,
    /// It names a task by a part of its name that others have too.
    AmbiguousTask,
    /// It is to take a task's place, and there is nothing in it.
    Empty,
}

impl Invalid {
    /// Nothing is to take a task's place; in Celery's words.
    fn empty() -> Self {
        Self { kind: Fault::Empty, ..Self::wrong("replace", "Cannot replace with an empty chain") }
    }

    /// A field that is not what it must be.
    pub fn wrong(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into(), kind: Fault::Wrong }
    }

    fn too_large(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind: Fault::TooLarge, ..Self::wrong(field, message) }
    }
}

/// What is known of tasks where calls are expanded.
pub trait Tasks {
    /// What a task declares. None: nothing is known, and it is taken as it is called. An error, for those who must know.
    fn find(&self, name: &TaskName) -> Result<Option<Arc<TaskDefinition>>, Invalid>;
}

/// Nothing is known of any task.
#[derive(Debug, Clone, Copy)]
pub struct AnyTask;

impl Tasks for AnyTask {
    fn find(&self, _: &TaskName) -> Result<Option<Arc<TaskDefinition>>, Invalid> {
        Ok(None)
    }
}

/// How far calls may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Arguments and headers of one message together, in bytes.
    pub message_bytes: usize,
    /// The most tasks of one canvas.
    pub canvas_tasks: usize,
    /// The most tasks above a task.
    pub lineage_depth: u32,
    /// The most replacements of one task by another, under one id.
    pub replacements: u32,
}

impl Rules {
    /// The same for a tenant, which may have less.
    #[must_use]
    pub fn of(self, policy: &TenantPolicy) -> Self {
        let own = policy.message_bytes.and_then(|own| usize::try_from(own).ok()).unwrap_or(usize::MAX);
        Self { message_bytes: self.message_bytes.min(own), ..self }
    }
}

/// What an expansion stands on.
pub struct Scope<'a> {
    /// What is known of tasks.
    pub tasks: &'a dyn Tasks,
    /// A new id at each call.
    pub ids: &'a mut dyn FnMut() -> TaskId,
    /// How far calls may go.
    pub rules: Rules,
    /// How much of what is made may be stored.
    pub room: Room,
    /// The time.
    pub now: Timestamp,
    /// How large all is that was made so far, in bytes. What one settlement leaves is bounded as a whole: its links get its value
    /// each, and what it ends gets its failure.
    bytes: usize,
    links: usize,
    tasks_made: usize,
}

/// After so many links of a task that could not be sent no more are tried.
pub(crate) const MOST_REFUSED: usize = 100;

/// Together all calls of a scope may be as large as so many of the largest messages.
const SCOPE_MESSAGES: usize = 32;
/// And so many times as many calls may be linked to them as one canvas may have tasks: each takes memory, however little it says.
const SCOPE_LINKS: usize = 4;

impl<'a> Scope<'a> {
    /// One of which nothing was made yet.
    pub fn new(tasks: &'a dyn Tasks, ids: &'a mut dyn FnMut() -> TaskId, rules: Rules, now: Timestamp) -> Self {
        Self { tasks, ids, rules, room: Room::UNLIMITED, now, bytes: 0, links: 0, tasks_made: 0 }
    }

    /// The same, where there is so much room for what is made.
    #[must_use]
    pub fn within(self, room: Room) -> Self {
        Self { room, ..self }
    }

    /// How many tasks may be made. Of what is no more than one canvas the store says itself which limit leaves no room for it.
    fn most_tasks(&self) -> usize {
        let stored = self.room.descendants.min(self.room.queued_tasks);
        usize::try_from(stored).unwrap_or(usize::MAX).max(self.rules.canvas_tasks)
    }

    /// Makes one more task, if so many may be made: what the store would refuse takes no memory before.
    fn make_task(&mut self) -> Result<(), Invalid> {
        let most = self.most_tasks();
        self.tasks_made = self.tasks_made.saturating_add(1);
        // What takes a task's own place is none more.
        if self.tasks_made <= most.saturating_add(1) {
            return Ok(());
        }
        let text = format!(
            "makes more than {most} tasks, with those of others before it (the least of limits.lineage_tasks, \
             limits.queued_tasks and queued_tasks of the tenant, or limits.canvas_tasks if that is more): send fewer"
        );
        Err(Invalid::too_large("signature", text))
    }

    /// Links so many calls to others, if so many may be.
    fn link(&mut self, calls: usize) -> Result<(), Invalid> {
        let most = self.rules.canvas_tasks.saturating_mul(SCOPE_LINKS).max(Signature::MOST_LINKED);
        self.links = self.links.saturating_add(calls);
        if self.links <= most {
            return Ok(());
        }
        let text = format!(
            "has more than {most} links, with those of others before it ({SCOPE_LINKS} times limits.canvas_tasks): link less"
        );
        Err(Invalid::too_large("signature", text))
    }

    /// Makes something of so many bytes, if it may be made.
    fn make(&mut self, bytes: usize) -> Result<(), Invalid> {
        let most = self.rules.message_bytes.saturating_mul(SCOPE_MESSAGES);
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes <= most {
            return Ok(());
        }
        let text = format!(
            "comes after others that are {most} bytes together ({SCOPE_MESSAGES} times limits.message_bytes): send or return less"
        );
        Err(Invalid::too_large("signature", text))
    }
}

/// A call, expanded.
#[derive(Debug, Clone, PartialEq)]
pub struct Sent {
    /// Its tasks.
    pub plan: Plan,
    /// Its result: that of a chain's last task, of a chord's body, or of a group.
    pub result: ResultTuple,
}

/// The plan of a call that nobody's task has sent. Its result has `id`, if one is given.
pub fn expand(call: Signature, id: Option<TaskId>, scope: &mut Scope<'_>) -> Result<Sent, Invalid> {
    let sent = Builder::new(scope, None).build(call, Place { id, ..Place::default() })?;
    if sent.plan.is_empty() {
        return Err(Invalid::wrong("signature", "has no tasks: put one into it"));
    }
    check_ids(&sent.plan)?;
    Ok(sent)
}

/// The plan of a call made by a running task. It goes to the parent's queue unless the call says otherwise.
pub fn subtask(parent: &Message, call: Signature, id: Option<TaskId>, scope: &mut Scope<'_>) -> Result<Sent, Invalid> {
    below(parent, call, Place { id, ..Place::default() }, scope)
}

/// The plan of a call that a running task adds to the chord that it is a part of.
pub fn added_part(
    parent: &Message,
    call: Signature,
    id: Option<TaskId>,
    scope: &mut Scope<'_>,
) -> Result<Sent, Invalid> {
    let Some(then @ Then::Part { .. }) = parent.then.clone() else {
        return Err(Invalid::wrong("add_to_chord", "needs a chord: the task is no member of a chord's header"));
    };
    let member = parent.group.clone().zip(parent.group_index);
    below(parent, call, Place { id, then: Some(then), member, ..Place::default() }, scope)
}

fn below(parent: &Message, call: Signature, place: Place, scope: &mut Scope<'_>) -> Result<Sent, Invalid> {
    let most = scope.rules.lineage_depth;
    if parent.depth >= most {
        let text = format!("is refused: {most} tasks are above it, the limit (limits.lineage_depth): it may be a loop");
        return Err(Invalid::wrong("apply_async", text));
    }
    let sent = Builder::new(scope, Some(parent)).build(call, place)?;
    check_ids(&sent.plan)?;
    Ok(sent)
}

/// What takes a running task's place: the last task of the call gets its id, and what its end is for; the others are new.
pub fn replacement(
    replaced: &Message,
    mut call: Signature,
    scope: &mut Scope<'_>,
) -> Result<(Box<Planned>, Plan), Invalid> {
    let (nesting, most) = (replaced.replaced_task_nesting + 1, scope.rules.replacements);
    if nesting > most {
        let text = format!("is refused: the task was replaced {most} times already (limits.replacements)");
        return Err(Invalid::wrong("replace", text));
    }
    // Whichever step of a chain fails, they are told, as in Celery.
    call.options.link_error.extend(replaced.errbacks.iter().cloned());
    let place = Place {
        id: Some(replaced.id.clone()),
        then: replaced.then.clone(),
        member: replaced.group.clone().zip(replaced.group_index),
        one_result: true,
        ..Place::default()
    };
    let Sent { mut plan, .. } = Builder::new(scope, Some(replaced)).build(call, place)?;
    check_ids(&plan)?;
    let last = plan.tasks.iter().rposition(|task| task.message.id == replaced.id);
    let Some(last) = last else { return Err(Invalid::empty()) };
    let Planned { message, awaits } = plan.tasks.remove(last);
    Ok((Box::new(Planned { message: in_place_of(replaced, message, nesting), awaits }), plan))
}

/// The last task of a replacement keeps what was promised for the one that it replaces.
fn in_place_of(replaced: &Message, mut by: Message, nesting: u32) -> Message {
    by.callbacks.extend(replaced.callbacks.iter().cloned());
    for (name, value) in &replaced.stamps {
        by.stamps.entry(name.clone()).or_insert_with(|| value.clone());
    }
    Message {
        root_id: replaced.root_id.clone(),
        parent_id: replaced.parent_id.clone(),
        depth: replaced.depth,
        ignore_result: by.ignore_result.or(replaced.ignore_result),
        replaced_task_nesting: nesting,
        successor: replaced.successor.clone(),
        ..by
    }
}

/// What the followers of a complete join get: the list of its parts' values, or the first failure. The parts are in order.
pub fn gathered(parts: Vec<Arrival>, group: &TaskId, most_bytes: usize) -> Arrival {
    let (mut list, mut separator) = (String::from("["), "");
    for part in parts {
        let value = match part {
            Arrival::Value(value) => value,
            failed @ Arrival::Failed { .. } => return failed,
        };
        list.push_str(separator);
        list.push_str(value.as_str());
        separator = ",";
        if list.len() > most_bytes {
            return refused(
                group,
                &format!("its results are more than {most_bytes} bytes together (limits.message_bytes)"),
            );
        }
    }
    list.push(']');
    match Json::parse(list) {
        Ok(list) => Arrival::Value(list),
        Err(error) => refused(group, &error.to_string()),
    }
}

fn refused(group: &TaskId, why: &str) -> Arrival {
    let exception = Exception::new(exc_module::BUILTINS, "ValueError", format!("group {group}: {why}"));
    Arrival::Failed { task: group.clone(), exception }
}

/// Two tasks of one id would wait for themselves, or for each other.
fn check_ids(plan: &Plan) -> Result<(), Invalid> {
    let mut seen = HashSet::with_capacity(plan.tasks.len() + plan.joins.len());
    let tasks = plan.tasks.iter().map(|task| &task.message.id);
    for id in tasks.chain(plan.joins.iter().map(|join| &join.group)) {
        if !seen.insert(id) {
            let text = format!("{id} is given to two tasks of one canvas: leave it out, or give each its own");
            return Err(Invalid::wrong("options.task_id", text));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
