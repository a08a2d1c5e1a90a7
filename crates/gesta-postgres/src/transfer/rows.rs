//! A batch of recorded appends as rows.
//!
//! Owns: the numbers of streams, types and categories, and the effects of stream metadata. What is
//! written is what `append` would have written, except for positions, times and appends that lack
//! scavenged events. Not here: transactions.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    pin::pin,
};

use gesta_store::{
    ContentType, Position, RecordedEvent, Revision, StoredAppend, StreamMetadata, StreamName,
    TombstoneStream,
};
use tokio_postgres::{
    binary_copy::BinaryCopyInWriter,
    types::{ToSql, Type},
};

use super::{error::ImportError, tables::add_scavenged};
use crate::{
    connection::{Connection, Value},
    errors::Failure,
    number::to_sql,
    read::cell,
    schema::Schema,
};

/// Numbers of names that are committed, by name.
#[derive(Debug, Default)]
pub(super) struct KnownNames {
    types: HashMap<String, i32>,
    categories: HashMap<String, i32>,
}

/// A stream that the batch touches.
#[derive(Debug)]
struct StreamRow {
    id: i64,
    /// The last revision, or -1.
    head: i64,
    metadata: Option<Vec<u8>>,
    truncation: Option<i64>,
    count: Option<i64>,
    age_micros: Option<i64>,
    tombstone: bool,
}

type StreamRows = BTreeMap<String, StreamRow>;

const STREAMS: &str = "
SELECT k.id, n.name, k.head FROM unnest($1) n(name)
  CROSS JOIN LATERAL (
      SELECT s.id, s.head FROM {schema}.streams s WHERE s.name = n.name LIMIT 1) k";

const NEW_IDS: &str = "SELECT nextval('{schema}.stream_ids') FROM generate_series(1, $1)";

const ADD_TYPES: &str = "
INSERT INTO {schema}.types (name) SELECT n.name FROM unnest($1) n(name) ON CONFLICT DO NOTHING";
const TYPES: &str = "SELECT t.name, t.id FROM {schema}.types t WHERE t.name = ANY ($1)";

const ADD_CATEGORIES: &str = "
INSERT INTO {schema}.categories (name)
SELECT n.name FROM unnest($1) n(name) ON CONFLICT DO NOTHING";
const CATEGORIES: &str = "SELECT c.name, c.id FROM {schema}.categories c WHERE c.name = ANY ($1)";

/// Metadata of the batch take the place of earlier ones; without any, earlier ones stay.
const PUT_STREAMS: &str = "
INSERT INTO {schema}.streams AS s (
    id, name, head, truncate_before, max_count, max_age_micros, tombstoned, metadata,
    first_position)
SELECT n.id, n.name, n.head, coalesce(n.truncation, 0), n.count, n.age, n.tombstone, n.metadata, $9
  FROM unnest($1, $2, $3, $4, $5, $6, $7, $8)
       n(id, name, head, truncation, count, age, tombstone, metadata)
ON CONFLICT (id) DO UPDATE SET
    head = excluded.head,
    tombstoned = s.tombstoned OR excluded.tombstoned,
    truncate_before = CASE WHEN excluded.metadata IS NULL
        THEN s.truncate_before ELSE excluded.truncate_before END,
    max_count = CASE WHEN excluded.metadata IS NULL THEN s.max_count ELSE excluded.max_count END,
    max_age_micros = CASE WHEN excluded.metadata IS NULL
        THEN s.max_age_micros ELSE excluded.max_age_micros END,
    metadata = coalesce(excluded.metadata, s.metadata)";

const EVENTS: &str = "
COPY {schema}.events (position, stream_id, revision, recorded_at, id, type_id, category_id,
    append_events, schema_version, content_type, correlation_id, causation_id, tags, metadata, data)
FROM STDIN (FORMAT binary)";

pub(crate) const EVENT_COLUMNS: [Type; 15] = [
    Type::INT8,
    Type::INT8,
    Type::INT8,
    Type::INT8,
    Type::UUID,
    Type::INT4,
    Type::INT4,
    Type::INT4,
    Type::INT4,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::BYTEA,
    Type::BYTEA,
    Type::BYTEA,
];

