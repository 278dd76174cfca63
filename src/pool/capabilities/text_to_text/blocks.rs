//! The blocks of a worker's cache: whose they are, and what they are known to hold.

use std::collections::BTreeMap;

use super::prefix::{Node, NodeId, PrefixTree};
use super::step::BlockId;

/// One block's card.
#[derive(Debug, Default)]
struct Card {
    /// How many sequences use it.
    users: usize,
    /// What it holds, once it is full and known.
    node: Option<Node>,
    /// When its last user left, in ticks of `Blocks::clock`.
    left: u64,
}

/// All blocks of a cache. Each is free, used by sequences, or kept: unused, but it holds a known
/// beginning, and is found again until the room is needed. What was left longest ago goes first.
///
/// A beginning's later blocks always go before its earlier ones: whoever uses a block uses those
/// before it, and leaves the last ones first.
#[derive(Debug)]
pub struct Blocks {
    block_tokens: usize,
    cards: Vec<Card>,
    free: Vec<BlockId>,
    /// The kept blocks by the tick at which their last user left.
    kept: BTreeMap<u64, BlockId>,
    tree: PrefixTree,
    clock: u64,
}

/// The blocks of one sequence, from its beginning on. It has to be [released](Blocks::release).
#[derive(Debug)]
#[must_use = "blocks that are not released are lost"]
pub struct BlockTable {
    blocks: Vec<BlockId>,
    /// How many of them, from the first on, are in the tree.
    known: usize,
    /// Where in the tree those end.
    node: NodeId,
}

impl Default for BlockTable {
    fn default() -> Self {
        Self {
            blocks: Vec::new(),
            known: 0,
            node: NodeId::ROOT,
        }
    }
}

impl BlockTable {
    /// The blocks in order.
    pub fn blocks(&self) -> &[BlockId] {
        &self.blocks
    }
}

impl Blocks {
    /// `count` free blocks of `block_tokens` positions each (0 is taken as 1).
    pub fn new(count: usize, block_tokens: usize) -> Self {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        Self {
            block_tokens: block_tokens.max(1),
            cards: (0..count).map(|_| Card::default()).collect(),
            // The last is taken first.
            free: (0..count).rev().map(BlockId).collect(),
            kept: BTreeMap::new(),
            tree: PrefixTree::new(),
            clock: 0,
        }
    }

    /// How many blocks there are.
    pub fn count(&self) -> usize {
        self.cards.len()
    }

    /// How many blocks could be given out: the free ones and the kept ones.
    pub fn available(&self) -> usize {
        self.free.len() + self.kept.len()
    }

    /// How many blocks sequences use.
    pub fn used(&self) -> usize {
        self.count() - self.available()
    }

    /// How many unused blocks are kept for what they hold.
    pub fn kept(&self) -> usize {
        self.kept.len()
    }

    /// How many sequences use a block.
    pub fn users(&self, block: BlockId) -> usize {
        self.cards.get(block.index()).map_or(0, |card| card.users)
    }

    /// How many blocks `positions` positions take.
    pub fn needed(&self, positions: usize) -> usize {
        positions.div_ceil(self.block_tokens)
    }

    /// How many blocks a sequence of these tokens would have to be given that are available now,
    /// were it to begin: all but those known ones that others use.
    pub fn cost(&self, tokens: &[u32]) -> usize {
        let shared = self
            .known_blocks(NodeId::ROOT, tokens)
            .filter(|(_, block)| self.users(*block) > 0)
            .count();
        self.needed(tokens.len()) - shared
    }

