//! Which message is one call?

use std::sync::Arc;
use std::time::Duration;

use lovage_model::{
    Expires, Json, Message, Seconds, Signature, SignatureOptions, TaskDefinition, TaskId, TaskOptions, TimeLimit,
    Timestamp,
};
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::build::{Awaited, Builder, Place};
use super::read::{Header, Shape, read};
use super::{Invalid, Rules, Scope, builtin, typing};

/// The lowest priority.
const LOWEST: u8 = 9;
/// The longest name for logs and lists, in bytes.
const SHADOW_BYTES: usize = 255;
/// All messages of one call may be as large as so many of the largest.
pub(super) const PLAN_MESSAGES: usize = 8;
/// The most stamps of one task.
const STAMPS: usize = 32;
/// What a value of a stamp counts for beside its text, where all messages of a call are counted: the store has an entry for each.
const STAMP_BYTES: usize = 256;

pub(super) fn message(builder: &mut Builder<'_, '_>, mut call: Signature, place: Place) -> Result<Message, Invalid> {
    check(&call, builder.scope.rules.message_bytes)?;
    count_bytes(builder, &call)?;
    let definition = known(&call, builder.scope)?;
    let mut options = std::mem::take(&mut call.options);
    let effective = effective(definition.as_deref(), &mut options)?;
    if let (Some(definition), true, None) = (definition.as_deref(), effective.typing, &place.awaits) {
        typing::check(definition, &call.args, &call.kwargs)?;
    }
    for link in options.link.iter().chain(&options.link_error) {
        check_link(builder, link)?;
    }
    let (Place { id, awaits, then, member, .. }, sender) = (place, builder.sender);
    if let (Some(id), Some(own), None) = (&id, options.task_id.as_ref().filter(|own| Some(*own) != id.as_ref()), sender)
    {
        let text =
            format!("is {own}, but the whole call has the id {id}, which is that of its last task: leave one out");
        return Err(Invalid::wrong("options.task_id", text));
    }
    let id = id.or(options.task_id).unwrap_or_else(|| (builder.scope.ids)());
    let root_id = builder.root.get_or_insert_with(|| id.clone()).clone();
    let (group, group_index) = member.unzip();
    let waits = awaits.is_some();
    let now = builder.scope.now;
    let expires = options.expires.or(effective.expires.map(Expires::In));
    Ok(Message {
        args: call.args,
        kwargs: call.kwargs,
        queue: options.queue.or_else(|| sender.map(|sender| sender.queue.clone())).unwrap_or_default(),
        priority: options.priority.or(effective.priority).unwrap_or(0),
        eta: eta(options.countdown.filter(|_| !waits), options.eta, now)?,
        expires: expires_at(expires, waits, now),
        countdown: options.countdown.filter(|_| waits),
        expires_in: expires_after(expires, waits),
        timelimit: TimeLimit { soft: options.soft_time_limit, hard: options.time_limit },
        fuel: options.fuel,
        root_id,
        parent_id: parent(awaits, sender),
        depth: sender.map_or(0, |sender| sender.depth + 1),
        ignore_result: options.ignore_result,
        shadow: options.shadow.or(effective.shadow),
        untracked: !effective.track_started,
        headers: options.headers,
        stamps: options.stamps,
        overrides: options.overrides,
        immutable: call.immutable,
        unreleased: waits,
        callbacks: options.link,
        errbacks: options.link_error,
        group,
        group_index,
        then,
        ..Message::new(id, definition.map_or(call.task, |definition| definition.name.clone()))
    })
}

/// What comes before it in its chain, else who sent it.
fn parent(awaits: Option<Awaited>, sender: Option<&Message>) -> Option<TaskId> {
    let before = awaits.filter(|awaited| awaited.is_task).map(|awaited| awaited.id);
    before.or_else(|| sender.map(|sender| sender.id.clone()))
}