const TAGS: &str = "COPY {schema}.tags (tag, position) FROM STDIN (FORMAT binary)";
const TAG_COLUMNS: [Type; 2] = [Type::TEXT, Type::INT8];

/// Writes the rows of a batch, within the transaction of the connection.
pub(super) async fn write(
    schema: &Schema,
    connection: &Connection,
    names: &mut KnownNames,
    appends: &[StoredAppend],
) -> Result<(), ImportError> {
    let mut streams = load_streams(schema, connection, appends).await?;
    move_heads(&mut streams, appends)?;
    add_effects(&mut streams, appends)?;
    names.complete(schema, connection, appends).await?;
    put_streams(schema, connection, &streams, appends).await?;
    add_partitions(schema, connection, appends).await?;
    copy_events(schema, connection, names, &streams, appends).await?;
    copy_tags(schema, connection, appends).await?;
    for append in appends {
        if let Some(scavenged) = &append.scavenged {
            add_scavenged(schema, connection, append.first, scavenged).await?;
        }
    }
    Ok(())
}

/// Every event of a batch.
fn events(appends: &[StoredAppend]) -> impl Iterator<Item = &RecordedEvent> {
    appends.iter().flat_map(|append| &append.events)
}

/// Reads the streams of a batch, and gives ids to new ones.
async fn load_streams(
    schema: &Schema,
    connection: &Connection,
    appends: &[StoredAppend],
) -> Result<StreamRows, ImportError> {
    let mut wanted = BTreeSet::new();
    for event in events(appends) {
        // The row of a stream holds its metadata, too.
        wanted.extend(event.stream.described_stream().map(|of| of.as_str().to_owned()));
        wanted.insert(event.stream.as_str().to_owned());
    }
    let scavenged = appends.iter().flat_map(|append| &append.scavenged);
    wanted.extend(
        scavenged.flat_map(|of| &of.scavenged).map(|event| event.stream.as_str().to_owned()),
    );
    let row = |id, head| StreamRow {
        id,
        head,
        metadata: None,
        truncation: None,
        count: None,
        age_micros: None,
        tombstone: false,
    };
    let mut streams = StreamRows::new();
    let listed: Vec<&str> = wanted.iter().map(String::as_str).collect();
    let text = schema.fill(STREAMS);
    for found in connection.query(&text, &[(&listed, Type::TEXT_ARRAY)]).await? {
        let name: &str = cell(&found, 1)?;
        streams.insert(name.to_owned(), row(cell(&found, 0)?, cell(&found, 2)?));
    }
    wanted.retain(|name| !streams.contains_key(name));
    let missing = to_count(wanted.len());
    let ids = connection.query(&schema.fill(NEW_IDS), &[(&missing, Type::INT4)]).await?;
    for (name, id) in wanted.into_iter().zip(ids) {
        streams.insert(name, row(cell(&id, 0)?, -1));
    }
    Ok(streams)
}

/// Moves the heads of the streams, and checks that revisions and positions have no gaps.
fn move_heads(streams: &mut StreamRows, appends: &[StoredAppend]) -> Result<(), ImportError> {
    for append in appends {
        let kept = append.events.iter();
        let kept = kept.map(|event| (event.position, &event.stream, event.revision));
        let scavenged = append.scavenged.iter().flat_map(|of| &of.scavenged);
        let scavenged = scavenged.map(|event| (event.position, &event.stream, event.revision));
        let mut all: Vec<(Position, &StreamName, Revision)> = kept.chain(scavenged).collect();
        all.sort_unstable_by_key(|(position, ..)| *position);
        let impossible = |what| ImportError::Impossible { position: append.first, what };
        if all.len() as u64 != append.count() || all.is_empty() {
            return Err(impossible("it does not have as many events as it says".to_owned()));
        }
        for (nth, (position, stream, revision)) in (0..).zip(all) {
            if position.number() != append.first.number() + nth {
                return Err(impossible(format!(
                    "no event has position {}",
                    append.first.number() + nth
                )));
            }
            let Some(row) = streams.get_mut(stream.as_str()) else { continue };
            if to_sql(revision.number()) != row.head + 1 {
                return Err(impossible(format!(
                    "revision {} of {stream} was expected, not {revision}",
                    row.head + 1
                )));
            }
            row.head += 1;
        }
    }
    Ok(())
}

