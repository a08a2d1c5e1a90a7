//! The pages of a read as a stream.
//!
//! A page that is in memory is read by the thread that polls. Otherwise an I/O thread reads it, and
//! from then on reads one page ahead while the consumer works on the last one.
//!
//! Invariants:
//! - A refused attempt changes nothing: the progress of a read moves only with a complete page.
//! - A page that was read ahead is delivered only if no stream has hidden or revealed events since.
//!
//! Not here: which events a page has ([`stream`](super::stream), [`all`](super::all)).

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures_core::Stream;
use gesta_store::{RecordedEvent, StoreError};

use super::{Reader, io_threads::IoAnswer};
use crate::disk::waiting;

/// The next page of a read, or `None` at its end.
pub(crate) type NextPage<Item = RecordedEvent> = Option<Result<Vec<Item>, StoreError>>;

/// A read that returns one page after the other.
pub(crate) trait PagedRead: Send + Sync + 'static {
    type Item: Send + Unpin + 'static;
    /// Place at which the read continues.
    type Progress: Clone + Send + Unpin + 'static;

    fn reader(&self) -> &Reader;

    /// Reads the next page and moves the progress after it. Ends after an error.
    fn next_page(&self, progress: &mut Self::Progress) -> NextPage<Self::Item>;

    /// Returns whether reading ahead is worth it.
    fn has_more(&self, progress: &Self::Progress) -> bool;
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct PageStream<R: PagedRead> {
    read: Arc<R>,
    /// After the last delivered page.
    progress: R::Progress,
    on_the_way: Option<PageOnTheWay<R::Item, R::Progress>>,
    ended: bool,
}

/// A page that an I/O thread reads.
#[derive(Debug)]
struct PageOnTheWay<Item, P> {
    answer: IoAnswer<(NextPage<Item>, P)>,
    /// For a page that was read ahead: the number of changes of stream metadata before.
    ahead_at: Option<u64>,
}

impl<R: PagedRead> PageStream<R> {
    pub(crate) fn new(read: R, progress: R::Progress) -> Self {
        Self { read: Arc::new(read), progress, on_the_way: None, ended: false }
    }

    /// Reads the next page on this thread, if that needs no waiting.
    fn read_now(&mut self) -> Option<NextPage<R::Item>> {
        let mut progress = self.progress.clone();
        let page = waiting::without_waiting(|| self.read.next_page(&mut progress))?;
        self.progress = progress;
        Some(page)
    }

    /// Lets an I/O thread read the next page.
    fn hand_over(&mut self, ahead_at: Option<u64>) {
        let (read, mut progress) = (Arc::clone(&self.read), self.progress.clone());
        let answer = self.read.reader().io_threads.run(move || {
            let page = read.next_page(&mut progress);
            (page, progress)
        });
        self.on_the_way = Some(PageOnTheWay { answer, ahead_at });
    }

    fn metadata_changes(&self) -> u64 {
        self.read.reader().published.index().stream_meta_changes()
    }

    /// Delivers a page of an I/O thread, and lets it read the next one in the meantime.
    fn deliver(&mut self, page: NextPage<R::Item>, progress: R::Progress) -> NextPage<R::Item> {
        self.progress = progress;
        if matches!(page, Some(Ok(_))) && self.read.has_more(&self.progress) {
            let changes = self.metadata_changes();
            self.hand_over(Some(changes));
        }
        page
    }
}

impl<R: PagedRead> Stream for PageStream<R> {
    type Item = Result<Vec<R::Item>, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if !self.ended
            && let Err(closed) = self.read.reader().published.check_open()
        {
            self.ended = true;
            return Poll::Ready(Some(Err(closed)));
        }
        while !self.ended {
            let Some(PageOnTheWay { answer, ahead_at }) = &mut self.on_the_way else {
                if let Some(page) = self.read_now() {
                    return Poll::Ready(page);
                }
                self.hand_over(None);
                continue;
            };
            let answer = ready!(Pin::new(answer).poll(cx));
            let ahead_at = *ahead_at;
            self.on_the_way = None;
            match answer {
                // Read again, as if it had not been read ahead.
                Ok(_) if ahead_at.is_some_and(|changes| changes != self.metadata_changes()) => {}
                Ok((page, progress)) => return Poll::Ready(self.deliver(page, progress)),
                Err(error) => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
        Poll::Ready(None)
    }
}
