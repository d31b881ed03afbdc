//! Signatures as trees: what they are made of, how they are joined, which options win.

use std::collections::{BTreeMap, HashSet};

use lovage_model::{Fields, Json, ResultTuple, TaskId, WireOptions, WireShape, WireSignature};

use super::extent::Extent;
use super::{Invalid, Scope, chunks};
use crate::canvas::{Rules, builtin};

/// The names that Celery gives its canvases.
const CANVASES: [(&str, &str); 3] = [("celery.chain", "chain"), ("celery.group", "group"), ("celery.chord", "chord")];

pub(super) fn chain(tasks: Vec<WireSignature>) -> WireSignature {
    canvas(0, WireShape::Chain(tasks))
}

pub(super) fn group(tasks: Vec<WireSignature>) -> WireSignature {
    canvas(1, WireShape::Group(tasks))
}

/// A chord over the members of a group, or over one task.
pub(super) fn chord(header: WireSignature, body: WireSignature) -> WireSignature {
    let header = match header.shape {
        WireShape::Group(tasks) => tasks,
        _ => vec![header],
    };
    canvas(2, WireShape::Chord { header, body: Some(Box::new(body)), kwargs: Fields::default() })
}

fn canvas(which: usize, shape: WireShape) -> WireSignature {
    let (task, kind) = CANVASES[which];
    let task = task.parse().expect("a name of Celery's own");
    let (args, options, subtask_type) = (Json::empty_array(), WireOptions::default(), Some(kind.to_owned()));
    WireSignature { task, args, shape, options, subtask_type, immutable: false }
}

/// The task that gives the first of its arguments: what a group that replaces a task ends in.
pub(super) fn accumulate() -> WireSignature {
    let index = [("index".to_owned(), Json::from(serde_json::json!(0)))].into_iter().collect();
    WireSignature::task(builtin::ACCUMULATE.parse().expect("a name of Celery's own"), Json::empty_array(), index)
}

/// The same, for no results.
pub(super) fn accumulated() -> WireSignature {
    let args = Json::parse("[[]]".to_owned()).expect("a list in a list");
    WireSignature { args, immutable: true, ..accumulate() }
}

/// What a guest wrote: a map names its type, so that who reads it knows that it takes no arguments, and chunks are the group
/// that they mean, since only a group is awaited as a whole by what comes after it.
pub(super) fn typed(mut sig: WireSignature, rules: Rules) -> Result<WireSignature, Invalid> {
    if sig.subtask_type.is_none() {
        let kind = match sig.task.as_str() {
            builtin::MAP => Some("xmap"),
            builtin::STARMAP => Some("xstarmap"),
            builtin::CHUNKS => Some("chunks"),
            _ => None,
        };
        sig.subtask_type = kind.map(str::to_owned);
    }
    if chunks::are(&sig) {
        return chunks::group_of(&sig, rules);
    }
    let list = |all: Vec<WireSignature>| all.into_iter().map(|sig| typed(sig, rules)).collect::<Result<_, _>>();
    sig.shape = match sig.shape {
        WireShape::Task(kwargs) => WireShape::Task(kwargs),
        WireShape::Chain(tasks) => WireShape::Chain(list(tasks)?),
        WireShape::Group(tasks) => WireShape::Group(list(tasks)?),
        WireShape::Chord { header, body, kwargs } => {
            let body = body.map(|body| typed(*body, rules).map(Box::new)).transpose()?;
            WireShape::Chord { header: list(header)?, body, kwargs }
        }
    };
    Ok(sig)
}

pub(super) fn is_map(sig: &WireSignature) -> bool {
    matches!(sig.subtask_type.as_deref(), Some("xmap" | "xstarmap"))
}

pub(super) fn is_empty_group(sig: &WireSignature) -> bool {
    matches!(&sig.shape, WireShape::Group(tasks) if tasks.is_empty())
}

pub(super) fn is_empty_chain(sig: &WireSignature) -> bool {
    matches!(&sig.shape, WireShape::Chain(tasks) if tasks.is_empty())
}

