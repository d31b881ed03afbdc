//! What becomes of a task that waited for another, or for a group?

use lovage_model::{Arrival, Exception, Followed, Json, Message, TaskId, Verdict, exc_module};

use super::{Attempted, Left, settlement, value_error};
use crate::canvas::{Invalid, Scope, builtin};

/// What a task waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaited {
    /// The step before it in its chain.
    Task,
    /// The header of its chord; true: others wait for it as well, the body is a group.
    Group(bool),
}

/// It runs, with the value before its other arguments; or it fails, as Celery says: a step with the exception of the step
/// before it, the body of a chord with a `ChordError` that names the member that failed first.
pub fn follow(attempted: Attempted<'_>, awaited: Awaited, arrival: &Arrival, scope: &mut Scope<'_>) -> Followed {
    let message = attempted.message;
    match arrival {
        Arrival::Value(value) if message.task.as_str() == builtin::ACCUMULATE => {
            let result = if attempted.ignores_result() { Json::null() } else { value.clone() };
            settled(attempted, Verdict::Success { result }, Some(value.clone()), scope)
        }
        Arrival::Value(value) => match released(message, value, scope) {
            Ok(message) => Followed::Released(Box::new(message)),
            Err(invalid) => settled(attempted, value_error(&invalid), None, scope),
        },
        Arrival::Failed { task, exception } => {
            let exception = match awaited {
                Awaited::Group(false) => chord_error(task, exception),
                Awaited::Group(true) | Awaited::Task => exception.clone(),
            };
            let fault = Some("dependency".to_owned());
            // In a chain the errbacks belong to the step that failed.
            let without_errbacks = Message { errbacks: Vec::new(), ..message.clone() };
            let message = if awaited == Awaited::Task { &without_errbacks } else { message };
            let verdict = Verdict::Failure { exception, traceback: None, fault };
            settled(Attempted { message, ..attempted }, verdict, None, scope)
        }
    }
}

fn released(message: &Message, value: &Json, scope: &Scope<'_>) -> Result<Message, Invalid> {
    let (bytes, most) = (value.as_str().len() + message.args.as_str().len(), scope.rules.message_bytes);
    if bytes > most && !message.immutable {
        let text = format!(
            "with the result of what was before it are {bytes} bytes, the limit is {most} (limits.message_bytes): return \
             less, or a name under which it can be found"
        );
        return Err(Invalid::wrong("args", text));
    }
    message.clone().receive(value, scope.now).map_err(|error| Invalid::wrong("args", error.to_string()))
}

fn chord_error(task: &TaskId, exception: &Exception) -> Exception {
    let text = format!("Dependency {task} raised {}", exception.repr());
    Exception::new(exc_module::CELERY, "ChordError", text)
}

fn settled(attempted: Attempted<'_>, verdict: Verdict, value: Option<Json>, scope: &mut Scope<'_>) -> Followed {
    Followed::Settled(Box::new(settlement(attempted, verdict, value, Left::default(), scope)))
}
