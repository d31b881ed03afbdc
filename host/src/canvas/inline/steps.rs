//! In which steps does a chain run?
//!
//! From the last to the first, as Celery lays it out: what follows a group becomes the body of a chord, chains in it are
//! part of it, groups of one are that one, and empty groups are passed over.

use std::collections::VecDeque;

use lovage_model::{Json, WireShape, WireSignature};

use super::freeze::Given;
use super::results::Node;
use super::{Inliner, Invalid, tree};

/// A chain that is laid out: its last step first.
#[derive(Default)]
pub(super) struct Steps {
    tasks: Vec<WireSignature>,
    results: Vec<Node>,
    /// The result that has the one of the next (earlier) step for a parent.
    open: Option<Node>,
}

impl Steps {
    pub(super) fn last_result(&self) -> Option<Node> {
        self.results.first().copied()
    }

    /// The steps in the order in which they run.
    pub(super) fn into_steps(self) -> Vec<WireSignature> {
        self.tasks.into_iter().rev().collect()
    }

    /// Links callbacks to the last step.
    pub(super) fn link_last(&mut self, callbacks: &[WireSignature]) {
        if let Some(last) = self.tasks.first_mut() {
            tree::link(last, callbacks);
        }
    }

    /// The step that runs first, and those after it, the next one last.
    pub(super) fn split_first(mut self) -> Option<(WireSignature, Vec<WireSignature>)> {
        let first = self.tasks.pop()?;
        Some((first, self.tasks))
    }
}

impl Inliner<'_, '_> {
    /// Lays the steps of a chain out and freezes them. `sends`: they are sent now, so its arguments go to a first task that
    /// takes some, and the bodies of chords are laid out as well.
    pub(super) fn prepare(
        &mut self,
        tasks: Vec<WireSignature>,
        args: Option<&Json>,
        errbacks: &[WireSignature],
        of_last: Given,
        sends: bool,
    ) -> Result<Steps, Invalid> {
        let mut pending = with_plain_head(tasks.into());
        let mut steps = Steps::default();
        let mut of_last = Some(of_last);
        let root_id = of_last.as_ref().and_then(|given| given.root_id.clone());
        while let Some(task) = pending.pop_back() {
            let task = tree::unrolled(task);
            let (is_first, is_only) = (pending.is_empty(), pending.is_empty() && steps.tasks.is_empty());
            if tree::is_empty_group(&task) && !is_only {
                continue;
            }
            if sends && tree::has_chain_for_body(&task) {
                pending.extend(tree::unrolled_body(task, self.scope)?);
                continue;
            }
            if let WireShape::Chain(inner) = task.shape {
                pending.extend(inner);
                continue;
            }
            let task = if is_first { led_by(args, task, sends)? } else { task };
            let task = self.before_last(task, &mut steps);
            let given = of_last.take().unwrap_or_else(|| Given { root_id: root_id.clone(), ..Given::default() });
            self.add_step(&mut steps, task, errbacks, given)?;
        }
        if sends {
            steps.tasks.iter_mut().for_each(tree::strip_header_links);
        }
        Ok(steps)
    }

    /// A group before another step takes that one for the body of a chord.
    fn before_last(&mut self, task: WireSignature, steps: &mut Steps) -> WireSignature {
        if !matches!(task.shape, WireShape::Group(_)) {
            return task;
        }
        let (Some(body), Some(body_result)) = (steps.tasks.pop(), steps.results.pop()) else { return task };
        // The step after the body comes after the chord: its parent is found again when the chord is frozen.
        let mut node = steps.results.last().copied();
        while let Some(one) = node
            && self.results.parent(one) != Some(body_result)
        {
            node = self.results.parent(one);
        }
        if let Some(node) = node {
            self.results.set_parent(node, None);
        }
        steps.open = node;
        let args = task.args.clone();
        WireSignature { args, ..tree::chord(task, body) }
    }

    fn add_step(
        &mut self,
        steps: &mut Steps,
        mut task: WireSignature,
        errbacks: &[WireSignature],
        given: Given,
    ) -> Result<(), Invalid> {
        let result = self.freeze(&mut task, given)?;
        if let Some(open) = steps.open
            && self.results.parent(open).is_none()
        {
            self.results.set_parent(open, Some(result));
        }
        tree::link_error(&mut task, errbacks, self.scope)?;
        // Before a chord comes what is before its header.
        let is_chord = matches!(task.shape, WireShape::Chord { .. });
        steps.open = Some(if is_chord { self.results.first(result) } else { result });
        steps.tasks.push(task);
        steps.results.push(result);
        Ok(())
    }
}

/// Chains at the head are laid out, groups of one are that one, and empty groups are passed over, unless there is nothing
/// else.
fn with_plain_head(mut steps: VecDeque<WireSignature>) -> VecDeque<WireSignature> {
    let mut passed = None;
    while let Some(head) = steps.pop_front() {
        let head = tree::unrolled(head);
        match head.shape {
            WireShape::Chain(inner) => inner.into_iter().rev().for_each(|task| steps.push_front(task)),
            WireShape::Group(ref tasks) if tasks.is_empty() => passed = Some(head),
            _ => {
                steps.push_front(head);
                break;
            }
        }
    }
    if steps.is_empty() {
        steps.extend(passed);
    }
    steps
}

/// The first task, with the arguments of the chain before its own.
fn led_by(args: Option<&Json>, mut task: WireSignature, sends: bool) -> Result<WireSignature, Invalid> {
    if sends && (task.immutable || tree::is_map(&task)) {
        return Ok(task);
    }
    let joined = tree::with_args(args, task.args);
    task.args = joined.map_err(|error| Invalid::wrong("args", error.to_string()))?;
    Ok(task)
}
