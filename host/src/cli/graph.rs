//! What came of it? A task or a group with all that it sent: as a tree, as JSON, or for Graphviz.

use clap::Args;
use lovage_client::{AnyResult, DependencyGraph};
use lovage_model::{State, TaskId, TaskName};
use serde::Serialize;

use super::exit::Exit;
use super::result::{self, Which};
use super::{Session, escape};

#[derive(Debug, Args)]
pub(crate) struct Graph {
    /// Id of the task, or of a group that was saved; or a result tuple: [[ID, PARENT], [MEMBER, ...]]
    id: Which,
    /// For Graphviz
    #[arg(long)]
    dot: bool,
}

/// One task or group.
#[derive(Debug, Clone, Serialize)]
struct Node {
    id: TaskId,
    /// None: a group.
    name: Option<TaskName>,
    state: Option<State>,
}

/// All of them, and who sent whom: places among the nodes.
#[derive(Debug, Serialize)]
struct Shown {
    nodes: Vec<Node>,
    edges: Vec<(usize, usize)>,
}

impl Graph {
    pub(crate) async fn show(self, session: &Session) -> anyhow::Result<Exit> {
        let graph = result::find(self.id, session).await?.build_graph(true).await?;
        let shown = Shown { nodes: nodes(&graph).await?, edges: graph.edges().to_vec() };
        if self.dot {
            let label =
                |node: &AnyResult| shown.nodes.iter().find(|n| n.id == *node.id()).map(label).unwrap_or_default();
            session.screen.data(graph.to_dot(label).trim_end())?;
        } else {
            session.screen.one(&shown, || tree(&shown))?;
        }
        Ok(Exit::Done)
    }
}

async fn nodes(graph: &DependencyGraph) -> anyhow::Result<Vec<Node>> {
    let mut nodes = Vec::new();
    for node in graph.nodes() {
        let meta = match node {
            AnyResult::Task(task) => Some(task.meta().await),
            AnyResult::Group(_) => None,
        };
        let (name, state) = match meta {
            Some(Ok(meta)) => (Some(meta.name), Some(meta.status)),
            // Forgotten or expired: its place is known, and nothing else.
            Some(Err(error)) if error.code() == Some("unknown_id") => (None, None),
            Some(Err(error)) => return Err(error.into()),
            None => (None, None),
        };
        nodes.push(Node { id: node.id().clone(), name, state });
    }
    Ok(nodes)
}

fn label(node: &Node) -> String {
    match (&node.name, &node.state) {
        (Some(name), Some(state)) => format!("{name} {state} {}", node.id),
        _ => node.id.to_string(),
    }
}

/// What was sent stands below who sent it; what was sent by several, below the first.
fn tree(graph: &Shown) -> String {
    let mut children = vec![Vec::new(); graph.nodes.len()];
    let mut placed = vec![false; graph.nodes.len()];
    for &(from, to) in &graph.edges {
        if !std::mem::replace(&mut placed[to], true) {
            children[from].push(to);
        }
    }
    let mut lines = Vec::new();
    // Each with what stands before it, and before what is below it.
    let mut stack = vec![(0, String::new(), String::new())];
    while let Some((place, before, below)) = stack.pop() {
        lines.push(format!("{before}{}", escape::line(&label(&graph.nodes[place]))));
        for (from_last, &child) in children[place].iter().rev().enumerate() {
            let (branch, trunk) = if from_last == 0 { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            stack.push((child, format!("{below}{branch}"), format!("{below}{trunk}")));
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_shows_who_sent_whom() {
        let node = |id: &str, state: Option<State>| Node {
            id: TaskId::new(id).unwrap(),
            name: state.is_some().then(|| TaskName::new("m.f").unwrap()),
            state,
        };
        let done = || Some(State::Success);
        let nodes = vec![
            node("t", done()),
            node("a", done()),
            node("g", None),
            node("b", done()),
            node("c", Some(State::Started)),
        ];
        let edges = vec![(0, 1), (0, 2), (2, 3), (2, 4), (1, 4), (1, 3)];
        let expected = "\
m.f SUCCESS t
├─ m.f SUCCESS a
└─ g
   ├─ m.f SUCCESS b
   └─ m.f STARTED c";
        assert_eq!(tree(&Shown { nodes, edges }), expected);
    }
}
