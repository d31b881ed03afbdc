//! What is a signature made of?
//!
//! Reads Celery's JSON level by level. What is not a canvas is one task; canvases are known by their names, as in Celery.

use lovage_model::{Json, Signature, SignatureOptions};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::one::PLAN_MESSAGES;
use super::{Invalid, Rules, builtin};

/// A signature, one level of it read.
pub(super) enum Shape {
    Task(Box<Signature>),
    Chain(Vec<Signature>),
    Group(Vec<Signature>),
    Chord(Header, Box<Signature>),
}

/// What a chord begins with.
pub(super) enum Header {
    Tasks(Vec<Signature>),
    Group(Box<Signature>),
}

/// A canvas: its shape, and what it says for all its tasks.
pub(super) struct Canvas {
    pub(super) shape: Shape,
    pub(super) options: SignatureOptions,
    /// Arguments for its first tasks.
    pub(super) args: Json,
}

#[derive(Deserialize)]
struct Tasks<'a> {
    #[serde(borrow)]
    tasks: &'a RawValue,
}

#[derive(Deserialize)]
struct Empty {
    #[serde(rename = "tasks")]
    _none: [(); 0],
}

#[derive(Deserialize)]
struct Chord {
    /// A list of signatures, or a group.
    header: Json,
    body: Signature,
}

#[derive(Deserialize)]
struct Chunks {
    task: Signature,
    it: Vec<Json>,
    n: usize,
}

/// Whether it is a group without members: Celery passes over those in chains.
pub(super) fn is_empty_group(call: &Signature) -> bool {
    canvas_name(call) == Some("celery.group") && parts::<Empty>(call).is_ok()
}

/// The name by which Celery knows the canvas of a signature.
pub(super) fn canvas_name(call: &Signature) -> Option<&'static str> {
    let named = match call.subtask_type.as_deref() {
        Some(kind) => format!("celery.{}", kind.trim_start_matches('x')),
        None => call.task.as_str().to_owned(),
    };
    ["celery.chain", "celery.group", "celery.chord", "celery.chunks"].into_iter().find(|name| *name == named)
}

pub(super) fn read(call: Signature, rules: Rules) -> Result<Canvas, Invalid> {
    check_type(&call)?;
    let Some(name) = canvas_name(&call) else {
        let (options, args) = (SignatureOptions::default(), Json::empty_array());
        return Ok(Canvas { shape: Shape::Task(Box::new(call)), options, args });
    };
    let shape = match name {
        "celery.chain" => Shape::Chain(tasks(&call, rules)?),
        "celery.group" => Shape::Group(tasks(&call, rules)?),
        "celery.chord" => {
            let Chord { header, body } = parts(&call)?;
            Shape::Chord(read_header(&header, rules)?, Box::new(body))
        }
        _ => Shape::Group(chunks(parts(&call)?, rules)?),
    };
    Ok(Canvas { shape, options: call.options, args: call.args })
}

fn check_type(call: &Signature) -> Result<(), Invalid> {
    const KNOWN: [&str; 6] = ["chain", "group", "chord", "xmap", "xstarmap", "chunks"];
    match call.subtask_type.as_deref() {
        Some(kind) if !KNOWN.contains(&kind) => {
            let text = format!("is {kind:?}: there are {} and null", KNOWN.join(", "));
            Err(Invalid::wrong("subtask_type", text))
        }
        _ => Ok(()),
    }
}

fn parts<'a, T: Deserialize<'a>>(call: &'a Signature) -> Result<T, Invalid> {
    serde_json::from_str(call.kwargs.as_str()).map_err(|error| no_parts(call, &error))
}

fn no_parts(call: &Signature, error: &serde_json::Error) -> Invalid {
    Invalid::wrong("kwargs", format!("do not make a {}: {error}", call.task))
}

fn tasks(call: &Signature, rules: Rules) -> Result<Vec<Signature>, Invalid> {
    let Tasks { tasks } = parts(call)?;
    Signature::list(tasks.get(), most_in_a_list(rules)).map_err(|error| no_parts(call, &error))
}

/// How many signatures are read of one list before it is known whether they can be sent: with some in the links of each.
fn most_in_a_list(rules: Rules) -> usize {
    rules.canvas_tasks.saturating_mul(4).max(Signature::MOST_LINKED)
}