    /// The known blocks that these tokens, which follow `node`, begin with. The last token's is
    /// not among them: it has to be computed for its logits.
    fn known_blocks<'a>(
        &'a self,
        mut node: NodeId,
        tokens: &'a [u32],
    ) -> impl Iterator<Item = (NodeId, BlockId)> + 'a {
        let all_but_last = &tokens[..tokens.len().saturating_sub(1)];
        all_but_last
            .chunks_exact(self.block_tokens)
            .map_while(move |block_tokens| {
                let found = self.tree.find(node, block_tokens)?;
                node = found.0;
                Some(found)
            })
    }

    /// Gives a sequence the known blocks that follow those which it has filled, and says how
    /// many positions it has now. `computed` positions were filled before; nothing is done
    /// inside of a block.
    pub fn adopt(&mut self, table: &mut BlockTable, tokens: &[u32], computed: usize) -> usize {
        let whole = computed / self.block_tokens;
        if !computed.is_multiple_of(self.block_tokens) || table.known != whole {
            return computed;
        }
        let rest = tokens.get(computed..).unwrap_or_default();
        let found: Vec<(NodeId, BlockId)> = self.known_blocks(table.node, rest).collect();
        for (node, block) in &found {
            self.add_user(*block);
            match table.blocks.get_mut(table.known) {
                Some(own) => {
                    let own = std::mem::replace(own, *block);
                    self.remove_user(own);
                }
                None => table.blocks.push(*block),
            }
            table.known += 1;
            table.node = *node;
        }
        computed + found.len() * self.block_tokens
    }

    /// Gives a sequence as many blocks as `positions` positions take. `false`, and nothing done,
    /// if there are not enough.
    #[must_use]
    pub fn extend(&mut self, table: &mut BlockTable, positions: usize) -> bool {
        let missing = self.needed(positions).saturating_sub(table.blocks.len());
        if missing > self.available() {
            return false;
        }
        for _ in 0..missing {
            let Some(block) = self.take() else {
                return false;
            };
            table.blocks.push(block);
        }
        true
    }

    /// Remembers what the sequence's blocks hold now that `computed` of its tokens are in them. A
    /// block whose content another block holds already is given up for that one.
    pub fn remember(&mut self, table: &mut BlockTable, tokens: &[u32], computed: usize) {
        let filled = tokens.get(..computed).unwrap_or(tokens);
        let new = filled
            .chunks_exact(self.block_tokens)
            .skip(table.known)
            .zip(table.known..);
        for (block_tokens, index) in new {
            let Some(own) = table.blocks.get(index).copied() else {
                return;
            };
            if let Some((node, same)) = self.tree.find(table.node, block_tokens) {
                self.add_user(same);
                table.blocks[index] = same;
                table.node = node;
                self.remove_user(own);
            } else {
                let node = self.tree.insert(table.node, block_tokens, own);
                table.node = node.id();
                self.cards[own.index()].node = Some(node);
            }
            table.known += 1;
        }
    }

    /// Takes a sequence's blocks back.
    pub fn release(&mut self, table: &mut BlockTable) {
        // The last first, so that what is evicted first is the end of a beginning.
        for block in std::mem::take(table).blocks.into_iter().rev() {
            self.remove_user(block);
        }
    }

    /// Takes a sequence's blocks back, and forgets what those of them hold that nobody else uses.
    pub fn discard(&mut self, table: &mut BlockTable) {
        for &block in table.blocks() {
            let card = &mut self.cards[block.index()];
            if let Some(node) = card.node.take_if(|_| card.users == 1) {
                self.tree.remove(&node);
            }
        }
        self.release(table);
    }

    /// A block for a new user: a free one, else the one that was left longest ago.
    fn take(&mut self) -> Option<BlockId> {
        let block = self.free.pop().or_else(|| {
            let (_, block) = self.kept.pop_first()?;
            if let Some(node) = self.cards[block.index()].node.take() {
                self.tree.remove(&node);
            }
            Some(block)
        })?;
        self.cards[block.index()].users = 1;
        Some(block)
    }

    fn add_user(&mut self, block: BlockId) {
        let card = &mut self.cards[block.index()];
        if card.users == 0 {
            self.kept.remove(&card.left);
        }
        card.users += 1;
    }

    fn remove_user(&mut self, block: BlockId) {
        self.clock += 1;
        let card = &mut self.cards[block.index()];
        card.users -= 1;
        if card.users > 0 {
            return;
        }
        if card.node.is_some() {
            card.left = self.clock;
            self.kept.insert(self.clock, block);
        } else {
            self.free.push(block);
        }
    }
}
