//! Offset blocks: record offsets by position, for one segment each.
//!
//! The positions of a block are contiguous. A block also holds the offset of the position after its
//! last one, so that one block answers each lookup. A scavenged position has the offset of the next
//! record, as in [`offset_list`](super::super::offset_list). The block of a position is found in
//! the [`Directory`](super::layout::Directory).

use super::super::offset_list::NO_RECORD;
use super::{
    bit_packing::{BitColumn, column_bytes, put_column, width},
    block::BODY_BYTES,
};
use crate::format::{Fields, Malformed};
use gesta_store::Direction;

/// Number of offsets that share a base, a step and a bit width.
pub(super) const GROUP: usize = 64;
const HEADER_BYTES: usize = 14;

/// The offset of a record and of the next one in the segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordOffsets {
    pub(super) offset: u32,
    pub(super) next: Option<u32>,
}

impl RecordOffsets {
    /// Interprets a position's offset and its successor's. `None` if the event was scavenged.
    fn between(own: u32, next: u32) -> Option<Self> {
        // Two positions with equal offsets: the first one has no record of its own.
        let gone = own == NO_RECORD || own == next;
        let next = Some(next).filter(|next| *next != NO_RECORD);
        (!gone).then_some(Self { offset: own, next })
    }
}

/// Encodes the ascending offsets of a segment's records, starting at position `first`. Calls `emit`
/// with the first position and the body of each block.
pub(super) fn encode<E>(
    mut first: u64,
    mut offsets: &[u32],
    mut emit: impl FnMut(u64, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    while !offsets.is_empty() {
        let mut starts = Vec::new();
        let mut groups = Vec::new();
        let mut count = 0;
        for group in offsets.chunks(GROUP) {
            let start = groups.len();
            put_group(&mut groups, group);
            // The group does not fit: it begins the next block.
            if HEADER_BYTES + 2 * (starts.len() + 1) + groups.len() > BODY_BYTES {
                groups.truncate(start);
                break;
            }
            starts.push(start as u16);
            count += group.len();
        }
        // The first offset of the next block is this block's `after_last`.
        let (_, rest) = offsets.split_at(count);
        let mut body = Vec::with_capacity(BODY_BYTES);
        body.extend_from_slice(&(count as u16).to_le_bytes());
        body.extend_from_slice(&rest.first().copied().unwrap_or(NO_RECORD).to_le_bytes());
        body.extend_from_slice(&first.to_le_bytes());
        starts.iter().for_each(|start| body.extend_from_slice(&start.to_le_bytes()));
        body.extend_from_slice(&groups);
        emit(first, &body)?;
        // Any group fits in an empty block, so each round takes at least one.
        first += count as u64;
        offsets = rest;
    }
    Ok(())
}

/// Appends a group: base, smallest step, bit width, and each offset's distance from `base + step *
/// index`.
fn put_group(out: &mut Vec<u8>, offsets: &[u32]) {
    // Records of similar size have nearly linear offsets, so the distances need few bits.
    let base = offsets.first().copied().unwrap_or(0);
    let steps = offsets.iter().zip(offsets.iter().skip(1));
    let step = steps
        .map(|(one, next)| next.checked_sub(*one).expect("offsets ascend with positions"))
        .min()
        .unwrap_or(0);
    let ahead = |(at, offset): (usize, &u32)| u128::from(offset - base - step * at as u32);
    let width = offsets.iter().enumerate().map(ahead).max().map_or(0, width);
    out.extend_from_slice(&base.to_le_bytes());
    out.extend_from_slice(&step.to_le_bytes());
    out.push(width as u8);
    put_column(out, width, offsets.iter().enumerate().map(ahead));
}

/// Looks up a position in the body of its block. `None` if the event was scavenged.
pub(super) fn find(body: &[u8], position: u64) -> Result<Option<RecordOffsets>, Malformed> {
    let block = OffsetBlock::read(body)?;
    let at = position.checked_sub(block.first).filter(|at| *at < block.count as u64);
    block.offsets(at.ok_or(Malformed::Field("position"))? as usize)
}

/// The offsets of one group, decoded at once.
#[derive(Debug, Default)]
pub(super) struct OffsetGroup {
    first: u64,
    /// The offsets of the group's positions, and of the position after it.
    offsets: Vec<u32>,
}

impl OffsetGroup {
    /// Returns the same as [`find`], or `None` if the position is not in the group.
    pub(super) fn get(&self, position: u64) -> Option<Option<RecordOffsets>> {
        let at = usize::try_from(position.checked_sub(self.first)?).ok()?;
        Some(RecordOffsets::between(*self.offsets.get(at)?, *self.offsets.get(at + 1)?))
    }

    /// Decodes the group of a position, and returns the same as [`find`].
    pub(super) fn fill(
        &mut self,
        body: &[u8],
        position: u64,
    ) -> Result<Option<RecordOffsets>, Malformed> {
        let block = OffsetBlock::read(body)?;
        let at = position.checked_sub(block.first).filter(|at| *at < block.count as u64);
        let first = at.ok_or(Malformed::Field("position"))? as usize / GROUP * GROUP;
        let after = (first + GROUP).min(block.count);
        self.offsets.clear();
        self.first = block.first + first as u64;
        // One header read for the whole group.
        let (base, step, column) = block.group(first)?;
        for at in 0..after - first {
            self.offsets.push(offset_of(base, step, at, &column)?);
        }
        self.offsets.push(match after < block.count {
            true => block.offset(after)?,
            false => block.after_last,
        });
        self.get(position).ok_or(Malformed::Field("position"))
    }
}

/// Returns the nearest position at or after `at` in `direction` that has a record in this block.
pub(super) fn nearest(
    body: &[u8],
    at: u64,
    direction: Direction,
) -> Result<Option<u64>, Malformed> {
    let block = OffsetBlock::read(body)?;
    let Some(last) = block.count.checked_sub(1) else { return Ok(None) };
    let mut at = match direction {
        Direction::Forwards => at.saturating_sub(block.first),
        Direction::Backwards => match at.checked_sub(block.first) {
            Some(at) => at.min(last as u64),
            None => return Ok(None),
        },
    } as usize;
    while at <= last {
        if block.offsets(at)?.is_some() {
            return Ok(Some(block.first + at as u64));
        }
        at = match (direction, at.checked_sub(1)) {
            (Direction::Forwards, _) => at + 1,
            (Direction::Backwards, Some(before)) => before,
            (Direction::Backwards, None) => return Ok(None),
        };
    }
    Ok(None)
}

/// An offset block being read.
struct OffsetBlock<'a> {
    first: u64,
    count: usize,
    after_last: u32,
    starts: &'a [u8],
    groups: &'a [u8],
}

