//! Staged batches: all changes of a commit, stored before any of them is applied.
//!
//! Owns: the form of changes in the head ([`Pending`]), and the documents with the parts of batches
//! that are too large for it. Not here: the changes of a transaction ([`StagedRows`]), and the
//! moment at which a batch is decided (`head.rs`).
//!
//! Invariant: parts are stored before the head refers to them, and removed only once the head is at
//! their version or beyond it, when no head can refer to them any more.

use futures_util::TryStreamExt as _;
use gesta_store::{
    Checkpoint, ReadModelId,
    staged::{Area, StagedRows},
};
use mongodb::bson::{Bson, Document, doc};
use uuid::Uuid;

use super::{
    connection::Place,
    fields::{Fields as _, ID, checkpoint_document, damaged, number},
};
use crate::{client::within, errors::CallError, names};

/// Bytes of changes that the head takes.
const INLINE_BYTES_MAX: usize = 1 << 20;
/// Bytes of changes in a document of their own. A single value may be larger.
const PART_BYTES_MAX: usize = 8 << 20;

const VERSION: &str = "version";
const BY: &str = "by";
const PARTS: &str = "parts";
const CHANGES: &str = "changes";
const CHECKPOINT: &str = "checkpoint";
const AREA: &str = "area";
const KEY: &str = "key";
const JSON: &str = "json";
/// The read model of a part.
const OF: &str = "of";

/// A batch as the head has it.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) version: u64,
    /// A random id, which tells this batch from all others.
    pub(super) by: String,
    pub(super) checkpoint: Option<Checkpoint>,
    /// Number of documents with further changes.
    pub(super) parts: u64,
    changes: Vec<Document>,
}

impl Pending {
    /// Splits changes into what the head takes and parts. Either one of them is empty.
    pub(super) fn split(
        version: u64,
        changes: &StagedRows,
        checkpoint: Option<Checkpoint>,
    ) -> (Self, Vec<Vec<Document>>) {
        let mut parts: Vec<Vec<Document>> = Vec::new();
        let (mut all_bytes, mut part_bytes) = (0, PART_BYTES_MAX);
        for (area, key, json) in each(changes) {
            let bytes = area.len() + key.len() + json.map_or(0, str::len);
            all_bytes += bytes;
            part_bytes += bytes;
            if part_bytes > PART_BYTES_MAX {
                parts.push(Vec::new());
                part_bytes = bytes;
            }
            let change = doc! { AREA: area, KEY: key, JSON: json };
            parts.last_mut().expect("a part was begun").push(change);
        }
        let by = Uuid::new_v4().to_string();
        let mut pending = Self { version, by, checkpoint, parts: 0, changes: Vec::new() };
        if all_bytes <= INLINE_BYTES_MAX {
            pending.changes = parts.pop().unwrap_or_default();
            return (pending, Vec::new());
        }
        pending.parts = parts.len() as u64;
        (pending, parts)
    }

    pub(super) fn document(&self) -> Document {
        let changes = self.changes.iter().cloned().map(Bson::Document).collect::<Vec<_>>();
        let mut document = doc! {
            VERSION: number(self.version),
            BY: self.by.as_str(),
            PARTS: number(self.parts),
            CHANGES: changes,
        };
        if let Some(checkpoint) = self.checkpoint {
            document.insert(CHECKPOINT, checkpoint_document(checkpoint));
        }
        document
    }

    pub(super) fn parse(document: &Document) -> Result<Self, CallError> {
        let checkpoint = document.opt_document(CHECKPOINT)?;
        Ok(Self {
            version: document.number(VERSION)?,
            by: document.text(BY)?.to_owned(),
            checkpoint: checkpoint.map(Document::checkpoint).transpose()?,
            parts: document.number(PARTS)?,
            changes: changes_in(document)?,
        })
    }

