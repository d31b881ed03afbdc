//! How does a signature get its ids, and what is its result?
//!
//! Ids that are there are kept. What is frozen in place can be sent later: it is laid out already.

use lovage_model::{TaskId, WireShape, WireSignature};

use super::results::Node;
use super::{Body, Inliner, Invalid, tree};

/// What a signature is told when it is frozen.
#[derive(Debug, Clone, Default)]
pub(super) struct Given {
    /// The id that its result has, if it has none.
    pub(super) id: Option<TaskId>,
    pub(super) group_id: Option<TaskId>,
    pub(super) group_index: Option<u64>,
    /// The body of the chord that it becomes a part of.
    pub(super) chord: Option<Body>,
    pub(super) root_id: Option<TaskId>,
    pub(super) parent_id: Option<TaskId>,
}

impl Inliner<'_, '_> {
    pub(super) fn freeze(&mut self, sig: &mut WireSignature, given: Given) -> Result<Node, Invalid> {
        self.count()?;
        match &mut sig.shape {
            WireShape::Task(_) => Ok(self.freeze_task(sig, given)),
            WireShape::Group(_) => self.freeze_group(sig, given),
            WireShape::Chain(_) => self.freeze_chain(sig, given),
            WireShape::Chord { .. } => self.freeze_chord(sig, given),
        }
    }

    fn freeze_task(&mut self, sig: &mut WireSignature, given: Given) -> Node {
        let options = &mut sig.options;
        let id = match options.task_id.clone().or(given.id) {
            Some(id) => id,
            None => self.new_id(),
        };
        options.task_id = Some(id.clone());
        options.root_id = given.root_id.or(options.root_id.take());
        options.parent_id = given.parent_id.or(options.parent_id.take());
        options.group_id = options.group_id.take().or(given.group_id);
        options.chord = given.chord.or(options.chord.take());
        options.group_index = given.group_index.or(options.group_index);
        self.results.task(id)
    }

    fn freeze_group(&mut self, sig: &mut WireSignature, given: Given) -> Result<Node, Invalid> {
        let options = &mut sig.options;
        let id = match options.task_id.clone() {
            Some(id) => id,
            None => (self.scope.ids)(),
        };
        options.task_id = Some(id.clone());
        options.group_id = given.group_id.clone().or(options.group_id.take());
        options.chord = given.chord.clone().or(options.chord.take());
        options.group_index = given.group_index.or(options.group_index);
        options.root_id = options.root_id.take().or(given.root_id);
        options.parent_id = options.parent_id.take().or(given.parent_id);
        let of_members = Given {
            group_id: given.group_id,
            chord: given.chord,
            root_id: options.root_id.clone(),
            parent_id: options.parent_id.clone(),
            ..Given::default()
        };
        let WireShape::Group(tasks) = &mut sig.shape else { unreachable!("it is a group") };
        *tasks = flat(std::mem::take(tasks));
        let mut members = Vec::with_capacity(tasks.len());
        for (task, index) in tasks.iter_mut().zip(0..) {
            members.push(self.freeze(task, Given { group_index: Some(index), ..of_members.clone() })?);
        }
        Ok(self.results.group(id, members))
    }

    fn freeze_chain(&mut self, sig: &mut WireSignature, given: Given) -> Result<Node, Invalid> {
        let WireShape::Chain(tasks) = &mut sig.shape else { unreachable!("it is a chain") };
        let laid_out = self.prepare(std::mem::take(tasks), Some(&sig.args), &[], given, false)?;
        let last = laid_out
            .last_result()
            .ok_or_else(|| Invalid::wrong("kwargs.tasks", "is empty: a chain has at least one task"))?;
        *tasks = laid_out.into_steps();
        // They are where they belong from now on: with the first task.
        sig.args = lovage_model::Json::empty_array();
        Ok(last)
    }

    fn freeze_chord(&mut self, sig: &mut WireSignature, given: Given) -> Result<Node, Invalid> {
        let WireShape::Chord { header, body, .. } = &mut sig.shape else { unreachable!("it is a chord") };
        let mut group = tree::group(std::mem::take(header));
        group.options.task_id = sig.options.task_id.take();
        // The body is theirs when they are sent: it has not got its own ids yet.
        let of_header =
            Given { root_id: given.root_id.clone(), parent_id: given.parent_id.clone(), ..Given::default() };
        let before = self.freeze(&mut group, of_header)?;
        sig.options.task_id = group.options.task_id.take();
        if let WireShape::Group(tasks) = group.shape {
            *header = tasks;
        }
        let Some(body) = body else {
            return Err(Invalid::wrong("kwargs.body", "is missing: a chord has a body"));
        };
        let result = self.freeze(body, Given { parent_id: None, ..given })?;
        let first = self.results.first(result);
        self.results.set_parent(first, Some(before));
        Ok(result)
    }
}

/// The members of a group, with those of groups in it, and without what has no task.
pub(super) fn flat(tasks: Vec<WireSignature>) -> Vec<WireSignature> {
    let mut all = Vec::with_capacity(tasks.len());
    for task in tasks {
        match task.shape {
            WireShape::Group(inner) => all.extend(flat(inner)),
            shape => {
                let task = WireSignature { shape, ..task };
                all.extend(Some(task).filter(|task| !tree::is_empty_chain(task)));
            }
        }
    }
    all
}
