//! From a position to its record's offset: blocks of offsets, each of one segment.
//!
//! Always holds: the positions of a block follow each other and are all of one segment; the block
//! also knows the offset of the position after its last one, so one block answers for each position.
//! A position that was scavenged has the offset of the next record, as in
//! [`places`](super::super::offset_list).
//! Not here: which block a position is in ([`Directory`](super::layout::Directory)).

use super::super::offset_list::NO_RECORD;
use super::{
    bit_packing::{BitColumn, column_bytes, put_column, width},
    block::BODY_BYTES,
};
use crate::format::{Fields, Malformed};
use gesta_store::Direction;

/// RecordOffsets that share a base, a step and a width.
pub(super) const GROUP: usize = 64;
const HEADER_BYTES: usize = 14;

/// Where a record begins in its segment, and where the one after it does, if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordOffsets {
    pub(super) offset: u32,
    pub(super) next: Option<u32>,
}

impl RecordOffsets {
    /// What a position's offset and the next one's say; none if it was scavenged.
    fn between(own: u32, next: u32) -> Option<Self> {
        let gone = own == NO_RECORD || own == next;
        let next = Some(next).filter(|next| *next != NO_RECORD);
        (!gone).then_some(Self { offset: own, next })
    }
}

/// Puts the ascending offsets of a segment's records, from the position `first` on, into blocks;
/// gives each one's first position and body to `emit`.
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
            if HEADER_BYTES + 2 * (starts.len() + 1) + groups.len() > BODY_BYTES {
                groups.truncate(start);
                break;
            }
            starts.push(start as u16);
            count += group.len();
        }
        let (_, rest) = offsets.split_at(count);
        let mut body = Vec::with_capacity(BODY_BYTES);
        body.extend_from_slice(&(count as u16).to_le_bytes());
        body.extend_from_slice(&rest.first().copied().unwrap_or(NO_RECORD).to_le_bytes());
        body.extend_from_slice(&first.to_le_bytes());
        starts.iter().for_each(|start| body.extend_from_slice(&start.to_le_bytes()));
        body.extend_from_slice(&groups);
        emit(first, &body)?;
        first += count as u64;
        offsets = rest;
    }
    Ok(())
}

/// Base, smallest step, width, and how far each offset is from where that step alone would lead.
fn put_group(out: &mut Vec<u8>, offsets: &[u32]) {
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

/// Reads the offsets of one position from the body of its block; none if it was scavenged.
pub(super) fn find(body: &[u8], position: u64) -> Result<Option<RecordOffsets>, Malformed> {
    let block = OffsetBlock::read(body)?;
    let at = position.checked_sub(block.first).filter(|at| *at < block.count as u64);
    block.offsets(at.ok_or(Malformed::Field("position"))? as usize)
}

/// RecordOffsets of some positions that follow each other, taken from their block at once.
#[derive(Debug, Default)]
pub(super) struct OffsetGroup {
    first: u64,
    /// Of the group's positions and of the one after.
    offsets: Vec<u32>,
}

impl OffsetGroup {
    /// The offsets of a position, as [`find`] says them; none if it is not of the group.
    pub(super) fn get(&self, position: u64) -> Option<Option<RecordOffsets>> {
        let at = usize::try_from(position.checked_sub(self.first)?).ok()?;
        Some(RecordOffsets::between(*self.offsets.get(at)?, *self.offsets.get(at + 1)?))
    }

    /// Takes the group that a position is in from the body of its block; says what [`find`] would.
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

/// The nearest position from `at` on, of this block, that has a record.
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

/// A block, to be read.
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

    /// Base, step and column of the group that has this one.
    fn group(&self, at: usize) -> Result<(u32, u32, BitColumn<'a>), Malformed> {
        let group = at / GROUP;
        let start = self.starts.get(2 * group..).ok_or(Malformed::Short)?;
        let start = usize::from(Fields(start).u16()?);
        let mut fields = Fields(self.groups.get(start..).ok_or(Malformed::Short)?);
        let (base, step, width) = (fields.u32()?, fields.u32()?, fields.u8()?);
        let numbers = GROUP.min(self.count - group * GROUP);
        Ok((base, step, BitColumn::take(&mut fields, u32::from(width), numbers)?))
    }
}

/// The offset of the one at this place in its group.
fn offset_of(base: u32, step: u32, at: usize, column: &BitColumn<'_>) -> Result<u32, Malformed> {
    let offset = u64::from(base) + u64::from(step) * at as u64;
    offset
        .checked_add(column.get(at)?)
        .and_then(|offset| u32::try_from(offset).ok())
        .ok_or(Malformed::Field("offset"))
}

const _: () = assert!(
    HEADER_BYTES + 2 + 9 + column_bytes(32, GROUP) <= BODY_BYTES,
    "a group of any offsets fits a block"
);
