//! Which whole blocks hold the beginnings of which texts.

use std::collections::HashMap;
use std::sync::Arc;

use super::step::BlockId;

/// A place in the tree of known beginnings; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct NodeId(u64);

impl NodeId {
    /// The empty beginning.
    pub(super) const ROOT: Self = Self(0);
}

/// What a block is known to hold: the tokens that follow the beginning `parent`.
#[derive(Debug)]
pub(super) struct Node {
    id: NodeId,
    parent: NodeId,
    tokens: Arc<[u32]>,
}

/// What may follow a beginning: where each leads, and the block that holds it.
type Edges = HashMap<Arc<[u32]>, (NodeId, BlockId)>;

/// A tree of beginnings, one block of tokens an edge. Edges are compared token by token, so two
/// texts cannot be taken for each other as with hashes alone.
#[derive(Debug)]
pub(super) struct PrefixTree {
    children: HashMap<NodeId, Edges>,
    next: u64,
}

impl PrefixTree {
    pub(super) fn new() -> Self {
        Self {
            children: HashMap::new(),
            next: NodeId::ROOT.0 + 1,
        }
    }

    /// The block that holds `tokens` after the beginning `parent`.
    pub(super) fn find(&self, parent: NodeId, tokens: &[u32]) -> Option<(NodeId, BlockId)> {
        self.children.get(&parent)?.get(tokens).copied()
    }

    /// Remembers that `block` holds `tokens` after `parent`, which no other block does.
    pub(super) fn insert(&mut self, parent: NodeId, tokens: &[u32], block: BlockId) -> Node {
        let id = NodeId(self.next);
        self.next += 1;
        let tokens: Arc<[u32]> = tokens.into();
        self.children
            .entry(parent)
            .or_default()
            .insert(Arc::clone(&tokens), (id, block));
        Node { id, parent, tokens }
    }

    /// Forgets what a block held.
    pub(super) fn remove(&mut self, node: &Node) {
        if let Some(siblings) = self.children.get_mut(&node.parent) {
            siblings.remove(&node.tokens);
            if siblings.is_empty() {
                self.children.remove(&node.parent);
            }
        }
    }
}

impl Node {
    pub(super) fn id(&self) -> NodeId {
        self.id
    }
}
