//! One page of an answer, cut from a read.
//!
//! Invariants: a page has at most as many items as were asked for, and at most [`PAGE_BYTES_MAX`]
//! of payload unless its first item alone has more. It says that it is the last one only if the
//! read has ended.

use gesta_store::{Pages, RecordedEvent};

use super::problem::Problem;

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

/// Collects the items of a page that may be shown.
pub(super) async fn collect<Item: 'static>(
    mut pages: Pages<Item>,
    limit: u64,
    size: impl Fn(&Item) -> usize,
    shows: impl Fn(&Item) -> bool,
) -> Result<Cut<Item>, Problem> {
    let mut events: Vec<Item> = Vec::new();
    let mut bytes = 0;
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| Problem::of_read(&error))?;
        for event in page.into_iter().filter(|event| shows(event)) {
            bytes += size(&event);
            let is_full = events.len() as u64 >= limit;
            if is_full || (bytes > PAGE_BYTES_MAX && !events.is_empty()) {
                return Ok(Cut { events, end: false });
            }
            events.push(event);
        }
    }
    Ok(Cut { events, end: true })
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
        let cut = collect(Pages::of(pages.into_iter()), limit, |size| *size, |size| *size > 0);
        let Cut { events, end } = cut.await.unwrap();
        (events.len(), end)
    }

    #[tokio::test]
    async fn a_page_is_cut_by_number_and_by_size() {
        assert_eq!(cut(3, &[1, 1, 1]).await, (3, true));
        assert_eq!(cut(3, &[1, 1, 1, 1]).await, (3, false));
        assert_eq!(cut(3, &[0, 1, 1, 0, 1, 0]).await, (3, true));
        let half = PAGE_BYTES_MAX / 2;
        assert_eq!(cut(9, &[half, half, 1]).await, (2, false));
        assert_eq!(cut(9, &[PAGE_BYTES_MAX + 1, 1]).await, (1, false));
        assert_eq!(cut(9, &[]).await, (0, true));
    }
}
