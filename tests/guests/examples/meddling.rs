//! Names tasks that are not its own, through every import that takes an id.
#![allow(missing_docs)]

use std::collections::HashMap;

use lovage_guest::prelude::*;

#[task]
fn done() {}

/// A call that has the id of another task in one of the places where a signature has ids.
fn naming(id: &str, place: &str) -> TaskResult<Signature> {
    let with_id = || done::si().set(Options::new().task_id(id));
    Ok(match place {
        "task_id" => with_id(),
        "group_id" => done::si().set(Options::new().group_id(id)),
        "root_id" | "parent_id" => done::si().set(Options::new().header(place, id)),
        "link" => done::si().link(with_id()),
        "link_error" => done::si().link_error(with_id()),
        "chain" => chain([done::si(), with_id()]),
        "group" => group([done::si(), with_id()]),
        "chord" => chord([done::si(), done::si()], with_id()),
        other => return Err(TaskError::builtin("ValueError", other)),
    })
}

#[task]
fn meddle(ctx: &Context, import: String, place: String, id: String) -> TaskResult<()> {
    match import.as_str() {
        "apply_async" => ctx.apply_async(naming(&id, &place)?).map(drop),
        "add_to_chord" => ctx.add_to_chord(naming(&id, &place)?).map(drop),
        "replace" => Err(ctx.replace(naming(&id, &place)?)),
        "send_event" => ctx.send_event("task-succeeded", HashMap::from([(place, id)])),
        other => Err(TaskError::builtin("ValueError", other)),
    }
}

export_tasks!(done, meddle);
