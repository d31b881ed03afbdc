//! What does it mean that what an attempt sent cannot be stored?

use lovage_model::{
    Arrival, Event, EventKind, Exception, Inline, Message, Plan, Room, Settlement, TaskId, Verdict, exc_module,
};

use super::{Attempted, links, record};
use crate::canvas::{Scope, inline};

/// Why what an attempt sends cannot be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unsent {
    /// Too many tasks wait already.
    QueuedTasks,
    /// Too many of them wait for their time.
    ScheduledTasks,
    /// Too many tasks come from the same call already.
    Descendants,
    /// A task of this id exists.
    Taken(TaskId),
}

impl Unsent {
    fn exception(&self, room: Room) -> Exception {
        let text = match self {
            Self::QueuedTasks => format!(
                "what it sent does not fit into its queues: with it more than {} tasks would wait (queued_tasks \
                 of the tenant, or limits.queued_tasks)",
                room.queued_tasks
            ),
            Self::ScheduledTasks => format!(
                "what it sent for later is too much: with it more than {} tasks would wait for their time \
                 (scheduled_tasks of the tenant, or limits.scheduled_tasks)",
                room.scheduled_tasks
            ),
            Self::Descendants => format!(
                "what it sent is too much: more than {} tasks would come from one call (limits.lineage_tasks)",
                room.descendants
            ),
            Self::Taken(id) => {
                format!("it sent a task with the id {id}, which exists: leave out task_id, or choose a new one")
            }
        };
        Exception::new(exc_module::BUILTINS, "ValueError", text)
    }
}

/// The settlement of an attempt of which nothing can be sent: a failure that says why, as it is where Celery raises it. One
/// that had failed or was revoked stays so, and its log says why.
pub fn unsent(message: &Message, settlement: Settlement, why: &Unsent) -> Settlement {
    let mut bare = Settlement {
        publish: Plan::default(),
        children: Vec::new(),
        grown: Vec::new(),
        inline: Inline::default(),
        ..settlement
    };
    let exception = why.exception(bare.room);
    if let Verdict::Failure { .. } | Verdict::Revoked { .. } = bare.verdict {
        bare.log.records.push(record(bare.at, exception.message()));
        return bare;
    }
    let failed = || Arrival::Failed { task: message.id.clone(), exception: exception.clone() };
    Settlement {
        arrival: message.then.as_ref().map(|_| failed()),
        events: vec![Event::of(message, bare.at, EventKind::failed(&exception, None))],
        verdict: Verdict::Failure { exception, traceback: None, fault: None },
        ..bare
    }
}

/// The same, with what is due when the task fails: its errbacks, and word of a dead letter.
pub fn refused(attempted: Attempted<'_>, settlement: Settlement, why: &Unsent, scope: &mut Scope<'_>) -> Settlement {
    let had_failed = matches!(settlement.verdict, Verdict::Failure { .. });
    let mut bare = unsent(attempted.message, settlement, why);
    let Verdict::Failure { exception, traceback, .. } = &bare.verdict else { return bare };
    let linked = links::errbacks(attempted.message, exception, traceback.as_deref(), scope);
    let inline = inline::failed(attempted.message, exception, traceback.as_deref(), scope);
    bare.publish = linked.plan;
    bare.inline = inline.inline;
    let children = linked.children.into_iter().chain(inline.children);
    bare.children = if attempted.options.trail { children.collect() } else { Vec::new() };
    if !had_failed && !attempted.options.acks_on_failure {
        bare.events.push(Event::of(attempted.message, bare.at, EventKind::Rejected { requeue: false }));
    }
    bare
}

#[cfg(test)]
mod tests {
    use lovage_model::{Json, ResultTuple, Signature, TaskOptions, Then, Timestamp};

    use super::*;
    use crate::canvas::{AnyTask, Rules};

    const NOW: Timestamp = Timestamp::from_micros(1);

    fn message(id: &str) -> Message {
        Message::new(id.parse().unwrap(), "a.b".parse().unwrap())
    }

