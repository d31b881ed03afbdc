//! What is linked to a task: callbacks, sent with its value, and errbacks, told of its failure.

use std::collections::BTreeMap;

use lovage_model::{Exception, Json, Message, TaskId, WireOptions, WireShape, WireSignature};
use serde_json::json;

use super::{Inliner, Invalid, tree};
use crate::canvas::MOST_REFUSED;

/// What an errback may know of the task that failed.
pub(super) struct Request {
    id: TaskId,
    fields: serde_json::Value,
}

impl Request {
    /// Celery's request, without arguments, which may be large.
    pub(super) fn of(message: &Message) -> Self {
        let fields = json!({
            "id": message.id,
            "task": message.task,
            "root_id": message.root_id,
            "parent_id": message.parent_id,
            "group": message.group,
            "retries": message.retries,
            "queue": message.queue,
        });
        Self { id: message.id.clone(), fields }
    }

    /// Of a task that never ran.
    pub(super) fn never_run(id: &TaskId) -> Self {
        Self { id: id.clone(), fields: json!({ "id": id, "task": "unknown" }) }
    }
}

impl Inliner<'_, '_> {
    /// Groups one by one, all others as one group, as Celery does it; one alone is sent alone.
    pub(super) fn callbacks(&mut self, callbacks: &[WireSignature], value: &Json) {
        let args = match tree::array([value.as_str()]) {
            Ok(args) => args,
            Err(error) => return self.refused.push(format!("the callbacks were not sent: {error}")),
        };
        let (groups, others): (Vec<_>, Vec<_>) =
            callbacks.iter().cloned().partition(|callback| matches!(callback.shape, WireShape::Group(_)));
        let together = if callbacks.len() > 1 && !others.is_empty() { vec![tree::group(others)] } else { others };
        for callback in groups.into_iter().chain(together) {
            let options = self.of_sender();
            self.attempt(callback, &args, options, true);
        }
    }

    /// Those that take more than one argument get the request, the exception and the traceback; others the id. (Celery calls
    /// the former as functions, in the worker; here they are tasks that leave no result.) `listed`: the others are children of the
    /// sender.
    pub(super) fn errbacks(
        &mut self,
        request: &Request,
        errbacks: &[WireSignature],
        exception: &Exception,
        traceback: Option<&str>,
        listed: bool,
    ) {
        let (called, sent): (Vec<_>, Vec<_>) = errbacks.iter().cloned().partition(|errback| self.takes_all(errback));
        let (id, root_id) = (request.id.clone(), self.sender.root_id.clone());
        let options = WireOptions { parent_id: Some(id), root_id: Some(root_id), ..WireOptions::default() };
        if !called.is_empty() {
            // As text: an exception may hold what is no number here, or half a character.
            match Json::of(&(&request.fields, exception, traceback)) {
                Ok(all) => self.call_errbacks(called, &all, &options),
                Err(error) => self.refused.push(format!("the errbacks were not sent: {error}")),
            }
        }
        if !sent.is_empty() {
            self.attempt(tree::group(sent), &Json::from(json!([request.id])), options, listed);
        }
    }

    fn call_errbacks(&mut self, errbacks: Vec<WireSignature>, args: &Json, options: &WireOptions) {
        for mut errback in errbacks {
            if self.refused.len() >= MOST_REFUSED {
                break;
            }
            errback.options.rest.set("ignore_result", Json::from(json!(true)));
            self.attempt(errback, args, options.clone(), false);
        }
    }

    /// Whether it takes the request, the exception and the traceback: its own arguments count, unless it takes no others.
    fn takes_all(&self, errback: &WireSignature) -> bool {
        let Some(task) = self.definition(&errback.task) else { return false };
        let Some(count) = task.most_args() else { return true };
        if errback.immutable {
            return count > 1;
        }
        let positional = errback.args.read::<Vec<Json>>().map_or(0, |args| args.len());
        let WireShape::Task(kwargs) = &errback.shape else { return false };
        let names: BTreeMap<&str, ()> = kwargs.iter().map(|(name, _)| (name, ())).collect();
        let named = task.ones().skip(positional).filter(|it| names.contains_key(it.name.as_str())).count();
        count.saturating_sub(positional + named) > 1
    }

    /// Sends it, or says why not: the task's own outcome stands.
    fn attempt(&mut self, call: WireSignature, args: &Json, options: WireOptions, listed: bool) {
        let before = self.out.mark();
        let name = call.task.clone();
        let sent: Result<_, Invalid> = self.apply(call, Some(args), options, listed);
        if let Err(invalid) = sent {
            self.out.rewind(before);
            self.refused.push(format!("{name}, which is linked to this task, was not sent: {invalid}"));
        }
    }
}
