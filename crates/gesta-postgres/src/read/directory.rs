//! Descriptions and listings of streams, listing of categories, and the space that a store takes.

use gesta_store::{
    Category, ListCategories, ListStreams, Revision, StoreError, StreamDescription, StreamMetadata,
    StreamName, StreamState,
};
use tokio_postgres::types::{ToSql, Type};

use super::cell;
use crate::{
    number::{count_to_sql, from_sql},
    shared::Core,
};

const DESCRIBE: &str = "
SELECT s.head, s.tombstoned, s.truncate_before, s.metadata, m.head
  FROM (SELECT $1::text AS name) v
  LEFT JOIN {schema}.streams s ON s.name = v.name
  LEFT JOIN {schema}.streams m ON m.name = '$$' || v.name";

/// Names from $1 ($5: inclusive) up to $2, without streams that have no events or have ended. Names
/// that begin with `$` are between `$` and `%`, and are left out if $4.
const STREAMS: &str = "
SELECT n.name FROM (
    (SELECT s.name FROM {schema}.streams s
      WHERE s.name >= $1 AND ($5 OR s.name <> $1) AND s.name <= $2
        AND (NOT $4 OR s.name < '$')
        AND s.head >= 0 AND s.truncate_before <= s.head AND NOT s.tombstoned
      ORDER BY s.name LIMIT $3)
    UNION ALL
    (SELECT s.name FROM {schema}.streams s
      WHERE $4 AND s.name >= $1 AND ($5 OR s.name <> $1) AND s.name <= $2
        AND s.name >= '%'
        AND s.head >= 0 AND s.truncate_before <= s.head AND NOT s.tombstoned
      ORDER BY s.name LIMIT $3)) n
 ORDER BY n.name LIMIT $3";

const CATEGORIES: &str = "
SELECT c.name FROM {schema}.categories c WHERE c.name > $1 ORDER BY c.name LIMIT $2";

/// The tables of the store's schema with their indexes, as the server accounts for them.
const STORED_BYTES: &str = "
SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = {schema}.own_name() AND c.relkind = 'r'";

/// Returns the space of the store's tables, in bytes.
pub(crate) async fn stored_bytes(core: &Core) -> Result<Option<u64>, StoreError> {
    let rows = core.query(STORED_BYTES, &[]).await?;
    rows.first().map(|row| Ok(from_sql(cell(row, 0)?))).transpose()
}

/// Describes a stream.
pub(crate) async fn describe(
    core: &Core,
    stream: &StreamName,
) -> Result<StreamDescription, StoreError> {
    let name = stream.as_str();
    let rows = core.query(DESCRIBE, &[(&name, Type::TEXT)]).await?;
    let Some(row) = rows.first() else { return Err(StoreError::unreachable("no answer")) };
    let heads: (Option<i64>, Option<i64>) = (cell(row, 0)?, cell(row, 4)?);
    let tombstoned: Option<bool> = cell(row, 1)?;
    let truncated: Option<i64> = cell(row, 2)?;
    let metadata: Option<&[u8]> = cell(row, 3)?;
    let head_of = |head: Option<i64>| {
        head.filter(|head| *head >= 0).map(|head| Revision::new(from_sql(head)))
    };
    let head = head_of(heads.0);
    let state = match head {
        _ if tombstoned == Some(true) => StreamState::Tombstoned,
        None => StreamState::Missing,
        Some(head) if truncated.map_or(0, from_sql) > head.number() => StreamState::Deleted,
        Some(_) => StreamState::Live,
    };
    let metadata = metadata.map(StreamMetadata::from_json).transpose()?.unwrap_or_default();
    Ok(StreamDescription::new(state).head(head).metadata(metadata, head_of(heads.1)))
}

/// Lists streams, in byte order.
pub(crate) async fn list_streams(
    core: &Core,
    list: &ListStreams,
) -> Result<Vec<StreamName>, StoreError> {
    let ListStreams { prefix, after, limit, .. } = list;
    // No name with the prefix is greater: a name is short, and this is the greatest character.
    let last = format!("{prefix}{}", "\u{10ffff}".repeat(StreamName::BYTES_MAX / 4 + 2));
    let after = after.as_ref().map(StreamName::as_str).filter(|after| *after >= prefix.as_str());
    let without_system = !prefix.starts_with('$');
    let (limit, inclusive) = (count_to_sql(*limit), after.is_none());
    let from = after.unwrap_or(prefix);
    let values: [(&(dyn ToSql + Sync), Type); 5] = [
        (&from, Type::TEXT),
        (&last, Type::TEXT),
        (&limit, Type::INT8),
        (&without_system, Type::BOOL),
        (&inclusive, Type::BOOL),
    ];
    let rows = core.query(STREAMS, &values).await?;
    let mut names = Vec::with_capacity(rows.len());
    for row in &rows {
        names.push(StreamName::stored(cell::<&str>(row, 0)?)?);
    }
    Ok(names)
}

/// Lists categories, in byte order.
pub(crate) async fn list_categories(
    core: &Core,
    list: &ListCategories,
) -> Result<Vec<Category>, StoreError> {
    let after = list.after.as_ref().map_or("", Category::as_str);
    let limit = count_to_sql(list.limit);
    let rows = core.query(CATEGORIES, &[(&after, Type::TEXT), (&limit, Type::INT8)]).await?;
    let mut categories = Vec::with_capacity(rows.len());
    for row in &rows {
        categories.push(Category::stored(cell::<&str>(row, 0)?)?);
    }
    Ok(categories)
}
