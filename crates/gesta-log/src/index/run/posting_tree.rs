//! Posting trees: long posting lists as a tree with leaves of 128 positions and branches of 128
//! children.
//!
//! All nodes are full, except for the last one of each level. The height and the path to the n-th
//! posting therefore follow from the count alone. A node lies within one block, and children are
//! written before their parents. Short posting lists are stored with the term
//! ([`term_block`](super::term_block)).

use super::{
    RunError,
    bit_packing::{BitColumn, column_bytes, put_column, width},
    block::{BLOCK_BYTES, BODY_BYTES, BlockKind, BlockSource},
};
use crate::format::{Fields, Malformed};

/// Postings of a leaf, and children of a branch.
pub(super) const FANOUT: u64 = 128;
const LEAF_BYTES_MAX: usize = 10 + column_bytes(64, FANOUT as usize);
const BRANCH_BYTES_MAX: usize = 17 + column_bytes(64 + ADDRESS_BITS, FANOUT as usize) + 1;
const ADDRESS_BYTES: usize = 6;
const ADDRESS_BITS: u32 = 8 * ADDRESS_BYTES as u32;

const _: () = assert!(LEAF_BYTES_MAX <= BODY_BYTES && BRANCH_BYTES_MAX <= BODY_BYTES);

/// The address of a node: block number times 4,096 plus the offset in the block's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NodeAddress(pub(super) u64);

impl NodeAddress {
    pub(super) fn new(block: u32, offset: usize) -> Self {
        Self(u64::from(block) * BLOCK_BYTES as u64 + offset as u64)
    }

    fn block(self) -> u32 {
        // No file has this block, so the read reports the address as damage.
        u32::try_from(self.0 / BLOCK_BYTES as u64).unwrap_or(u32::MAX)
    }

    fn offset(self) -> usize {
        self.0 as usize % BLOCK_BYTES
    }
}

/// A child of a branch: its first position and its address.
type Child = (u64, NodeAddress);

/// Writes a posting tree bottom-up, node by node, as nodes fill.
#[derive(Debug, Default)]
pub(super) struct PostingTreeWriter {
    leaf: Vec<u64>,
    /// Children without a parent so far, by level.
    levels: Vec<Vec<Child>>,
}

impl PostingTreeWriter {
    /// Adds the next posting. `put` stores a node and returns its address.
    pub(super) fn push<E>(
        &mut self,
        position: u64,
        put: &mut impl FnMut(&[u8]) -> Result<NodeAddress, E>,
    ) -> Result<(), E> {
        debug_assert!(self.leaf.last().is_none_or(|last| *last < position), "postings ascend");
        self.leaf.push(position);
        if self.leaf.len() as u64 == FANOUT { self.end_leaf(put) } else { Ok(()) }
    }

    /// Ends the tree and returns the address of the root. The writer can then be reused.
    pub(super) fn finish<E>(
        &mut self,
        put: &mut impl FnMut(&[u8]) -> Result<NodeAddress, E>,
    ) -> Result<NodeAddress, E> {
        self.end_leaf(put)?;
        // Close the open branch of each level, until one level has a single node: the root.
        let mut level = 0;
        loop {
            let top = level + 1 >= self.levels.len();
            match self.levels.get(level).expect("a tree has at least one posting").as_slice() {
                &[(_, root)] if top => {
                    self.levels.clear();
                    return Ok(root);
                }
                _ => self.end_branch(level, put)?,
            }
            level += 1;
        }
    }

    fn end_leaf<E>(
        &mut self,
        put: &mut impl FnMut(&[u8]) -> Result<NodeAddress, E>,
    ) -> Result<(), E> {
        let Some(first) = self.leaf.first().copied() else { return Ok(()) };
        let mut bytes = Vec::with_capacity(LEAF_BYTES_MAX);
        bytes.push((self.leaf.len() - 1) as u8);
        put_deltas(&mut bytes, &self.leaf, |bytes| bytes.extend_from_slice(&first.to_le_bytes()));
        let address = put(&bytes)?;
        self.leaf.clear();
        self.add(0, (first, address), put)
    }

