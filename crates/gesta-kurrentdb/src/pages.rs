//! A read as a stream of pages, whose calls run on the thread of the store.

use std::sync::Arc;

use futures_util::stream::unfold;
use gesta_store::{Page, Pages, ReadAll, ReadStream, StoreError, Visibility};

use crate::{core::Core, read::PageReader, shared::Shared, visibility::retain_visible};

/// A read that returns visible events only, if that is asked for.
struct VisibleReader {
    core: Arc<Core>,
    reader: PageReader,
    visibility: Visibility,
    /// Number of events that the reader still wants.
    remaining: u64,
}

impl VisibleReader {
    async fn next_page(&mut self) -> Result<Option<Page>, StoreError> {
        while self.remaining > 0 {
            let Some(mut page) = self.reader.next_page().await? else { return Ok(None) };
            if self.visibility == Visibility::Visible {
                retain_visible(&self.core, &mut page).await?;
            }
            page.truncate(usize::try_from(self.remaining).unwrap_or(usize::MAX));
            self.remaining -= page.len() as u64;
            if !page.is_empty() {
                return Ok(Some(page));
            }
        }
        Ok(None)
    }
}

/// Reads one stream.
pub(crate) fn of_stream(shared: Arc<Shared>, read: ReadStream) -> Pages {
    let remaining = read.limit;
    let core = Arc::clone(shared.core());
    let reader = PageReader::of_stream(Arc::clone(&core), read);
    pages(shared, VisibleReader { core, reader, visibility: Visibility::Raw, remaining })
}

/// Reads the whole store.
pub(crate) fn of_all(shared: Arc<Shared>, read: ReadAll) -> Pages {
    let remaining = read.limit;
    let visibility = read.filter.visibility(read.visibility);
    // Hidden events do not count.
    let limit = if visibility == Visibility::Visible { u64::MAX } else { read.limit };
    let core = Arc::clone(shared.core());
    let reader = PageReader::of_all(Arc::clone(&core), read.limit(limit));
    pages(shared, VisibleReader { core, reader, visibility, remaining })
}

fn pages(shared: Arc<Shared>, reader: VisibleReader) -> Pages {
    Pages::new(unfold(Some((shared, reader)), |state| async move {
        let (shared, reader) = state?;
        match next_of(&shared, reader).await {
            Ok((Some(page), reader)) => Some((Ok(page), Some((shared, reader)))),
            Ok((None, _)) => None,
            // An error ends the read.
            Err(error) => Some((Err(error), None)),
        }
    }))
}

async fn next_of(
    shared: &Shared,
    mut reader: VisibleReader,
) -> Result<(Option<Page>, VisibleReader), StoreError> {
    let page = shared.run(async move { (reader.next_page().await, reader) });
    let (page, reader) = page?.await.ok_or_else(StoreError::closed)?;
    Ok((page?, reader))
}
