//! Subscriptions: one call of `Read` that never ends, and the way back after it broke.
//!
//! Invariants: positions that are reported never decrease; a subscription whose connection broke
//! continues behind the last event or checkpoint, in a store that has the last event. With a
//! filter, a consumer at the head hears within [`PROGRESS_INTERVAL`] how far the server has looked.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures_util::stream::unfold;
use gesta_store::{
    Delivery, Filter, Incarnation, Invalid, Page, Position, RecordedEvent, StoreError, Subscribe,
    SubscribeFrom, SubscribeTo, Subscription, Visibility,
};

use crate::{
    core::Core,
    failure::{Failure, Subject},
    head::head,
    proto::streams::read_resp::Content,
    read::{
        Batch, LastEvent, Messages, Place, ReadTarget, Tail, event_at, event_in, has_match,
        selected, subscription, tail,
    },
    shared::Shared,
    visibility::retain_visible,
    wire::{INCARNATION, recorded},
};

/// Longest silence at the head before a filtered subscription looks how far the store has come. The
/// protocol tells it after 32 events only.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// Attempts to continue without a message in between.
const ATTEMPTS_MAX: u32 = 3;

/// Makes a subscription.
pub(crate) fn subscribe(shared: Arc<Shared>, subscribe: Subscribe) -> Subscription {
    let deliveries = Deliveries::new(Arc::clone(shared.core()), subscribe);
    Subscription::new(unfold(Some((shared, deliveries)), |state| async move {
        let (shared, deliveries) = state?;
        match next_of(&shared, deliveries).await {
            Ok((delivery, deliveries)) => Some((Ok(delivery), Some((shared, deliveries)))),
            // An error ends the subscription.
            Err(error) => Some((Err(error), None)),
        }
    }))
}

async fn next_of(
    shared: &Shared,
    deliveries: Result<Deliveries, StoreError>,
) -> Result<(Delivery, Result<Deliveries, StoreError>), StoreError> {
    let mut deliveries = deliveries?;
    let next = shared.run(async move { (deliveries.next().await, deliveries) });
    let (delivery, deliveries) = next?.await.ok_or_else(StoreError::closed)?;
    Ok((delivery?, Ok(deliveries)))
}

/// The progress of a subscription.
struct Deliveries {
    core: Arc<Core>,
    target: ReadTarget,
    visibility: Visibility,
    incarnation: Option<Incarnation>,
    /// The place after which the subscription begins, or continues.
    start: Place,
    is_checked: bool,
    /// The last event that was received.
    last: Option<LastEvent>,
    /// The connection broke, and `last` was not found again yet.
    is_unverified: bool,
    messages: Option<Messages>,
    attempts: u32,
    is_caught_up: bool,
    /// The last position that was reported.
    reported: Position,
    pending: VecDeque<Delivery>,
}

impl Deliveries {
    fn new(core: Arc<Core>, subscribe: Subscribe) -> Result<Self, StoreError> {
        let (target, visibility, start) = match subscribe.to {
            SubscribeTo::All { from, filter, visibility } => {
                let start = match from {
                    SubscribeFrom::After(Position::START) => Place::Start,
                    SubscribeFrom::After(position) => Place::at(position.number()),
                    // The store refuses starts at a time.
                    _ => Place::Start,
                };
                let visibility = filter.visibility(visibility);
                (ReadTarget::All(filter), visibility, start)
            }
            SubscribeTo::Stream { stream, from } => {
                let start = match from {
                    SubscribeFrom::After(revision) => Place::at(revision.number()),
                    _ => Place::Start,
                };
                (ReadTarget::Stream(stream), Visibility::Raw, start)
            }
            _ => return Err(StoreError::unreachable("a kind of subscription that is not known")),
        };
        Ok(Self {
            core,
            target,
            visibility,
            incarnation: subscribe.incarnation,
            start,
            is_checked: false,
            last: None,
            is_unverified: false,
            messages: None,
            attempts: 0,
            is_caught_up: false,
            reported: Position::START,
            pending: VecDeque::new(),
        })
    }

    async fn next(&mut self) -> Result<Delivery, StoreError> {
        loop {
            if let Some(delivery) = self.pending.pop_front() {
                return Ok(delivery);
            }
            self.check_start().await?;
            let messages = match &mut self.messages {
                Some(messages) => messages,
                None => {
                    if let Err(failure) = self.look_before_call().await? {
                        self.interrupted(failure)?;
                        continue;
                    }
                    match Messages::open(&self.core, subscription(&self.target, self.start)).await {
                        Ok(messages) => self.messages.insert(messages),
                        Err(failure) => {
                            self.interrupted(failure)?;
                            continue;
                        }
                    }
                }
            };
            let looks = self.is_caught_up && is_filtered(&self.target);
            let wait_max = looks.then_some(PROGRESS_INTERVAL);
            let Batch { contents, ended } = messages.next(&self.core, wait_max).await;
            if contents.is_empty() && ended.is_none() {
                self.look_ahead().await?;
                continue;
            }
            self.take(contents).await?;
            match ended {
                None => {}
                // A server that stops may end its answer without an error.
                Some(Ok(())) => self.interrupted(Failure::NotReached {
                    reason: "the server ended the subscription".to_owned(),
                    source: None,
                })?,
                Some(Err(failure)) => self.interrupted(failure)?,
            }
        }
    }