/// Whether it is a chord whose body is a chain that begins with a task: such a body is laid out as steps.
pub(super) fn has_chain_for_body(sig: &WireSignature) -> bool {
    let WireShape::Chord { body: Some(body), .. } = &sig.shape else { return false };
    let WireShape::Chain(tasks) = &body.shape else { return false };
    tasks.first().is_some_and(|first| !matches!(first.shape, WireShape::Group(_)))
}

/// A group of one is that one.
pub(super) fn unrolled(sig: WireSignature) -> WireSignature {
    match sig.shape {
        WireShape::Group(mut tasks) if tasks.len() == 1 => tasks.remove(0),
        shape => WireSignature { shape, ..sig },
    }
}

/// How many parts of a chord a member of its header comes to.
pub(super) fn parts_of(sig: &WireSignature) -> u64 {
    match &sig.shape {
        WireShape::Group(tasks) => tasks.iter().map(parts_of).sum(),
        WireShape::Chain(tasks) => tasks.iter().rev().map(parts_of).find(|&parts| parts > 0).unwrap_or(0),
        WireShape::Chord { body, .. } => body.as_deref().map_or(0, parts_of),
        WireShape::Task(_) => 1,
    }
}

/// The options of a signature where it is sent with others: those win, except that it keeps its group and its stamps.
pub(super) fn merged(own: &WireOptions, by: WireOptions) -> WireOptions {
    let stamped = own.rest.get("stamped_headers").is_some();
    let stamps: Vec<String> = own.rest.read("stamped_headers").unwrap_or_default();
    let mut rest = own.rest.clone();
    for (name, value) in by.rest.iter().filter(|(_, value)| value.as_str() != "null") {
        let is_kept = stamped && (name == "stamped_headers" || stamps.iter().any(|stamp| stamp == name));
        if !(is_kept && own.rest.get(name).is_some()) {
            rest.set(name, value.clone());
        }
    }
    let links = |by: Vec<_>, own: &Vec<_>| if by.is_empty() { own.clone() } else { by };
    WireOptions {
        task_id: by.task_id.or_else(|| own.task_id.clone()),
        group_id: own.group_id.clone().or(by.group_id),
        group_index: by.group_index.or(own.group_index),
        root_id: by.root_id.or_else(|| own.root_id.clone()),
        parent_id: by.parent_id.or_else(|| own.parent_id.clone()),
        chord: by.chord.or_else(|| own.chord.clone()),
        chain: by.chain.or_else(|| own.chain.clone()),
        link: links(by.link, &own.link),
        link_error: links(by.link_error, &own.link_error),
        rest,
    }
}

/// Arguments before those that it has.
pub(super) fn with_args(args: Option<&Json>, own: Json) -> Result<Json, serde_json::Error> {
    match args {
        Some(args) if !is_empty(args) => own.after_all(args),
        _ => Ok(own),
    }
}

fn is_empty(args: &Json) -> bool {
    args.as_str().trim_start().strip_prefix('[').is_some_and(|rest| rest.trim_start().starts_with(']'))
}

/// Each call once.
pub(super) fn distinct<'c>(calls: impl IntoIterator<Item = &'c WireSignature>) -> Vec<WireSignature> {
    let mut seen = HashSet::new();
    calls.into_iter().filter(|&call| seen.insert(call)).cloned().collect()
}

/// Those of some calls that are not linked yet: the same call is sent once.
fn unlinked<'c>(calls: &'c [WireSignature], links: &[WireSignature]) -> Vec<&'c WireSignature> {
    if calls.is_empty() {
        return Vec::new();
    }
    let mut seen: HashSet<&WireSignature> = links.iter().collect();
    calls.iter().filter(|&call| seen.insert(call)).collect()
}

/// What is sent with its result: by the first member of a group, by the body of a chord.
pub(super) fn link(sig: &mut WireSignature, callbacks: &[WireSignature]) {
    match &mut sig.shape {
        WireShape::Group(tasks) => {
            if let Some(first) = tasks.first_mut() {
                let immutable = |callback: &WireSignature| WireSignature { immutable: true, ..callback.clone() };
                link(first, &callbacks.iter().map(immutable).collect::<Vec<_>>());
            }
        }
        WireShape::Chord { body: Some(body), .. } => link(body, callbacks),
        _ => {
            let new = unlinked(callbacks, &sig.options.link);
            sig.options.link.extend(new.into_iter().cloned());
        }
    }
}

