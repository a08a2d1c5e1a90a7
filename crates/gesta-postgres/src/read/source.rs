//! The positions that a filter selects, from an index.
//!
//! A source is a statement that returns positions between $3 and $4 in the order of the read, at
//! most $2 of each of its keys. It may return more than the filter selects; [`Filter::matches`]
//! decides. Filters without an index look at a bounded number of positions at once.

use gesta_store::{
    Capability, Direction, EventQuery, Filter, QueryItem, RegexFilter, RegexTarget, StoreError,
};
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::{
    cell,
    event_rows::{FetchedPage, page_statement},
};
use crate::{connection::Value, number, shared::Core};

/// Number of positions that a filter without an index looks at in one statement.
const SCAN_POSITIONS: u64 = 4_096;

/// The place of the events of a filter.
#[derive(Debug)]
pub(crate) struct Source {
    filter: Filter,
    statement: Statement,
}

#[derive(Debug)]
enum Statement {
    /// Positions from one index, by these keys.
    Indexed { text: &'static str, keys: Keys },
    /// Positions of events whose stream has one of these prefixes.
    Prefixes { prefixes: Vec<String> },
    /// Positions of events whose stream matches a regular expression.
    StreamNames { regex: RegexFilter },
    /// Positions of events whose type matches a regular expression.
    TypeNames { regex: RegexFilter },
}

/// Values of the parameters from $5 on.
#[derive(Debug)]
enum Keys {
    None,
    Texts(Vec<String>),
    TagsAndTypes(Vec<String>, Vec<String>),
    Text(String),
    Id(Uuid),
}

/// A range of positions, inclusive at both ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PositionRange {
    pub(crate) first: u64,
    pub(crate) last: u64,
}

/// The request for one page of a source.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageRequest {
    pub(crate) range: PositionRange,
    pub(crate) direction: Direction,
    pub(crate) visible_only: bool,
    pub(crate) limit: u64,
}

pub(crate) const EVERYTHING: &str = "
SELECT e.position FROM {schema}.events e
 WHERE e.position BETWEEN $3 AND $4 ORDER BY e.position {order} LIMIT $2";

const TYPES: &str = "
SELECT m.position FROM {schema}.types k CROSS JOIN LATERAL (
    SELECT e.position FROM {schema}.events e
     WHERE e.type_id = k.id AND e.position BETWEEN $3 AND $4
     ORDER BY e.position {order} LIMIT $2) m
 WHERE k.name = ANY ($5)";

const TYPE_PREFIXES: &str = "
SELECT m.position FROM {schema}.types k CROSS JOIN LATERAL (
    SELECT e.position FROM {schema}.events e
     WHERE e.type_id = k.id AND e.position BETWEEN $3 AND $4
     ORDER BY e.position {order} LIMIT $2) m
 WHERE EXISTS (SELECT 1 FROM unnest($5) w(prefix) WHERE starts_with(k.name, w.prefix))";

const CATEGORIES: &str = "
SELECT m.position FROM {schema}.categories k CROSS JOIN LATERAL (
    SELECT e.position FROM {schema}.events e
     WHERE e.category_id = k.id AND e.position BETWEEN $3 AND $4
     ORDER BY e.position {order} LIMIT $2) m
 WHERE k.name = ANY ($5)";

/// Revisions of a stream are in the order of positions, so the range is one of revisions.
const STREAMS: &str = "
SELECT m.position FROM {schema}.streams k CROSS JOIN LATERAL (
    SELECT e.position FROM {schema}.events e
     WHERE e.stream_id = k.id
       AND e.revision >= {schema}.revision_from(k.id, $3)
       AND e.revision < {schema}.revision_from(k.id, $4 + 1)
       AND e.position BETWEEN $3 AND $4
     ORDER BY e.revision {order} LIMIT $2) m
 WHERE k.name = ANY ($5)";

const STREAM_PREFIXES: &str = "
SELECT e.position FROM {schema}.events e JOIN {schema}.streams k ON k.id = e.stream_id
 WHERE e.position BETWEEN $3 AND $4
   AND EXISTS (SELECT 1 FROM unnest($5) w(prefix) WHERE starts_with(k.name, w.prefix))
 ORDER BY e.position {order} LIMIT $2";

const CORRELATION: &str = "
SELECT e.position FROM {schema}.events e
 WHERE e.correlation_id = $5 AND e.position BETWEEN $3 AND $4
 ORDER BY e.position {order} LIMIT $2";

const CAUSATION: &str = "
SELECT e.position FROM {schema}.events e
 WHERE e.causation_id = $5 AND e.position BETWEEN $3 AND $4
 ORDER BY e.position {order} LIMIT $2";

const EVENT_ID: &str = "
SELECT e.position FROM {schema}.events e WHERE e.id = $5 AND e.position BETWEEN $3 AND $4";

/// One tag of each item, and the types of the items without tags. UNION leaves out doubles.
const TAGS_AND_TYPES: &str = "
SELECT m.position FROM unnest($5) k(tag) CROSS JOIN LATERAL (
    SELECT g.position FROM {schema}.tags g
     WHERE g.tag = k.tag AND g.position BETWEEN $3 AND $4
     ORDER BY g.position {order} LIMIT $2) m
 UNION
