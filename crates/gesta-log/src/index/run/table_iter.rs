//! Iterators over a run's tables: stream names, categories and stream metadata.
//!
//! Each yields ascending keys in byte order, and holds neither a lock nor a file between calls.

use gesta_store::{Category, StreamName};

use super::{
    Run, RunError, StreamMetaDelta,
    block::{BlockKind, BlockSource},
    sorted_table::{KeyBound, TableCursor},
    stream_meta_value::StreamMetaValue,
};
use crate::{disk::Disk, format::Malformed};

/// A table cursor that seeks on its first use.
#[derive(Debug)]
struct TableIter {
    cursor: TableCursor,
    /// The start; `None` once the cursor has been placed.
    from: Option<(String, StartBound)>,
}

#[derive(Clone, Copy, Debug)]
enum StartBound {
    At,
    After,
}

impl TableIter {
    fn next(&mut self, run: &Run, blocks: &mut impl BlockSource) -> Result<bool, RunError> {
        let Some((key, edge)) = self.from.take() else { return self.cursor.next(blocks) };
        let from = match edge {
            StartBound::At => KeyBound::At(key.as_bytes()),
            StartBound::After => KeyBound::After(key.as_bytes()),
        };
        let table = run.directory.table(self.cursor.kind());
        let begun = self.cursor.seek(table, from, blocks);
        // A failed read leaves the start in place, so that the caller can retry.
        if begun.is_err() {
            self.from = Some((key, edge));
        }
        begun
    }

    /// Parses the current key.
    fn key<T>(
        &self,
        blocks: &impl BlockSource,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, RunError> {
        std::str::from_utf8(self.cursor.key())
            .ok()
            .and_then(parse)
            .ok_or_else(|| self.cursor.malformed(blocks, Malformed::Field("name")))
    }
}

/// Iterator over stream names; see [`Run::names`].
#[derive(Debug)]
pub(crate) struct StreamNameIter {
    listing: TableIter,
    prefix: String,
}

impl StreamNameIter {
    pub(super) fn new(run: &Run, prefix: &str, after: Option<&str>) -> Self {
        // The greater of the prefix and `after` is the start.
        let from = match after {
            Some(after) if after >= prefix => (after, StartBound::After),
            Some(_) | None => (prefix, StartBound::At),
        };
        let cursor = TableCursor::new(BlockKind::Names, &run.directory.names);
        let listing = TableIter { cursor, from: Some((from.0.to_owned(), from.1)) };
        Self { listing, prefix: prefix.to_owned() }
    }

    /// Returns the next name, or `None` at the end.
    pub(crate) fn next(
        &mut self,
        run: &Run,
        disk: &dyn Disk,
    ) -> Result<Option<StreamName>, RunError> {
        let mut blocks = run.cached(disk);
        let prefix = self.prefix.as_bytes();
        // Names with a prefix are neighbours, so the first other name is the end.
        if !self.listing.next(run, &mut blocks)? || !self.listing.cursor.key().starts_with(prefix) {
            return Ok(None);
        }
        self.listing.key(&blocks, |name| StreamName::stored(name).ok()).map(Some)
    }
}

/// Iterator over categories; see [`Run::categories`].
#[derive(Debug)]
pub(crate) struct CategoryIter(TableIter);

impl CategoryIter {
    pub(super) fn new(run: &Run, after: Option<&str>) -> Self {
        let cursor = TableCursor::new(BlockKind::Categories, &run.directory.categories);
        let from = after.map(|after| (after.to_owned(), StartBound::After));
        Self(TableIter { cursor, from })
    }

    /// Returns the next category, or `None` at the end.
    pub(crate) fn next(
        &mut self,
        run: &Run,
        disk: &dyn Disk,
    ) -> Result<Option<Category>, RunError> {
        let mut blocks = run.cached(disk);
        if !self.0.next(run, &mut blocks)? {
            return Ok(None);
        }
        self.0.key(&blocks, |name| Category::stored(name).ok()).map(Some)
    }
}

/// Iterator over changes of stream metadata; see [`Run::stream_meta`].
#[derive(Debug)]
pub(crate) struct StreamMetaIter(TableIter);

impl StreamMetaIter {
    pub(super) fn new(run: &Run) -> Self {
        let cursor = TableCursor::new(BlockKind::StreamMeta, &run.directory.stream_meta);
        Self(TableIter { cursor, from: None })
    }

    /// Returns the next stream and its change, or `None` at the end.
    pub(crate) fn next(
        &mut self,
        run: &Run,
        disk: &dyn Disk,
    ) -> Result<Option<(StreamName, StreamMetaDelta)>, RunError> {
        let mut blocks = run.cached(disk);
        if !self.0.next(run, &mut blocks)? {
            return Ok(None);
        }
        let name = self.0.key(&blocks, |name| StreamName::stored(name).ok())?;
        Ok(Some((name, self.0.cursor.delta(&mut blocks)?)))
    }
}

impl TableCursor {
    fn delta(&self, blocks: &mut impl BlockSource) -> Result<StreamMetaDelta, RunError> {
        let value =
            StreamMetaValue::decode(self.value()).map_err(|what| self.malformed(blocks, what))?;
        value.delta(blocks)
    }
}
