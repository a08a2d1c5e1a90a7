//! Recorded events as messages, which two services send.
//!
//! Owns: [`Record`], in place of the types that the definitions would generate. Invariant: the
//! bytes are those of the definitions; a map is a list of pairs there. Not here: the translation
//! ([`wire`](crate::wire)).

use bytes::Bytes;

use super::shared::{StreamIdentifier, Uuid};

/// A recorded event. Reads send one message for each, so that it has few allocations.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Record {
    #[prost(message, optional, tag = "1")]
    pub(crate) id: Option<Uuid>,
    #[prost(message, optional, tag = "2")]
    pub(crate) stream_identifier: Option<StreamIdentifier>,
    #[prost(uint64, tag = "3")]
    pub(crate) stream_revision: u64,
    #[prost(uint64, tag = "4")]
    pub(crate) prepare_position: u64,
    #[prost(uint64, tag = "5")]
    pub(crate) commit_position: u64,
    #[prost(message, repeated, tag = "6")]
    pub(crate) metadata: Vec<Property>,
    #[prost(bytes = "bytes", tag = "7")]
    pub(crate) custom_metadata: Bytes,
    #[prost(bytes = "bytes", tag = "8")]
    pub(crate) data: Bytes,
}

/// One pair of the metadata.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Property {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) value: Bytes,
}
