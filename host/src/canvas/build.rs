//! Which tasks does a call come to, and what does each wait for?
//!
//! Forward, from the first task to the last: what a task's end is for is known before it is made, what it waits for has
//! been made already.

use std::collections::VecDeque;

use lovage_model::{Join, Json, Message, Plan, Planned, ResultTuple, Signature, SignatureOptions, TaskId, Then};

use super::read::{Canvas, Header, Shape, inherit, is_empty_group, link_member, read};
use super::{Invalid, Scope, Sent, builtin, one};

/// The most members of a group that are listed as what follows a task.
const LISTED: usize = 1000;

/// Where in a plan a call comes.
#[derive(Debug, Clone, Default)]
pub(super) struct Place {
    /// The id that its result has; a new one if there is none.
    pub(super) id: Option<TaskId>,
    pub(super) awaits: Option<Awaited>,
    /// What its end is for.
    pub(super) then: Option<Then>,
    /// The group that it is a member of, and which.
    pub(super) member: Option<(TaskId, u32)>,
    /// Whether its result must be that of one task, under `id`.
    pub(super) one_result: bool,
}

/// What a call waits for.
#[derive(Debug, Clone)]
pub(super) struct Awaited {
    pub(super) id: TaskId,
    pub(super) is_task: bool,
}

/// What has been placed.
struct Tail {
    result: ResultTuple,
    /// The task that shows what follows.
    last: usize,
    is_task: bool,
}

pub(super) struct Builder<'b, 'a> {
    pub(super) scope: &'b mut Scope<'a>,
    /// The task that sends it.
    pub(super) sender: Option<&'b Message>,
    pub(super) plan: Plan,
    /// The first task, the root of all if nobody sends it.
    pub(super) root: Option<TaskId>,
    /// How large all messages are together.
    pub(super) bytes: usize,
    /// How many linked calls have been checked, and the last of them.
    pub(super) links: (usize, Option<Signature>),
}

impl<'b, 'a> Builder<'b, 'a> {
    pub(super) fn new(scope: &'b mut Scope<'a>, sender: Option<&'b Message>) -> Self {
        let root = sender.map(|sender| sender.root_id.clone());
        Self { scope, sender, plan: Plan::default(), root, bytes: 0, links: (0, None) }
    }

    pub(super) fn build(mut self, call: Signature, place: Place) -> Result<Sent, Invalid> {
        let result = self.place(call, place)?.result;
        Ok(Sent { plan: self.plan, result })
    }

    fn place(&mut self, call: Signature, place: Place) -> Result<Tail, Invalid> {
        let Canvas { shape, options, args } = read(call, self.scope.rules)?;
        match shape {
            Shape::Task(call) => self.task(*call, place),
            Shape::Chain(steps) => self.chain(steps, &options, &args, place),
            Shape::Group(tasks) if place.one_result => {
                self.chord(Header::Tasks(tasks), accumulate()?, options, &args, place)
            }
            Shape::Group(tasks) => self.group(tasks, &options, &args, place),
            Shape::Chord(header, body) => self.chord(header, *body, options, &args, place),
        }
    }

    fn task(&mut self, call: Signature, place: Place) -> Result<Tail, Invalid> {
        let most = self.scope.rules.canvas_tasks;
        if self.plan.tasks.len() >= most {
            let text = format!("has more than {most} tasks, the limit (limits.canvas_tasks): send several");
            return Err(Invalid::too_large("signature", text));
        }
        self.scope.make_task()?;
        let awaits = place.awaits.as_ref().map(|awaited| awaited.id.clone());
        let message = one::message(self, call, place)?;
        let result = ResultTuple::of(message.id.clone());
        self.plan.tasks.push(Planned { message, awaits });
        Ok(Tail { result, last: self.plan.tasks.len() - 1, is_task: true })
    }

    fn chain(
        &mut self,
        mut steps: Vec<Signature>,
        options: &SignatureOptions,
        args: &Json,
        place: Place,
    ) -> Result<Tail, Invalid> {
        steps.retain(|step| !is_empty_group(step));
        let Some(last) = steps.last_mut() else {
            return Err(Invalid::wrong("kwargs.tasks", "is empty: a chain has at least one task"));
        };
        last.options.link.extend(options.link.iter().cloned());
        let mut line = Line { awaits: place.awaits.clone(), ..Line::default() };
        let end = Place { id: place.id.clone().or_else(|| options.task_id.clone()), ..place };
        let count = steps.len();
        for (index, mut step) in steps.into_iter().enumerate() {
            step.options.link_error.extend(options.link_error.iter().cloned());
            let step = inherit(step, options, args, index == 0)?;
            let between = Place { then: Some(Then::Next), ..Place::default() };
            let place = if index + 1 == count { end.clone() } else { between };
            let place = Place { awaits: line.awaits.take(), ..place };
            let tail = self.place(step, place).map_err(|fault| fault.within("tasks", index))?;
            self.follow(line.last, &tail.result);
            line.go_on(tail);
        }
        Ok(line.end())
    }

    /// Notes what follows a task, so that who looks at its result finds the way.
    fn follow(&mut self, last: Option<usize>, next: &ResultTuple) {
        let Some(last) = last else { return };
        let few = next.children.as_ref().is_none_or(|all| all.len() <= LISTED);
        let children = if few { next.children.clone() } else { Some(Vec::new()) };
        self.plan.tasks[last].message.successor = Some(ResultTuple { parent: None, children, ..next.clone() });
    }

