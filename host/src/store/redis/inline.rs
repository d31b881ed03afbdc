//! What follows in Celery's own form, told to a script?

use lovage_model::{
    Inline, InlineEnd, Json, Message, Part, ResultTuple, Sender, State, TaskId, Timestamp, WireOptions, unrun,
};
use serde::Serialize;

use super::draft::text;
use super::texts::{self, Outcome};
use crate::store::Result;

/// What follows, for a script.
#[derive(Debug, Serialize)]
pub(super) struct DraftInline {
    groups: Vec<Saved>,
    sizes: Vec<Size>,
    grown: Vec<String>,
    messages: Vec<Sent>,
    ends: Vec<End>,
    parts: Vec<DraftPart>,
}

#[derive(Debug, Serialize)]
struct Saved {
    id: String,
    text: String,
}

#[derive(Debug, Serialize)]
struct Size {
    group: String,
    size: u64,
}

#[derive(Debug, Serialize)]
struct Sent {
    q: String,
    pr: u8,
    text: String,
}

#[derive(Debug, Serialize)]
struct End {
    id: String,
    text: String,
}

/// The end of one part of a chord.
#[derive(Debug, Serialize)]
pub(super) struct DraftPart {
    group: String,
    id: String,
    /// Its place, as Celery writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<String>,
    encoded: String,
    body: String,
    sender: String,
}

impl DraftInline {
    /// None, if nothing follows.
    pub(super) fn of(inline: &Inline, at: Timestamp) -> Result<Option<Self>> {
        if inline.is_empty() {
            return Ok(None);
        }
        let sizes = inline.sizes.iter().map(|(group, size)| Size { group: group.to_string(), size: *size });
        Ok(Some(Self {
            groups: inline.groups.iter().map(saved).collect::<Result<_>>()?,
            sizes: sizes.collect(),
            grown: inline.grown.iter().map(ToString::to_string).collect(),
            messages: inline.messages.iter().map(|message| sent(message, at)).collect::<Result<_>>()?,
            ends: inline.ends.iter().map(|end| ended(end, at)).collect::<Result<_>>()?,
            parts: inline.parts.iter().map(DraftPart::of).collect::<Result<_>>()?,
        }))
    }
}

fn saved(group: &ResultTuple) -> Result<Saved> {
    Ok(Saved { id: group.id.to_string(), text: texts::group(group)? })
}

fn sent(message: &Message, now: Timestamp) -> Result<Sent> {
    Ok(Sent { q: message.queue.to_string(), pr: message.priority, text: texts::element(message, now)? })
}

fn ended(end: &InlineEnd, at: Timestamp) -> Result<End> {
    let result = Json::of(&end.exception).unwrap_or_else(|_| Json::null());
    let outcome = Outcome {
        state: &end.state,
        result: &result,
        traceback: end.traceback.as_deref(),
        children: &end.children,
        worker: None,
        at,
    };
    Ok(End { id: end.id.to_string(), text: texts::meta_of_other(end, &outcome)? })
}

impl DraftPart {
    pub(super) fn of(part: &Part) -> Result<Self> {
        Ok(Self {
            group: part.group.to_string(),
            id: part.id.to_string(),
            index: part.index.map(|index| index.to_string()),
            encoded: texts::part(&part.id, &part.state, &part.result)?,
            body: text(&part.chord)?,
            sender: text(&part.sender)?,
        })
    }

    /// The ends of a message that never ran, and of what follows it in its chain: those that are parts of chords in Celery's form.
    pub(super) fn unrun(message: &Message, state: &State, result: &Json) -> Result<Vec<Self>> {
        let Some(embed) = message.embed.as_deref() else { return Ok(Vec::new()) };
        let own = WireOptions {
            task_id: Some(message.id.clone()),
            group_id: message.group.clone(),
            group_index: message.group_index.map(u64::from),
            chord: embed.chord.clone(),
            ..WireOptions::default()
        };
        let mut parts = Vec::new();
        for options in std::iter::once(&own).chain(unrun(&embed.chain).map(|step| &step.options)) {
            let WireOptions { task_id: Some(id), group_id: Some(group), chord: Some(chord), .. } = options else {
                continue;
            };
            let (group, id, chord, index) = (group.clone(), id.clone(), chord.clone(), options.group_index);
            let (state, result, sender) = (state.clone(), result.clone(), Sender::of(message));
            parts.push(Self::of(&Part { group, index, id, state, result, chord, sender })?);
        }
        Ok(parts)
    }
}

/// The tasks that never run since a message does not: what follows it in its chain.
pub(super) fn unrun_after(message: &Message) -> impl Iterator<Item = &TaskId> {
    let chain = message.embed.as_deref().map(|embed| embed.chain.as_slice()).unwrap_or_default();
    unrun(chain).filter_map(|step| step.options.task_id.as_ref())
}
