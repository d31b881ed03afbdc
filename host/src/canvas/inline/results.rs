//! The results of what is sent: who comes before whom, and which are groups. Kept in one list, since Celery links them to
//! each other after they were made.

use lovage_model::{ResultTuple, TaskId};

/// One result.
pub(super) type Node = usize;

#[derive(Default)]
pub(super) struct Results(Vec<Kept>);

struct Kept {
    id: TaskId,
    parent: Option<Node>,
    members: Option<Vec<Node>>,
}

impl Results {
    pub(super) fn task(&mut self, id: TaskId) -> Node {
        self.keep(Kept { id, parent: None, members: None })
    }

    pub(super) fn group(&mut self, id: TaskId, members: Vec<Node>) -> Node {
        self.keep(Kept { id, parent: None, members: Some(members) })
    }

    fn keep(&mut self, kept: Kept) -> Node {
        self.0.push(kept);
        self.0.len() - 1
    }

    pub(super) fn parent(&self, node: Node) -> Option<Node> {
        self.0[node].parent
    }

    pub(super) fn set_parent(&mut self, node: Node, parent: Option<Node>) {
        self.0[node].parent = parent;
    }

    pub(super) fn members(&self, node: Node) -> Option<&[Node]> {
        self.0[node].members.as_deref()
    }

    /// The first of the results that lead to one, itself if there are none before it.
    pub(super) fn first(&self, mut node: Node) -> Node {
        while let Some(parent) = self.parent(node) {
            node = parent;
        }
        node
    }

    /// As Celery passes it around.
    pub(super) fn tuple(&self, node: Node) -> ResultTuple {
        self.limited(node, ResultTuple::MAX_PARENTS)
    }

    fn limited(&self, node: Node, parents: usize) -> ResultTuple {
        let Kept { id, parent, members } = &self.0[node];
        let parent = parent.filter(|_| parents > 0).map(|parent| Box::new(self.limited(parent, parents - 1)));
        let children = members.as_ref().map(|all| all.iter().map(|&one| self.limited(one, parents)).collect());
        ResultTuple { id: id.clone(), parent, children }
    }
}
