//! What becomes of a signature that is sent: which messages can run at once, and what do they carry?

use std::sync::Arc;

use lovage_model::{Json, WireOptions, WireShape, WireSignature};

use super::extent::Extent;
use super::freeze::{Given, flat};
use super::results::Node;
use super::tree::{self, merged};
use super::{Body, Inliner, Invalid, chunks};

impl Inliner<'_, '_> {
    /// Sends a signature with arguments before its own, and options before its own. `listed`: its result is a child of the
    /// sender.
    pub(super) fn apply(
        &mut self,
        sig: WireSignature,
        args: Option<&Json>,
        options: WireOptions,
        listed: bool,
    ) -> Result<Node, Invalid> {
        match sig.shape {
            WireShape::Task(_) if chunks::are(&sig) => {
                self.apply_group(chunks::group_of(&sig, self.scope.rules)?, None, options, listed)
            }
            WireShape::Task(_) => self.apply_task(sig, args, options, listed),
            WireShape::Chain(_) => self.apply_chain(sig, args, options, listed),
            WireShape::Group(_) => self.apply_group(sig, args, options, listed),
            WireShape::Chord { .. } => self.apply_chord(sig, args, options, listed),
        }
    }

    fn apply_task(
        &mut self,
        mut sig: WireSignature,
        args: Option<&Json>,
        options: WireOptions,
        listed: bool,
    ) -> Result<Node, Invalid> {
        sig.options = merged(&sig.options, options);
        if !sig.immutable && !tree::is_map(&sig) {
            sig.args = joined(args, sig.args)?;
        }
        let message = self.message(sig)?;
        let result = self.results.task(message.id.clone());
        self.out.messages.push(message);
        self.trail.extend(Some(result).filter(|_| listed));
        Ok(result)
    }

    fn apply_chain(
        &mut self,
        sig: WireSignature,
        args: Option<&Json>,
        options: WireOptions,
        listed: bool,
    ) -> Result<Node, Invalid> {
        let WireSignature { shape, args: own, options: own_options, immutable, .. } = sig;
        let WireShape::Chain(tasks) = shape else { unreachable!("it is a chain") };
        let args = if immutable { own } else { joined(args, own)? };
        let options = merged(&own_options, options);
        let of_last = Given {
            id: options.task_id.clone(),
            group_id: options.group_id.clone(),
            group_index: options.group_index,
            chord: options.chord.clone(),
            root_id: options.root_id.clone(),
            parent_id: None,
        };
        let mut steps = self.prepare(tasks, Some(&args), &options.link_error, of_last, true)?;
        let last = steps.last_result();
        steps.link_last(&options.link);
        let (Some(last), Some((first, rest))) = (last, steps.split_first()) else {
            return Err(Invalid::wrong("kwargs.tasks", "is empty: a chain has at least one task"));
        };
        let is_alone = rest.is_empty();
        let chain = options.chain.unwrap_or_default().into_iter().chain(rest).collect();
        let of_first = WireOptions { chain: Some(chain), rest: options.rest, ..WireOptions::default() };
        let sent = self.apply(first, None, of_first, listed)?;
        Ok(if is_alone { sent } else { last })
    }

    fn apply_group(
        &mut self,
        sig: WireSignature,
        args: Option<&Json>,
        options: WireOptions,
        listed: bool,
    ) -> Result<Node, Invalid> {
        let mut options = merged(&sig.options, options);
        let WireShape::Group(tasks) = sig.shape else { unreachable!("it is a group") };
        let group = match options.task_id.take() {
            Some(id) => id,
            None => self.new_id(),
        };
        options.group_id = Some(group.clone());
        let chord = options.chord.take();
        // That is its own place; its members have theirs.
        options.group_index = None;
        let mut members = Vec::new();
        let tasks = flat(tasks);
        // Each of them gets what is said of all.
        self.scope.copy(Extent::of_options(&options).times(tasks.len()))?;
        let (mut parts, mut counts) = (0, false);
        for (mut task, index) in tasks.into_iter().zip(0..) {
            let root_id = options.root_id.clone();
            let given = Given { group_id: Some(group.clone()), root_id, group_index: Some(index), ..Given::default() };
            let member = self.freeze(&mut task, given)?;
            members.push(member);
            parts += tree::parts_of(&task);
            let body = chord.clone().or_else(|| task.options.chord.clone());
            // A group at the end of a part has parts of the chord around it, which were counted there.
            counts |= body.is_some() && task.options.group_id.as_ref() == Some(&group);
            let of_member = WireOptions { chord: body, ..options.clone() };
            self.apply(task, args, of_member, false)?;
        }
        if counts {
            self.out.sizes.push((group.clone(), parts));
        }
        let result = match members.as_slice() {
            [one] if self.results.members(*one).is_some() => *one,
            _ => self.results.group(group, members),
        };
        self.trail.extend(Some(result).filter(|_| listed));
        Ok(result)
    }

