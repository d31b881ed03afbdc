//! What ends without having run: the rest of a chain whose step has failed, the body of a chord whose header has.

use std::collections::HashSet;

use lovage_model::{
    Arrival, Exception, InlineEnd, Json, Part, ResultTuple, Sender, State, TaskId, WireShape, WireSignature,
    exc_module, unrun,
};

use super::extent::Extent;
use super::links::Request;
use super::{Body, Inliner, exception_json, tree};

/// What is known of a chord whose parts have all ended.
#[derive(Debug, Clone, PartialEq)]
pub struct ChordParts {
    /// The parts, by their place.
    pub parts: Vec<(TaskId, Arrival)>,
    /// How their results are nested; none: they are a plain list.
    pub nested: Option<ResultTuple>,
    /// By whose end it became complete.
    pub sender: Sender,
}

/// Why something ends.
pub(super) struct Failed<'a> {
    pub(super) state: State,
    pub(super) exception: &'a Exception,
    pub(super) traceback: Option<&'a str>,
}

impl Inliner<'_, '_> {
    /// Ends what follows in a chain, each with the same exception; what is part of a chord is counted.
    pub(super) fn fail_chain(&mut self, chain: &[WireSignature], failed: &Failed<'_>) {
        for step in unrun(chain) {
            let options = &step.options;
            if let Some(id) = &options.task_id {
                self.end(id, options.group_id.clone(), options.parent_id.clone(), failed, Vec::new());
            }
            if let (Some(chord), Some(group), Some(id)) = (&options.chord, &options.group_id, &options.task_id) {
                let result = self.failure(failed.exception);
                self.out.parts.push(Part {
                    group: group.clone(),
                    index: options.group_index,
                    id: id.clone(),
                    state: failed.state.clone(),
                    result,
                    chord: chord.clone(),
                    sender: self.sender.clone(),
                });
            }
        }
    }

    fn end(
        &mut self,
        id: &TaskId,
        group: Option<TaskId>,
        parent_id: Option<TaskId>,
        failed: &Failed<'_>,
        children: Vec<ResultTuple>,
    ) {
        let Failed { state, exception, traceback } = failed;
        let bytes = exception.exc_message.as_str().len() + traceback.map_or(0, str::len);
        let (exception, traceback) = match self.scope.make(bytes) {
            Ok(()) => ((*exception).clone(), traceback.map(str::to_owned)),
            Err(_) => (self.brief(exception), None),
        };
        self.out.ends.push(InlineEnd {
            id: id.clone(),
            state: state.clone(),
            exception,
            traceback,
            children,
            group,
            parent_id,
        });
    }

    /// What a part says that has failed.
    fn failure(&mut self, exception: &Exception) -> Json {
        match self.scope.make(exception.exc_message.as_str().len()) {
            Ok(()) => exception_json(exception),
            Err(_) => exception_json(&self.brief(exception)),
        }
    }

    /// Stands for an exception that too many would get.
    fn brief(&self, exception: &Exception) -> Exception {
        let text = format!("see task {}: what it raised is too large for all that fail with it", self.sender.id);
        Exception { exc_message: Exception::new("", "", text).exc_message, ..exception.clone() }
    }

    /// Ends the body of a chord whose header has failed: with a `ChordError`, as one task; with the cause, as many.
    pub(super) fn fail_body(&mut self, body: &WireSignature, text: &str, cause: &Exception) {
        let error = Exception::new(exc_module::CELERY, "ChordError", text);
        let chord_error = Failed { state: State::Failure, exception: &error, traceback: None };
        if let WireShape::Group(members) = &body.shape {
            self.fail_members(body, members, cause);
        } else {
            let id = body.options.task_id.clone().unwrap_or_else(|| self.new_id());
            self.errbacks(&Request::never_run(&id), &body.options.link_error, &error, None, true);
            let children = self.children();
            self.end(&id, None, None, &chord_error, children);
            self.count_in_outer(body, &error, &body.options.link_error);
            match &body.shape {
                WireShape::Chain(steps) => self.fail_chain(steps, &chord_error),
                WireShape::Chord { body: Some(body), .. } => self.fail_chain(std::slice::from_ref(body), &chord_error),
                _ => {}
            }
        }
        self.fail_chain(body.options.chain.as_deref().unwrap_or_default(), &chord_error);
    }

    fn fail_members(&mut self, body: &WireSignature, members: &[WireSignature], cause: &Exception) {
        let failed = Failed { state: State::Failure, exception: cause, traceback: None };
        let of_all = &body.options.link_error;
        let each = Extent::of(of_all);
        for member in members {
            let mut errbacks = Vec::new();
            errbacks_of(member, &mut errbacks);
            // What is to be told of each is, until that is too much: all members end, and their own errbacks are sent.
            if self.scope.copy(each).is_ok() {
                errbacks.extend(of_all);
            }
            let errbacks = tree::distinct(errbacks);
            let Some(id) = member_id(member) else { continue };
            self.errbacks(&Request::never_run(&id), &errbacks, cause, None, true);
            let children = self.children();
            self.end(&id, None, None, &failed, children);
            self.count_in_outer(member, cause, &errbacks);
        }
        if let Some(id) = &body.options.task_id {
            let children = self.children();
            self.end(id, None, None, &failed, children);
        }
    }

    /// What is itself a part of a chord is counted there, so that nobody waits for it. (Celery's outer chord waits for ever.) Errbacks
    /// that the body there has as well were told already, and are told once, as in Celery.
    fn count_in_outer(&mut self, sig: &WireSignature, exception: &Exception, told: &[WireSignature]) {
        let options = &sig.options;
        if let (Some(chord), Some(group), Some(id)) = (&options.chord, &options.group_id, member_id(sig)) {
            let result = self.failure(exception);
            let (state, index) = (State::Failure, options.group_index);
            let (group, mut chord, sender) = (group.clone(), chord.clone(), self.sender.clone());
            let told: HashSet<&WireSignature> = told.iter().collect();
            if chord.options.link_error.iter().any(|errback| told.contains(errback)) {
                Body::make_mut(&mut chord).options.link_error.retain(|errback| !told.contains(errback));
            }
            self.out.parts.push(Part { group, index, id, state, result, chord, sender });
        }
    }

    /// What was sent so far: as Celery has it, the children of whoever ends meanwhile. Of many members each has those of all before
    /// it, so that the later ones have none.
    fn children(&mut self) -> Vec<ResultTuple> {
        self.listed = self.listed.saturating_add(self.out.messages.len());
        if self.listed > self.scope.rules.canvas_tasks.saturating_mul(4) {
            return Vec::new();
        }
        self.trail.iter().map(|&node| self.results.tuple(node)).collect()
    }
}

/// Who is told of the failure of a signature's result: of a chord that is its body's, of a group also that of its members.
fn errbacks_of<'s>(sig: &'s WireSignature, all: &mut Vec<&'s WireSignature>) {
    all.extend(&sig.options.link_error);
    match &sig.shape {
        WireShape::Chord { body: Some(body), .. } => errbacks_of(body, all),
        WireShape::Group(members) => members.iter().for_each(|member| errbacks_of(member, all)),
        _ => {}
    }
}

/// The id of a signature's result, if it has one: of a chord that of its body, of a chain that of its last step.
fn member_id(sig: &WireSignature) -> Option<TaskId> {
    match &sig.shape {
        WireShape::Chord { body: Some(body), .. } => member_id(body),
        WireShape::Chain(steps) => steps.last().and_then(member_id),
        _ => sig.options.task_id.clone(),
    }
}
