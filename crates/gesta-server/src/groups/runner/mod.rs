//! The task of one group: carries out what its state machine wants.
//!
//! Owns: the source, the connections of consumers, and the writes under way. Invariants:
//! - The task waits for no single write and no consumer: it continues while they take their time.
//! - The source is read only as far as the group has room.
//! - At the end, writes under way have [`ENDING_MAX`]; then the last checkpoint is written.
//! - A conflict at the checkpoint means that somebody else has changed it: the group begins again
//!   from what is stored.
//!
//! Not here: which event goes where ([`machine`](super::machine)).

mod command;
mod consumers;
mod start;
mod writes;

use std::{
    collections::{BTreeSet, VecDeque},
    future::pending,
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use gesta_store::{Revision, StoreError};
use tokio::{
    select,
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until, timeout},
};
use tonic::Status;

pub(super) use self::command::{
    ConnectedConsumer, ConsumerAnswer, ConsumerPeer, EndReason, GroupCommand, GroupDelivery,
    GroupReport,
};
use self::{
    consumers::{ConsumerLinks, Sent},
    start::StoredStart,
    writes::{GroupWrite, WriteDone},
};
use super::{
    checkpoint,
    configuration::GroupConfig,
    errors::{does_not_exist, dropped, moved, too_many_consumers},
    machine::{ConsumerId, Effect, EventKey, GroupMachine},
    source::{self, SourceItem, group_event},
};
use crate::{node::Node, streams::Found, wire::status};

/// Maximum number of commands that wait for the task.
const COMMANDS_MAX: usize = 1_000;
/// Time for the writes under way at the end.
const ENDING_MAX: Duration = Duration::from_secs(5);
/// Pause before a source that failed is opened again.
const REOPEN_AFTER: Duration = Duration::from_secs(1);
/// Interval at which consumers that read too slowly are looked at.
const STALLED_INTERVAL: Duration = Duration::from_millis(100);
/// Maximum number of parked events that are read at once.
const REPLAY_PAGE: usize = 100;

/// Starts a group. Dropping the sender ends it like a stop of the server.
pub(super) fn start(
    node: Node,
    config: Arc<GroupConfig>,
) -> (mpsc::Sender<GroupCommand>, tokio::task::JoinHandle<()>) {
    let (sender, commands) = mpsc::channel(COMMANDS_MAX);
    let task = tokio::spawn(run(node, config, commands));
    (sender, task)
}

/// Runs a group until it ends, from what is stored as often as necessary.
async fn run(node: Node, config: Arc<GroupConfig>, mut commands: mpsc::Receiver<GroupCommand>) {
    loop {
        let started = select! {
            started = start::read(&node, &config) => started,
            () = node.stopped() => return,
        };
        let ended = match started {
            Ok(stored) => Runner::new(&node, &config, stored).run(&mut commands).await,
            Err(error) => refuse_all(&node, &mut commands, &status(&error)).await,
        };
        if ended == RunEnd::Over {
            return;
        }
    }
}

