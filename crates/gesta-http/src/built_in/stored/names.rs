//! Names of streams and categories, and the state of one stream.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use gesta::{
    StreamName,
    store::{ListCategories, ListStreams, StreamState},
};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    failure::{NOT_SUPPORTED, of_read},
    places::{CategoryText, StreamText},
};
use crate::{
    Describe, GestaState, Operation, PageLimit, PathOf, Problem, QueryOf, RequestFields, Schema,
    Schemas, StoredJson, built_in::responses::CurrentState, wire::cursor::invalid_name,
};

/// A page of names.
#[derive(Debug, Serialize)]
pub(super) struct NamePage {
    names: Vec<String>,
    next: Option<String>,
}

impl NamePage {
    /// Makes a page of at most `limit` names from one name more.
    fn of(names: impl Iterator<Item = String>, limit: usize) -> Self {
        let mut names: Vec<_> = names.collect();
        let is_cut = names.len() > limit;
        names.truncate(limit);
        let next = names.last().filter(|_| is_cut).cloned();
        Self { names, next }
    }
}

impl Schema for NamePage {
    fn schema(schemas: &mut Schemas) -> Value {
        schemas.component("NamePage", |_| {
            json!({
                "type": "object",
                "description": "A page of names.",
                "properties": {
                    "names": { "type": "array", "items": { "type": "string" } },
                    "next": {
                        "type": ["string", "null"],
                        "description": "`after` of the next page; null on the last one.",
                    },
                },
                "required": ["names", "next"],
                "additionalProperties": false,
            })
        })
    }
}

impl IntoResponse for NamePage {
    fn into_response(self) -> Response {
        Json(self).into_response()
    }
}

impl Describe for NamePage {
    fn describe(operation: &mut Operation<'_>) {
        operation.answers::<Self>(StatusCode::OK, "a page of names, possibly empty");
        operation.problem(501, NOT_SUPPORTED);
    }
}

/// A search for streams.
#[derive(RequestFields, Clone, Debug)]
pub(super) struct StreamsQuery {
    /// Select streams whose names start with this text. Streams of the store itself are listed by
    /// a prefix that starts with `$` only.
    prefix: Option<StreamText>,
    /// Start after this name: `next` of the previous page.
    after: Option<StreamText>,
    /// Maximum number of names.
    limit: Option<PageLimit>,
}

pub(super) async fn list_streams(
    state: GestaState,
    query: QueryOf<StreamsQuery>,
) -> Result<NamePage, Problem> {
    let limit = usize::from(query.limit.unwrap_or_default().number());
    let after = query.after.as_ref().map(|StreamText(name)| StreamName::stored(name.clone()));
    let after = after.transpose().map_err(|error| invalid_name("after", &error))?;
    let prefix = query.prefix.as_ref().map_or("", |StreamText(prefix)| prefix);
    let list = ListStreams::all().prefix(prefix).after(after).limit(limit + 1);
    let names = state.gesta().store().list_streams(list).await.map_err(of_read)?;
    Ok(NamePage::of(names.iter().map(ToString::to_string), limit))
}

/// A page of categories.
#[derive(RequestFields, Clone, Debug)]
pub(super) struct CategoriesQuery {
    /// Start after this name: `next` of the previous page.
    after: Option<CategoryText>,
    /// Maximum number of names.
    limit: Option<PageLimit>,
}

pub(super) async fn list_categories(
    state: GestaState,
    query: QueryOf<CategoriesQuery>,
) -> Result<NamePage, Problem> {
    let limit = usize::from(query.limit.unwrap_or_default().number());
    let after = query.after.as_ref().map(|CategoryText(after)| after.clone());
    let list = ListCategories::all().after(after).limit(limit + 1);
    let names = state.gesta().store().list_categories(list).await.map_err(of_read)?;
    Ok(NamePage::of(names.iter().map(ToString::to_string), limit))
}

/// The path of a stream.
#[derive(RequestFields, Clone, Debug)]
pub(super) struct StreamPath {
    /// Name of the stream.
    pub(super) stream: StreamText,
}

impl StreamPath {
    /// Returns the name.
    ///
    /// # Errors
    /// A 404 for a name that no store accepts.
    pub(super) fn name(&self) -> Result<StreamName, Problem> {
        let StreamText(name) = &self.stream;
        StreamName::stored(name.clone()).map_err(|_| Problem::not_found("stream"))
    }
}

/// A stream as a whole.
#[derive(Debug, Serialize, Schema)]
#[serde(rename_all = "camelCase")]
pub(super) struct DescribedStream {
    /// Name.
    stream: String,
    /// State: `live`, `deleted` or `tombstoned`.
    state: &'static str,
    /// Metadata of the stream.
    metadata: StoredJson,
    /// Revision of the metadata, or null if none were set.
    metadata_revision: Option<u64>,
}

pub(super) async fn describe_stream(
    state: GestaState,
    path: PathOf<StreamPath>,
) -> Result<CurrentState<DescribedStream>, Problem> {
    let stream = path.name()?;
    let described = state.gesta().store().describe_stream(&stream).await.map_err(of_read)?;
    if described.state == StreamState::Missing {
        return Err(Problem::not_found("stream"));
    }
    let metadata = StoredJson::of(&described.metadata.to_json());
    Ok(CurrentState(DescribedStream {
        stream: stream.to_string(),
        state: match described.state {
            StreamState::Missing => "missing",
            StreamState::Live => "live",
            StreamState::Deleted => "deleted",
            StreamState::Tombstoned => "tombstoned",
        },
        metadata: metadata.expect("metadata have a form in JSON"),
        metadata_revision: described.metadata_revision.map(|revision| revision.number()),
    }))
}