/// What is told of its failure: by each member of a group, by the body of a chord and of the chords in its header.
pub(super) fn link_error(
    sig: &mut WireSignature,
    errbacks: &[WireSignature],
    scope: &mut Scope<'_>,
) -> Result<(), Invalid> {
    if errbacks.is_empty() {
        return Ok(());
    }
    match &mut sig.shape {
        WireShape::Group(tasks) => tasks.iter_mut().try_for_each(|task| link_error(task, errbacks, scope)),
        WireShape::Chord { header, body, .. } => {
            header.iter_mut().filter(|task| is_chord(task)).try_for_each(|chord| link_error(chord, errbacks, scope))?;
            body.iter_mut().try_for_each(|body| link_error(body, errbacks, scope))
        }
        _ => {
            let new = unlinked(errbacks, &sig.options.link_error);
            scope.copy(Extent::of(new.iter().copied()))?;
            sig.options.link_error.extend(new.into_iter().cloned());
            Ok(())
        }
    }
}

/// The steps of a chain, with what is linked to it.
pub(super) fn unchained(
    mut tasks: Vec<WireSignature>,
    options: &WireOptions,
    scope: &mut Scope<'_>,
) -> Result<Vec<WireSignature>, Invalid> {
    if let Some(last) = tasks.last_mut() {
        link(last, &options.link);
    }
    // A chain gets longer step by step: its steps are not gone through for nothing each time.
    if !options.link_error.is_empty() {
        tasks.iter_mut().try_for_each(|task| link_error(task, &options.link_error, scope))?;
    }
    Ok(tasks)
}

/// A chord whose body is a chain: the chord with the first step for a body, and the other steps.
pub(super) fn unrolled_body(sig: WireSignature, scope: &mut Scope<'_>) -> Result<Vec<WireSignature>, Invalid> {
    let WireShape::Chord { header, body: Some(body), kwargs } = sig.shape else { return Ok(vec![sig]) };
    let WireSignature { shape: WireShape::Chain(tasks), options, .. } = *body else {
        let shape = WireShape::Chord { header, body: Some(body), kwargs };
        return Ok(vec![WireSignature { shape, ..sig }]);
    };
    let mut steps = unchained(tasks, &options, scope)?.into_iter();
    let first = steps.next().map(|first| {
        // What else a chain says is about all of it.
        let of_first =
            WireOptions { chain: options.chain.clone(), rest: options.rest.clone(), ..WireOptions::default() };
        let options = merged(&first.options, of_first);
        Box::new(WireSignature { options, ..first })
    });
    let chord = WireSignature { shape: WireShape::Chord { header, body: first, kwargs }, ..sig };
    Ok(std::iter::once(chord).chain(steps).collect())
}

/// A chain's steps where chords with chains for bodies are laid out, at every depth.
pub(super) fn unrolled_chords(tasks: Vec<WireSignature>, scope: &mut Scope<'_>) -> Result<Vec<WireSignature>, Invalid> {
    let mut pending: Vec<WireSignature> = tasks.into_iter().rev().collect();
    let mut done = Vec::with_capacity(pending.len());
    while let Some(task) = pending.pop() {
        match task.shape {
            WireShape::Chain(inner) => {
                let shape = WireShape::Chain(unrolled_chords(inner, scope)?);
                done.push(WireSignature { shape, ..task });
            }
            shape => {
                let task = WireSignature { shape, ..task };
                if has_chain_for_body(&task) {
                    pending.extend(unrolled_body(task, scope)?.into_iter().rev());
                } else {
                    done.push(task);
                }
            }
        }
    }
    Ok(done)
}

/// Takes the body of its chord from whatever is a header's in it: it is there as the body of that chord already, and
/// would be once more for each level.
pub(super) fn strip_header_links(sig: &mut WireSignature) {
    match &mut sig.shape {
        WireShape::Chord { header, body, .. } => {
            for task in header {
                clear_chord(task);
                strip_header_links(task);
            }
            if let Some(body) = body {
                strip_header_links(body);
            }
        }
        WireShape::Group(tasks) | WireShape::Chain(tasks) => tasks.iter_mut().for_each(strip_header_links),
        WireShape::Task(_) => {}
    }
}