/// Applies the metadata and tombstones of a batch to the streams that they describe.
fn add_effects(streams: &mut StreamRows, appends: &[StoredAppend]) -> Result<(), ImportError> {
    for event in events(appends) {
        let Some(described) = event.stream.described_stream() else { continue };
        let Some(row) = streams.get_mut(described.as_str()) else { continue };
        match event.event_type.as_str() {
            TombstoneStream::EVENT_TYPE => row.tombstone = true,
            StreamMetadata::EVENT_TYPE => {
                let metadata = StreamMetadata::from_json(&event.data)?;
                let age_micros = metadata.max_age.map(|age| age.as_micros());
                row.metadata = Some(event.data.to_vec());
                row.truncation = metadata.truncate_before.map(|before| to_sql(before.number()));
                row.count = metadata.max_count.map(|count| to_sql(count.get()));
                row.age_micros = age_micros.map(|age| i64::try_from(age).unwrap_or(i64::MAX));
            }
            _ => {}
        }
    }
    Ok(())
}

impl KnownNames {
    /// Looks up, or adds, the types and categories of a batch.
    async fn complete(
        &mut self,
        schema: &Schema,
        connection: &Connection,
        appends: &[StoredAppend],
    ) -> Result<(), ImportError> {
        let types = events(appends).map(|event| event.event_type.as_str().to_owned());
        let types: BTreeSet<String> = types.filter(|name| !self.types.contains_key(name)).collect();
        let text = [schema.fill(ADD_TYPES), schema.fill(TYPES)];
        add_names(connection, &text, types, &mut self.types).await?;
        let categories = events(appends).filter_map(|event| event.stream.category());
        let categories = categories.map(|category| category.as_str().to_owned());
        let categories: BTreeSet<String> =
            categories.filter(|name| !self.categories.contains_key(name)).collect();
        let text = [schema.fill(ADD_CATEGORIES), schema.fill(CATEGORIES)];
        add_names(connection, &text, categories, &mut self.categories).await
    }

    fn type_of(&self, event: &RecordedEvent) -> Option<i32> {
        self.types.get(event.event_type.as_str()).copied()
    }

    fn category_of(&self, event: &RecordedEvent) -> Option<i32> {
        self.categories.get(event.stream.category()?.as_str()).copied()
    }
}