/// What is known of the task, and of the one that a map calls.
fn known(call: &Signature, scope: &Scope<'_>) -> Result<Option<Arc<TaskDefinition>>, Invalid> {
    let name = call.task.as_str();
    if !builtin::ALL.contains(&name) {
        return scope.tasks.find(&call.task);
    }
    if [builtin::MAP, builtin::STARMAP].contains(&name) {
        let inner = Mapped::<Signature>::of(&call.kwargs)?;
        inner.items(name == builtin::STARMAP, scope.rules)?;
        check(&inner.task, scope.rules.message_bytes)?;
        scope.tasks.find(&inner.task.task)?;
    }
    Ok(None)
}

/// What a map is made of, as it is written.
#[derive(serde::Deserialize)]
pub struct Mapped<'a, T> {
    /// The task that it calls.
    pub task: T,
    #[serde(borrow)]
    it: &'a RawValue,
}

impl<'a, T: serde::Deserialize<'a>> Mapped<'a, T> {
    /// Reads the arguments of a map.
    pub fn of(kwargs: &'a Json) -> Result<Self, Invalid> {
        let wrong = |error| Invalid::wrong("kwargs", format!("do not make a map: {error}"));
        serde_json::from_str(kwargs.as_str()).map_err(wrong)
    }

    /// The items, or the lists of arguments of a starmap. They are counted before they are held.
    pub fn items(&self, star: bool, rules: Rules) -> Result<Vec<&'a RawValue>, Invalid> {
        let wrong = |error: serde_json::Error| Invalid::wrong("kwargs.it", error.to_string());
        let count = serde_json::from_str::<Vec<IgnoredAny>>(self.it.get()).map_err(wrong)?.len();
        let most = rules.canvas_tasks;
        if count > most {
            let text = format!("has {count} items, the limit is {most} (limits.canvas_tasks): send several, or chunks");
            return Err(Invalid::too_large("kwargs.it", text));
        }
        let items: Vec<&RawValue> = serde_json::from_str(self.it.get()).map_err(wrong)?;
        match items.iter().position(|item| star && !item.get().starts_with('[')) {
            None => Ok(items),
            Some(place) => {
                let text = format!("is a list of lists of arguments in a starmap: it[{place}] is none");
                Err(Invalid::wrong("kwargs.it", text))
            }
        }
    }
}

/// The options in force; those that say how the message is written go with it.
fn effective(definition: Option<&TaskDefinition>, options: &mut SignatureOptions) -> Result<TaskOptions, Invalid> {
    let default = TaskOptions::default();
    let declared = definition.map_or(&default, |definition| &definition.options);
    let wrong = |bad: lovage_model::BadOption| {
        Invalid::wrong(format!("options.{}", bad.name), format!("is {}: {}", bad.value, bad.why))
    };
    let effective = declared.overridden(&options.overrides).map_err(wrong)?;
    if effective.serializer != default.serializer {
        options.overrides.insert("serializer".to_owned(), json(&effective.serializer)?);
    }
    if let Some(compression) = effective.compression {
        options.overrides.insert("compression".to_owned(), json(&compression)?);
    }
    Ok(effective)
}

fn json<T: serde::Serialize>(value: &T) -> Result<Json, Invalid> {
    Json::of(value).map_err(|error| Invalid::wrong("options", error.to_string()))
}

/// A callback that cannot be sent is better refused now than when it is due. It is read as it is written: what is linked to
/// many is the same for all, and is looked at once.
fn check_link(builder: &mut Builder<'_, '_>, link: &Signature) -> Result<(), Invalid> {
    if builder.links.1.as_ref() == Some(link) {
        return Ok(());
    }
    check_linked(builder, link).map_err(|fault| Invalid { field: format!("options.link.{}", fault.field), ..fault })?;
    builder.links.1 = Some(link.clone());
    Ok(())
}

