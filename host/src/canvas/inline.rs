//! Which messages follow, in Celery's own form?
//!
//! What Celery does where a task ends, or sends others: signatures get their ids (`freeze`), chains are laid out in steps
//! (`steps`), and what can run at once becomes messages that carry the rest (`apply`). Pure, like its room.
//!
//! Invariants:
//! - A part of a chord is counted on every way out of it: a chord never waits for what will not come.
//! - An id that a signature has is kept, so that who holds the result of a canvas finds every task of it.
//! - What a failure leaves unrun is ended here, all of it: nobody waits for what never runs.
//!
//! Absent: how any of it is written (see the room of Celery's wire), and which chords are complete, which stores know.

mod apply;
mod chunks;
mod ends;
mod extent;
mod freeze;
mod links;
mod replace;
mod results;
mod send;
mod steps;
mod tree;

use std::collections::BTreeMap;
use std::sync::Arc;

use lovage_model::{
    Arrival, Exception, Inline, Json, Message, Part, ResultTuple, Sender, Signature, State, TaskId, WireOptions,
    WireSignature, exc_module,
};

use super::{Invalid, Rules, Scope};
use results::{Node, Results};
use tree::list_of;

pub use ends::ChordParts;

/// What was sent, and what is listed of it as children of who sent it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sent {
    /// What follows.
    pub inline: Inline,
    /// The results of what was sent.
    pub children: Vec<ResultTuple>,
    /// What could not be sent, and why.
    pub refused: Vec<String>,
}

/// What a task that has returned leaves to be run: its callbacks, the next step of its chain; and its part of its chord.
pub fn returned(message: &Message, value: &Json, scope: &mut Scope<'_>) -> Sent {
    let Some(embed) = message.embed.as_deref() else { return Sent::default() };
    let mut inliner = Inliner::new(Sender::of(message), scope);
    inliner.callbacks(&embed.callbacks, value);
    if let Some((next, rest)) = embed.chain.split_last() {
        inliner.next_step(next, rest, value);
    }
    inliner.part(message, State::Success, value.clone());
    inliner.sent()
}

/// What the failure of a task means for others: its part of its chord, the rest of its chain, its errbacks.
pub fn failed(message: &Message, exception: &Exception, traceback: Option<&str>, scope: &mut Scope<'_>) -> Sent {
    let Some(embed) = message.embed.as_deref() else { return Sent::default() };
    let mut inliner = Inliner::new(Sender::of(message), scope);
    inliner.part(message, State::Failure, exception_json(exception));
    inliner.fail_chain(&embed.chain, &ends::Failed { state: State::Failure, exception, traceback });
    // Celery stores the failure first, so they are nobody's children.
    inliner.errbacks(&links::Request::of(message), &embed.errbacks, exception, traceback, false);
    inliner.sent()
}

/// What it means for others that a task has ended without a value and without having failed: it was revoked, or ignores its
/// own end. (Celery forgets the rest of its chain, and in the second case its chord.)
pub fn ended(message: &Message, state: &State, exception: &Exception, scope: &mut Scope<'_>) -> Sent {
    let Some(embed) = message.embed.as_deref() else { return Sent::default() };
    let mut inliner = Inliner::new(Sender::of(message), scope);
    inliner.part(message, state.clone(), exception_json(exception));
    inliner.fail_chain(&embed.chain, &ends::Failed { state: state.clone(), exception, traceback: None });
    inliner.sent()
}

/// A call made by a running task: what follows, and its result, which has the id `id`.
pub fn subtask(
    parent: &Message,
    call: &Signature,
    id: TaskId,
    scope: &mut Scope<'_>,
) -> Result<(Sent, ResultTuple), Invalid> {
    let mut inliner = Inliner::new(Sender::of(parent), scope);
    let listed = call.options.add_to_parent.unwrap_or(true);
    let result = inliner.apply(as_wire(call, inliner.scope.rules)?, None, options_of(id), listed)?;
    let result = inliner.results.tuple(result);
    Ok((inliner.sent(), result))
}

/// A call that a running task adds to the chord that it is a part of.
pub fn added_part(
    parent: &Message,
    call: &Signature,
    id: TaskId,
    scope: &mut Scope<'_>,
) -> Result<(Sent, ResultTuple), Invalid> {
    let chord = parent.embed.as_deref().and_then(|embed| embed.chord.clone());
    let (Some(chord), Some(group)) = (chord, parent.group.clone()) else {
        return Err(Invalid::wrong("add_to_chord", "needs a chord: the task is no member of a chord's header"));
    };
    let mut call = as_wire(call, scope.rules)?;
    let group_index = parent.group_index.map(u64::from);
    let root_id = Some(parent.root_id.clone());
    let own = WireOptions { group_id: Some(group.clone()), group_index, chord: Some(chord), root_id, ..call.options };
    call.options = own;
    let mut inliner = Inliner::new(Sender::of(parent), scope);
    inliner.out.grown.push(group);
    let result = inliner.apply(call, None, options_of(id), true)?;
    let result = inliner.results.tuple(result);
    Ok((inliner.sent(), result))
}

pub use replace::replacement;

