//! What does it mean that what an attempt sent cannot be stored?

use lovage_model::{
    Arrival, Event, EventKind, Exception, Message, Plan, Room, Settlement, TaskId, Verdict, exc_module,
};

/// Why what an attempt sends cannot be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unsent {
    /// Too many tasks wait already.
    QueuedTasks,
    /// Too many tasks come from the same call already.
    Descendants,
    /// A task of this id exists.
    Taken(TaskId),
}

impl Unsent {
    fn exception(&self, room: Room) -> Exception {
        let text = match self {
            Self::QueuedTasks => format!(
                "what it sent does not fit into its queues: with it more than {} tasks would wait (limits.queued_tasks)",
                room.queued_tasks
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

/// The settlement of an attempt of which nothing can be sent: a failure that says why, as it is where Celery raises it. Who
/// ordered its end was told that it is revoked, so that stays.
pub fn unsent(message: &Message, settlement: Settlement, why: &Unsent) -> Settlement {
    let bare = Settlement { publish: Plan::default(), children: Vec::new(), grown: Vec::new(), ..settlement };
    if let Verdict::Revoked { .. } = bare.verdict {
        let events = bare.events.into_iter().filter(|event| event.uuid == message.id).collect();
        return Settlement { events, ..bare };
    }
    let exception = why.exception(bare.room);
    let kind = EventKind::failed(&exception, None);
    let event = Event::of(message, bare.at, kind);
    let failed = || Arrival::Failed { task: message.id.clone(), exception: exception.clone() };
    Settlement {
        arrival: message.then.as_ref().map(|_| failed()),
        events: vec![event],
        verdict: Verdict::Failure { exception, traceback: None, fault: None },
        ..bare
    }
}

#[cfg(test)]
mod tests {
    use lovage_model::{Json, ResultTuple, Then, Timestamp};

    use super::*;

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
            room: Room { queued_tasks: 11, descendants: 22 },
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
    fn a_revoked_task_stays_revoked() {
        let message = message("a");
        let revoked = settlement(&message, Verdict::Revoked { reason: "terminated" });
        let settlement = unsent(&message, revoked.clone(), &Unsent::QueuedTasks);
        assert_eq!((&settlement.verdict, settlement.publish.is_empty()), (&revoked.verdict, true));
        assert_eq!(settlement.events, revoked.events[..1]);
    }
}
