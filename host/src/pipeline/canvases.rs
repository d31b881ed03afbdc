//! What do `celery.chunks`, `celery.group` and `celery.chord` send, where they are called as tasks?
//!
//! Celery has them in every app, from the days when canvases were sent so: `app.send_task("celery.chord", ...)`. Their result
//! is that of the canvas. Pure: new ids are given.

use std::collections::BTreeMap;

use lovage_model::{Exception, Json, Message, Signature, TaskId, exc_module};
use serde_json::{Map, Value, json};

use crate::attempt::Effects;
use crate::canvas::builtin;

/// What a canvas that is called as a task sends, and what it returns.
pub(super) fn sends(
    message: &Message,
    mut new_id: impl FnMut() -> TaskId,
) -> std::result::Result<(Effects, Json), Exception> {
    let (effects, result) = match message.task.as_str() {
        builtin::CHUNKS => {
            let [task, it, n] = arguments(message, ["task", "it", "n"])?;
            let id = new_id();
            let call = json!({ "task": builtin::CHUNKS, "subtask_type": "chunks", "immutable": true,
                "kwargs": { "task": task, "it": it, "n": n } });
            (vec![(id.clone(), call)], json!([[id, null], []]))
        }
        builtin::GROUP => {
            let [tasks, result, group_id, partial] =
                arguments(message, ["tasks", "result", "group_id", "partial_args"])?;
            (members(tasks, &group_id, &partial, new_id)?, result)
        }
        builtin::CHORD => {
            let [header, body, partial] = arguments(message, ["header", "body", "partial_args"])?;
            let id = body["options"]["task_id"].as_str().and_then(|id| id.parse().ok()).unwrap_or_else(new_id);
            let call = json!({ "task": builtin::CHORD, "subtask_type": "chord", "args": list(partial),
                "kwargs": { "kwargs": {}, "header": header, "body": body } });
            (vec![(id.clone(), call)], json!([[id, null], null]))
        }
        _ => {
            let text = format!("{} is not a real task", message.task);
            return Err(Exception::new(exc_module::BUILTINS, "NotImplementedError", text));
        }
    };
    let subtasks = effects.into_iter().map(|(id, call)| Ok((id, signature(call)?))).collect::<Result<_, _>>()?;
    Ok((Effects { subtasks, ..Effects::default() }, Json::from(result)))
}

/// Each member of a group with the arguments that all of them get.
fn members(
    tasks: Value,
    group_id: &Value,
    partial: &Value,
    mut new_id: impl FnMut() -> TaskId,
) -> std::result::Result<Vec<(TaskId, Value)>, Exception> {
    let Value::Array(tasks) = tasks else { return Err(type_error("tasks is no list")) };
    let one = |mut task: Value| {
        let id = task["options"]["task_id"].as_str().and_then(|id| id.parse().ok()).unwrap_or_else(&mut new_id);
        let Some(fields) = task.as_object_mut() else { return Err(type_error("a task of the group is no signature")) };
        if fields.get("immutable") != Some(&Value::Bool(true)) {
            let own = fields.get("args").cloned().unwrap_or_default();
            let args = [list(partial.clone()), list(own)].concat();
            fields.insert("args".to_owned(), args.into());
        }
        let options = fields.entry("options").or_insert_with(|| Map::new().into());
        if let Some(options) = options.as_object_mut() {
            options.insert("group_id".to_owned(), group_id.clone());
            options.insert("add_to_parent".to_owned(), false.into());
        }
        Ok((id, task))
    };
    tasks.into_iter().map(one).collect()
}

/// The arguments of a call by their names, wherever they stand; what is left out is `null`.
fn arguments<const N: usize>(message: &Message, names: [&str; N]) -> std::result::Result<[Value; N], Exception> {
    let wrong = |error: serde_json::Error| type_error(&error.to_string());
    let mut args = message.args.read::<Vec<Value>>().map_err(wrong)?.into_iter();
    let mut kwargs = message.kwargs.read::<BTreeMap<String, Value>>().map_err(wrong)?;
    Ok(names.map(|name| args.next().or_else(|| kwargs.remove(name)).unwrap_or_default()))
}

fn list(value: Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items,
        _ => Vec::new(),
    }
}

fn signature(call: Value) -> std::result::Result<Json, Exception> {
    let call = serde_json::from_value::<Signature>(call).and_then(|call| Json::of(&call));
    call.map_err(|error| type_error(&error.to_string()))
}

fn type_error(text: &str) -> Exception {
    Exception::new(exc_module::BUILTINS, "TypeError", text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(task: &str, args: Value, kwargs: Value) -> std::result::Result<(Vec<(String, Signature)>, String), String> {
        let message = Message::new("a".parse().unwrap(), task.parse().unwrap());
        let message = Message { args: args.into(), kwargs: kwargs.into(), ..message };
        let (effects, result) = sends(&message, || "new".parse().unwrap()).map_err(|error| error.to_string())?;
        let subtasks =
            effects.subtasks.into_iter().map(|(id, call)| (id.to_string(), call.read::<Signature>().unwrap()));
        Ok((subtasks.collect(), result.to_string()))
    }

    #[test]
    fn a_group_gives_its_arguments_to_each_that_takes_some() {
        let tasks =
            json!([{"task": "t.a", "args": [2], "options": {"task_id": "x"}}, {"task": "t.b", "immutable": true}]);
        let (sent, result) = sent(builtin::GROUP, json!([tasks, [["g", null], []], "g", [1]]), json!({})).unwrap();
        let args: Vec<_> = sent.iter().map(|(id, call)| (id.as_str(), call.args.as_str())).collect();
        assert_eq!((args, result.as_str()), (vec![("x", "[1,2]"), ("new", "[]")], r#"[["g",null],[]]"#));
        assert!(sent.iter().all(|(_, call)| call.options.group_id.as_ref().is_some_and(|id| id.as_str() == "g")));
    }

    #[test]
    fn a_chord_has_the_id_of_its_body() {
        let body = json!({"task": "t.sum", "options": {"task_id": "sum"}});
        let (sent, result) = sent(builtin::CHORD, json!([[{"task": "t.a"}]]), json!({ "body": body })).unwrap();
        assert_eq!((sent[0].0.as_str(), result.as_str()), ("sum", r#"[["sum",null],null]"#));
        assert_eq!(sent[0].1.subtask_type.as_deref(), Some("chord"));
    }

    #[test]
    fn what_cannot_be_sent_is_an_error_of_the_task() {
        assert!(sent(builtin::CHAIN, json!([]), json!({})).unwrap_err().starts_with("NotImplementedError"));
        assert!(sent(builtin::GROUP, json!([7]), json!({})).unwrap_err().starts_with("TypeError"));
        assert!(sent(builtin::GROUP, json!([["x"]]), json!({})).unwrap_err().starts_with("TypeError"));
    }
}