    fn add<E>(
        &mut self,
        level: usize,
        child: Child,
        put: &mut impl FnMut(&[u8]) -> Result<NodeAddress, E>,
    ) -> Result<(), E> {
        if self.levels.len() == level {
            self.levels.push(Vec::new());
        }
        let children = self.levels.get_mut(level).expect("the level was pushed above");
        children.push(child);
        // A full level moves up immediately, so the writer holds at most one node per level.
        if children.len() as u64 == FANOUT { self.end_branch(level, put) } else { Ok(()) }
    }

    fn end_branch<E>(
        &mut self,
        level: usize,
        put: &mut impl FnMut(&[u8]) -> Result<NodeAddress, E>,
    ) -> Result<(), E> {
        let children = self.levels.get_mut(level).map(std::mem::take).unwrap_or_default();
        let Some((first, NodeAddress(base))) = children.first().copied() else { return Ok(()) };
        // Closures, because each column is traversed twice: for its width and to write it.
        let positions = || children.iter().map(|(position, _)| u128::from(position - first));
        let addresses = || children.iter().map(|(_, address)| u128::from(address.0 - base));
        // Both columns get the least width that fits all of their numbers.
        let wide = |numbers: &mut dyn Iterator<Item = u128>| numbers.max().map_or(0, width);
        let (position_width, address_width) = (wide(&mut positions()), wide(&mut addresses()));
        let mut bytes = Vec::with_capacity(BRANCH_BYTES_MAX);
        bytes.extend_from_slice(&[
            (children.len() - 1) as u8,
            position_width as u8,
            address_width as u8,
        ]);
        bytes.extend_from_slice(&first.to_le_bytes());
        bytes.extend(base.to_le_bytes().iter().take(ADDRESS_BYTES));
        put_column(&mut bytes, position_width, positions());
        put_column(&mut bytes, address_width, addresses());
        let address = put(&bytes)?;
        self.add(level + 1, (first, address), put)
    }
}

/// Appends ascending positions as bit-packed deltas less one: their width, the bytes that `between`
/// appends, and the deltas. Contiguous positions take no space for deltas.
pub(super) fn put_deltas(out: &mut Vec<u8>, positions: &[u64], between: impl FnOnce(&mut Vec<u8>)) {
    let steps = || {
        let pairs = positions.iter().zip(positions.iter().skip(1));
        pairs.map(|(one, next)| u128::from(next - one - 1))
    };
    let width = steps().max().map_or(0, width);
    out.push(width as u8);
    between(out);
    put_column(out, width, steps());
}

/// Appends `count` positions to `out`: `first`, and those that follow from the deltas.
pub(super) fn read_deltas(
    fields: &mut Fields<'_>,
    width: u8,
    first: u64,
    count: usize,
    out: &mut Vec<u64>,
) -> Result<(), Malformed> {
    let steps = BitColumn::take(fields, u32::from(width), count.saturating_sub(1))?;
    let mut position = first;
    out.push(position);
    for at in 1..count {
        // Deltas are stored less one. Overflow is possible only in damaged bytes.
        let step = steps.get(at - 1)?.checked_add(1);
        let next = step.and_then(|step| position.checked_add(step));
        position = next.ok_or(Malformed::Field("posting"))?;
        out.push(position);
    }
    Ok(())
}

/// A stored posting tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PostingTree {
    pub(super) count: u64,
    pub(super) root: NodeAddress,
}

impl PostingTree {
    /// Number of leaves.
    pub(super) fn leaves(self) -> u64 {
        self.count.div_ceil(FANOUT)
    }

    /// Reads a leaf by its number into `out`, replacing its contents.
    pub(super) fn leaf(
        self,
        blocks: &mut impl BlockSource,
        leaf: u64,
        out: &mut Vec<u64>,
    ) -> Result<(), RunError> {
        // The path to a leaf follows from its number, without comparing positions.
        let choose = |_: &BranchReader<'_>, first: u64, below: u64| Ok((leaf - first) / below);
        let (leaf, address) = self.descend(blocks, choose)?;
        self.read_leaf(blocks, leaf, address, out)
    }