SELECT m.position FROM {schema}.types k CROSS JOIN LATERAL (
    SELECT e.position FROM {schema}.events e
     WHERE e.type_id = k.id AND e.position BETWEEN $3 AND $4
     ORDER BY e.position {order} LIMIT $2) m
 WHERE k.name = ANY ($6)";

const POSITIONS: &str = "SELECT w.position FROM unnest($3) w(position)";

/// The tags of an item, the rarest first, as far as a short count can tell.
const RAREST_TAG: &str = "
SELECT w.tag FROM unnest($1) w(tag)
 ORDER BY (SELECT count(*) FROM (
        SELECT 1 FROM {schema}.tags g WHERE g.tag = w.tag LIMIT 1000) c)
 LIMIT 1";

const STREAM_NAMES: &str = "
SELECT e.position, k.name FROM {schema}.events e JOIN {schema}.streams k ON k.id = e.stream_id
 WHERE e.position BETWEEN $1 AND $2 ORDER BY e.position";

const TYPE_NAMES: &str = "SELECT k.name FROM {schema}.types k";

fn texts<T: AsRef<str>>(names: &[T]) -> Vec<String> {
    names.iter().map(|name| name.as_ref().to_owned()).collect()
}

impl Source {
    /// Finds the place of the events of a filter.
    pub(crate) async fn of(core: &Core, filter: Filter) -> Result<Self, StoreError> {
        let indexed = |text, keys| Statement::Indexed { text, keys };
        let statement = match &filter {
            Filter::Everything => indexed(EVERYTHING, Keys::None),
            Filter::Streams(names) => indexed(STREAMS, Keys::Texts(texts(names))),
            Filter::StreamPrefixes(prefixes) => match categories_of(prefixes) {
                Some(categories) => indexed(CATEGORIES, Keys::Texts(categories)),
                None => Statement::Prefixes { prefixes: prefixes.clone() },
            },
            Filter::Categories(names) => indexed(CATEGORIES, Keys::Texts(texts(names))),
            Filter::EventTypes(names) => indexed(TYPES, Keys::Texts(texts(names))),
            Filter::EventTypePrefixes(prefixes) => {
                indexed(TYPE_PREFIXES, Keys::Texts(prefixes.clone()))
            }
            Filter::Regex(regex) => match regex.target() {
                RegexTarget::EventType => Statement::TypeNames { regex: regex.clone() },
                _ => Statement::StreamNames { regex: regex.clone() },
            },
            Filter::Query(query) => of_query(core, query).await?,
            Filter::Correlation(id) => indexed(CORRELATION, Keys::Text(id.as_str().to_owned())),
            Filter::Causation(id) => indexed(CAUSATION, Keys::Text(id.as_str().to_owned())),
            Filter::EventId(id) => indexed(EVENT_ID, Keys::Id(id.as_uuid())),
            other => {
                let capability = other.capability().unwrap_or(Capability::GlobalOrder);
                return Err(StoreError::Unsupported { capability });
            }
        };
        Ok(Self { filter, statement })
    }

    pub(crate) fn filter(&self) -> &Filter {
        &self.filter
    }

    /// Returns `true` if a row of the source may be left out of a page.
    pub(crate) fn is_exact(&self) -> bool {
        !matches!(self.filter, Filter::Query(_))
    }

    /// Fetches a page. `reached` of the result is how far the range was looked through, and `cut`
    /// says whether some of it is left.
    pub(crate) async fn fetch(
        &self,
        core: &Core,
        request: PageRequest,
    ) -> Result<FetchedPage, StoreError> {
        let mut page = match &self.statement {
            Statement::Indexed { text, keys } => fetch_by(core, text, keys, request).await?,
            Statement::Prefixes { prefixes } => {
                let part = request.scanned();
                let keys = Keys::Texts(prefixes.clone());
                let page = fetch_by(core, STREAM_PREFIXES, &keys, part).await?;
                request.after_scan(part, page)
            }
            Statement::TypeNames { regex } => {
                let keys = Keys::Texts(matching_types(core, regex).await?);
                fetch_by(core, TYPES, &keys, request).await?
            }
            Statement::StreamNames { regex } => {
                let part = request.scanned();
                let page = fetch_by_stream_names(core, regex, part).await?;
                request.after_scan(part, page)
            }
        };
        if !self.is_exact() {
            let mut selected = Vec::with_capacity(page.events.len());
            for event in page.events {
                if self.filter.matches(&event)? {
                    selected.push(event);
                }
            }
            page.events = selected;
        }
        Ok(page)
    }
}

impl PageRequest {
    /// Returns the request for the positions that one scan looks at.
    fn scanned(self) -> Self {
        let PositionRange { first, last } = self.range;
        let range = match self.direction {
            Direction::Forwards => {
                PositionRange { first, last: last.min(first.saturating_add(SCAN_POSITIONS - 1)) }
            }
            Direction::Backwards => {
                PositionRange { first: first.max(last.saturating_sub(SCAN_POSITIONS - 1)), last }
            }
        };
        Self { range, ..self }
    }

