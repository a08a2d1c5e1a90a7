//! One run: a seed, from an empty disk to the last check.
//!
//! Owns: [`run`]: the schedule of requests, completions, time and crashes. Invariant: the seed
//! decides everything, so a run can be repeated. Not here: the contract ([`model`](crate::model)),
//! the faults of a disk ([`disk`](crate::disk)).

mod damaged;
mod final_phase;
mod opening;
mod poll;
mod reads;
mod scavenging;
mod session;
mod subscriber;

use std::{fmt, sync::Arc, time::Duration};

use gesta_log::EnginePoll;
use gesta_store::{
    Checkpoint, EventStore, Head, Incarnation, Position, StreamName, StreamState, Visibility,
};

use self::{
    poll::answer_now,
    session::{AttemptAnswer, Session},
    subscriber::SubscriptionTarget,
};
pub(crate) use self::{
    poll::poll_once,
    reads::{collected, is_borrowed, read_until_damage},
};
use crate::{
    client::Client,
    clock::SimClock,
    disk::{Crash, SimDisk},
    fault::FaultCounts,
    model::{AppendId, AppendKind, CheckResult, Model, Violation, ensure},
    rng::SimRng,
    trace::{self, Trace},
};

/// Minimum of client operations in a run.
pub const OPERATIONS_MIN: u64 = 300;
/// Minimum of crashes in a run.
pub const CRASHES_MIN: u64 = 3;

/// Engine turns within which every request must be answered.
const TURNS_TO_SETTLE_MAX: usize = 2_000;
/// Limit of unanswered appends.
const UNANSWERED_MAX: usize = 24;

/// Counters of a run without violations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunStats {
    /// Client operations: appends, reads, deliveries.
    pub operations: u64,
    /// Crashes of the process or the system, each followed by a restart.
    pub crashes: u64,
    /// Acknowledged appends.
    pub acknowledged: u64,
    /// Appends with a definite failure.
    pub refused: u64,
    /// Appends whose outcome the client does not know.
    pub unknown: u64,
    /// Events at the end of the run.
    pub events: u64,
    /// Scavenged events.
    pub scavenged: u64,
    /// Operations of the disk.
    pub disk_operations: u64,
    /// Faults that happened.
    pub faults: FaultCounts,
}

/// A violated promise, and the way to reproduce it.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Seed of the run.
    pub seed: u64,
    /// Description of the promise and of the observed behavior.
    pub violation: String,
    /// Last steps before the violation, oldest first.
    pub trace: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.trace {
            writeln!(f, "    {line}")?;
        }
        let Self { seed, violation, .. } = self;
        write!(f, "GESTA_SEED={seed} cargo test -p gesta-sim one_seed # {violation}")
    }
}

impl std::error::Error for Failure {}

/// Runs one seed.
///
/// # Errors
/// [`Failure`] for the first violated promise.
pub fn run(seed: u64) -> Result<RunStats, Failure> {
    guarded(seed, Trace::disabled()).map_err(|first| {
        // Run it again with tracing, which would slow down every run.
        let trace = Trace::recording();
        let violation = match guarded(seed, trace.clone()) {
            Err(again) if again == first => first.0,
            Err(_) | Ok(_) => {
                format!("the seed is not reproducible; its first run failed with: {first}")
            }
        };
        Failure { seed, violation, trace: trace.entries() }
    })
}

/// Converts a panic of the engine to a violation.
fn guarded(seed: u64, trace: Trace) -> CheckResult<RunStats> {
    let run = std::panic::AssertUnwindSafe(|| Simulation::new(seed, trace).run());
    std::panic::catch_unwind(run).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(Violation(format!("panicked: {}", text.unwrap_or("no message"))))
    })
}

/// Condition on which [`Simulation::settle_until`] ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SettleUntil {
    /// No append waits for an answer.
    Answered,
    /// Nothing is left to do, including the close frame after a pause.
    AtRest,
}

/// Occurrence of a scheduled crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Interrupted {
    No,
    Yes,
}