    fn apply_chord(
        &mut self,
        sig: WireSignature,
        args: Option<&Json>,
        mut options: WireOptions,
        listed: bool,
    ) -> Result<Node, Invalid> {
        let WireSignature { shape, args: own_args, options: mut own, immutable, .. } = sig;
        let WireShape::Chord { header, body: Some(mut body), kwargs } = shape else {
            return Err(Invalid::wrong("kwargs.body", "is missing: a chord has a body"));
        };
        let args = if immutable { own_args } else { joined(args, own_args)? };
        // When it starts concerns the header.
        let mut delay = lovage_model::Fields::default();
        for name in ["countdown", "eta"] {
            let of_chord = own.rest.remove(name);
            if let Some(value) = options.rest.remove(name).or(of_chord).filter(|value| value.as_str() != "null") {
                delay.set(name, value);
            }
        }
        // Its own id is that of its header, which a chord has once it is frozen.
        let (id, group) = (options.task_id.take(), own.task_id.take());
        let options = merged(&own, options);
        tree::link(&mut body, &options.link);
        tree::link_error(&mut body, &options.link_error, self.scope)?;
        let of_body = WireOptions { parent_id: None, link: Vec::new(), link_error: Vec::new(), ..options.clone() };
        body.options = merged(&body.options, of_body);
        if let WireShape::Chain(tasks) = &mut body.shape {
            *tasks = tree::unrolled_chords(std::mem::take(tasks), self.scope)?;
        }
        let group = match group {
            Some(group) => group,
            None => self.new_id(),
        };
        let root_id = body.options.root_id.clone();
        let given = Given { id, group_id: Some(group.clone()), root_id: root_id.clone(), ..Given::default() };
        let result = self.freeze(&mut body, given)?;
        tree::strip_header_links(&mut body);
        let header = flat(header);
        if header.is_empty() {
            return self.apply(*body, Some(&empty_list()), WireOptions::default(), listed);
        }
        let mut before = tree::group(header);
        before.options.task_id = Some(group.clone());
        let body: Body = Arc::new(*body);
        let of_header = Given { group_id: Some(group.clone()), chord: Some(body), root_id, ..Given::default() };
        let header = self.freeze(&mut before, of_header)?;
        self.keep_nested(header);
        if !kwargs.is_empty() {
            return Err(Invalid::wrong("kwargs.kwargs", "has keyword arguments for a header: give them to its tasks"));
        }
        let mut of_header = WireOptions {
            task_id: Some(group),
            root_id: options.root_id,
            parent_id: options.parent_id,
            rest: options.rest,
            ..WireOptions::default()
        };
        delay.iter().for_each(|(name, value)| of_header.rest.set(name, value.clone()));
        self.apply_group(before, Some(&args), of_header, listed)?;
        let first = self.results.first(result);
        if first != header {
            self.results.set_parent(first, Some(header));
        }
        Ok(result)
    }

    /// Results that are nested are put together by who completes the chord, who must know how.
    fn keep_nested(&mut self, header: Node) {
        let members = self.results.members(header).unwrap_or_default();
        if members.iter().any(|&member| self.results.members(member).is_some()) {
            self.out.groups.push(self.results.tuple(header));
        }
    }

    /// Sends the body of a chord with the list of the header's results.
    pub(super) fn send_body(&mut self, body: WireSignature, list: &Json) -> Result<Node, Invalid> {
        let args = tree::array([list.as_str()]).map_err(|error| Invalid::wrong("args", error.to_string()))?;
        self.apply(body, Some(&args), WireOptions::default(), true)
    }
}

fn joined(args: Option<&Json>, own: Json) -> Result<Json, Invalid> {
    tree::with_args(args, own).map_err(|error| Invalid::wrong("args", error.to_string()))
}

fn empty_list() -> Json {
    Json::parse("[[]]".to_owned()).expect("a list in a list")
}