fn check_linked(builder: &mut Builder<'_, '_>, call: &Signature) -> Result<(), Invalid> {
    let most = builder.scope.rules.canvas_tasks;
    builder.links.0 += 1;
    if builder.links.0 > most {
        let text = format!("has more than {most} different callbacks and errbacks (limits.canvas_tasks): send several");
        return Err(Invalid::too_large("link", text));
    }
    for link in call.options.link.iter().chain(&call.options.link_error) {
        check_linked(builder, link)?;
    }
    let parts = match read(call.clone(), builder.scope.rules)?.shape {
        Shape::Task(call) => {
            check(&call, builder.scope.rules.message_bytes)?;
            return known(&call, builder.scope).map(drop);
        }
        Shape::Chain(parts) | Shape::Group(parts) if parts.is_empty() => {
            return Err(Invalid::wrong("kwargs.tasks", "is empty: put a task into it"));
        }
        Shape::Chain(parts) | Shape::Group(parts) => parts,
        Shape::Chord(Header::Tasks(mut parts), body) => {
            parts.push(*body);
            parts
        }
        Shape::Chord(Header::Group(group), body) => vec![*group, *body],
    };
    parts.iter().try_for_each(|part| check_linked(builder, part))
}

/// All messages of a call together are bounded, since what a canvas says for all of its tasks is in each of them.
fn count_bytes(builder: &mut Builder<'_, '_>, call: &Signature) -> Result<(), Invalid> {
    let most = builder.scope.rules.message_bytes.saturating_mul(PLAN_MESSAGES);
    let bytes = bytes(call) + STAMP_BYTES * stamp_values(&call.options);
    builder.scope.make(bytes)?;
    builder.scope.link(linked(call))?;
    builder.bytes = builder.bytes.saturating_add(bytes);
    if builder.bytes <= most {
        return Ok(());
    }
    let text = format!(
        "makes messages of more than {most} bytes together ({PLAN_MESSAGES} times limits.message_bytes): say less for all of \
         its tasks"
    );
    Err(Invalid::too_large("signature", text))
}

/// How many calls are linked to one, and to those.
fn linked(call: &Signature) -> usize {
    call.options.link.iter().chain(&call.options.link_error).map(|link| 1 + linked(link)).sum()
}

/// How large a call is, with all that is linked to it.
pub(crate) fn bytes(call: &Signature) -> usize {
    let options = &call.options;
    let extra = [&options.headers, &options.stamps, &options.overrides];
    let extra: usize = extra.into_iter().flatten().map(|(name, value)| name.len() + value.as_str().len()).sum();
    let links = options.link.iter().chain(&options.link_error).map(bytes).sum::<usize>();
    call.args.as_str().len() + call.kwargs.as_str().len() + extra + links
}

fn check(call: &Signature, message_bytes: usize) -> Result<(), Invalid> {
    if !call.args.is_array() {
        let text = format!("is {}: positional arguments are a JSON array", glimpse(&call.args));
        return Err(Invalid::wrong("args", text));
    }
    if !call.kwargs.is_object() {
        let text = format!("is {}: keyword arguments are a JSON object", glimpse(&call.kwargs));
        return Err(Invalid::wrong("kwargs", text));
    }
    check_size(call, message_bytes)?;
    check_numbers(&call.options)?;
    check_stamps(&call.options)?;
    match &call.options.shadow {
        Some(text) if text.len() > SHADOW_BYTES || text.chars().any(char::is_control) => Err(Invalid::wrong(
            "options.shadow",
            format!("is a name for logs and lists: at most {SHADOW_BYTES} bytes, no control characters"),
        )),
        _ => Ok(()),
    }
}

fn check_size(call: &Signature, most: usize) -> Result<(), Invalid> {
    let bytes = bytes(call);
    if bytes <= most {
        return Ok(());
    }
    let text = format!(
        "with kwargs, headers and links are {bytes} bytes, the limit is {most} (limits.message_bytes): send less"
    );
    Err(Invalid::too_large("args", text))
}