    fn group(
        &mut self,
        tasks: Vec<Signature>,
        options: &SignatureOptions,
        args: &Json,
        place: Place,
    ) -> Result<Tail, Invalid> {
        if tasks.is_empty() {
            return Err(Invalid::wrong("kwargs.tasks", "is empty: a group has at least one task"));
        }
        let group = place.id.or_else(|| options.group_id.clone()).or_else(|| options.task_id.clone());
        let group = group.unwrap_or_else(|| (self.scope.ids)());
        let size = u32::try_from(tasks.len()).unwrap_or(u32::MAX);
        let counted = place.then.is_some();
        if let Some(then) = place.then {
            self.plan.joins.push(Join { group: group.clone(), size, then });
        }
        let (mut members, mut last) = (Vec::with_capacity(tasks.len()), 0);
        for (mut task, index) in tasks.into_iter().zip(0..) {
            link_member(&mut task, options, index == 0);
            let task = inherit(task, options, args, true)?;
            let then = counted.then(|| Then::Part { group: group.clone(), index });
            let member = Some((group.clone(), index));
            let place = Place { awaits: place.awaits.clone(), then, member, ..Place::default() };
            let tail = self.place(task, place).map_err(|fault| fault.within("tasks", index))?;
            last = if index == 0 { tail.last } else { last };
            members.push(tail.result);
        }
        let result = ResultTuple { children: Some(members), ..ResultTuple::of(group) };
        Ok(Tail { result, last, is_task: false })
    }

    fn chord(
        &mut self,
        header: Header,
        mut body: Signature,
        options: SignatureOptions,
        args: &Json,
        place: Place,
    ) -> Result<Tail, Invalid> {
        body.options.link.extend(options.link.iter().cloned());
        body.options.link_error.extend(options.link_error.iter().cloned());
        let mut body = inherit(body, &options, args, false)?;
        let Place { id, awaits, .. } = place.clone();
        let end = Place { id: id.or_else(|| options.task_id.clone()), ..place };
        if matches!(&header, Header::Tasks(tasks) if tasks.is_empty()) {
            return match awaits {
                None => {
                    body.args = after_empty_list(body.args)?;
                    self.place(body, end).map_err(|fault| fault.within_part("body"))
                }
                Some(_) => Err(Invalid::wrong("kwargs.header", "is empty: a chord that follows a task needs a header")),
            };
        }
        let group_id = options.group_id.clone();
        let of_header = SignatureOptions { link: Vec::new(), link_error: Vec::new(), task_id: None, ..options };
        let before = Place { id: group_id, awaits, then: Some(Then::Next), ..Place::default() };
        let header = match header {
            Header::Tasks(tasks) => self.group(tasks, &of_header, args, before),
            Header::Group(group) => self.place(inherit(*group, &of_header, args, true)?, before),
        };
        let header = header.map_err(|fault| fault.within_part("header"))?;
        let awaits = Some(Awaited { id: header.result.id.clone(), is_task: false });
        let body = self.place(body, Place { awaits, ..end }).map_err(|fault| fault.within_part("body"))?;
        self.follow(Some(header.last), &body.result);
        let result = ResultTuple { parent: Some(Box::new(header.result)), ..body.result };
        Ok(Tail { result, ..body })
    }
}

/// The steps of a chain, as far as they have been placed.
#[derive(Default)]
struct Line {
    awaits: Option<Awaited>,
    last: Option<usize>,
    /// The results so far, no more than are ever shown.
    results: VecDeque<ResultTuple>,
    is_task: bool,
}

impl Line {
    fn go_on(&mut self, tail: Tail) {
        let Tail { result, last, is_task } = tail;
        self.awaits = Some(Awaited { id: result.id.clone(), is_task });
        (self.last, self.is_task) = (Some(last), is_task);
        self.results.push_back(result);
        if self.results.len() > ResultTuple::MAX_PARENTS + 1 {
            self.results.pop_front();
        }
    }

    fn end(self) -> Tail {
        let chained = |before: Option<ResultTuple>, result: ResultTuple| match (before, result) {
            // A chord's body comes after its own header, which came after what was before it.
            (Some(before), ResultTuple { id, parent: Some(header), children }) => {
                let header = ResultTuple { parent: Some(Box::new(before)), ..*header };
                ResultTuple { id, parent: Some(Box::new(header)), children }
            }
            (before, ResultTuple { id, parent, children }) => {
                ResultTuple { id, parent: before.map(Box::new).or(parent), children }
            }
        };
        let result = self.results.into_iter().fold(None, |before, result| Some(chained(before, result)));
        let result = result.expect("a chain has at least one task");
        Tail { result, last: self.last.unwrap_or_default(), is_task: self.is_task }
    }
}

fn accumulate() -> Result<Signature, Invalid> {
    let name = builtin::ACCUMULATE.parse().map_err(|error| Invalid::wrong("task", format!("{error}")))?;
    let kwargs = Json::from(serde_json::json!({ "index": 0 }));
    Ok(Signature { kwargs, ..Signature::new(name, Json::empty_array()) })
}

fn after_empty_list(args: Json) -> Result<Json, Invalid> {
    args.after(&Json::empty_array()).map_err(|error| Invalid::wrong("kwargs.body.args", error.to_string()))
}

impl Invalid {
    fn within(self, list: &str, index: impl std::fmt::Display) -> Self {
        Self { field: format!("{list}[{index}].{}", self.field), ..self }
    }

    fn within_part(self, part: &str) -> Self {
        Self { field: format!("{part}.{}", self.field), ..self }
    }
}