/// Answers the commands of a group that cannot start.
async fn refuse_all(
    node: &Node,
    commands: &mut mpsc::Receiver<GroupCommand>,
    reason: &Status,
) -> RunEnd {
    loop {
        let command = select! {
            command = commands.recv() => command,
            () = node.stopped() => return RunEnd::Over,
        };
        match command {
            // A caller that is gone needs no answer.
            Some(GroupCommand::Connect { answer, .. }) => drop(answer.send(Err(reason.clone()))),
            Some(GroupCommand::Replay { answer, .. }) => drop(answer.send(Err(reason.clone()))),
            Some(GroupCommand::Describe { answer }) => drop(answer),
            Some(GroupCommand::Answer { .. } | GroupCommand::Disconnect { .. }) => {}
            Some(GroupCommand::End { done, .. }) => {
                let _ = done.send(());
                return RunEnd::Over;
            }
            None => return RunEnd::Over,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RunEnd {
    Over,
    /// The group begins again from what is stored.
    Again,
}

enum OpenSource {
    Reading(mpsc::Receiver<Result<Vec<SourceItem>, StoreError>>),
    /// It is opened again at this time.
    Failed(Instant),
    /// It never delivers anything again.
    Over,
}

impl OpenSource {
    /// Returns the next part of the source, or `None` if it has to be opened again.
    async fn next(&mut self) -> Option<Result<Vec<SourceItem>, StoreError>> {
        match self {
            Self::Reading(batches) => batches.recv().await,
            Self::Failed(until) => {
                sleep_until(*until).await;
                None
            }
            Self::Over => pending().await,
        }
    }
}

/// Parked events that are to be delivered again.
#[derive(Debug)]
struct Replay {
    /// Revision of the next one.
    next: u64,
    end: u64,
    is_reading: bool,
}

struct Runner {
    node: Node,
    config: Arc<GroupConfig>,
    started: Instant,
    machine: GroupMachine<Arc<Found>>,
    links: ConsumerLinks,
    source: OpenSource,
    /// Items that were read and have no room yet.
    unfed: VecDeque<SourceItem>,
    /// The source has delivered everything that there was.
    is_source_live: bool,
    parked_places: BTreeSet<u64>,
    replay: Replay,
    writes: FuturesUnordered<GroupWrite>,
    checkpoint_revision: Option<Revision>,
    /// The error that ended the source for good.
    failure: Option<Status>,
}

impl Runner {
    fn new(node: &Node, config: &Arc<GroupConfig>, stored: StoredStart) -> Self {
        let StoredStart { start, checkpoint_revision, parked_places } = stored;
        let machine = GroupMachine::new(config.settings.rules(), start, Duration::ZERO);
        let source = OpenSource::Reading(source::open(node, config, machine.last_read()));
        let next = start.parked_before.map_or(0, |hidden| hidden.saturating_add(1));
        Self {
            node: node.clone(),
            config: Arc::clone(config),
            started: Instant::now(),
            machine,
            links: ConsumerLinks::new(node.clone()),
            source,
            unfed: VecDeque::new(),
            is_source_live: false,
            parked_places,
            replay: Replay { next, end: next, is_reading: false },
            writes: FuturesUnordered::new(),
            checkpoint_revision,
            failure: None,
        }
    }

    async fn run(mut self, commands: &mut mpsc::Receiver<GroupCommand>) -> RunEnd {
        loop {
            self.feed();
            self.carry_out();
            let may_read = self.unfed.is_empty() && self.machine.room() > 0;
            let tick = self.next_tick();
            select! {
                command = commands.recv() => match command {
                    Some(GroupCommand::End { reason, done }) => {
                        self.end(reason, commands).await;
                        let _ = done.send(());
                        return RunEnd::Over;
                    }
                    Some(command) => self.take(command),
                    None => {
                        self.end(EndReason::Stopped, commands).await;
                        return RunEnd::Over;
                    }
                },
                batch = self.source.next(), if may_read => self.take_batch(batch),
                Some(done) = self.writes.next(), if !self.writes.is_empty() => {
                    if self.written(done) == RunEnd::Again {
                        self.links.remove_all(&dropped(&self.config.id));
                        return RunEnd::Again;
                    }
                }
                () = wait_until(tick) => self.machine.tick(self.now()),
                () = self.node.stopped() => {
                    self.end(EndReason::Stopped, commands).await;
                    return RunEnd::Over;
                }
            }
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn next_tick(&self) -> Option<Instant> {
        let stalled = self.links.has_stalled().then(|| self.now() + STALLED_INTERVAL);
        let next = [self.machine.next_tick(), stalled].into_iter().flatten().min()?;
        self.started.checked_add(next)
    }

    /// Gives the group what was read, as far as it has room. Parked events come first: events of
    /// the source would take their room forever.
    fn feed(&mut self) {
        let now = self.now();
        for consumer in self.links.take_recovered() {
            self.machine.resume(consumer, now);
        }
        if self.replay.next < self.replay.end {
            if !self.replay.is_reading && self.machine.room() > 0 {
                self.replay.is_reading = true;
                let limit = self.machine.room().min(REPLAY_PAGE);
                let write = writes::read_parked(&self.node, &self.config, self.replay.next, limit);
                self.writes.push(write);
            }
            return;
        }
        while self.machine.room() > 0
            && let Some(item) = self.unfed.pop_front()
        {
            self.feed_item(item, now);
        }
        self.machine.set_live(self.is_source_live && self.unfed.is_empty());
    }

    fn feed_item(&mut self, item: SourceItem, now: Duration) {
        match item {
            SourceItem::Event(event) => match event.key {
                EventKey::Source(place) if self.parked_places.remove(&place) => {
                    self.machine.pass(event.key, now);
                }
                _ => self.machine.feed(event, now),
            },
            SourceItem::Passed(place) => self.machine.pass(EventKey::Source(place), now),
            SourceItem::Live => self.is_source_live = true,
        }
    }

    fn take_batch(&mut self, batch: Option<Result<Vec<SourceItem>, StoreError>>) {
        match batch {
            Some(Ok(items)) => self.unfed.extend(items),
            Some(Err(error)) if error.is_transient() => {
                tracing::warn!(%error, group = %self.config.id, "the source failed; reopening");
                self.is_source_live = false;
                self.source = OpenSource::Failed(Instant::now() + REOPEN_AFTER);
            }
            Some(Err(error)) => {
                let failure = status(&error);
                self.source = OpenSource::Over;
                self.is_source_live = false;
                self.drop_all(&failure);
                self.failure = Some(failure);
            }
            None => {
                let after = self.machine.last_read();
                self.source = OpenSource::Reading(source::open(&self.node, &self.config, after));
            }
        }
    }

    fn drop_all(&mut self, reason: &Status) {
        let now = self.now();
        for consumer in self.links.remove_all(reason) {
            self.machine.disconnect(consumer, now);
        }
    }

    fn take(&mut self, command: GroupCommand) {
        let now = self.now();
        match command {
            GroupCommand::Connect { slots, peer, answer } => self.connect(slots, peer, answer),
            GroupCommand::Answer { consumer, answer: ConsumerAnswer::Ack(ids) } => {
                self.machine.ack(consumer, &ids, now);
            }
            GroupCommand::Answer {
                consumer,
                answer: ConsumerAnswer::Nack { ids, action, reason },
            } => self.machine.nack(consumer, &ids, (action, &reason), now),
            GroupCommand::Disconnect { consumer, broken } => {
                self.links.remove(consumer, broken);
                self.machine.disconnect(consumer, now);
            }
            GroupCommand::Describe { answer } => {
                let mut figures = self.machine.figures(now);
                // Also those that have no room yet, for want of a consumer.
                figures.is_replaying |= self.replay.next < self.replay.end;
                let report = GroupReport {
                    figures,
                    peers: self.links.peers(),
                    failure: self.failure.as_ref().map(|failure| failure.message().to_owned()),
                };
                // A caller that is gone needs no answer, here and below.
                let _ = answer.send(report);
            }
            GroupCommand::Replay { stop_at, answer } => {
                self.writes.push(writes::find_parked(&self.node, &self.config, stop_at, answer));
            }
            // The loop takes it.
            GroupCommand::End { done, .. } => drop(done),
        }
    }

    fn connect(
        &mut self,
        slots: usize,
        peer: ConsumerPeer,
        answer: oneshot::Sender<Result<ConnectedConsumer, Status>>,
    ) {
        if let Some(failure) = &self.failure {
            let _ = answer.send(Err(failure.clone()));
            return;
        }
        let (consumer, now) = (self.links.next_id(), self.now());
        if self.machine.connect(consumer, slots, now).is_err() {
            let _ = answer.send(Err(too_many_consumers(&self.config.id)));
            return;
        }
        let connected = self.links.add(slots, peer);
        if answer.send(Ok(connected)).is_err() {
            self.leave(consumer);
        }
    }

    fn leave(&mut self, consumer: ConsumerId) {
        self.links.remove(consumer, None);
        self.machine.disconnect(consumer, self.now());
    }

    /// Carries out effects until there are none: a failed delivery has further ones.
    fn carry_out(&mut self) {
        loop {
            let effects = self.machine.take_effects();
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                self.carry_out_one(effect);
            }
        }
    }

    fn carry_out_one(&mut self, effect: Effect<Arc<Found>>) {
        let (node, config) = (&self.node, &self.config);
        match effect {
            Effect::Deliver { consumer, key, payload, retries } => {
                match self.links.send(consumer, payload, retries) {
                    Sent::Taken => {}
                    Sent::Full => self.machine.undelivered(consumer, key, self.now()),
                    Sent::Gone => self.leave(consumer),
                }
            }
            Effect::Park { key, payload, reason } => {
                self.writes.push(writes::park(node, config, (key, payload), reason));
            }
            Effect::Checkpoint { place } => {
                self.writes.push(writes::checkpoint(node, config, place, self.checkpoint_revision));
            }
            Effect::Truncate { before } => {
                self.writes.push(writes::truncate(node, config, before));
            }
            Effect::Drop { consumer } => {
                self.links.remove(consumer, Some(dropped(&self.config.id)));
            }
        }
    }

    fn written(&mut self, done: WriteDone) -> RunEnd {
        let now = self.now();
        match done {
            WriteDone::Parked { key, result: Ok(()) } => {
                self.node.counters().events_parked.add(1);
                self.machine.parked(key, now);
            }
            WriteDone::Parked { key, result: Err(error) } => {
                // The event stays open, so it is delivered again after the next start.
                tracing::error!(%error, group = %self.config.id, ?key, "an event was not parked");
            }
            WriteDone::Checkpointed(Ok(revision)) => {
                self.checkpoint_revision = Some(revision);
                self.machine.checkpointed(now);
            }
            WriteDone::Checkpointed(Err(StoreError::Conflict(_))) => {
                tracing::warn!(group = %self.config.id, "the checkpoint was changed by another");
                return RunEnd::Again;
            }
            WriteDone::Checkpointed(Err(error)) => {
                tracing::error!(%error, group = %self.config.id, "a checkpoint was not written");
                self.machine.checkpoint_failed();
            }
            WriteDone::Truncated(result) => {
                if let Err(error) = result {
                    tracing::warn!(%error, group = %self.config.id, "parked events stay");
                }
                self.machine.truncated(now);
            }
            WriteDone::ParkedEnd { end, answer } => {
                let found = end.map(|end| self.replay.end = self.replay.end.max(end));
                let _ = answer.send(found.map_err(|error| status(&error)));
            }
            WriteDone::ParkedRead(result) => self.replay_read(result),
        }
        RunEnd::Over
    }

    fn replay_read(&mut self, result: Result<Vec<Found>, StoreError>) {
        self.replay.is_reading = false;
        let parked = match result {
            Ok(parked) => parked,
            Err(error) => {
                tracing::warn!(%error, group = %self.config.id, "parked events cannot be read");
                self.replay.end = self.replay.next;
                return;
            }
        };
        let now = self.now();
        let is_last = parked.is_empty();
        for found in parked {
            let Found::Link { link, target } = &found else { continue };
            let revision = link.revision.number();
            if revision >= self.replay.end {
                break;
            }
            self.replay.next = revision.saturating_add(1);
            let key = EventKey::Replayed(revision);
            match target {
                Some(_) => self.machine.feed(group_event(key, found, &self.config), now),
                // The event is hidden now: there is nothing to process.
                None => self.machine.pass(key, now),
            }
        }
        if is_last {
            self.replay.next = self.replay.end;
        }
    }

    /// Ends connections and writes, and records the last checkpoint. Answers that have come count.
    async fn end(mut self, reason: EndReason, commands: &mut mpsc::Receiver<GroupCommand>) {
        while let Ok(command) = commands.try_recv() {
            if let GroupCommand::Answer { .. } = command {
                self.take(command);
            }
        }
        self.carry_out_writes();
        let reason_text = match reason {
            EndReason::Deleted => does_not_exist(&self.config.id),
            EndReason::Restarted => dropped(&self.config.id),
            EndReason::Stopped => {
                Status::unavailable("the server is shutting down; subscribe again")
            }
            EndReason::Moved => moved(None),
        };
        self.links.remove_all(&reason_text);
        let finished = timeout(ENDING_MAX, async {
            while let Some(done) = self.writes.next().await {
                if self.written(done) == RunEnd::Again {
                    return RunEnd::Again;
                }
                self.carry_out_writes();
            }
            RunEnd::Over
        });
        let is_ours = finished.await.is_ok_and(|ended| ended == RunEnd::Over);
        let Some(place) = self.machine.last_checkpoint().filter(|_| is_ours) else { return };
        if reason == EndReason::Deleted || reason == EndReason::Moved {
            return;
        }
        let last = self.checkpoint_revision;
        let write = checkpoint::write(self.node.store(), &self.config.id, place, last);
        if let Ok(Err(error)) = timeout(ENDING_MAX, write).await {
            tracing::warn!(%error, group = %self.config.id, "the last checkpoint was not written");
        }
    }

    /// Carries out effects of a group without consumers, but for checkpoints: the last one follows.
    fn carry_out_writes(&mut self) {
        for effect in self.machine.take_effects() {
            match effect {
                Effect::Park { .. } | Effect::Truncate { .. } => self.carry_out_one(effect),
                Effect::Checkpoint { .. } => self.machine.checkpoint_failed(),
                Effect::Deliver { .. } | Effect::Drop { .. } => {}
            }
        }
    }
}

async fn wait_until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}