/// State of a run.
struct Simulation {
    rng: SimRng,
    disk: Arc<SimDisk>,
    clock: Arc<SimClock>,
    model: Model,
    client: Client,
    trace: Trace,
    stats: RunStats,
    /// Time at which the engine wants its next turn.
    deadline: Option<Duration>,
    /// `None` before the first event.
    incarnation: Option<Incarnation>,
}

impl Simulation {
    fn new(seed: u64, trace: Trace) -> Self {
        // Forked in a fixed order: disk first, then client.
        let mut rng = SimRng::from_seed(seed);
        Self {
            disk: Arc::new(SimDisk::with_trace(rng.fork(), trace.clone())),
            clock: Arc::new(SimClock::new()),
            model: Model::default(),
            client: Client::new(rng.fork()),
            trace,
            stats: RunStats::default(),
            deadline: None,
            incarnation: None,
            rng,
        }
    }

    fn run(mut self) -> CheckResult<RunStats> {
        while self.stats.operations < OPERATIONS_MIN || self.stats.crashes < CRASHES_MIN {
            let mut session = self.open()?;
            match self.run_session(&mut session)? {
                Interrupted::No => self.end_session(session)?,
                Interrupted::Yes => self.crash_session(session),
            }
        }
        self.final_phase()?;
        self.stats.events = self.model.history().events().len() as u64;
        self.stats.disk_operations = self.disk.operations();
        self.stats.faults = self.disk.faults();
        Ok(self.stats)
    }

    /// Runs random steps until the session ends or a scheduled crash happens.
    fn run_session(&mut self, session: &mut Session) -> CheckResult<Interrupted> {
        let until = self.stats.operations + self.rng.in_range(10..80);
        while self.stats.operations < until && !session.crash_pending() {
            // Weights in percent: mostly appends, turns and completions, so that groups overlap.
            match self.rng.below(100) {
                0..25 => self.submit_some(session),
                25..55 => self.turn(session).map(drop),
                55..80 => self.complete_some(),
                80..92 => self.read_or_subscribe(session),
                92..94 => self.advance_time(),
                94 => self.scavenge(session),
                95 => self.flush_some(session),
                96 => {
                    if self.flush_until_crash(session) == Interrupted::Yes {
                        return Ok(Interrupted::Yes);
                    }
                    Ok(())
                }
                // Rarely: an idle store writes its close frame, which changes recovery.
                97 => self.settle(session),
                98 => self.change_free_space(),
                _ => {
                    session.abandon_one(&mut self.rng);
                    Ok(())
                }
            }?;
        }
        Ok(Interrupted::No)
    }

    /// Submits a few appends together, so that commit groups form.
    fn submit_some(&mut self, session: &mut Session) -> CheckResult {
        for _ in 0..self.rng.pick(&[1, 1, 2, 3, 6]) {
            if session.unanswered() < UNANSWERED_MAX {
                let number = self.next_append();
                self.submit(session, number);
            }
        }
        Ok(())
    }

    fn next_append(&mut self) -> AppendId {
        self.repeat().unwrap_or_else(|| {
            let (append, kind) = self.client.append(&self.model);
            self.model.register(append, kind)
        })
    }

    fn submit(&mut self, session: &mut Session, number: AppendId) {
        let attempt = self.model.begin_attempt(number);
        self.stats.operations += 1;
        let append = self.model.append(number).clone();
        self.trace.record(|| {
            let kind = self.model.kind(number);
            format!("append {number} ({kind:?}): {}", trace::append(&append))
        });
        session.submit(append, attempt);
    }

    /// Picks an append submitted before, mostly a recent one.
    fn repeat(&mut self) -> Option<AppendId> {
        if !self.rng.percent(15) {
            return None;
        }
        let append_count = self.model.append_count();
        // A recent append is more likely to be in flight.
        let back = if self.rng.percent(70) {
            self.rng.below(12.min(append_count))
        } else {
            self.rng.below(append_count)
        };
        let number = append_count.checked_sub(back + 1)?;
        (self.model.kind(number) == AppendKind::Valid).then_some(number)
    }

