//! The threads of reads and subscriptions of a feed.
//!
//! Each has one, because the library's consumers block. A thread ends when its receiver is dropped.
//! One page is made ahead, and nothing else is kept for a receiver that does not poll.

use std::{thread, time::Duration};

use futures_util::{Stream, StreamExt as _, stream};
use gesta_store::{
    Delivery, Direction, Filter, Incarnation, Invalid, Overload, Page, Position, ReadAll, ReadFrom,
    RecordedEvent, StoreError,
};
use tokio::sync::{mpsc, oneshot};

use super::{
    backwards::Backwards,
    follower::{Follower, PAGE_EVENTS_MAX},
    lanes::Merged,
    place::FeedPlace,
};

/// Time after which a thread without new events looks whether its receiver is still there.
const LOOK: Duration = Duration::from_millis(200);

type Sender<T> = mpsc::Sender<Result<T, StoreError>>;

/// Returns what a thread sends, which starts with the first poll. Its error ends the stream.
pub(crate) fn streamed<T: Send + 'static>(
    work: impl FnOnce(&Sender<T>) -> Result<(), StoreError> + Send + 'static,
) -> impl Stream<Item = Result<T, StoreError>> + Send + 'static {
    stream::once(async move {
        let (sender, receiver) = mpsc::channel(1);
        let failing = sender.clone();
        let started = spawn(move || {
            if let Err(error) = work(&sender) {
                // The receiver may be gone.
                drop(sender.blocking_send(Err(error)));
            }
        });
        if let Err(error) = started {
            // The channel is new and has room.
            drop(failing.try_send(Err(error)));
        }
        drop(failing);
        stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|item| (item, receiver))
        })
    })
    .flatten()
}

/// Runs short work on a thread of its own.
pub(crate) async fn answered<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let (sender, receiver) = oneshot::channel();
    spawn(move || drop(sender.send(work())))?;
    let panicked = || StoreError::unreachable("the thread that reads from Kafka has panicked");
    receiver.await.unwrap_or_else(|_| Err(panicked()))
}

fn spawn(work: impl FnOnce() + Send + 'static) -> Result<(), StoreError> {
    let started = thread::Builder::new().name("gesta-kafka-feed".to_owned()).spawn(work);
    started.map(drop).map_err(|error| {
        let reason = format!("cannot start a thread: {error}");
        StoreError::Overloaded(Overload::System { reason })
    })
}

/// The starting point of a subscription.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begin {
    pub(crate) after: Position,
    pub(crate) incarnation: Option<Incarnation>,
}

/// Delivers the events of a subscription until the receiver is gone.
pub(crate) fn subscribe(
    place: FeedPlace,
    begin: Begin,
    filter: &Filter,
    sender: &Sender<Delivery>,
) -> Result<(), StoreError> {
    let mut follower = Follower::open(place, begin.after, begin.incarnation)?;
    let head = follower.head();
    // Position of the last delivery, and events since the head was last reached.
    let (mut told, mut behind, mut has_caught_up) = (begin.after, 0, false);
    while !sender.is_closed() {
        let delivery = match follower.step(LOOK)? {
            Merged::Starved => continue,
            Merged::Level(position) => {
                let catches_up = !has_caught_up && position >= head || behind > PAGE_EVENTS_MAX;
                if !catches_up && position <= told {
                    continue;
                }
                told = position;
                if catches_up {
                    (has_caught_up, behind) = (true, 0);
                    Delivery::CaughtUp(position)
                } else {
                    behind = 0;
                    Delivery::Checkpoint(position)
                }
            }
            Merged::Events(page) => {
                behind += page.len();
                let last = page.last().map_or(told, |event| event.position);
                let page = selected(page, filter)?;
                told = page.last().map_or(last, |event| event.position);
                if page.is_empty() { Delivery::Checkpoint(last) } else { Delivery::Events(page) }
            }
        };
        if sender.blocking_send(Ok(delivery)).is_err() {
            break;
        }
    }
    Ok(())
}

/// Sends the pages of a read.
pub(crate) fn read(
    place: FeedPlace,
    read: &ReadAll,
    sender: &Sender<Page>,
) -> Result<(), StoreError> {
    let mut left = read.limit;
    let mut send = |page: Page| {
        let mut page = selected(page, &read.filter)?;
        page.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        left -= page.len() as u64;
        // An empty page is no page.
        let is_sent = page.is_empty() || sender.blocking_send(Ok(page)).is_ok();
        Ok::<bool, StoreError>(is_sent && left > 0)
    };
    match read.direction {
        Direction::Forwards => {
            let after = match read.from {
                ReadFrom::At(position) => Position::new(position.number().saturating_sub(1)),
                ReadFrom::End => return Ok(()),
                _ => Position::START,
            };
            forwards(place, after, &mut send)
        }
        Direction::Backwards => {
            let from = match read.from {
                ReadFrom::At(position) => position,
                ReadFrom::Start => return Ok(()),
                _ => Position::MAX,
            };
            backwards(&place, from, read.limit, &mut send)
        }
    }
}

pub(crate) fn forwards(
    place: FeedPlace,
    after: Position,
    send: &mut impl FnMut(Page) -> Result<bool, StoreError>,
) -> Result<(), StoreError> {
    let mut follower = match Follower::open(place, after, None) {
        // A read beyond the end finds nothing.
        Err(StoreError::Rejected(Invalid::BeyondHead { .. })) => return Ok(()),
        opened => opened?,
    };
    let head = follower.head();
    let mut reads_on = after < head;
    while reads_on {
        reads_on = match follower.step(LOOK)? {
            Merged::Starved => true,
            Merged::Level(position) => position < head,
            Merged::Events(mut page) => {
                let is_last = page.last().is_some_and(|event| event.position >= head);
                page.retain(|event| event.position <= head);
                send(page)? && !is_last
            }
        };
    }
    Ok(())
}

fn backwards(
    place: &FeedPlace,
    from: Position,
    limit: u64,
    send: &mut impl FnMut(Page) -> Result<bool, StoreError>,
) -> Result<(), StoreError> {
    let page_max = PAGE_EVENTS_MAX.min(usize::try_from(limit).unwrap_or(usize::MAX)).max(1);
    let checkpoint = place.last_checkpoint()?.checkpoint;
    let mut events = Backwards::from(place, &checkpoint, from)?;
    loop {
        let mut page: Vec<RecordedEvent> = Vec::new();
        while page.len() < page_max {
            match events.next()? {
                Some(event) => page.push(event),
                None => return send(page).map(drop),
            }
        }
        if !send(page)? {
            return Ok(());
        }
    }
}

pub(crate) fn selected(page: Page, filter: &Filter) -> Result<Page, StoreError> {
    if matches!(filter, Filter::Everything) {
        return Ok(page);
    }
    let mut selected = Vec::with_capacity(page.len());
    for event in page {
        if filter.matches(&event)? {
            selected.push(event);
        }
    }
    Ok(selected)
}