    /// Of an attempt that sent a task.
    fn settlement(message: &Message, verdict: Verdict) -> Settlement {
        let child = self::message("child");
        let event = |of: &Message, kind| Event::of(of, NOW, kind);
        Settlement {
            children: vec![ResultTuple::of(child.id.clone())],
            grown: vec![("g".parse().unwrap(), 1)],
            room: Room { queued_tasks: 11, scheduled_tasks: 7, descendants: 22 },
            events: vec![event(message, EventKind::Ignored), Event::sent(&child, NOW)],
            publish: Plan::of(child),
            ..Settlement::of(verdict, NOW)
        }
    }

    fn refused(message: &Message, why: &Unsent) -> (Settlement, String) {
        let settlement = unsent(message, settlement(message, Verdict::Success { result: Json::null() }), why);
        let Verdict::Failure { exception, .. } = &settlement.verdict else { panic!("{:?}", settlement.verdict) };
        let text = exception.to_string();
        (settlement, text)
    }

    #[test]
    fn it_is_a_value_error_that_names_the_limit_or_the_id() {
        let taken = Unsent::Taken("b".parse().unwrap());
        for (why, parts) in [
            (Unsent::QueuedTasks, ["limits.queued_tasks", "11"]),
            (Unsent::ScheduledTasks, ["limits.scheduled_tasks", "7"]),
            (Unsent::Descendants, ["limits.lineage_tasks", "22"]),
            (taken, ["the id b", "task_id"]),
        ] {
            let (_, text) = refused(&message("a"), &why);
            assert!(text.starts_with("ValueError: ") && parts.iter().all(|part| text.contains(part)), "{text}");
        }
    }

    #[test]
    fn nothing_of_it_is_sent_or_told() {
        let waited_for = Message { then: Some(Then::Next), ..message("a") };
        let (settlement, _) = refused(&waited_for, &Unsent::QueuedTasks);
        assert!(settlement.publish.is_empty() && settlement.children.is_empty() && settlement.grown.is_empty());
        let told: Vec<_> = settlement.events.iter().map(|event| (event.uuid.as_str(), event.kind.name())).collect();
        assert_eq!(told, [("a", "task-failed")]);
        assert!(matches!(settlement.arrival, Some(Arrival::Failed { task, .. }) if task == waited_for.id));
        assert_eq!(refused(&message("a"), &Unsent::QueuedTasks).0.arrival, None, "nobody waits for it");
    }

    #[test]
    fn what_had_failed_or_was_revoked_stays_so() {
        let message = message("a");
        let exception = Exception::new("m", "KeyError", "x");
        for verdict in [
            Verdict::Revoked { reason: "terminated" },
            Verdict::Failure { exception, traceback: Some("here".to_owned()), fault: None },
        ] {
            let before = settlement(&message, verdict);
            let after = unsent(&message, before.clone(), &Unsent::QueuedTasks);
            assert_eq!((&after.verdict, after.publish.is_empty()), (&before.verdict, true));
            assert_eq!(after.events, before.events);
            assert!(after.log.records[0].message.contains("limits.queued_tasks"));
        }
    }

    #[test]
    fn its_errbacks_are_due_and_its_callbacks_are_not() {
        let link = |task: &str| vec![Signature::new(task.parse().unwrap(), Json::empty_array())];
        let message = Message { callbacks: link("on.value"), errbacks: link("on.error"), ..message("a") };
        let options = TaskOptions { acks_on_failure: false, ..TaskOptions::default() };
        let attempted = Attempted { message: &message, deliveries: 1, worker: "w", options: &options, eager: false };
        let rules = Rules { message_bytes: 1000, canvas_tasks: 9, lineage_depth: 9, replacements: 9 };
        let mut ids = || "new".parse().unwrap();
        let scope = &mut Scope::new(&AnyTask, &mut ids, rules, NOW);
        let success = settlement(&message, Verdict::Success { result: Json::null() });
        let settlement = super::refused(attempted, success, &Unsent::QueuedTasks, scope);
        let sent: Vec<_> = settlement.publish.tasks.iter().map(|task| task.message.task.as_str()).collect();
        assert_eq!(sent, ["on.error"]);
        assert_eq!(settlement.children, [ResultTuple::of("new".parse().unwrap())]);
        let told: Vec<_> = settlement.events.iter().map(|event| event.kind.name()).collect();
        assert_eq!(told, ["task-failed", "task-rejected"]);
    }
}
