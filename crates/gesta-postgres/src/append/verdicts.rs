//! The answer of the server to a batch: a verdict for each append.

use gesta_store::{
    Append, Appended, Conflict, ExpectedRevision, Invalid, Position, Revision, StoreError,
    StreamName,
};
use tokio_postgres::Row;

use super::queue::QueuedAppend;
use crate::{number::from_sql, read::cell};

/// Verdicts of the function `append`.
const RECORDED: i32 = 0;
const EXPECTATION_FAILED: i32 = 1;
const TOMBSTONED: i32 = 2;
const CONDITION_MET: i32 = 3;
const BEYOND_HEAD: i32 = 4;
const SEEN: i32 = 5;

/// The verdicts of one batch.
#[derive(Debug)]
pub(super) struct Verdicts {
    verdicts: Vec<i32>,
    details: Vec<i64>,
    /// Index of the part that failed, from 1.
    failed_parts: Vec<i32>,
    /// New or conflicting head of each part; -1 for none.
    part_heads: Vec<i64>,
    /// Last position of the store after the batch.
    pub(super) head: u64,
}

impl Verdicts {
    pub(super) fn read(row: &Row) -> Result<Self, StoreError> {
        let head: i64 = cell(row, 4)?;
        Ok(Self {
            verdicts: cell(row, 0)?,
            details: cell(row, 1)?,
            failed_parts: cell(row, 2)?,
            part_heads: cell(row, 3)?,
            head: from_sql(head),
        })
    }

    /// Reads the answer of the function `append_alone`.
    pub(super) fn of_one(row: &Row) -> Result<Self, StoreError> {
        let (detail, part_head): (Option<i64>, Option<i64>) = (cell(row, 1)?, cell(row, 2)?);
        let head: i64 = cell(row, 3)?;
        Ok(Self {
            verdicts: vec![cell(row, 0)?],
            details: vec![detail.unwrap_or(0)],
            failed_parts: vec![1],
            part_heads: vec![part_head.unwrap_or(-1)],
            head: from_sql(head),
        })
    }

    /// Returns `true` if an append was recorded.
    pub(super) fn has_recorded(&self) -> bool {
        self.verdicts.contains(&RECORDED)
    }

    /// Returns the number of events that were recorded, of these appends.
    pub(super) fn recorded_events(&self, appends: &[QueuedAppend]) -> u64 {
        let recorded = appends.iter().zip(&self.verdicts).filter(|(_, it)| **it == RECORDED);
        recorded.map(|(queued, _)| queued.append.events().count() as u64).sum()
    }

    /// Returns the position of an earlier append with the same first event id.
    pub(super) fn seen(&self, nth: usize) -> Option<i64> {
        self.verdicts.get(nth).filter(|verdict| **verdict == SEEN)?;
        self.details.get(nth).copied()
    }

    /// Returns the outcome of the n-th append, whose first part has the index `part`.
    pub(super) fn outcome(
        &self,
        nth: usize,
        part: usize,
        append: &Append,
    ) -> Result<Appended, StoreError> {
        let detail = self.details.get(nth).map_or(0, |detail| from_sql(*detail));
        match self.verdicts.get(nth).copied() {
            Some(RECORDED) => {
                Ok(Appended::new(Position::new(detail), self.revisions(part, append)))
            }
            Some(EXPECTATION_FAILED) => Err(self.conflict(nth, part, append)?.into()),
            Some(TOMBSTONED) => {
                let (name, _, _) = self.failed(nth, part, append)?;
                let stream = name.described_stream().unwrap_or(name);
                Err(StoreError::Deleted { stream })
            }
            Some(CONDITION_MET) => {
                Err(Conflict::Condition { matching: Position::new(detail) }.into())
            }
            Some(BEYOND_HEAD) => {
                let after = append.condition.as_ref().map(|condition| condition.after);
                let position = after.unwrap_or(Position::START);
                Err(Invalid::BeyondHead { position, head: Position::new(detail) }.into())
            }
            _ => Err(StoreError::unavailable("the server returned no known verdict")),
        }
    }

    fn revisions(&self, part: usize, append: &Append) -> Vec<(StreamName, Revision)> {
        let heads = self.part_heads.iter().skip(part);
        let parts = append.streams.iter().zip(heads).filter(|(part, _)| !part.events.is_empty());
        parts.map(|(part, head)| (part.stream.clone(), Revision::new(from_sql(*head)))).collect()
    }

    fn conflict(&self, nth: usize, part: usize, append: &Append) -> Result<Conflict, StoreError> {
        let (stream, expected, head) = self.failed(nth, part, append)?;
        Ok(Conflict::Stream { stream, expected, head })
    }

    /// Returns the part that failed: its stream, its expectation, and the head that it met.
    fn failed(
        &self,
        nth: usize,
        part: usize,
        append: &Append,
    ) -> Result<(StreamName, ExpectedRevision, Option<Revision>), StoreError> {
        let unread = || StoreError::unavailable("the server named no part of the append");
        let index = self.failed_parts.get(nth).and_then(|index| usize::try_from(*index - 1).ok());
        let index = index.ok_or_else(unread)?;
        let failed = index.checked_sub(part).and_then(|index| append.streams.get(index));
        let failed = failed.ok_or_else(unread)?;
        let head = self.part_heads.get(index).filter(|head| **head >= 0);
        let head = head.map(|head| Revision::new(from_sql(*head)));
        Ok((failed.stream.clone(), failed.expected, head))
    }
}
