//! Items: attributes by name, and their typed access.
//!
//! Every table has the same key: the texts `pk` and `sk`. Not here: what the attributes mean.

use std::collections::HashMap;

use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};
use bytes::Bytes;
use gesta_store::{Checkpoint, Incarnation, Position};

use crate::errors::CallError;
pub(crate) use crate::errors::Item;

/// Names of the key's attributes.
pub(crate) const PK: &str = "pk";
pub(crate) const SK: &str = "sk";
/// The sort key of an item that is alone in its partition.
pub(crate) const ALONE: &str = "-";

pub(crate) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

pub(crate) fn number(value: u64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

pub(crate) fn binary(value: impl Into<Vec<u8>>) -> AttributeValue {
    AttributeValue::B(Blob::new(value))
}

/// A number as a sort key: of one width, so that texts are in the order of numbers.
pub(crate) fn sorted(value: u64) -> String {
    format!("{value:020}")
}

/// The key of an item.
pub(crate) fn key(pk: &str, sk: &str) -> Item {
    HashMap::from([(PK.to_owned(), text(pk)), (SK.to_owned(), text(sk))])
}

/// Typed access to attributes. An attribute of another type is damage.
pub(crate) trait Attributes {
    fn opt_text(&self, name: &str) -> Result<Option<&str>, CallError>;
    fn opt_number(&self, name: &str) -> Result<Option<u64>, CallError>;
    fn text(&self, name: &str) -> Result<&str, CallError>;
    fn number(&self, name: &str) -> Result<u64, CallError>;
    fn bytes(&self, name: &str) -> Result<Bytes, CallError>;
}

impl Attributes for Item {
    fn opt_text(&self, name: &str) -> Result<Option<&str>, CallError> {
        match self.get(name) {
            None | Some(AttributeValue::Null(_)) => Ok(None),
            Some(AttributeValue::S(value)) => Ok(Some(value)),
            Some(_) => Err(damaged(self, name)),
        }
    }

    fn opt_number(&self, name: &str) -> Result<Option<u64>, CallError> {
        match self.get(name) {
            None => Ok(None),
            Some(AttributeValue::N(value)) => {
                value.parse().map(Some).map_err(|_| damaged(self, name))
            }
            Some(_) => Err(damaged(self, name)),
        }
    }

    fn text(&self, name: &str) -> Result<&str, CallError> {
        self.opt_text(name)?.ok_or_else(|| damaged(self, name))
    }

    fn number(&self, name: &str) -> Result<u64, CallError> {
        self.opt_number(name)?.ok_or_else(|| damaged(self, name))
    }

    fn bytes(&self, name: &str) -> Result<Bytes, CallError> {
        match self.get(name) {
            Some(AttributeValue::B(value)) => Ok(Bytes::copy_from_slice(value.as_ref())),
            _ => Err(damaged(self, name)),
        }
    }
}

/// The error of an attribute that is missing or of another type.
pub(crate) fn damaged(item: &Item, name: &str) -> CallError {
    let part = |name: &str| match item.get(name) {
        Some(AttributeValue::S(value)) => value.clone(),
        _ => "?".to_owned(),
    };
    CallError::Damaged(format!("item {} {}: attribute {name}", part(PK), part(SK)))
}

/// A checkpoint as a text: `POSITION@INCARNATION`.
pub(crate) fn checkpoint_text(checkpoint: Checkpoint) -> String {
    format!("{}@{}", checkpoint.position, checkpoint.incarnation.as_uuid())
}

pub(crate) fn parse_checkpoint(text: &str) -> Option<Checkpoint> {
    let (position, incarnation) = text.split_once('@')?;
    Some(Checkpoint {
        position: Position::new(position.parse().ok()?),
        incarnation: Incarnation::new(incarnation.parse().ok()?),
    })
}
