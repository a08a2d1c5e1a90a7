//! Endpoints about streams as a whole: names, categories, metadata, deletion.
//!
//! Invariant: names are listed for readers of the stream `$streams`; a change of a list of rights
//! is recorded in the audit stream.

use axum::response::Response;
use gesta_store::{
    Appended, Category, DeleteStream, ListCategories, ListStreams, SetStreamMetadata,
    StreamMetadata, StreamName, StreamState, TombstoneStream,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};

use super::{
    append_body::ExpectedBody,
    native_call::{NativeCall, json_answer},
    parameters::{AFTER_NAME, EXPECTED, PREFIX, TOMBSTONE},
    problem::{Problem, ProblemCode},
    rights::{check_names, check_right},
};
use crate::access::Right;

/// Maximum size of the body that sets metadata.
pub(super) const METADATA_BODY_BYTES_MAX: usize = 1 << 20;

/// A page of names.
#[derive(Debug, Serialize)]
struct NamePage<'a> {
    names: Vec<&'a str>,
    next: Option<&'a str>,
}

/// Makes a page of at most `limit` names from one name more.
fn name_page<'a>(names: impl Iterator<Item = &'a str>, limit: usize) -> NamePage<'a> {
    let mut names: Vec<_> = names.collect();
    let is_cut = names.len() > limit;
    names.truncate(limit);
    let next = names.last().copied().filter(|_| is_cut);
    NamePage { names, next }
}

pub(super) async fn list_streams(call: NativeCall) -> Result<Response, Problem> {
    let arguments = &call.arguments;
    let limit = usize::try_from(arguments.limit()?).unwrap_or(usize::MAX);
    let after = arguments.text(&AFTER_NAME).map(StreamName::stored).transpose();
    let after = after.map_err(|invalid| Problem::invalid_name(AFTER_NAME.name, &invalid))?;
    check_names(&call.node, &call.caller).await?;
    let prefix = arguments.text(&PREFIX).unwrap_or_default();
    let list = ListStreams::all().prefix(prefix).after(after).limit(limit.saturating_add(1));
    let names = call.node.store().list_streams(list).await;
    let names = names.map_err(|error| Problem::of_read(&error))?;
    json_answer(&name_page(names.iter().map(StreamName::as_str), limit))
}

pub(super) async fn list_categories(call: NativeCall) -> Result<Response, Problem> {
    let arguments = &call.arguments;
    let limit = usize::try_from(arguments.limit()?).unwrap_or(usize::MAX);
    let after = arguments.text(&AFTER_NAME).map(Category::new).transpose();
    let after = after.map_err(|invalid| Problem::invalid_name(AFTER_NAME.name, &invalid))?;
    check_names(&call.node, &call.caller).await?;
    let list = ListCategories::all().after(after).limit(limit.saturating_add(1));
    let names = call.node.store().list_categories(list).await;
    let names = names.map_err(|error| Problem::of_read(&error))?;
    json_answer(&name_page(names.iter().map(Category::as_str), limit))
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Described<'a> {
    stream: &'a str,
    state: &'static str,
    metadata: Box<RawValue>,
    metadata_revision: Option<u64>,
}

pub(super) async fn describe(call: NativeCall) -> Result<Response, Problem> {
    let stream = call.arguments.stream()?;
    check_right(&call.node, &call.caller, &stream, Right::ReadMetadata).await?;
    let described = call.node.store().describe_stream(&stream).await;
    let described = described.map_err(|error| Problem::of_read(&error))?;
    let metadata = String::from_utf8(described.metadata.to_json()).ok();
    let metadata = metadata.and_then(|json| RawValue::from_string(json).ok());
    let state = match described.state {
        StreamState::Missing => "missing",
        StreamState::Live => "live",
        StreamState::Deleted => "deleted",
        StreamState::Tombstoned => "tombstoned",
    };
    json_answer(&Described {
        stream: stream.as_str(),
        state,
        metadata: metadata.expect("metadata have a form in JSON"),
        metadata_revision: described.metadata_revision.map(|revision| revision.number()),
    })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MetadataBody<'b> {
    #[serde(borrow)]
    metadata: &'b RawValue,
    #[serde(default)]
    expected: ExpectedBody,
}

pub(super) async fn set_metadata(call: NativeCall) -> Result<Response, Problem> {
    let stream = call.arguments.stream()?;
    let MetadataBody { metadata, expected } = call.json()?;
    let metadata = StreamMetadata::from_json(metadata.get().as_bytes());
    let metadata =
        metadata.map_err(|error| Problem::of_append(&error).with("field", "metadata"))?;
    check_right(&call.node, &call.caller, &stream, Right::SetMetadata).await?;
    let changes_rights = metadata.acl.is_some();
    let change = SetStreamMetadata::new(stream.clone(), expected.0, metadata);
    let changed = call.node.store().set_stream_metadata(change).await;
    let changed = changed.map_err(|error| Problem::of_append(&error))?;
    if changes_rights && let Ok(metadata_stream) = stream.metadata_stream() {
        call.node.access().record_change_of_rights(&call.caller, &metadata_stream).await;
    }
    json_answer(&changed_at(&changed))
}

pub(super) async fn delete(call: NativeCall) -> Result<Response, Problem> {
    let arguments = &call.arguments;
    let stream = arguments.stream()?;
    let expected = ExpectedBody::of_parameter(EXPECTED.name, arguments.text(&EXPECTED))?.0;
    let is_tombstone = arguments.is_set(&TOMBSTONE)?;
    check_right(&call.node, &call.caller, &stream, Right::Delete).await?;
    let store = call.node.store();
    let changed = if is_tombstone {
        store.tombstone_stream(TombstoneStream::new(stream, expected)).await
    } else {
        let described = store.describe_stream(&stream).await;
        let described = described.map_err(|error| Problem::of_read(&error))?;
        // The contract has nothing to do then, and a mistyped name would pass for a deletion.
        if described.state == StreamState::Missing {
            let detail = format!("the stream `{stream}` has no events");
            return Err(Problem::new(ProblemCode::StreamNotFound, detail));
        }
        store.delete_stream(DeleteStream::new(stream, expected)).await
    };
    let changed = changed.map_err(|error| Problem::of_append(&error))?;
    json_answer(&changed_at(&changed))
}

fn changed_at(changed: &Appended) -> Value {
    json!({ "position": changed.position.number() })
}
