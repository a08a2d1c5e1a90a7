//! Names of streams, which the protocol has as bytes, and its second version as text.

use gesta_store::StreamName;
use tonic::Status;

use super::{errors::status, refused};
use crate::proto::shared;

/// Reads the name of a stream that may be stored already, under any rule.
pub(crate) fn name_to_read(
    identifier: Option<&shared::StreamIdentifier>,
) -> Result<StreamName, Status> {
    text_to_read(text(identifier)?)
}

/// Reads the name of a stream that gets events.
pub(crate) fn name_to_write(
    identifier: Option<&shared::StreamIdentifier>,
) -> Result<StreamName, Status> {
    text_to_write(text(identifier)?)
}

/// Reads the name of a stream that may be stored already, under any rule.
pub(crate) fn text_to_read(name: &str) -> Result<StreamName, Status> {
    StreamName::stored(name).map_err(|invalid| status(&invalid.into()))
}

/// Reads the name of a stream that gets events.
pub(crate) fn text_to_write(name: &str) -> Result<StreamName, Status> {
    StreamName::new(name).map_err(|invalid| status(&invalid.into()))
}

pub(crate) fn identifier(stream: &StreamName) -> shared::StreamIdentifier {
    shared::StreamIdentifier { stream_name: stream.as_str().as_bytes().to_vec().into() }
}

fn text(identifier: Option<&shared::StreamIdentifier>) -> Result<&str, Status> {
    let identifier = identifier.ok_or_else(|| refused("the name of the stream is missing"))?;
    std::str::from_utf8(&identifier.stream_name)
        .map_err(|_| refused("the name of a stream must be UTF-8"))
}
