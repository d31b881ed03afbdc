//! What came of a task: what it sent, what that sent, and so on.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use lovage_model::{Json, TaskId};

use super::{AnyResult, AsyncResult, GetOptions};
use crate::watch::Seen;
use crate::{Error, Result};

/// A walk through what came of a task, level by level: each result with the one that it came of.
#[derive(Debug)]
pub struct Deps {
    queue: VecDeque<(Option<AnyResult>, AnyResult)>,
    last: Option<AnyResult>,
    intermediate: bool,
    asked: HashSet<TaskId>,
    /// Each is walked from once, whatever its children say.
    left: HashSet<TaskId>,
}

impl Deps {
    /// The next result, and what it came of; none at the end.
    ///
    /// What a task that has not ended will come to is not known: that is [`Error::IncompleteStream`], unless intermediate
    /// results were asked for.
    pub async fn next(&mut self) -> Result<Option<(Option<AnyResult>, AnyResult)>> {
        if let Some(node) = self.last.take() {
            match self.children(&node).await? {
                Some(children) if self.left.insert(node.id().clone()) => {
                    self.queue.extend(children.into_iter().map(|child| (Some(node.clone()), child)));
                }
                None if !self.intermediate => return Err(Error::IncompleteStream { id: node.id().clone() }),
                _ => {}
            }
        }
        let next = self.queue.pop_front();
        self.last = next.as_ref().map(|(_, node)| node.clone());
        Ok(next)
    }

    /// None: it has not ended.
    async fn children(&mut self, node: &AnyResult) -> Result<Option<Vec<AnyResult>>> {
        if node.leaves().into_iter().any(|task| task.known().is_none()) {
            self.ask(node).await?;
        }
        let ended = node.leaves().into_iter().all(|task| task.known().is_some());
        Ok(ended.then(|| match node {
            AnyResult::Task(task) => task.known().map(|meta| task.children_in(&meta)).unwrap_or_default(),
            AnyResult::Group(group) => group.children().to_vec(),
        }))
    }

    /// Learns which have ended: of it, and of all that wait their turn, by one request.
    async fn ask(&mut self, node: &AnyResult) -> Result<()> {
        let mut unknown: HashMap<TaskId, Vec<&AsyncResult>> = HashMap::new();
        let waiting = self.queue.iter().map(|(_, node)| node);
        for task in std::iter::once(node).chain(waiting).flat_map(AnyResult::leaves) {
            if task.known().is_none() && !self.asked.contains(task.id()) {
                unknown.entry(task.id().clone()).or_default().push(task);
            }
        }
        let Some(client) = unknown.values().flatten().next().map(|task| task.client.clone()) else { return Ok(()) };
        self.asked.extend(unknown.keys().cloned());
        let mut watch = client.watch(unknown.keys().cloned(), Some(Duration::ZERO));
        while let Some(seen) = watch.next().await? {
            if let Seen::Ended(meta) = seen {
                unknown[&meta.task_id].iter().for_each(|task| _ = task.learn((*meta).clone()));
            }
        }
        Ok(())
    }
}

/// What came of a task, with the value of each.
#[derive(Debug)]
pub struct Collect {
    deps: Deps,
    timeout: Option<Duration>,
    propagate: bool,
}

impl Collect {
    /// The next result and its value, once it has ended; none at the end.
    pub async fn next(&mut self) -> Result<Option<(AnyResult, Json)>> {
        let Some((_, node)) = self.deps.next().await? else { return Ok(None) };
        let options = GetOptions::from(self.timeout).propagate(self.propagate);
        let value = node.get_json(options).await?;
        Ok(Some((node, value)))
    }
}

impl AnyResult {
    /// Walks through what came of it. With `intermediate`, tasks that have not ended are told too, without what they will
    /// come to.
    pub fn iterdeps(&self, intermediate: bool) -> Deps {
        let queue = VecDeque::from([(None, self.clone())]);
        Deps { queue, last: None, intermediate, asked: HashSet::new(), left: HashSet::new() }
    }

    /// Waits for it and for all that came of it, and gives the value of each. The options hold for each by itself.
    pub fn collect<'a>(&self, intermediate: bool, options: impl Into<GetOptions<'a>>) -> Collect {
        let GetOptions { timeout, propagate, .. } = options.into();
        Collect { deps: self.iterdeps(intermediate), timeout, propagate }
    }

    /// The value of the last that came of it.
    pub async fn get_leaf(&self) -> Result<Json> {
        let (mut all, mut last) = (self.collect(false, None), Json::null());
        while let Some((_, value)) = all.next().await? {
            last = value;
        }
        Ok(last)
    }

    /// What came of it, as a graph; see [`AnyResult::iterdeps`].
    pub async fn build_graph(&self, intermediate: bool) -> Result<DependencyGraph> {
        let mut graph = DependencyGraph { nodes: Vec::new(), edges: Vec::new() };
        let (mut places, mut deps) = (HashMap::new(), self.iterdeps(intermediate));
        while let Some((parent, node)) = deps.next().await? {
            let place = *places.entry(node.id().clone()).or_insert_with(|| {
                graph.nodes.push(node.clone());
                graph.nodes.len() - 1
            });
            graph.edges.extend(parent.map(|parent| (places[parent.id()], place)));
        }
        Ok(graph)
    }
}

impl AsyncResult {
    /// As [`AnyResult::iterdeps`].
    pub fn iterdeps(&self, intermediate: bool) -> Deps {
        AnyResult::from(self.clone()).iterdeps(intermediate)
    }

    /// As [`AnyResult::collect`].
    pub fn collect<'a>(&self, intermediate: bool, options: impl Into<GetOptions<'a>>) -> Collect {
        AnyResult::from(self.clone()).collect(intermediate, options)
    }

    /// As [`AnyResult::get_leaf`].
    pub async fn get_leaf(&self) -> Result<Json> {
        AnyResult::from(self.clone()).get_leaf().await
    }

    /// As [`AnyResult::build_graph`].
    pub async fn build_graph(&self, intermediate: bool) -> Result<DependencyGraph> {
        AnyResult::from(self.clone()).build_graph(intermediate).await
    }
}

/// What came of what.
#[derive(Debug, Clone)]
pub struct DependencyGraph {
    nodes: Vec<AnyResult>,
    edges: Vec<(usize, usize)>,
}

impl DependencyGraph {
    /// The results, the first first.
    pub fn nodes(&self) -> &[AnyResult] {
        &self.nodes
    }

    /// Places in [`DependencyGraph::nodes`]: what was sent by what, `(sender, sent)`.
    pub fn edges(&self) -> &[(usize, usize)] {
        &self.edges
    }

    /// The same for Graphviz; `label` says what stands in a node.
    pub fn to_dot(&self, label: impl Fn(&AnyResult) -> String) -> String {
        let mut dot = String::from("digraph dependencies {\n    node [shape=oval];\n");
        for node in &self.nodes {
            dot += &format!("    {} [label={}];\n", quoted(node.id().as_str()), quoted(&label(node)));
        }
        for &(from, to) in &self.edges {
            let [from, to] = [from, to].map(|place| quoted(self.nodes[place].id().as_str()));
            dot += &format!("    {from} -> {to};\n");
        }
        dot + "}\n"
    }
}

/// A text as DOT writes it: only the quote and the backslash mean something else there.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}
