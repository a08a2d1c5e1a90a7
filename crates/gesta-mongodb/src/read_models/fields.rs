//! Fields of stored documents, with an error that names the document if one is not as written.

use gesta_store::{Checkpoint, Incarnation, Position};
use mongodb::bson::{Bson, Document, doc};

use crate::errors::CallError;

pub(super) const ID: &str = "_id";
const POSITION: &str = "position";
const INCARNATION: &str = "incarnation";

/// Returns a number as BSON, which has no unsigned ones. Larger numbers do not occur: they count
/// events and commits.
pub(super) fn number(value: u64) -> Bson {
    Bson::Int64(i64::try_from(value).unwrap_or(i64::MAX))
}

/// Returns the error for a document whose field is not what this crate writes.
pub(super) fn damaged(document: &Document, field: &str) -> CallError {
    let id = document.get(ID).map_or_else(|| "none".to_owned(), ToString::to_string);
    CallError::Damaged(format!("the document with _id {id} has no usable field `{field}`"))
}

/// Typed access to the fields of a document.
pub(super) trait Fields {
    fn number(&self, field: &str) -> Result<u64, CallError>;
    fn text(&self, field: &str) -> Result<&str, CallError>;
    fn opt_text(&self, field: &str) -> Result<Option<&str>, CallError>;
    fn opt_document(&self, field: &str) -> Result<Option<&Document>, CallError>;
    fn checkpoint(&self) -> Result<Checkpoint, CallError>;
}

impl Fields for Document {
    fn number(&self, field: &str) -> Result<u64, CallError> {
        let value = match self.get(field) {
            Some(Bson::Int64(value)) => *value,
            Some(Bson::Int32(value)) => i64::from(*value),
            _ => return Err(damaged(self, field)),
        };
        u64::try_from(value).map_err(|_| damaged(self, field))
    }

    fn text(&self, field: &str) -> Result<&str, CallError> {
        self.opt_text(field)?.ok_or_else(|| damaged(self, field))
    }

    fn opt_text(&self, field: &str) -> Result<Option<&str>, CallError> {
        match self.get(field) {
            None | Some(Bson::Null) => Ok(None),
            Some(Bson::String(text)) => Ok(Some(text)),
            Some(_) => Err(damaged(self, field)),
        }
    }

    fn opt_document(&self, field: &str) -> Result<Option<&Document>, CallError> {
        match self.get(field) {
            None => Ok(None),
            Some(Bson::Document(document)) => Ok(Some(document)),
            Some(_) => Err(damaged(self, field)),
        }
    }

    fn checkpoint(&self) -> Result<Checkpoint, CallError> {
        let id = self.text(INCARNATION)?.parse().map_err(|_| damaged(self, INCARNATION))?;
        let position = Position::new(self.number(POSITION)?);
        Ok(Checkpoint { position, incarnation: Incarnation::new(id) })
    }
}

/// A checkpoint as a document.
pub(super) fn checkpoint_document(checkpoint: Checkpoint) -> Document {
    doc! {
        POSITION: number(checkpoint.position.number()),
        INCARNATION: checkpoint.incarnation.as_uuid().to_string(),
    }
}
