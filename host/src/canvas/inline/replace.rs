//! What takes a running task's place: it gets its id, what is linked to it, and what follows it.

use lovage_model::{Json, Message, Sender, Signature, WireShape, WireSignature};
use serde_json::json;

use super::freeze::Given;
use super::{Inliner, Invalid, Scope, Sent, as_wire, tree};

/// What is sent instead of a task that asked for it.
pub fn replacement(replaced: &Message, call: &Signature, scope: &mut Scope<'_>) -> Result<Sent, Invalid> {
    let (nesting, most) = (replaced.replaced_task_nesting + 1, scope.rules.replacements);
    if nesting > most {
        let text = format!("is refused: the task was replaced {most} times already (limits.replacements)");
        return Err(Invalid::wrong("replace", text));
    }
    let embed = replaced.embed.as_deref().cloned().unwrap_or_default();
    let mut sig = gathered(as_wire(call, scope.rules)?, scope)?;
    if tree::is_empty_chain(&sig) {
        return Err(Invalid::empty());
    }
    tree::link(&mut sig, &embed.callbacks);
    tree::link_error(&mut sig, &embed.errbacks, scope)?;
    if let WireShape::Chain(steps) = &mut sig.shape
        && let Some(last) = steps.last_mut()
    {
        last.options.link.append(&mut sig.options.link);
    }
    let mut inliner = Inliner::new(Sender::of(replaced), scope);
    inliner.freeze(&mut sig, Given { id: Some(replaced.id.clone()), ..Given::default() })?;
    let options = &mut sig.options;
    options.chord = embed.chord.clone();
    options.group_id = replaced.group.clone();
    options.group_index = replaced.group_index.map(u64::from);
    options.root_id = Some(replaced.root_id.clone());
    nest(&mut sig, nesting);
    for step in embed.chain.iter().rev() {
        let mut step = step.clone();
        set_nesting(&mut step, nesting);
        sig = tree::then(sig, step, inliner.scope)?;
    }
    inliner.apply(sig, None, lovage_model::WireOptions::default(), true)?;
    Ok(inliner.sent())
}

/// What ends in a group has no result of its own: it goes on with a task that gives the list.
fn gathered(mut sig: WireSignature, scope: &mut Scope<'_>) -> Result<WireSignature, Invalid> {
    match &mut sig.shape {
        // The list of nothing is empty.
        WireShape::Group(tasks) if tasks.is_empty() => Ok(tree::accumulated()),
        WireShape::Group(_) => tree::then(sig, tree::accumulate(), scope),
        WireShape::Chain(steps) => {
            if let Some(last) = steps.pop() {
                let is_group = matches!(last.shape, WireShape::Group(_));
                steps.push(if is_group { tree::then(last, tree::accumulate(), scope)? } else { last });
            }
            Ok(sig)
        }
        _ => Ok(sig),
    }
}

/// Notes on a signature, and on each step of a chain, how often the task was replaced.
fn nest(sig: &mut WireSignature, nesting: u32) {
    set_nesting(sig, nesting);
    if let WireShape::Chain(steps) = &mut sig.shape {
        steps.iter_mut().for_each(|step| set_nesting(step, nesting));
    }
}

fn set_nesting(sig: &mut WireSignature, nesting: u32) {
    sig.options.rest.set("replaced_task_nesting", Json::from(json!(nesting)));
}
