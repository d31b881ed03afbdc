//! What is linked to a task: callbacks, sent with its value once it has returned, and errbacks, sent once it has failed.

use lovage_model::{Exception, Json, Message, Plan, ResultTuple, Signature};
use serde_json::json;

use crate::canvas::{self, MOST_REFUSED, Scope, Sent};

/// What comes of a task's links.
#[derive(Default)]
pub(super) struct Linked {
    pub(super) plan: Plan,
    pub(super) children: Vec<ResultTuple>,
    /// What could not be sent, and why: for the task's log, since its own outcome stands.
    pub(super) refused: Vec<String>,
}

/// Each gets the value as its first argument, unless it is immutable.
pub(super) fn callbacks(message: &Message, value: &Json, scope: &mut Scope<'_>) -> Linked {
    let mut linked = Linked::default();
    for call in &message.callbacks {
        if linked.is_over(scope) {
            break;
        }
        linked.send(message, call, call.args.after(value), scope);
    }
    linked
}

/// As in Celery, one that takes more than one argument gets the request, the exception and the traceback; another gets the
/// id of the task that failed.
pub(super) fn errbacks(
    message: &Message,
    exception: &Exception,
    traceback: Option<&str>,
    scope: &mut Scope<'_>,
) -> Linked {
    let mut linked = Linked::default();
    for call in &message.errbacks {
        if linked.is_over(scope) {
            break;
        }
        let takes =
            scope.tasks.find(&call.task).ok().flatten().map_or(1, |task| task.most_args().unwrap_or(usize::MAX));
        // As text: an exception may hold what is no number here, or half a character.
        let first =
            if takes > 1 { Json::of(&(request(message), exception, traceback)) } else { Json::of(&[&message.id]) };
        linked.send(message, call, first.and_then(|first| call.args.after_all(&first)), scope);
    }
    linked
}

/// What an errback may know of the task that failed: Celery's request, without arguments, which may be large.
fn request(message: &Message) -> serde_json::Value {
    json!({
        "id": message.id,
        "task": message.task,
        "root_id": message.root_id,
        "parent_id": message.parent_id,
        "group": message.group,
        "retries": message.retries,
        "queue": message.queue,
    })
}

impl Linked {
    /// Whether no more are tried: what is linked to one task is as many tasks as a canvas may have.
    fn is_over(&mut self, scope: &Scope<'_>) -> bool {
        let most = scope.rules.canvas_tasks;
        let is_full = self.plan.tasks.len() >= most;
        if is_full {
            self.refused
                .push(format!("what else is linked to this task was not sent: {most} tasks are (limits.canvas_tasks)"));
        }
        is_full || self.refused.len() >= MOST_REFUSED
    }

    fn send(
        &mut self,
        message: &Message,
        call: &Signature,
        args: Result<Json, serde_json::Error>,
        scope: &mut Scope<'_>,
    ) {
        let args = if call.immutable { Ok(call.args.clone()) } else { args };
        let sent = args.map_err(|error| error.to_string()).and_then(|args| {
            let call = Signature { args, ..call.clone() };
            canvas::subtask(message, call, None, scope).map_err(|invalid| invalid.to_string())
        });
        match sent {
            Ok(Sent { plan, result }) => {
                self.plan.append(plan);
                self.children.push(result);
            }
            Err(why) => self.refused.push(format!("{}, which is linked to this task, was not sent: {why}", call.task)),
        }
    }
}