/// What follows a chord whose parts have all ended: its body's messages, or the end of what waits for them.
pub fn chord_ended(group: &TaskId, parts: ChordParts, body: WireSignature, scope: &mut Scope<'_>) -> Inline {
    let ChordParts { parts, nested, sender } = parts;
    let mut inliner = Inliner::new(sender, scope);
    let values: BTreeMap<&TaskId, &Json> = parts
        .iter()
        .filter_map(|(id, arrival)| match arrival {
            Arrival::Value(value) => Some((id, value)),
            Arrival::Failed { .. } => None,
        })
        .collect();
    let failure = parts.iter().find_map(|(id, arrival)| match arrival {
        Arrival::Failed { exception, .. } => Some((id, exception)),
        Arrival::Value(_) => None,
    });
    if let Some((id, exception)) = failure {
        if nested.is_some() {
            // Celery joins nested results, which raises what failed: an error of the join, that has no cause of its own.
            let text = format!("Join error: {}", exception.repr());
            let error = Exception::new(exc_module::CELERY, "ChordError", &text);
            inliner.fail_body(&body, &text, &error);
        } else {
            let text = format!("Dependency {id} raised {}", exception.repr());
            inliner.fail_body(&body, &text, exception);
        }
        return inliner.out;
    }
    let list = match &nested {
        Some(tuple) => list_of(tuple.children.iter().flatten(), &values),
        None => tree::array(parts.iter().filter_map(|(_, arrival)| match arrival {
            Arrival::Value(value) => Some(value.as_str()),
            Arrival::Failed { .. } => None,
        })),
    };
    let sent = list.map_err(|error| Invalid::wrong(format!("group {group}"), error.to_string()));
    let sent = sent.and_then(|list| inliner.send_body(body.clone(), &list));
    if let Err(invalid) = sent {
        let cause = Exception::new(exc_module::BUILTINS, "ValueError", invalid.to_string());
        let mut inliner = Inliner::new(inliner.sender, inliner.scope);
        inliner.fail_body(&body, &format!("Callback error: {}", cause.repr()), &cause);
        return inliner.out;
    }
    inliner.out
}

/// A canvas in the making.
struct Inliner<'b, 'a> {
    scope: &'b mut Scope<'a>,
    sender: Sender,
    results: Results,
    out: Inline,
    trail: Vec<Node>,
    refused: Vec<String>,
    /// How many messages and ids were made, for the limit of one canvas.
    made: usize,
    /// How many messages were listed as children of what ended, each as often as it was.
    listed: usize,
}

impl<'b, 'a> Inliner<'b, 'a> {
    fn new(sender: Sender, scope: &'b mut Scope<'a>) -> Self {
        let (results, out, trail, refused) = (Results::default(), Inline::default(), Vec::new(), Vec::new());
        Self { scope, sender, results, out, trail, refused, made: 0, listed: 0 }
    }

    fn new_id(&mut self) -> TaskId {
        (self.scope.ids)()
    }

    /// Celery lists a child before it is known what comes of it; here the tuples are made at the end.
    fn sent(self) -> Sent {
        let children = self.trail.iter().map(|&node| self.results.tuple(node)).collect();
        Sent { inline: self.out, children, refused: self.refused }
    }

    /// The part that a task is of its chord.
    fn part(&mut self, message: &Message, state: State, result: Json) {
        let chord = message.embed.as_deref().and_then(|embed| embed.chord.clone());
        if let (Some(chord), Some(group)) = (chord, message.group.clone()) {
            let (id, index) = (message.id.clone(), message.group_index.map(u64::from));
            self.out.parts.push(Part { group, index, id, state, result, chord, sender: self.sender.clone() });
        }
    }

    fn next_step(&mut self, next: &WireSignature, rest: &[WireSignature], value: &Json) {
        let options = WireOptions { chain: Some(rest.to_vec()), ..self.of_sender() };
        let before = self.out.mark();
        let sent = tree::array([value.as_str()]).map_err(|error| Invalid::wrong("args", error.to_string()));
        let sent = sent.and_then(|args| self.apply(next.clone(), Some(&args), options, true));
        if let Err(invalid) = sent {
            // Celery fails the task for it; here it keeps its value, and what follows fails.
            self.out.rewind(before);
            self.refused.push(format!("{}, which comes next, was not sent: {invalid}", next.task));
            let exception = Exception::new(exc_module::BUILTINS, "ValueError", invalid.to_string());
            let failed = ends::Failed { state: State::Failure, exception: &exception, traceback: None };
            self.fail_chain(rest, &failed);
            self.fail_chain(std::slice::from_ref(next), &failed);
        }
    }

    /// What the sender is to whatever it sends.
    fn of_sender(&self) -> WireOptions {
        let Sender { id, root_id, .. } = self.sender.clone();
        WireOptions { parent_id: Some(id), root_id: Some(root_id), ..WireOptions::default() }
    }
}

fn options_of(id: TaskId) -> WireOptions {
    WireOptions { task_id: Some(id), ..WireOptions::default() }
}

fn exception_json(exception: &Exception) -> Json {
    Json::of(exception).unwrap_or_else(|_| Json::null())
}

/// A signature that a guest has written, as it travels.
fn as_wire(call: &Signature, rules: Rules) -> Result<WireSignature, Invalid> {
    let wire = Json::of(call).and_then(|json| json.read::<WireSignature>());
    let mut wire = wire.map_err(|error| Invalid::wrong("signature", error.to_string()))?;
    wire.options.rest.remove("add_to_parent");
    tree::typed(wire, rules)
}

/// The body of a chord, shared by the tasks of its header.
type Body = Arc<WireSignature>;

#[cfg(test)]
mod tests;
