//! One page of an answer, cut from a read.
//!
//! Invariants: a page has at most as many items as were asked for, and at most [`PAGE_BYTES_MAX`]
//! of payload unless its first item alone has more. It says that it is the last one only if the
//! read has ended.

use gesta_store::{Pages, RecordedEvent};

use super::problem::Problem;
use crate::access::StoreView;

/// Maximum payload of a page.
const PAGE_BYTES_MAX: usize = 8 << 20;
/// Bytes that an event has besides its payload, about.
const EVENT_OVERHEAD_BYTES: usize = 300;

/// The items of a page.
#[derive(Debug)]
pub(super) struct Cut<Item> {
    pub(super) events: Vec<Item>,
    /// Nothing comes after it.
    pub(super) end: bool,
}

/// Collects the items of a page.
pub(super) async fn collect<Item: 'static>(
    mut pages: Pages<Item>,
    limit: u64,
    size: impl Fn(&Item) -> usize,
) -> Result<Cut<Item>, Problem> {
    let mut page = GrowingPage::new(limit, size);
    while let Some(items) = pages.next().await {
        if page.take(items.map_err(|error| Problem::of_read(&error))?) {
            return Ok(Cut { events: page.items, end: false });
        }
    }
    Ok(Cut { events: page.items, end: true })
}

/// Collects the events of a page of the whole store that its reader sees.
pub(super) async fn collect_seen(
    mut pages: Pages<RecordedEvent>,
    limit: u64,
    mut view: StoreView<'_>,
) -> Result<Cut<RecordedEvent>, Problem> {
    let mut page = GrowingPage::new(limit, event_bytes);
    while let Some(events) = pages.next().await {
        let seen = async { view.of_page(events?).await };
        if page.take(seen.await.map_err(|error| Problem::of_read(&error))?) {
            return Ok(Cut { events: page.items, end: false });
        }
    }
    Ok(Cut { events: page.items, end: true })
}

struct GrowingPage<Item, Size> {
    items: Vec<Item>,
    bytes: usize,
    limit: u64,
    size: Size,
}

impl<Item, Size: Fn(&Item) -> usize> GrowingPage<Item, Size> {
    const fn new(limit: u64, size: Size) -> Self {
        Self { items: Vec::new(), bytes: 0, limit, size }
    }

    /// Takes items as long as there is room. Returns `true` if some were left.
    fn take(&mut self, items: Vec<Item>) -> bool {
        for item in items {
            self.bytes += (self.size)(&item);
            let is_full = self.items.len() as u64 >= self.limit;
            if is_full || (self.bytes > PAGE_BYTES_MAX && !self.items.is_empty()) {
                return true;
            }
            self.items.push(item);
        }
        false
    }
}

/// Returns the size of events in an answer, about.
pub(super) fn payload_bytes<'e>(events: impl IntoIterator<Item = &'e RecordedEvent>) -> usize {
    events.into_iter().map(event_bytes).sum()
}

/// Returns the size of an event in an answer, about.
pub(super) fn event_bytes(event: &RecordedEvent) -> usize {
    event.data.len() + event.metadata.len() + EVENT_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn cut(limit: u64, sizes: &[usize]) -> (usize, bool) {
        let pages: Vec<_> = sizes.chunks(2).map(|page| Ok(page.to_vec())).collect();
        let cut = collect(Pages::of(pages.into_iter()), limit, |size| *size);
        let Cut { events, end } = cut.await.unwrap();
        (events.len(), end)
    }

    #[tokio::test]
    async fn a_page_is_cut_by_number_and_by_size() {
        assert_eq!(cut(3, &[1, 1, 1]).await, (3, true));
        assert_eq!(cut(3, &[1, 1, 1, 1]).await, (3, false));
        let half = PAGE_BYTES_MAX / 2;
        assert_eq!(cut(9, &[half, half, 1]).await, (2, false));
        assert_eq!(cut(9, &[PAGE_BYTES_MAX + 1, 1]).await, (1, false));
        assert_eq!(cut(9, &[]).await, (0, true));
    }
}
