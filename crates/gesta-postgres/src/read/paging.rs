//! A read as a stream of pages, whose statements run on the thread of the store.

use std::{future::Future, sync::Arc};

use futures_util::stream::unfold;
use gesta_store::{Pages, StoreError};

use crate::shared::Shared;

/// A read that returns its pages in order.
pub(crate) trait PageReader: Send + 'static {
    /// An event, or an event with its ordinal.
    type Item: Send + 'static;

    /// Reads the next page, or returns `None` at the end. A page is never empty.
    fn next_page(
        &mut self,
    ) -> impl Future<Output = Result<Option<Vec<Self::Item>>, StoreError>> + Send;
}

/// Makes a stream of pages. A page is read after it is asked for.
pub(crate) fn pages<R: PageReader>(shared: Arc<Shared>, reader: R) -> Pages<R::Item> {
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

async fn next_of<R: PageReader>(
    shared: &Shared,
    mut reader: R,
) -> Result<(Option<Vec<R::Item>>, R), StoreError> {
    shared.check_open()?;
    let page = shared.worker.run(async move { (reader.next_page().await, reader) });
    let (page, reader) = page.await?;
    Ok((page?, reader))
}