    /// Returns all changes. `None` if parts are missing.
    pub(super) async fn load(&self, place: &Place) -> Result<Option<StagedRows>, CallError> {
        let mut changes = StagedRows::default();
        collect(&self.changes, &mut changes)?;
        let ids: Vec<String> = (0..self.parts).map(|nth| self.part_id(nth)).collect();
        if ids.is_empty() {
            return Ok(Some(changes));
        }
        let staged = place.documents(names::STAGED);
        let parts: Vec<Document> =
            within(async { staged.find(doc! { ID: { "$in": ids } }).await?.try_collect().await })
                .await?;
        for part in &parts {
            collect(&changes_in(part)?, &mut changes)?;
        }
        Ok((parts.len() as u64 == self.parts).then_some(changes))
    }

    fn part_id(&self, nth: u64) -> String {
        format!("{}/{nth}", self.by)
    }

    /// Stores the parts.
    pub(super) async fn stage(
        &self,
        place: &Place,
        id: &ReadModelId,
        parts: Vec<Vec<Document>>,
    ) -> Result<(), CallError> {
        for (nth, changes) in (0..).zip(parts) {
            let changes = changes.into_iter().map(Bson::Document).collect::<Vec<_>>();
            let part = doc! {
                ID: self.part_id(nth),
                OF: names::of_head(id),
                VERSION: number(self.version),
                CHANGES: changes,
            };
            within(place.documents(names::STAGED).insert_one(part)).await?;
        }
        Ok(())
    }
}

/// Removes parts of batches up to a version that the head has, those that were never decided too.
pub(super) async fn remove_parts(
    place: &Place,
    id: &ReadModelId,
    up_to: u64,
) -> Result<(), CallError> {
    let old = doc! { OF: names::of_head(id), VERSION: { "$lte": number(up_to) } };
    within(place.documents(names::STAGED).delete_many(old)).await.map(drop)
}

fn each(changes: &StagedRows) -> impl Iterator<Item = (String, &str, Option<&str>)> {
    changes.areas().flat_map(|(area, rows)| {
        let area = area.text();
        rows.iter().map(move |(key, json)| (area.clone(), key.as_str(), json.as_deref()))
    })
}

fn changes_in(document: &Document) -> Result<Vec<Document>, CallError> {
    let listed = document.get_array(CHANGES).map_err(|_| damaged(document, CHANGES))?;
    let change = |change: &Bson| change.as_document().cloned();
    let changes: Option<Vec<Document>> = listed.iter().map(change).collect();
    changes.ok_or_else(|| damaged(document, CHANGES))
}

fn collect(listed: &[Document], changes: &mut StagedRows) -> Result<(), CallError> {
    for change in listed {
        let area = Area::parse(change.text(AREA)?).ok_or_else(|| damaged(change, AREA))?;
        let json = change.opt_text(JSON)?.map(str::to_owned);
        changes.set(area, change.text(KEY)?, json);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_rows(rows: impl IntoIterator<Item = (String, Option<String>)>) -> StagedRows {
        let mut changes = StagedRows::default();
        for (key, json) in rows {
            changes.set(Area::Table("orders".to_owned()), &key, json);
        }
        changes
    }

    #[test]
    fn a_small_batch_is_stored_in_the_head_and_read_from_it() {
        let rows = [("1".to_owned(), Some("{}".to_owned())), ("2".to_owned(), None)];
        let changes = of_rows(rows);
        let (pending, parts) = Pending::split(7, &changes, None);
        assert!(parts.is_empty());
        let read = Pending::parse(&pending.document()).unwrap();
        let mut found = StagedRows::default();
        collect(&read.changes, &mut found).unwrap();
        assert_eq!((read.version, read.by, read.parts), (7, pending.by, 0));
        assert_eq!(found, changes);
    }

    #[test]
    fn a_large_batch_has_parts_that_fit_into_documents() {
        let rows = (0..12).map(|nth: u32| (nth.to_string(), Some("x".repeat(3 << 20))));
        let changes = of_rows(rows);
        let (pending, parts) = Pending::split(7, &changes, None);
        assert!(pending.changes.is_empty());
        assert_eq!((pending.parts, parts.len()), (6, 6));
        let mut found = StagedRows::default();
        for part in &parts {
            assert!(part.len() <= 2);
            collect(part, &mut found).unwrap();
        }
        assert_eq!(found, changes);
    }
}
