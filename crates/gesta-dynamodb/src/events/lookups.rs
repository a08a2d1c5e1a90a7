//! Lookups of streams and appends: heads, descriptions, names, repeats.

use gesta_store::{
    Appended, Category, EventId, ListCategories, ListStreams, Position, Revision,
    StreamDescription, StreamName, StreamState,
};

use super::{
    codec::LoggedAppend,
    layout::{
        Batch, CATEGORIES, LOG, NAMES, POSITION, Placed, id_partition, place_of_append,
        stream_partition,
    },
    shared::Shared,
};
use crate::{
    errors::CallError,
    item::{Attributes as _, Item, SK, damaged, sorted},
    table::{Query, Range, Table},
};

/// Events of a stream that are written and not visible yet, at most.
const INVISIBLE_PAGE: usize = 8;

/// Returns the last revision of a stream at or before a position.
pub(super) async fn head(
    table: &Table,
    stream: &StreamName,
    until: Position,
) -> Result<Option<Revision>, CallError> {
    let partition = stream_partition(stream);
    let (mut after, mut limit) = (None, 1);
    loop {
        let query =
            Query { limit: Some(limit), after: after.as_deref(), ..Query::last(&partition) };
        let page = table.query(query).await?;
        for entry in &page.items {
            let placed = Placed::parse(stream, entry)?;
            if placed.position <= until {
                return Ok(Some(placed.revision));
            }
        }
        // A batch that is being written may have many events of the stream.
        (after, limit) = (page.next, INVISIBLE_PAGE);
        if after.is_none() {
            return Ok(None);
        }
    }
}

pub(super) async fn describe(
    shared: &Shared,
    stream: &StreamName,
) -> Result<StreamDescription, CallError> {
    let mark = shared.moment().await?;
    let info = shared.described.of(stream).await;
    let head = head(&shared.table, stream, mark).await?;
    let state = match head {
        _ if info.is_tombstoned => StreamState::Tombstoned,
        None => StreamState::Missing,
        Some(head) if info.deletes(head) => StreamState::Deleted,
        Some(_) => StreamState::Live,
    };
    let description = StreamDescription::new(state).head(head);
    Ok(description.metadata(info.metadata, info.metadata_revision))
}

/// An append that was recorded earlier: its parts and its answer.
pub(super) struct Past {
    pub(super) append: LoggedAppend,
    pub(super) answer: Appended,
}

/// Reads the append that an entry of an id leads to. `None` if it is not visible.
pub(super) async fn past_append(
    table: &Table,
    entry: &Item,
    until: Position,
) -> Result<Option<Past>, CallError> {
    let (batch, first) = place_of_append(entry)?;
    if first > until.number() {
        return Ok(None);
    }
    let Some(item) = table.get(LOG, &sorted(batch)).await? else {
        return Err(damaged(entry, POSITION));
    };
    let batch = Batch::parse(&item)?;
    let found = batch.placed_appends().find(|(position, _)| *position == first);
    let (_, append) = found.ok_or_else(|| damaged(entry, POSITION))?;
    let answer = answer_of(first, append).earlier();
    Ok(Some(Past { append: append.clone(), answer }))
}

/// The answer to an append at a position.
pub(super) fn answer_of(first: u64, append: &LoggedAppend) -> Appended {
    let revisions = append.parts.iter().map(|part| {
        let last = part.first.number() + part.events.len() as u64 - 1;
        (part.stream.clone(), Revision::new(last))
    });
    Appended::new(Position::new(first + append.events() - 1), revisions.collect())
}

/// Finds an append by the id of its first event, in whichever stream.
pub(super) async fn find_append(
    shared: &Shared,
    first_event: EventId,
) -> Result<Option<Appended>, CallError> {
    let partition = id_partition(first_event);
    let mark = shared.mark().await?;
    let found = shared.table.query(Query { limit: Some(1), ..Query::of(&partition) }).await?;
    let Some(entry) = found.items.first() else { return Ok(None) };
    let past = past_append(&shared.table, entry, mark).await?;
    Ok(past.map(|past| past.answer))
}

/// Returns whether the log has a batch after the mark, whose writer may be gone.
pub(super) async fn has_tail(shared: &Shared) -> Result<bool, CallError> {
    let next = shared.mark().await?.next();
    Ok(shared.table.get(LOG, &sorted(next.number())).await?.is_some())
}

pub(super) async fn list_streams(
    shared: &Shared,
    list: &ListStreams,
) -> Result<Vec<StreamName>, CallError> {
    let mark = shared.moment().await?;
    let has_system = list.prefix.starts_with('$');
    let mut names = Names::new(NAMES, &list.prefix, list.after.as_ref().map(StreamName::as_str));
    let mut listed = Vec::new();
    while listed.len() < list.limit {
        let Some(page) = names.next(&shared.table, mark, list.limit - listed.len()).await? else {
            break;
        };
        for name in page {
            let Ok(name) = StreamName::stored(name) else { continue };
            if (has_system || !name.is_system()) && is_live(shared, &name, mark).await? {
                listed.push(name);
            }
        }
    }
    listed.truncate(list.limit);
    Ok(listed)
}

async fn is_live(shared: &Shared, name: &StreamName, mark: Position) -> Result<bool, CallError> {
    let info = shared.described.of(name).await;
    if info.is_tombstoned {
        return Ok(false);
    }
    if info.metadata.truncate_before.is_none() {
        return Ok(true);
    }
    let head = head(&shared.table, name, mark).await?;
    Ok(!head.is_some_and(|head| info.deletes(head)))
}

pub(super) async fn list_categories(
    shared: &Shared,
    list: &ListCategories,
) -> Result<Vec<Category>, CallError> {
    let mark = shared.mark().await?;
    let mut names = Names::new(CATEGORIES, "", list.after.as_ref().map(Category::as_str));
    let mut listed = Vec::new();
    while listed.len() < list.limit {
        let Some(page) = names.next(&shared.table, mark, list.limit - listed.len()).await? else {
            break;
        };
        listed.extend(page.into_iter().filter_map(|name| Category::stored(name).ok()));
    }
    listed.truncate(list.limit);
    Ok(listed)
}

/// Names of a partition, in byte order.
struct Names<'a> {
    partition: &'a str,
    prefix: &'a str,
    after: Option<String>,
    is_over: bool,
}

impl<'a> Names<'a> {
    fn new(partition: &'a str, prefix: &'a str, after: Option<&str>) -> Self {
        let after = after.filter(|after| *after >= prefix);
        // All names with the prefix come before such a name.
        let is_over = after.is_some_and(|after| !after.starts_with(prefix));
        Self { partition, prefix, after: after.map(str::to_owned), is_over }
    }

    async fn next(
        &mut self,
        table: &Table,
        until: Position,
        limit: usize,
    ) -> Result<Option<Vec<String>>, CallError> {
        if self.is_over {
            return Ok(None);
        }
        let range = if self.prefix.is_empty() { Range::All } else { Range::Prefix(self.prefix) };
        let limit = Some(limit).filter(|limit| *limit < 1_000);
        let after = self.after.as_deref();
        let query = Query { range, limit, after, ..Query::of(self.partition) };
        let page = table.query(query).await?;
        self.is_over = page.next.is_none();
        self.after = page.next;
        let mut names = Vec::new();
        for entry in &page.items {
            // Categories have no position: a category that begins may be listed a little early.
            if entry.opt_number(POSITION)?.unwrap_or(0) <= until.number() {
                names.push(entry.text(SK)?.to_owned());
            }
        }
        Ok(Some(names))
    }
}
