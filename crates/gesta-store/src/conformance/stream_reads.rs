//! Clauses about reads of one stream: direction, start, limit and pages.

use super::support::*;
use crate::{EventStore, ReadFrom, ReadStream, Revision};

fn forwards() -> ReadStream {
    ReadStream::forwards(name("order-1"))
}

fn backwards() -> ReadStream {
    ReadStream::backwards(name("order-1"))
}

/// Reads the stream and expects these revisions.
async fn expect_revisions<I>(store: &dyn EventStore, read: ReadStream, revisions: I)
where
    I: IntoIterator<Item = u64>,
{
    let request = format!("{:?} from {:?}, at most {}", read.direction, read.from, read.limit);
    let events = collected(store.read_stream(read)).await;
    let found: Vec<u64> = events.iter().map(|event| event.revision.number()).collect();
    assert_eq!(found, revisions.into_iter().collect::<Vec<_>>(), "{request}");
}

pub(super) async fn a_stream_reads_forwards(store: &dyn EventStore) {
    let mut added = grow(store, "order-1", 2).await;
    grow(store, "order-2", 2).await;
    added.extend(grow(store, "order-1", 1).await);
    assert_eq!(recorded_ids(&collected(store.read_stream(forwards())).await), added);
}

pub(super) async fn a_stream_reads_backwards(store: &dyn EventStore) {
    let added = grow(store, "order-1", 3).await;
    grow(store, "order-2", 2).await;
    let read = collected(store.read_stream(backwards())).await;
    assert_eq!(recorded_ids(&read), reversed(&added));
}

pub(super) async fn a_stream_reads_from_a_revision_on(store: &dyn EventStore) {
    grow(store, "order-1", 4).await;
    for from in 0..4 {
        expect_revisions(store, forwards().from(Revision::new(from)), from..4).await;
    }
}

pub(super) async fn a_stream_reads_from_a_revision_back(store: &dyn EventStore) {
    grow(store, "order-1", 4).await;
    for from in 0..4 {
        expect_revisions(store, backwards().from(Revision::new(from)), (0..=from).rev()).await;
    }
}

pub(super) async fn a_stream_reads_from_beyond_its_head(store: &dyn EventStore) {
    grow(store, "order-1", 3).await;
    // Just beyond the head, far beyond, and where adding one would overflow.
    for from in [Revision::new(3), Revision::new(9), Revision::MAX] {
        expect_revisions(store, forwards().from(from), []).await;
        expect_revisions(store, backwards().from(from), (0..3).rev()).await;
    }
}

pub(super) async fn a_stream_reads_from_either_end(store: &dyn EventStore) {
    grow(store, "order-1", 3).await;
    let from = |read: ReadStream, from| ReadStream { from, ..read };
    expect_revisions(store, from(forwards(), ReadFrom::Start), 0..3).await;
    expect_revisions(store, from(forwards(), ReadFrom::End), []).await;
    expect_revisions(store, from(backwards(), ReadFrom::Start), []).await;
    expect_revisions(store, from(backwards(), ReadFrom::End), (0..3).rev()).await;
}

pub(super) async fn a_limit_ends_the_read_of_a_stream(store: &dyn EventStore) {
    grow(store, "order-1", 4).await;
    // From nothing to more than there is.
    for limit in 0..6 {
        expect_revisions(store, forwards().limit(limit), 0..limit.min(4)).await;
        expect_revisions(store, backwards().limit(limit), (0..4).rev().take(limit as usize)).await;
    }
    expect_revisions(store, forwards().from(Revision::new(1)).limit(2), 1..3).await;
}

pub(super) async fn a_missing_stream_reads_empty(store: &dyn EventStore) {
    grow(store, "order-2", 1).await;
    expect_revisions(store, forwards(), []).await;
    expect_revisions(store, backwards(), []).await;
}

/// Several pages: every event once, and no empty page.
pub(super) async fn a_long_stream_comes_in_pages(store: &dyn EventStore) {
    let count = many(store, "order-1").await;
    expect_revisions(store, forwards(), 0..count).await;
    expect_revisions(store, backwards(), (0..count).rev()).await;
    expect_revisions(store, forwards().from(Revision::new(7)).limit(count - 9), 7..count - 2).await;
    let mut pages = store.read_stream(forwards());
    while let Some(page) = pages.next().await {
        assert!(!accepted(page).is_empty(), "a page must not be empty");
    }
}

/// Appends more events than fit on a page, and returns their number.
async fn many(store: &dyn EventStore, stream: &str) -> u64 {
    for _ in 0..9 {
        grow(store, stream, 100).await;
    }
    900
}

/// A read may include later events, but has no gap.
pub(super) async fn a_read_goes_on_while_events_are_appended(store: &dyn EventStore) {
    let count = many(store, "order-1").await;
    let mut pages = store.read_stream(forwards());
    let mut read = accepted(pages.next().await.expect("there are events"));
    // Append while the read is in progress.
    grow(store, "order-1", 300).await;
    while let Some(page) = pages.next().await {
        read.extend(accepted(page));
    }
    let revisions: Vec<u64> = read.iter().map(|event| event.revision.number()).collect();
    assert!(
        revisions.len() as u64 >= count,
        "the read must return the {count} events that existed when it began, got {}",
        revisions.len()
    );
    assert_eq!(revisions, (0..revisions.len() as u64).collect::<Vec<_>>());
}