fn read_header(header: &Json, rules: Rules) -> Result<Header, Invalid> {
    let wrong = |error| Invalid::wrong("kwargs.header", format!("is no list of signatures, and no group: {error}"));
    if header.is_array() {
        return Signature::list(header.as_str(), most_in_a_list(rules)).map(Header::Tasks).map_err(wrong);
    }
    let one: Signature = header.read().map_err(wrong)?;
    match canvas_name(&one) {
        Some("celery.group" | "celery.chunks") => Ok(Header::Group(Box::new(one))),
        None => Ok(Header::Tasks(vec![one])),
        Some(_) => Err(Invalid::wrong("kwargs.header", "is a chain or a chord: send a list of signatures, or a group")),
    }
}

/// What is linked to a group, for one of its members: a callback comes after the first, without its result, as in Celery; an
/// errback after each.
pub(super) fn link_member(task: &mut Signature, options: &SignatureOptions, is_first: bool) {
    if is_first {
        let immutable = |call: &Signature| Signature { immutable: true, ..call.clone() };
        task.options.link.extend(options.link.iter().map(immutable));
    }
    task.options.link_error.extend(options.link_error.iter().cloned());
}

/// Whether chunks of a list may be made: each holds the task that all have, of so many bytes.
pub(super) fn check_chunks(items: usize, n: usize, task_bytes: usize, rules: Rules) -> Result<(), Invalid> {
    if n == 0 {
        return Err(Invalid::wrong("kwargs.n", "is 0: a chunk has at least one item"));
    }
    let (chunks, most) = (items.div_ceil(n), rules.canvas_tasks);
    if chunks > most {
        let text = format!("makes {chunks} chunks, the limit is {most} (limits.canvas_tasks): take larger ones");
        return Err(Invalid::too_large("kwargs.n", text));
    }
    let (bytes, most) = (chunks.saturating_mul(task_bytes), rules.message_bytes.saturating_mul(PLAN_MESSAGES));
    if bytes > most {
        let text = format!(
            "of {task_bytes} bytes is in each of {chunks} chunks, which may be {most} bytes together ({PLAN_MESSAGES} times \
             limits.message_bytes): say less in it, or take larger chunks"
        );
        return Err(Invalid::too_large("kwargs.task", text));
    }
    Ok(())
}

/// What one chunk is called with.
#[derive(serde::Serialize)]
struct Chunk<'a> {
    task: &'a Json,
    it: &'a [Json],
}

fn chunks(Chunks { task, it, n }: Chunks, rules: Rules) -> Result<Vec<Signature>, Invalid> {
    let task = Json::of(&task).map_err(|error| Invalid::wrong("kwargs.task", error.to_string()))?;
    check_chunks(it.len(), n, task.as_str().len(), rules)?;
    let starmap = |items: &[Json]| {
        let kwargs = Json::of(&Chunk { task: &task, it: items });
        let name = builtin::STARMAP.parse().map_err(|error| Invalid::wrong("task", format!("{error}")))?;
        let kwargs = kwargs.map_err(|error| Invalid::wrong("kwargs.it", error.to_string()))?;
        Ok(Signature { kwargs, immutable: true, ..Signature::new(name, Json::empty_array()) })
    };
    it.chunks(n).map(starmap).collect()
}

/// A task of a canvas, with what the canvas says for all; `first`: it can be the first to run.
pub(super) fn inherit(
    mut task: Signature,
    from: &SignatureOptions,
    args: &Json,
    first: bool,
) -> Result<Signature, Invalid> {
    let wrong = |error: serde_json::Error| Invalid::wrong("args", format!("are not a JSON array: {error}"));
    if first && args.as_str() != "[]" && !task.immutable {
        task.args = task.args.after_all(args).map_err(wrong)?;
    }
    let to = &mut task.options;
    if first {
        to.countdown = to.countdown.or(from.countdown);
        to.eta = to.eta.or(from.eta);
    }
    to.queue = to.queue.take().or_else(|| from.queue.clone());
    to.priority = to.priority.or(from.priority);
    to.expires = to.expires.or(from.expires);
    to.time_limit = to.time_limit.or(from.time_limit);
    to.soft_time_limit = to.soft_time_limit.or(from.soft_time_limit);
    to.fuel = to.fuel.or(from.fuel);
    to.ignore_result = to.ignore_result.or(from.ignore_result);
    for (all, more) in
        [(&mut to.headers, &from.headers), (&mut to.overrides, &from.overrides), (&mut to.stamps, &from.stamps)]
    {
        for (name, value) in more {
            all.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    to.stamped_headers = to.stamps.keys().cloned().collect();
    Ok(task)
}
