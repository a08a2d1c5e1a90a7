//! Endpoints about streams as a whole: names, categories, metadata, deletion.
//!
//! Invariant: names are listed for readers of the stream `$streams`, those of streams of the system
//! for those who may read them; a change of a list of rights is recorded in the audit stream.

use axum::response::Response;
use futures_util::future::try_join_all;
use gesta_store::{
    Appended, Category, DeleteStream, EventStore, ListCategories, ListStreams, SetStreamMetadata,
    StoreError, StreamMetadata, StreamName, StreamState, TombstoneStream,
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
use crate::{access::Right, streams::is_of_index};

/// Maximum size of the body that sets metadata.
pub(super) const METADATA_BODY_BYTES_MAX: usize = 1 << 20;

/// Names that are looked at together where some of them may be left out.
const NAMES_PER_LOOK: usize = 1_000;

/// Categories that are looked at together.
const LOOKS_AT_ONCE: usize = 16;

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
    let list = ListStreams::all().prefix(prefix).after(after);
    let names = seen_names(&call, list, limit.saturating_add(1)).await;
    let names = names.map_err(|error| Problem::of_read(&error))?;
    json_answer(&name_page(names.iter().map(StreamName::as_str), limit))
}

/// Returns names that the caller sees: at least as many as wanted, if there are.
async fn seen_names(
    call: &NativeCall,
    mut list: ListStreams,
    wanted: usize,
) -> Result<Vec<StreamName>, StoreError> {
    let mut view = call.node.access().view(&call.caller);
    let page_size = if view.is_whole() { wanted } else { wanted.max(NAMES_PER_LOOK) };
    let mut names = Vec::new();
    loop {
        let page = call.node.store().list_streams(list.clone().limit(page_size)).await?;
        let is_last = page.len() < page_size;
        list = list.after(page.last().cloned());
        for name in page {
            if view.shows(&name).await? {
                names.push(name);
            }
        }
        if is_last || names.len() >= wanted {
            return Ok(names);
        }
    }
}

pub(super) async fn list_categories(call: NativeCall) -> Result<Response, Problem> {
    let arguments = &call.arguments;
    let limit = usize::try_from(arguments.limit()?).unwrap_or(usize::MAX);
    let after = arguments.text(&AFTER_NAME).map(Category::new).transpose();
    let after = after.map_err(|invalid| Problem::invalid_name(AFTER_NAME.name, &invalid))?;
    check_names(&call.node, &call.caller).await?;
    let names = live_categories(call.node.store(), after, limit.saturating_add(1)).await;
    let names = names.map_err(|error| Problem::of_read(&error))?;
    json_answer(&name_page(names.iter().map(Category::as_str), limit))
}

/// Returns categories of streams that are not deleted: at least as many as wanted, if there are.
async fn live_categories(
    store: &dyn EventStore,
    mut after: Option<Category>,
    wanted: usize,
) -> Result<Vec<Category>, StoreError> {
    let mut names = Vec::new();
    loop {
        let page = store.list_categories(ListCategories::all().after(after).limit(wanted)).await?;
        let is_last = page.len() < wanted;
        after = page.last().cloned();
        let mut rest = page.into_iter().peekable();
        while rest.peek().is_some() {
            let looks = rest.by_ref().take(LOOKS_AT_ONCE).map(async |category| {
                // A store lists no streams that are deleted.
                let list = ListStreams::all().prefix(format!("{category}-")).limit(1);
                let is_live = !store.list_streams(list).await?.is_empty();
                Ok::<_, StoreError>(is_live.then_some(category))
            });
            names.extend(try_join_all(looks).await?.into_iter().flatten());
        }
        if is_last || names.len() >= wanted {
            return Ok(names);
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Described<'a> {
    stream: &'a str,
    state: &'static str,
    metadata: Box<RawValue>,
    metadata_revision: Option<u64>,
    rights: Vec<&'static str>,
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
        rights: rights_to(&call, &stream).await?,
    })
}

/// The rights to a stream, by the names that the answer has.
pub(super) const RIGHTS: [(&str, Right); 5] = [
    ("read", Right::Read),
    ("append", Right::Append),
    ("delete", Right::Delete),
    ("read-metadata", Right::ReadMetadata),
    ("set-metadata", Right::SetMetadata),
];

/// Returns the rights that the caller has to a stream.
async fn rights_to(call: &NativeCall, stream: &StreamName) -> Result<Vec<&'static str>, Problem> {
    let mut names = Vec::with_capacity(RIGHTS.len());
    for (name, right) in RIGHTS {
        // The index alone writes its streams.
        if right == Right::Append && is_of_index(stream) {
            continue;
        }
        let may = call.node.access().may(&call.caller, stream, right).await;
        if may.map_err(|error| Problem::of_read(&error))? {
            names.push(name);
        }
    }
    Ok(names)
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
    call.subject()?.tell("stream", stream.as_str());
    let metadata_stream = stream.metadata_stream().ok();
    let changes_rights = match &metadata_stream {
        Some(of) => call.node.access().changes_rights(of, &metadata.to_json()).await,
        None => false,
    };
    let change = SetStreamMetadata::new(stream.clone(), expected.0, metadata);
    let changed = call.node.store().set_stream_metadata(change).await;
    let changed = changed.map_err(|error| Problem::of_append(&error))?;
    if let Some(metadata_stream) = metadata_stream.filter(|_| changes_rights) {
        call.node.access().record_change_of_rights(&call.sender(), &metadata_stream).await;
    }
    json_answer(&changed_at(&changed))
}

pub(super) async fn delete(call: NativeCall) -> Result<Response, Problem> {
    let arguments = &call.arguments;
    let stream = arguments.stream()?;
    let expected = ExpectedBody::of_parameter(EXPECTED.name, arguments.text(&EXPECTED))?.0;
    let is_tombstone = arguments.is_set(&TOMBSTONE)?;
    check_right(&call.node, &call.caller, &stream, Right::Delete).await?;
    call.subject()?.tell("stream", stream.as_str());
    let store = call.node.store();
    let changes_rights = call.node.access().changes_rights(&stream, &[]).await;
    let deleted = stream.clone();
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
    if changes_rights {
        call.node.access().record_change_of_rights(&call.sender(), &deleted).await;
    }
    json_answer(&changed_at(&changed))
}

fn changed_at(changed: &Appended) -> Value {
    json!({ "position": changed.position.number() })
}