    fn turn(&mut self, session: &mut Session) -> CheckResult<EnginePoll> {
        let (turn, answers) = session.turn(&mut self.model, &self.disk)?;
        for answered in &answers {
            self.count(answered);
        }
        self.deadline = match turn {
            EnginePoll::WakeAt(deadline) => Some(deadline),
            EnginePoll::Idle | EnginePoll::Closed => None,
        };
        Ok(turn)
    }

    fn count(&mut self, answered: &AttemptAnswer) {
        let AttemptAnswer { attempt, answer } = answered;
        self.trace.record(|| match answer {
            Ok(appended) => format!("append {} is at {}", attempt.append, appended.position),
            Err(error) => format!("append {}: {error}", attempt.append),
        });
        match answer {
            Ok(_) => self.stats.acknowledged += 1,
            Err(error) if error.is_definite() => self.stats.refused += 1,
            Err(_) => self.stats.unknown += 1,
        }
    }

    fn complete_some(&mut self) -> CheckResult {
        for _ in 0..self.rng.pick(&[1, 1, 1, 3]) {
            self.disk.step();
        }
        Ok(())
    }

    /// Reads, subscribes, or polls a subscription.
    fn read_or_subscribe(&mut self, session: &mut Session) -> CheckResult {
        self.stats.operations += 1;
        reads::catch_up(session.store(), &mut self.model)?;
        match self.rng.below(10) {
            0 => self.check_head(session),
            1 | 2 => {
                let target = self.target();
                // Anywhere in the history, as after a restart of the subscriber.
                let after = self.rng.in_range(0..self.model.history().head().number() + 1);
                // Ordinary crashes keep the incarnation, so one from an earlier session is valid.
                let incarnation = self.incarnation.unwrap_or(self.head(session)?.incarnation);
                session.follow(target, Checkpoint { position: Position::new(after), incarnation });
                Ok(())
            }
            3..=6 => session.listen(&mut self.model, &mut self.rng),
            _ => {
                let (client, rng) = (&mut self.client, &mut self.rng);
                reads::random_read(session.store(), &self.model, client, rng)
            }
        }
    }

    fn head(&self, session: &Session) -> CheckResult<Head> {
        answer_now(session.store().head())?
            .map_err(|error| Violation(format!("cannot read the head: {error}")))
    }

    /// Checks that the head is the last visible position and that the incarnation is unchanged.
    fn check_head(&mut self, session: &Session) -> CheckResult {
        let (known, found) = (self.model.history().head(), self.head(session)?);
        ensure(found.position == known, || format!("the head is at {found:?}, not at {known}"))?;
        if known == Position::START {
            return Ok(()); // nothing fixes an incarnation before the first event
        }
        let incarnation = *self.incarnation.get_or_insert(found.incarnation);
        ensure(found.incarnation == incarnation, || {
            format!("the incarnation changed from {incarnation} to {}", found.incarnation)
        })
    }

    /// Flushes or compacts parts of the index.
    fn flush_some(&mut self, session: &mut Session) -> CheckResult {
        for _ in 0..self.rng.pick(&[1, 2, 12]) {
            if !session.flush_some(&self.disk) {
                break;
            }
            self.trace.record(|| "flushed or compacted part of the index".to_owned());
        }
        Ok(())
    }

    /// Flushes and compacts the index until a scheduled crash, or until nothing is left.
    fn flush_until_crash(&mut self, session: &mut Session) -> Interrupted {
        let calls = self.rng.pick(&[8, 30, 90]);
        let calls = self.rng.in_range(0..calls);
        if self.rng.percent(50) {
            self.disk.crash_after(calls);
        } else {
            self.disk.crash_in_compaction_after(calls);
        }
        while session.flush_some(&self.disk) {
            self.trace.record(|| "flushed or compacted part of the index".to_owned());
        }
        if self.disk.cancel_crash() { Interrupted::Yes } else { Interrupted::No }
    }

