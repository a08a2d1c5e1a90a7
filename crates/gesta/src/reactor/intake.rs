//! The way of events to their effects and back: from deliveries and held streams through lanes to
//! the position and the dead letters.
//!
//! Invariant: events behind a dead letter of the same stream wait, and events of a held stream are
//! taken from the stream alone.

use std::sync::Arc;

use gesta_store::{Delivery, RecordedEvent, StreamName};

use super::{
    Reactor,
    attempt::attempt,
    held::HeldStream,
    session::{ReactorRunner, ReactorSession, Reading},
    tasks::{HeldPage, ReactorTask, Tried, load},
};
use crate::spans::{correlation_of, trace_of};

/// Maximum number of events taken up beyond the first unfinished one.
pub(super) const OPEN_MAX: usize = 1_024;

impl ReactorSession {
    pub(super) fn take(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Events(page) => self.events.extend(page),
            Delivery::CaughtUp(position) | Delivery::Checkpoint(position) => {
                self.flow.reach(position);
            }
            // A kind of delivery that is added later carries no events.
            _ => {}
        }
    }
}

impl<R: Reactor> ReactorRunner<R> {
    /// Takes up delivered events, as long as there is room.
    pub(super) fn take_events(&mut self, session: &mut ReactorSession) {
        // Bounds memory: a slow effect does not stop the others until this many events are open.
        while session.flow.open() < OPEN_MAX {
            let Some(event) = session.events.pop_front() else { return };
            self.take_event(event, session);
        }
    }

    fn take_event(&mut self, event: RecordedEvent, session: &mut ReactorSession) {
        let position = event.position;
        session.flow.begin(position, event.id);
        // Handled before the last restart, ahead of an event that was not.
        if session.journal.is_ahead(&event.id) {
            session.flow.end(position);
            return;
        }
        let Some(held) = session.held.get(&event.stream) else {
            session.lanes.push(Arc::new(event));
            return;
        };
        // The held stream is in the journal with its first unhandled event, so the position may
        // pass this one.
        session.flow.end(position);
        if event.revision >= held.next && held.letter.is_none() {
            session.readings.entry(event.stream.clone()).or_default().is_behind = true;
            self.read_on(&event.stream, session);
        }
    }

    /// Starts effects, up to the maximum in progress.
    pub(super) fn start_effects(&mut self, session: &mut ReactorSession) {
        while session.lanes.running() < self.deps.limits.concurrency {
            let Some((event, number)) = session.lanes.start_next() else { return };
            let deps = Arc::clone(&self.deps);
            self.tasks.spawn(async move {
                let outcome = attempt(&deps, &event, number).await;
                ReactorTask::Tried(Tried { event, attempt: number, outcome })
            });
        }
    }

    /// Takes the result of an attempt.
    pub(super) fn tried(&mut self, tried: Tried, session: &mut ReactorSession) {
        let Tried { event, attempt, outcome } = tried;
        let Err(failed) = outcome else {
            session.lanes.succeed(&event.stream);
            self.finish(&event, session);
            return;
        };
        if attempt < self.deps.limits.attempts && !failed.is_permanent {
            let (stream, error) = (&event.stream, &failed.error);
            tracing::debug!(
                reactor = R::NAME, %stream, %error, attempt,
                correlation_id = correlation_of(&event), trace_id = trace_of(&event),
                "an effect is attempted again"
            );
            session.lanes.rest(stream, self.deps.clock.now(), failed.retry_after);
            session.failing = Some(format!("stream {stream}: {error}"));
        } else if session.letters() >= self.deps.limits.dead_letters {
            session.lanes.put_back(&event.stream);
            self.halt(&failed.error);
        } else {
            self.set_aside(&event, (failed.error, attempt), session);
        }
    }

    fn halt(&mut self, error: &str) {
        let letters = self.deps.limits.dead_letters;
        let reason = format!(
            "the maximum of {letters} dead letters is reached; retry or discard some of them; the \
             next event fails with: {error}"
        );
        tracing::error!(reactor = R::NAME, %reason, "the reactor halts");
        self.halted = Some(reason);
    }

    /// Marks an event as handled.
    fn finish(&mut self, event: &RecordedEvent, session: &mut ReactorSession) {
        session.flow.end(event.position);
        if let Some(held) = session.held.get(&event.stream) {
            let past = held.past(event.revision, event.position);
            session.hold(&event.stream, past);
            self.read_on(&event.stream, session);
        }
    }

    /// Makes an event a dead letter. The later events of its stream wait in the stream.
    fn set_aside(
        &mut self,
        event: &RecordedEvent,
        (error, attempts): (String, u32),
        session: &mut ReactorSession,
    ) {
        let (stream, id) = (&event.stream, event.id);
        tracing::warn!(
            reactor = R::NAME, %stream, event = %id, %error,
            correlation_id = correlation_of(event), trace_id = trace_of(event),
            "an event is a dead letter: its effect failed at every attempt"
        );
        let mut held = HeldStream::of_letter(event, (error, attempts), self.now());
        if let Some(before) = session.held.get(stream) {
            held.through = held.through.max(before.through);
        }
        session.hold(stream, held);
        session.readings.remove(stream);
        // The position passes them only together with the held stream, in one append.
        for waiting in session.lanes.remove(stream) {
            session.flow.end(waiting.position);
        }
    }

    /// Loads further events of a held stream, if it has none in its lane.
    pub(super) fn read_on(&mut self, stream: &StreamName, session: &mut ReactorSession) {
        let Some(held) = session.held.get(stream).filter(|held| held.letter.is_none()) else {
            return;
        };
        let reading = session.readings.entry(stream.clone()).or_default();
        if reading.is_loading || !reading.is_behind || session.lanes.has(stream) {
            return;
        }
        *reading = Reading::LOADING;
        let (store, types) = (Arc::clone(self.deps.store()), Arc::clone(&self.types));
        let (stream, from) = (stream.clone(), held.next);
        self.tasks.spawn(async move {
            let page = load(store.as_ref(), &stream, from, &types).await;
            ReactorTask::Loaded(stream, page)
        });
    }

    /// Takes further events of a held stream.
    pub(super) fn loaded(
        &mut self,
        stream: &StreamName,
        page: HeldPage,
        session: &mut ReactorSession,
    ) {
        let HeldPage { events, next } = page;
        let reading = session.readings.entry(stream.clone()).or_default();
        reading.is_loading = false;
        let Some(held) = session.held.get(stream) else { return };
        if events.is_empty() {
            // Events of other types lie behind the last one of this reactor.
            if next > held.next {
                let held = HeldStream { next, ..held.clone() };
                session.hold(stream, held);
            }
            self.read_on(stream, session);
            return;
        }
        reading.is_behind = true;
        events.into_iter().for_each(|event| session.lanes.push(Arc::new(event)));
    }
}

impl Reading {
    const LOADING: Self = Self { is_loading: true, is_behind: false };
}