    /// Reads the leaf that contains the last posting not after `position`, or the first leaf if
    /// there is none, into `out`. Returns the number of the leaf.
    pub(super) fn leaf_containing(
        self,
        blocks: &mut impl BlockSource,
        position: u64,
        out: &mut Vec<u64>,
    ) -> Result<u64, RunError> {
        let choose = |branch: &BranchReader<'_>, _, _| branch.child_for(position);
        let (leaf, address) = self.descend(blocks, choose)?;
        self.read_leaf(blocks, leaf, address, out)?;
        Ok(leaf)
    }

    /// Descends from the root to a leaf. `choose` selects the child; its arguments are the branch,
    /// the number of the first leaf below it, and the number of leaves below each child.
    fn descend(
        self,
        blocks: &mut impl BlockSource,
        choose: impl Fn(&BranchReader<'_>, u64, u64) -> Result<u64, Malformed>,
    ) -> Result<(u64, NodeAddress), RunError> {
        let leaves = self.leaves();
        // The smallest full tree that holds the list.
        let mut span = 1;
        while span < leaves {
            span *= FANOUT;
        }
        let (mut first, mut address) = (0, self.root);
        while span > 1 {
            let below = span / FANOUT;
            // Only the last branch of a level is not full.
            let children = span.min(leaves - first).div_ceil(below);
            let (number, offset) = (address.block(), address.offset());
            let (index, child) = blocks.decode(number, BlockKind::Postings, |body| {
                let branch = BranchReader::read(body, offset, children)?;
                let index = choose(&branch, first, below)?;
                Ok((index, branch.child(index)?))
            })?;
            first += index * below;
            address = child;
            span = below;
        }
        Ok((first, address))
    }

    fn read_leaf(
        self,
        blocks: &mut impl BlockSource,
        leaf: u64,
        address: NodeAddress,
        out: &mut Vec<u64>,
    ) -> Result<(), RunError> {
        out.clear();
        let expected = FANOUT.min(self.count - leaf * FANOUT);
        blocks.decode(address.block(), BlockKind::Postings, |body| {
            let mut fields = Fields(body.get(address.offset()..).ok_or(Malformed::Short)?);
            // The size of each node follows from the count; any other is damage.
            if u64::from(fields.u8()?) + 1 != expected {
                return Err(Malformed::Field("leaf"));
            }
            let (width, first) = (fields.u8()?, fields.u64()?);
            read_deltas(&mut fields, width, first, expected as usize, out)
        })
    }
}

/// A decoded branch.
struct BranchReader<'a> {
    first: u64,
    base: u64,
    positions: BitColumn<'a>,
    addresses: BitColumn<'a>,
}

impl<'a> BranchReader<'a> {
    fn read(body: &'a [u8], offset: usize, children: u64) -> Result<Self, Malformed> {
        let mut fields = Fields(body.get(offset..).ok_or(Malformed::Short)?);
        // As for a leaf, the size follows from the number of postings in the term's entry.
        if u64::from(fields.u8()?) + 1 != children {
            return Err(Malformed::Field("branch"));
        }
        let (position_width, address_width) = (fields.u8()?, fields.u8()?);
        let first = fields.u64()?;
        let [a, b, c, d, e, f] = fields.array::<ADDRESS_BYTES>()?;
        Ok(Self {
            first,
            base: u64::from_le_bytes([a, b, c, d, e, f, 0, 0]),
            positions: BitColumn::take(&mut fields, u32::from(position_width), children as usize)?,
            addresses: BitColumn::take(&mut fields, u32::from(address_width), children as usize)?,
        })
    }

    fn child(&self, index: u64) -> Result<NodeAddress, Malformed> {
        let ahead = self.addresses.get(index as usize)?;
        self.base.checked_add(ahead).map(NodeAddress).ok_or(Malformed::Field("address"))
    }

    /// Returns the last child that begins at or before a position, or else the first one.
    fn child_for(&self, position: u64) -> Result<u64, Malformed> {
        let Some(ahead) = position.checked_sub(self.first) else { return Ok(0) };
        // The first child begins at the branch's own first position.
        let begun = self.positions.count_not_above(u128::from(ahead))?;
        Ok(begun.saturating_sub(1) as u64)
    }
}