impl<'a> OffsetBlock<'a> {
    fn read(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields = Fields(body);
        let count = usize::from(fields.u16()?);
        let (after_last, first) = (fields.u32()?, fields.u64()?);
        let starts = fields.take(2 * count.div_ceil(GROUP))?;
        Ok(Self { first, count, after_last, starts, groups: fields.0 })
    }

    fn offsets(&self, at: usize) -> Result<Option<RecordOffsets>, Malformed> {
        let own = self.offset(at)?;
        let next = if at + 1 < self.count { self.offset(at + 1)? } else { self.after_last };
        Ok(RecordOffsets::between(own, next))
    }

    fn offset(&self, at: usize) -> Result<u32, Malformed> {
        let (base, step, column) = self.group(at)?;
        offset_of(base, step, at % GROUP, &column)
    }

    /// Returns base, step and deltas of the group that contains index `at`.
    fn group(&self, at: usize) -> Result<(u32, u32, BitColumn<'a>), Malformed> {
        let group = at / GROUP;
        // Groups have different sizes, so their starts are stored.
        let start = self.starts.get(2 * group..).ok_or(Malformed::Short)?;
        let start = usize::from(Fields(start).u16()?);
        let mut fields = Fields(self.groups.get(start..).ok_or(Malformed::Short)?);
        let (base, step, width) = (fields.u32()?, fields.u32()?, fields.u8()?);
        let numbers = GROUP.min(self.count - group * GROUP);
        Ok((base, step, BitColumn::take(&mut fields, u32::from(width), numbers)?))
    }
}

/// Returns the offset at an index within a group.
fn offset_of(base: u32, step: u32, at: usize, column: &BitColumn<'_>) -> Result<u32, Malformed> {
    let offset = u64::from(base) + u64::from(step) * at as u64;
    offset
        .checked_add(column.get(at)?)
        .and_then(|offset| u32::try_from(offset).ok())
        .ok_or(Malformed::Field("offset"))
}

const _: () = assert!(
    HEADER_BYTES + 2 + 9 + column_bytes(32, GROUP) <= BODY_BYTES,
    "any group of offsets fits in a block"
);
