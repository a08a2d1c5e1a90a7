//! The arguments of the function `append_alone`: a batch of one append, to one stream.
//!
//! With one writer every batch is such a one. Not here: what the columns hold.

use tokio_postgres::types::Type;

use super::Columns;
use crate::connection::Value;

/// The statement that appends such a batch.
pub(in crate::append) const APPEND_ALONE: &str = "SELECT * FROM {schema}.append_alone($1, $2, $3, \
    $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)";

/// The arguments that differ from those of other batches.
#[derive(Debug)]
pub(in crate::append) struct Alone<'a> {
    columns: &'a Columns<'a>,
    stream: &'a str,
    category: Option<i32>,
    expected: i32,
    exact: i64,
    after: Option<i64>,
    event_types: Vec<i32>,
}

impl<'a> Alone<'a> {
    /// Returns `None` for other batches, and for an append that needs what only the function
    /// `append` does: to change metadata, to give numbers, and to judge items of several tags.
    pub(in crate::append) fn of(columns: &'a Columns<'a>) -> Option<Self> {
        let (parts, events) = (&columns.parts, &columns.events);
        let ([stream], [category]) = (&*columns.streams.texts, &*columns.stream_categories) else {
            return None;
        };
        let ([expected], [exact]) = (&*parts.expected, &*parts.exact) else { return None };
        let [after] = *columns.after_positions else { return None };
        let is_plain = columns.effects.streams.is_empty()
            && columns.conditions.lone_tags.iter().all(Option::is_some)
            && !events.ids.is_empty();
        if !is_plain {
            return None;
        }
        let numbered = |numbers: &[i32], index: i32| {
            let nth = usize::try_from(index - 1).ok()?;
            numbers.get(nth).copied().filter(|number| *number > 0)
        };
        let category = match category {
            0 => None,
            index => Some(numbered(&columns.category_numbers, *index)?),
        };
        let event_types = events.types.iter().map(|index| numbered(&columns.type_numbers, *index));
        Some(Self {
            columns,
            stream,
            category,
            expected: *expected,
            exact: *exact,
            after,
            event_types: event_types.collect::<Option<_>>()?,
        })
    }

    /// Returns the arguments, in the order of the function's parameters.
    pub(in crate::append) fn values(&self) -> [Value<'_>; 18] {
        let (columns, events) = (self.columns, &self.columns.events);
        [
            (&self.stream, Type::TEXT),
            (&self.category, Type::INT4),
            (&self.expected, Type::INT4),
            (&self.exact, Type::INT8),
            (&self.after, Type::INT8),
            (&columns.conditions.lone_tags, Type::TEXT_ARRAY),
            (&events.ids, Type::UUID_ARRAY),
            (&self.event_types, Type::INT4_ARRAY),
            (&events.versions, Type::INT4_ARRAY),
            (&events.contents, Type::TEXT_ARRAY),
            (&events.correlations, Type::TEXT_ARRAY),
            (&events.causations, Type::TEXT_ARRAY),
            (&events.tags, Type::BYTEA_ARRAY),
            (&events.metadata, Type::BYTEA_ARRAY),
            (&events.data, Type::BYTEA_ARRAY),
            (&columns.tags.nths, Type::INT4_ARRAY),
            (&columns.tags.names, Type::TEXT_ARRAY),
            (&columns.timeline, Type::TEXT),
        ]
    }
}
