//! Listing what a run has in tables: names of streams, categories, lifecycles.
//!
//! Always holds: each comes once, in byte order. A cursor holds no lock and no file.

use gesta_store::{Category, StreamName};

use super::{
    Lifecycle, Run, RunError,
    block::{Blocks, Kind},
    lifecycles::Value,
    table::{From, TableCursor},
};
use crate::{disk::Disk, format::Malformed};

/// A cursor that begins where it was told to once it is first asked.
#[derive(Debug)]
struct Listing {
    cursor: TableCursor,
    /// Where to begin; taken when it has begun.
    from: Option<(String, Edge)>,
}

#[derive(Clone, Copy, Debug)]
enum Edge {
    At,
    After,
}

impl Listing {
    fn next(&mut self, run: &Run, blocks: &mut impl Blocks) -> Result<bool, RunError> {
        let Some((key, edge)) = self.from.take() else { return self.cursor.next(blocks) };
        let from = match edge {
            Edge::At => From::At(key.as_bytes()),
            Edge::After => From::After(key.as_bytes()),
        };
        let table = run.directory.table(self.cursor.kind());
        let begun = self.cursor.seek(table, from, blocks);
        if begun.is_err() {
            self.from = Some((key, edge));
        }
        begun
    }

    /// The present key, as what it must be.
    fn key<T>(
        &self,
        blocks: &impl Blocks,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, RunError> {
        std::str::from_utf8(self.cursor.key())
            .ok()
            .and_then(parse)
            .ok_or_else(|| self.cursor.bad(blocks, Malformed::Field("name")))
    }
}

/// Names of streams; see [`Run::names`].
#[derive(Debug)]
pub(crate) struct Names {
    listing: Listing,
    prefix: String,
}

impl Names {
    pub(super) fn new(run: &Run, prefix: &str, after: Option<&str>) -> Self {
        let from = match after {
            Some(after) if after >= prefix => (after, Edge::After),
            Some(_) | None => (prefix, Edge::At),
        };
        let cursor = TableCursor::new(Kind::Names, &run.directory.names);
        let listing = Listing { cursor, from: Some((from.0.to_owned(), from.1)) };
        Self { listing, prefix: prefix.to_owned() }
    }

    /// The next name; none at the end.
    pub(crate) fn next(
        &mut self,
        run: &Run,
        disk: &dyn Disk,
    ) -> Result<Option<StreamName>, RunError> {
        let mut blocks = run.cached(disk);
        let prefix = self.prefix.as_bytes();
        if !self.listing.next(run, &mut blocks)? || !self.listing.cursor.key().starts_with(prefix) {
            return Ok(None);
        }
        self.listing.key(&blocks, |name| StreamName::stored(name).ok()).map(Some)
    }
}

/// Categories; see [`Run::categories`].
#[derive(Debug)]
pub(crate) struct Categories(Listing);

impl Categories {
    pub(super) fn new(run: &Run, after: Option<&str>) -> Self {
        let cursor = TableCursor::new(Kind::Categories, &run.directory.categories);
        let from = after.map(|after| (after.to_owned(), Edge::After));
        Self(Listing { cursor, from })
    }

    /// The next category; none at the end.
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

/// Changes in the lives of streams; see [`Run::lifecycles`].
#[derive(Debug)]
pub(crate) struct Lifecycles(Listing);

impl Lifecycles {
    pub(super) fn new(run: &Run) -> Self {
        let cursor = TableCursor::new(Kind::Lifecycles, &run.directory.lifecycles);
        Self(Listing { cursor, from: None })
    }

    /// The next stream and what changed in its life; none at the end.
    pub(crate) fn next(
        &mut self,
        run: &Run,
        disk: &dyn Disk,
    ) -> Result<Option<(StreamName, Lifecycle)>, RunError> {
        let mut blocks = run.cached(disk);
        if !self.0.next(run, &mut blocks)? {
            return Ok(None);
        }
        let name = self.0.key(&blocks, |name| StreamName::stored(name).ok())?;
        Ok(Some((name, self.0.cursor.lifecycle(&mut blocks)?)))
    }
}

impl TableCursor {
    fn lifecycle(&self, blocks: &mut impl Blocks) -> Result<Lifecycle, RunError> {
        let value = Value::decode(self.value()).map_err(|what| self.bad(blocks, what))?;
        value.lifecycle(blocks)
    }
}