fn clear_chord(sig: &mut WireSignature) {
    sig.options.chord = None;
    match &mut sig.shape {
        WireShape::Group(tasks) => tasks.iter_mut().for_each(clear_chord),
        WireShape::Chain(tasks) => _ = tasks.last_mut().map(clear_chord),
        WireShape::Chord { body, .. } => _ = body.as_deref_mut().map(clear_chord),
        WireShape::Task(_) => {}
    }
}

/// One after the other, as Celery's `|`: a group before a task is a chord, what follows a chord follows its body.
pub(super) fn then(first: WireSignature, next: WireSignature, scope: &mut Scope<'_>) -> Result<WireSignature, Invalid> {
    Ok(match first.shape {
        WireShape::Group(_) => chord(first, next),
        WireShape::Chain(tasks) => {
            let mut tasks = unchained(tasks, &first.options, scope)?;
            match tasks.pop() {
                None => chain(vec![next]),
                Some(last) if joins(&last, &next) => {
                    let last = then(last, next, scope)?;
                    // Two chords one after the other are one, whose body is the other.
                    match tasks.pop() {
                        Some(before) if matches!(before.shape, WireShape::Chord { .. }) && is_chord(&last) => {
                            tasks.push(with_longer_body(before, last, scope)?);
                        }
                        before => tasks.extend(before.into_iter().chain([last])),
                    }
                    chain(tasks)
                }
                Some(last) => {
                    tasks.extend([last, next]);
                    chain(tasks)
                }
            }
        }
        WireShape::Chord { .. } if !matches!(next.shape, WireShape::Group(_) | WireShape::Chain(_)) => {
            with_longer_body(first, next, scope)?
        }
        _ => match next.shape {
            WireShape::Chain(tasks) => {
                let tasks = unchained(tasks, &next.options, scope)?;
                chain(std::iter::once(first).chain(tasks).collect())
            }
            _ => chain(vec![first, unrolled(next)]),
        },
    })
}

fn is_chord(sig: &WireSignature) -> bool {
    matches!(sig.shape, WireShape::Chord { .. })
}

/// Whether what follows the last step of a chain becomes part of that step.
fn joins(last: &WireSignature, next: &WireSignature) -> bool {
    match last.shape {
        WireShape::Group(_) => !matches!(next.shape, WireShape::Group(_) | WireShape::Chain(_)),
        WireShape::Chord { .. } => !is_chord(next) && !matches!(next.shape, WireShape::Chain(_)),
        _ => false,
    }
}

fn with_longer_body(
    mut sig: WireSignature,
    next: WireSignature,
    scope: &mut Scope<'_>,
) -> Result<WireSignature, Invalid> {
    if let WireShape::Chord { body, .. } = &mut sig.shape {
        *body = Some(Box::new(match body.take() {
            Some(body) => then(*body, next, scope)?,
            None => next,
        }));
    }
    Ok(sig)
}

/// A JSON array of texts that are JSON.
pub(super) fn array<'a>(items: impl IntoIterator<Item = &'a str>) -> Result<Json, serde_json::Error> {
    let mut text = String::from("[");
    for (place, item) in items.into_iter().enumerate() {
        if place > 0 {
            text.push_str(", ");
        }
        text.push_str(item);
    }
    text.push(']');
    Json::parse(text)
}

/// The values of results, nested as they are. One that is not there is `null`: its task ended without a value.
pub(super) fn list_of<'a>(
    results: impl Iterator<Item = &'a ResultTuple>,
    values: &BTreeMap<&TaskId, &Json>,
) -> Result<Json, serde_json::Error> {
    let one = |result: &ResultTuple| match &result.children {
        Some(children) => list_of(children.iter(), values),
        None => Ok(values.get(&result.id).map_or_else(Json::null, |value| (*value).clone())),
    };
    let all = results.map(one).collect::<Result<Vec<_>, _>>()?;
    array(all.iter().map(Json::as_str))
}