    /// Refuses a start that is none in this store.
    async fn check_start(&mut self) -> Result<(), StoreError> {
        if self.is_checked {
            return Ok(());
        }
        if let (ReadTarget::All(_), Place::At(_) | Place::End) = (&self.target, self.start) {
            let number = if let Place::At(number) = self.start { number } else { u64::MAX };
            let position = Position::new(number);
            if let Some(incarnation) = self.incarnation.filter(|of| *of != INCARNATION) {
                return Err(Invalid::OtherIncarnation { position, incarnation }.into());
            }
            let head = head(&self.core).await?;
            if position > head {
                return Err(Invalid::BeyondHead { position, head }.into());
            }
            self.reported = position;
        }
        self.is_checked = true;
        Ok(())
    }

    /// Looks for the last event in the store that answers now.
    async fn look_before_call(&mut self) -> Result<Result<(), Failure>, StoreError> {
        let (true, Some(last)) = (self.is_unverified, self.last) else { return Ok(Ok(())) };
        match self.check_last(&last).await {
            Ok(()) => {
                self.is_unverified = false;
                Ok(Ok(()))
            }
            Err(error) if error.is_transient() && self.attempts < ATTEMPTS_MAX => {
                let reason = error.to_string();
                Ok(Err(Failure::NotReached { reason, source: Some(Arc::new(error)) }))
            }
            Err(error) => Err(error),
        }
    }

    async fn check_last(&self, last: &LastEvent) -> Result<(), StoreError> {
        let stream = match &self.target {
            ReadTarget::All(_) => {
                let found = event_at(&self.core, last.position).await?;
                return last.check_in_all(found.as_ref());
            }
            ReadTarget::Stream(stream) => stream,
        };
        if let Some(found) = event_in(&self.core, stream, last.revision).await? {
            return last.check_in_stream(Some(&found));
        }
        match tail(&self.core, stream).await? {
            // Hidden since, by the metadata of the stream.
            Tail::Live(head) if head >= last.revision => Ok(()),
            // The subscription ends with the tombstone.
            Tail::Tombstoned => Ok(()),
            Tail::Live(_) | Tail::Empty => last.check_in_stream(None),
        }
    }

    /// Takes messages in, in their order.
    async fn take(&mut self, contents: Vec<Content>) -> Result<(), StoreError> {
        let mut events = Vec::new();
        for content in contents {
            match content {
                Content::Event(read) => events.push(recorded(read)?),
                Content::Checkpoint(at) => {
                    self.deliver(std::mem::take(&mut events)).await?;
                    if is_of_all(&self.target) {
                        self.start = Place::at(at.commit_position);
                        self.report(Position::new(at.commit_position));
                    }
                }
                Content::CaughtUp(caught_up) => {
                    self.deliver(std::mem::take(&mut events)).await?;
                    let told = caught_up.position.map(|at| Position::new(at.commit_position));
                    let told = told.filter(|_| is_of_all(&self.target));
                    self.reported = told.unwrap_or_default().max(self.reported);
                    self.is_caught_up = true;
                    self.pending.push_back(Delivery::CaughtUp(self.reported));
                }
                Content::FellBehind(_) => self.is_caught_up = false,
                _ => {}
            }
            self.attempts = 0;
        }
        self.deliver(events).await
    }

    /// Delivers the events that the subscription is about, and reports the others.
    async fn deliver(&mut self, events: Vec<RecordedEvent>) -> Result<(), StoreError> {
        let Some(last) = events.last() else { return Ok(()) };
        let (position, revision) = (last.position, last.revision);
        self.last = Some(LastEvent::of(last));
        self.core.see(position);
        let mut page: Page = events;
        match &self.target {
            ReadTarget::Stream(_) => self.start = Place::at(revision.number()),
            ReadTarget::All(filter) => {
                page = selected(page, filter)?;
                if self.visibility == Visibility::Visible {
                    retain_visible(&self.core, &mut page).await?;
                }
                self.start = Place::at(position.number());
            }
        }
        match page.last() {
            Some(last) => {
                self.reported = last.position;
                self.pending.push_back(Delivery::Events(page));
                self.report(position);
            }
            None => self.report(position),
        }
        Ok(())
    }

    /// Reports that everything up to a position was looked through.
    fn report(&mut self, position: Position) {
        if position > self.reported && is_of_all(&self.target) {
            self.reported = position;
            self.pending.push_back(Delivery::Checkpoint(position));
        }
    }

    /// Reports the head if no event up to it is on its way.
    async fn look_ahead(&mut self) -> Result<(), StoreError> {
        let ReadTarget::All(filter) = &self.target else { return Ok(()) };
        let head = match head(&self.core).await {
            Ok(head) => head,
            // The subscription itself will say so, too.
            Err(error) if error.is_transient() => return Ok(()),
            Err(error) => return Err(error),
        };
        if head <= self.reported {
            return Ok(());
        }
        match has_match(&self.core, filter, self.reported, head).await {
            Ok(false) => {
                self.report(head);
                Ok(())
            }
            Ok(true) => Ok(()),
            Err(error) if error.is_transient() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Prepares to continue after a failure, or returns its error.
    fn interrupted(&mut self, failure: Failure) -> Result<(), StoreError> {
        self.messages = None;
        self.is_unverified = self.last.is_some();
        if failure.is_passing() && self.attempts < ATTEMPTS_MAX {
            self.attempts += 1;
            return Ok(());
        }
        let subject = match &self.target {
            ReadTarget::Stream(stream) => Subject::of_stream(stream),
            ReadTarget::All(filter) => Subject::of_filter(filter),
        };
        Err(failure.of_read(&subject))
    }
}

fn is_of_all(target: &ReadTarget) -> bool {
    matches!(target, ReadTarget::All(_))
}

fn is_filtered(target: &ReadTarget) -> bool {
    matches!(target, ReadTarget::All(filter) if *filter != Filter::Everything)
}