fn check_stamps(options: &SignatureOptions) -> Result<(), Invalid> {
    if options.stamps.len() > STAMPS {
        let text = format!("are {}: at most {STAMPS} are kept", options.stamps.len());
        return Err(Invalid::wrong("options.stamped_headers", text));
    }
    let (values, most) = (stamp_values(options), Message::MOST_STAMPS);
    if values <= most {
        return Ok(());
    }
    let text = format!(
        "have {values} values together, the limit is {most}: give the task one value for all that it belongs to"
    );
    Err(Invalid::wrong("options.stamped_headers", text))
}

/// How many values the stamps of a call have together: a list is several.
fn stamp_values(options: &SignatureOptions) -> usize {
    let of = |value: &Json| {
        let items = if value.is_array() { value.read::<Vec<IgnoredAny>>().ok() } else { None };
        items.map_or(1, |items| items.len())
    };
    options.stamps.values().map(of).sum()
}

fn check_numbers(options: &SignatureOptions) -> Result<(), Invalid> {
    if let Some(asked) = options.priority.filter(|asked| *asked > LOWEST) {
        let text = format!("is {asked}: priorities are 0 (first) to {LOWEST} (last)");
        return Err(Invalid::wrong("options.priority", text));
    }
    if options.fuel == Some(0) {
        return Err(Invalid::wrong("options.fuel", "is 0: no task can run on that; leave it out for the default"));
    }
    let (soft, hard) = (options.soft_time_limit, options.time_limit);
    for (field, limit) in [("options.soft_time_limit", soft), ("options.time_limit", hard)] {
        if limit.is_some_and(|limit| limit.get() == 0.0) {
            return Err(Invalid::wrong(field, "is 0: a limit is more than 0 seconds; leave it out for the default"));
        }
    }
    match (soft, hard) {
        (Some(soft), Some(hard)) if soft > hard => Err(Invalid::wrong(
            "options.soft_time_limit",
            format!("is {}, above the time_limit of {}: it would never be met", soft.get(), hard.get()),
        )),
        _ => Ok(()),
    }
}

/// The first characters of a value, to show which one is meant.
fn glimpse(json: &Json) -> String {
    json.as_str().chars().take(40).collect()
}

/// When to run it at the earliest: as in Celery, a `countdown` that is not 0 goes before `eta`, and a time in the past means now.
fn eta(countdown: Option<Seconds>, eta: Option<Timestamp>, now: Timestamp) -> Result<Option<Timestamp>, Invalid> {
    let latest = now.after(Duration::from_secs_f64(Seconds::MAX));
    match (countdown.filter(|countdown| !countdown.duration().is_zero()), eta) {
        (Some(countdown), _) => Ok(Some(now.after(countdown.duration())).filter(|eta| *eta > now)),
        (None, Some(eta)) if eta > latest => {
            let text = format!("is {eta}: more than a year away; the latest is {latest}");
            Err(Invalid::wrong("options.eta", text))
        }
        (None, eta) => Ok(eta.filter(|eta| *eta > now)),
    }
}

/// The time of an expiry that is one, or that begins now.
fn expires_at(expires: Option<Expires>, waits: bool, now: Timestamp) -> Option<Timestamp> {
    match expires? {
        Expires::At(time) => Some(time),
        Expires::In(seconds) => (!waits).then(|| now.after(seconds.duration())),
    }
}

/// The span of an expiry that begins when the task is released.
fn expires_after(expires: Option<Expires>, waits: bool) -> Option<Seconds> {
    match expires? {
        Expires::In(seconds) => waits.then_some(seconds),
        Expires::At(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_countdown_of_nothing_leaves_an_eta_as_it_is() {
        let (now, later) = (Timestamp::from_micros(0), Timestamp::from_micros(5_000_000));
        let in_seconds = |seconds| Some(Seconds::new(seconds).unwrap());
        assert_eq!(eta(in_seconds(0.0), Some(later), now).unwrap(), Some(later), "as in Celery: if countdown");
        assert_eq!(eta(in_seconds(2.0), Some(later), now).unwrap(), Some(Timestamp::from_micros(2_000_000)));
        assert_eq!(eta(in_seconds(0.0), None, later).unwrap(), None);
    }
}