async fn add_names(
    connection: &Connection,
    [add, list]: &[String; 2],
    names: BTreeSet<String>,
    known: &mut HashMap<String, i32>,
) -> Result<(), ImportError> {
    if names.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = names.into_iter().collect();
    let values: [Value<'_>; 1] = [(&names, Type::TEXT_ARRAY)];
    connection.query(add, &values).await?;
    for row in connection.query(list, &values).await? {
        known.insert(cell(&row, 0)?, cell(&row, 1)?);
    }
    Ok(())
}

async fn put_streams(
    schema: &Schema,
    connection: &Connection,
    streams: &StreamRows,
    appends: &[StoredAppend],
) -> Result<(), Failure> {
    let first = appends.first().map_or(0, |append| to_sql(append.first.number()));
    let rows = || streams.values();
    let ids: Vec<i64> = rows().map(|row| row.id).collect();
    let names: Vec<&str> = streams.keys().map(String::as_str).collect();
    let heads: Vec<i64> = rows().map(|row| row.head).collect();
    let truncations: Vec<Option<i64>> = rows().map(|row| row.truncation).collect();
    let counts: Vec<Option<i64>> = rows().map(|row| row.count).collect();
    let ages: Vec<Option<i64>> = rows().map(|row| row.age_micros).collect();
    let tombstones: Vec<bool> = rows().map(|row| row.tombstone).collect();
    let metadata: Vec<Option<&[u8]>> = rows().map(|row| row.metadata.as_deref()).collect();
    let values: [Value<'_>; 9] = [
        (&ids, Type::INT8_ARRAY),
        (&names, Type::TEXT_ARRAY),
        (&heads, Type::INT8_ARRAY),
        (&truncations, Type::INT8_ARRAY),
        (&counts, Type::INT8_ARRAY),
        (&ages, Type::INT8_ARRAY),
        (&tombstones, Type::BOOL_ARRAY),
        (&metadata, Type::BYTEA_ARRAY),
        (&first, Type::INT8),
    ];
    connection.query(&schema.fill(PUT_STREAMS), &values).await.map(drop)
}

/// Makes the partitions that a batch needs.
async fn add_partitions(
    schema: &Schema,
    connection: &Connection,
    appends: &[StoredAppend],
) -> Result<(), Failure> {
    let through = appends.last().map_or(0, |append| to_sql(append.next().number() - 1));
    let text = schema.fill("SELECT {schema}.add_partitions($1)");
    connection.query(&text, &[(&through, Type::INT8)]).await.map(drop)
}

async fn copy_events(
    schema: &Schema,
    connection: &Connection,
    names: &KnownNames,
    streams: &StreamRows,
    appends: &[StoredAppend],
) -> Result<(), Failure> {
    let copy = async {
        let sink = connection.client().copy_in(&schema.fill(EVENTS)).await?;
        let mut writer = pin!(BinaryCopyInWriter::new(sink, &EVENT_COLUMNS));
        for append in appends {
            // Only the first event of an append knows the number of its events.
            let count = to_count(usize::try_from(append.count()).unwrap_or(usize::MAX));
            for event in &append.events {
                let size = if event.position == append.first { count } else { 0 };
                let id = streams.get(event.stream.as_str()).map(|row| row.id);
                let (position, revision) =
                    (to_sql(event.position.number()), to_sql(event.revision.number()));
                let recorded_at = to_sql(event.recorded_at.micros());
                let content = Some(event.content_type.as_str());
                let content = content.filter(|_| event.content_type != ContentType::JSON);
                let metadata = Some(&*event.metadata).filter(|metadata| !metadata.is_empty());
                let tags = joined_tags(event);
                let (event_type, category) = (names.type_of(event), names.category_of(event));
                let row: [&(dyn ToSql + Sync); 15] = [
                    &position,
                    &id,
                    &revision,
                    &recorded_at,
                    &event.id.as_uuid(),
                    &event_type,
                    &category,
                    &size,
                    &i32::from(event.schema_version),
                    &content,
                    &event.correlation_id.as_ref().map(|id| id.as_str()),
                    &event.causation_id.as_ref().map(|id| id.as_str()),
                    &tags,
                    &metadata,
                    &&*event.data,
                ];
                writer.as_mut().write(&row).await?;
            }
        }
        writer.as_mut().finish().await
    };
    connection.in_time(copy).await.map(drop)
}

async fn copy_tags(
    schema: &Schema,
    connection: &Connection,
    appends: &[StoredAppend],
) -> Result<(), Failure> {
    let copy = async {
        let sink = connection.client().copy_in(&schema.fill(TAGS)).await?;
        let mut writer = pin!(BinaryCopyInWriter::new(sink, &TAG_COLUMNS));
        for event in events(appends) {
            let position = to_sql(event.position.number());
            // A tag may be given twice; the index has it once.
            let tags: BTreeSet<&str> = event.tags.iter().map(|tag| tag.as_str()).collect();
            for tag in tags {
                let row: [&(dyn ToSql + Sync); 2] = [&tag, &position];
                writer.as_mut().write(&row).await?;
            }
        }
        writer.as_mut().finish().await
    };
    connection.in_time(copy).await.map(drop)
}

/// Tags as they are stored with the event: separated by zero bytes, which no tag has.
fn joined_tags(event: &RecordedEvent) -> Option<Vec<u8>> {
    let texts: Vec<&[u8]> = event.tags.iter().map(|tag| tag.as_str().as_bytes()).collect();
    if texts.is_empty() { None } else { Some(texts.join(&0)) }
}

fn to_count(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