    /// Says of a page of a scan how far it reached, and whether the range continues.
    fn after_scan(self, part: Self, page: FetchedPage) -> FetchedPage {
        if page.cut {
            return page;
        }
        let (reached, cut) = match self.direction {
            Direction::Forwards => (part.range.last, part.range.last < self.range.last),
            Direction::Backwards => (part.range.first, part.range.first > self.range.first),
        };
        FetchedPage { reached: Some(reached), cut, ..page }
    }
}

/// A prefix that ends with the first `-` of a name is a category, which has an index.
fn categories_of(prefixes: &[String]) -> Option<Vec<String>> {
    let category = |prefix: &String| {
        let category = prefix.strip_suffix('-')?;
        let plain = !category.is_empty() && !category.contains('-') && !category.starts_with('$');
        plain.then(|| category.to_owned())
    };
    prefixes.iter().map(category).collect()
}

async fn of_query(core: &Core, query: &EventQuery) -> Result<Statement, StoreError> {
    let everything = |item: &QueryItem| item.types().is_empty() && item.tags().is_empty();
    if query.items().iter().any(everything) {
        return Ok(Statement::Indexed { text: EVERYTHING, keys: Keys::None });
    }
    let (mut tags, mut types) = (Vec::new(), Vec::new());
    for item in query.items() {
        match item.tags() {
            [] => types.extend(texts(item.types())),
            [tag] => tags.push(tag.as_str().to_owned()),
            several => {
                let names: Vec<&str> = several.iter().map(|tag| tag.as_str()).collect();
                let values: [Value<'_>; 1] = [(&names, Type::TEXT_ARRAY)];
                let rows = core.query(RAREST_TAG, &values).await?;
                tags.extend(rows.first().map(|row| cell::<String>(row, 0)).transpose()?);
            }
        }
    }
    // A key that is listed twice would be scanned twice.
    tags.sort_unstable();
    tags.dedup();
    Ok(Statement::Indexed { text: TAGS_AND_TYPES, keys: Keys::TagsAndTypes(tags, types) })
}

async fn fetch_by(
    core: &Core,
    source: &str,
    keys: &Keys,
    request: PageRequest,
) -> Result<FetchedPage, StoreError> {
    let statement = page_statement(source, request.direction);
    let PageRequest { range, visible_only, limit, .. } = request;
    let (limit_value, first) = (number::to_sql(limit), number::to_sql(range.first));
    let last = number::to_sql(range.last);
    let mut values: Vec<Value<'_>> = vec![
        (&visible_only, Type::BOOL),
        (&limit_value, Type::INT8),
        (&first, Type::INT8),
        (&last, Type::INT8),
    ];
    match keys {
        Keys::None => {}
        Keys::Texts(texts) => values.push((texts, Type::TEXT_ARRAY)),
        Keys::TagsAndTypes(tags, types) => {
            values.push((tags, Type::TEXT_ARRAY));
            values.push((types, Type::TEXT_ARRAY));
        }
        Keys::Text(text) => values.push((text, Type::TEXT)),
        Keys::Id(id) => values.push((id, Type::UUID)),
    }
    FetchedPage::read(&core.query(&statement, &values).await?, limit)
}

async fn matching_types(core: &Core, regex: &RegexFilter) -> Result<Vec<String>, StoreError> {
    let mut matching = Vec::new();
    // The filter tests the type only; any stream will do.
    let stream = gesta_store::StreamName::stored("-")?;
    for row in core.query(TYPE_NAMES, &[]).await? {
        let name: &str = cell(&row, 0)?;
        if regex.matches(&stream, &gesta_store::EventType::stored(name)?)? {
            matching.push(name.to_owned());
        }
    }
    Ok(matching)
}

/// The server sends the names, and the regular expression is evaluated here, so that its syntax is
/// that of every store.
async fn fetch_by_stream_names(
    core: &Core,
    regex: &RegexFilter,
    request: PageRequest,
) -> Result<FetchedPage, StoreError> {
    let PageRequest { range, direction, visible_only, limit } = request;
    let (first, last) = (number::to_sql(range.first), number::to_sql(range.last));
    let names = core.query(STREAM_NAMES, &[(&first, Type::INT8), (&last, Type::INT8)]).await?;
    let mut positions: Vec<i64> = Vec::new();
    // The filter tests the stream only; any type will do.
    let event_type = gesta_store::EventType::stored("-")?;
    for row in &names {
        let name: &str = cell(row, 1)?;
        if regex.matches(&gesta_store::StreamName::stored(name)?, &event_type)? {
            positions.push(cell(row, 0)?);
        }
    }
    if positions.is_empty() {
        return Ok(FetchedPage::default());
    }
    let statement = page_statement(POSITIONS, direction);
    let limit_value = number::to_sql(limit);
    let values: [Value<'_>; 3] =
        [(&visible_only, Type::BOOL), (&limit_value, Type::INT8), (&positions, Type::INT8_ARRAY)];
    FetchedPage::read(&core.query(&statement, &values).await?, limit)
}