    fn target(&mut self) -> SubscriptionTarget {
        if self.rng.percent(50) {
            let history = self.model.history();
            let state = |stream: &StreamName| history.stream_state_at(stream, history.head()).state;
            let is_hidden = |stream: &&StreamName| state(stream) == StreamState::Deleted;
            let hidden: Vec<_> = history.stream_names().filter(is_hidden).cloned().collect();
            // Deleted streams that live again are rare by chance alone.
            let about_hidden = !hidden.is_empty() && self.rng.percent(75);
            let any = self.client.stream();
            return SubscriptionTarget::Stream(if about_hidden {
                self.rng.pick(&hidden)
            } else {
                any
            });
        }
        let filter = reads::random_filter(&mut self.client, &mut self.rng);
        SubscriptionTarget::All(filter, self.rng.pick(&[Visibility::Raw, Visibility::Visible]))
    }

    fn advance_time(&mut self) -> CheckResult {
        match (self.deadline, self.rng.below(20)) {
            (Some(deadline), 0..12) => self.clock.advance_to(deadline),
            // The calendar may jump back; recorded times must not.
            (_, 19) => self.clock.set_back(Duration::from_secs(self.rng.in_range(1..4_000))),
            _ => self.clock.advance(Duration::from_micros(self.rng.in_range(1..30_000))),
        }
        Ok(())
    }

    /// Fills the disk, or frees space.
    fn change_free_space(&mut self) -> CheckResult {
        let free_bytes = match self.rng.below(3) {
            0 => Some(self.rng.below(20_000)),
            _ => None,
        };
        self.trace.record(|| format!("free bytes: {free_bytes:?}"));
        self.disk.set_free_bytes(free_bytes);
        Ok(())
    }

    /// Completes everything in flight and lets the store become idle.
    fn settle(&mut self, session: &mut Session) -> CheckResult {
        self.settle_until(session, SettleUntil::AtRest)
    }

    fn settle_until(&mut self, session: &mut Session, until: SettleUntil) -> CheckResult {
        for _ in 0..TURNS_TO_SETTLE_MAX {
            let turn = self.turn(session)?;
            if until == SettleUntil::Answered && session.unanswered() == 0 {
                return Ok(());
            }
            // Time advances only when no operation is left, so deadlines do not overtake
            // completions.
            let idle = !self.disk.step();
            match turn {
                EnginePoll::WakeAt(deadline) if idle => self.clock.advance_to(deadline),
                EnginePoll::Idle | EnginePoll::Closed if idle && session.unanswered() == 0 => {
                    return Ok(());
                }
                EnginePoll::WakeAt(_) | EnginePoll::Idle | EnginePoll::Closed => {}
            }
        }
        let unanswered = session.unanswered();
        Err(Violation(match unanswered {
            0 => "the store did not become idle".to_owned(),
            _ => format!("{unanswered} appends were never answered"),
        }))
    }

    /// Ends a session by a crash, occasionally after a clean shutdown.
    fn end_session(&mut self, session: Session) -> CheckResult {
        self.stats.unknown += session.unanswered() as u64;
        // A crash follows even a clean shutdown: every acknowledged append must survive it.
        let cleanly = self.rng.percent(10) && !session.crash_pending();
        if cleanly {
            let (disk, clock) = (&self.disk, &self.clock);
            session.close().finish(|| {
                disk.step();
                clock.advance(Duration::from_millis(1));
            })?;
        } else {
            drop(session);
        }
        self.crash();
        Ok(())
    }

    /// Ends a session in which a crash already happened.
    fn crash_session(&mut self, session: Session) {
        self.stats.unknown += session.unanswered() as u64;
        drop(session);
        self.crash();
    }

    fn crash(&mut self) {
        let crash = self.rng.pick(&[Crash::PowerCut, Crash::PowerCut, Crash::Kill]);
        self.trace.record(|| format!("{crash:?}, {} operations in flight", self.disk.in_flight()));
        self.disk.crash(crash);
        self.disk.set_free_bytes(None);
        // Between sessions only: a running engine holds the manifest in memory.
        self.remove_index_manifest();
        self.stats.crashes += 1;
    }
}
