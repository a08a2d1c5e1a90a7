//! One seed, from an empty disk to the last check.
//!
//! Owns: [`run`]: when clients ask, operations complete, time passes and crashes strike. Always
//! holds: everything that is decided is decided by the seed, so a seed is a story that can be told
//! again. Not here: what must hold ([`model`](crate::model)), what a disk may do
//! ([`disk`](crate::disk)).

mod damaged;
mod follower;
mod last;
mod life;
mod opening;
mod poll;
mod reads;
mod scavenging;

use std::{fmt, sync::Arc, time::Duration};

use gesta_log::Turn;
use gesta_store::{
    Checkpoint, EventStore, Head, Incarnation, Position, StreamName, StreamState, Visibility,
};

use self::{
    follower::Topic,
    life::{Answered, Life},
    poll::answer_now,
};
pub(crate) use self::{
    poll::poll_once,
    reads::{collected, is_borrowed, up_to_damage},
};
use crate::{
    chance::Chance,
    client::Client,
    clock::SimClock,
    disk::{Crash, SimDisk},
    fault::FaultCounts,
    model::{Broken, Honesty, Model, OfferNumber, Verdict, demand},
    trace::{self, Trace},
};

/// What a seed has at least.
pub const OPERATIONS_MIN: u64 = 300;
/// What a seed has at least.
pub const CRASHES_MIN: u64 = 3;

/// Turns after which everything that was asked must have been answered.
const TURNS_TO_SETTLE_MAX: usize = 2_000;
/// Appends that wait at once.
const UNANSWERED_MAX: usize = 24;

/// What happened in a run without a broken promise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Story {
    /// What clients asked for: appends, reads, deliveries.
    pub operations: u64,
    /// How often the process or the system ended, and the store was opened again.
    pub crashes: u64,
    /// Appends that were acknowledged.
    pub acknowledged: u64,
    /// Appends that were refused for certain.
    pub refused: u64,
    /// Appends whose outcome was not known to the client.
    pub unknown: u64,
    /// Events in the end.
    pub events: u64,
    /// Events that were scavenged.
    pub scavenged: u64,
    /// Operations of the disk.
    pub disk_operations: u64,
    /// What went wrong.
    pub faults: FaultCounts,
}

/// A promise that was broken, and how to see it again.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// Which promise.
    pub broken: String,
    /// What happened last, oldest first.
    pub trace: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.trace {
            writeln!(f, "    {line}")?;
        }
        let Self { seed, broken, .. } = self;
        write!(f, "GESTA_SEED={seed} cargo test -p gesta-sim one_seed # {broken}")
    }
}

impl std::error::Error for Failure {}

/// Runs one seed.
///
/// # Errors
/// [`Failure`] for the first promise that was broken.
pub fn run(seed: u64) -> Result<Story, Failure> {
    guarded(seed, Trace::silent()).map_err(|first| {
        // The same again, this time taking notes.
        let trace = Trace::taking_notes();
        let broken = match guarded(seed, trace.clone()) {
            Err(again) if again == first => first.0,
            Err(_) | Ok(_) => format!("not the same when run again: {first}"),
        };
        Failure { seed, broken, trace: trace.notes() }
    })
}

/// A panic of the engine is a broken promise like any other.
fn guarded(seed: u64, trace: Trace) -> Verdict<Story> {
    let run = std::panic::AssertUnwindSafe(|| Simulation::new(seed, trace).run());
    std::panic::catch_unwind(run).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(Broken(format!("panicked: {}", text.unwrap_or("without a word"))))
    })
}

/// How far everything has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Settled {
    /// Nobody waits for an answer.
    Answered,
    /// Nothing is left to do, the mark after a while without appends included.
    AtRest,
}

/// Whether a crash has struck before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Struck {
    No,
    Yes,
}

/// See the module.
struct Simulation {
    chance: Chance,
    disk: Arc<SimDisk>,
    clock: Arc<SimClock>,
    model: Model,
    client: Client,
    trace: Trace,
    story: Story,
    /// When the engine last asked to be turned.
    deadline: Option<Duration>,
    /// Once there are events.
    incarnation: Option<Incarnation>,
}

impl Simulation {
    fn new(seed: u64, trace: Trace) -> Self {
        let mut chance = Chance::seeded(seed);
        Self {
            disk: Arc::new(SimDisk::noting(chance.fork(), trace.clone())),
            clock: Arc::new(SimClock::new()),
            model: Model::default(),
            client: Client::new(chance.fork()),
            trace,
            story: Story::default(),
            deadline: None,
            incarnation: None,
            chance,
        }
    }

    fn run(mut self) -> Verdict<Story> {
        while self.story.operations < OPERATIONS_MIN || self.story.crashes < CRASHES_MIN {
            let mut life = self.open()?;
            match self.live(&mut life)? {
                Struck::No => self.end(life)?,
                Struck::Yes => self.die(life),
            }
        }
        self.last_act()?;
        self.story.events = self.model.history().events().len() as u64;
        self.story.disk_operations = self.disk.operations();
        self.story.faults = self.disk.faults();
        Ok(self.story)
    }

    /// Until the next crash, or until one has struck.
    fn live(&mut self, life: &mut Life) -> Verdict<Struck> {
        let until = self.story.operations + self.chance.within(10..80);
        while self.story.operations < until && !life.is_doomed() {
            match self.chance.below(100) {
                0..25 => self.offer_some(life),
                25..55 => self.turn(life).map(drop),
                55..80 => self.complete_some(),
                80..92 => self.look(life),
                92..94 => self.let_time_pass(),
                94 => self.scavenge(life),
                95 => self.file_some(life),
                96 => {
                    if self.file_until_struck(life) == Struck::Yes {
                        return Ok(Struck::Yes);
                    }
                    Ok(())
                }
                97 => self.settle(life),
                98 => self.change_room(),
                _ => {
                    life.give_up_one(&mut self.chance);
                    Ok(())
                }
            }?;
        }
        Ok(Struck::No)
    }

    /// Offers a few appends at once, so that groups form.
    fn offer_some(&mut self, life: &mut Life) -> Verdict {
        for _ in 0..self.chance.pick(&[1, 1, 2, 3, 6]) {
            if life.unanswered() < UNANSWERED_MAX {
                let number = self.something_to_offer();
                self.offer(life, number);
            }
        }
        Ok(())
    }

    fn something_to_offer(&mut self) -> OfferNumber {
        self.repeat().unwrap_or_else(|| {
            let (append, honesty) = self.client.append(&self.model);
            self.model.register(append, honesty)
        })
    }

    fn offer(&mut self, life: &mut Life, number: OfferNumber) {
        let attempt = self.model.offered(number);
        self.story.operations += 1;
        let append = self.model.append(number).clone();
        self.trace.note(|| {
            let honesty = self.model.honesty(number);
            format!("offer {number} ({honesty:?}): {}", trace::append(&append))
        });
        life.offer(append, attempt);
    }

    /// An append that was offered before: a recent one, mostly.
    fn repeat(&mut self) -> Option<OfferNumber> {
        if !self.chance.percent(15) {
            return None;
        }
        let offers = self.model.offers();
        let back = if self.chance.percent(70) {
            self.chance.below(12.min(offers))
        } else {
            self.chance.below(offers)
        };
        let number = offers.checked_sub(back + 1)?;
        (self.model.honesty(number) == Honesty::Sound).then_some(number)
    }

    fn turn(&mut self, life: &mut Life) -> Verdict<Turn> {
        let (turn, answers) = life.turn(&mut self.model, &self.disk)?;
        for answered in &answers {
            self.count(answered);
        }
        self.deadline = match turn {
            Turn::At(deadline) => Some(deadline),
            Turn::Wait | Turn::Ended => None,
        };
        Ok(turn)
    }

    fn count(&mut self, answered: &Answered) {
        let Answered { attempt, answer } = answered;
        self.trace.note(|| match answer {
            Ok(appended) => format!("append {} is at {}", attempt.offer, appended.position),
            Err(error) => format!("append {}: {error}", attempt.offer),
        });
        match answer {
            Ok(_) => self.story.acknowledged += 1,
            Err(error) if error.is_definite() => self.story.refused += 1,
            Err(_) => self.story.unknown += 1,
        }
    }

    fn complete_some(&mut self) -> Verdict {
        for _ in 0..self.chance.pick(&[1, 1, 1, 3]) {
            self.disk.step();
        }
        Ok(())
    }

    /// Somebody reads, subscribes or listens.
    fn look(&mut self, life: &mut Life) -> Verdict {
        self.story.operations += 1;
        reads::catch_up(life.store(), &mut self.model)?;
        match self.chance.below(10) {
            0 => self.check_head(life),
            1 | 2 => {
                let topic = self.topic();
                let after = self.chance.within(0..self.model.history().head().number() + 1);
                // The incarnation of an earlier life: ordinary crashes keep it.
                let incarnation = self.incarnation.unwrap_or(self.head(life)?.incarnation);
                life.follow(topic, Checkpoint { position: Position::new(after), incarnation });
                Ok(())
            }
            3..=6 => life.listen(&mut self.model, &mut self.chance),
            _ => {
                let (client, chance) = (&mut self.client, &mut self.chance);
                reads::read_something(life.store(), &self.model, client, chance)
            }
        }
    }

    fn head(&self, life: &Life) -> Verdict<Head> {
        answer_now(life.store().head())?.map_err(|error| Broken(format!("no head: {error}")))
    }

    /// The head is where readers see it, and ordinary crashes do not change the incarnation.
    fn check_head(&mut self, life: &Life) -> Verdict {
        let (known, found) = (self.model.history().head(), self.head(life)?);
        demand(found.position == known, || format!("the head is at {found:?}, not at {known}"))?;
        if known == Position::START {
            return Ok(()); // nothing fixes an incarnation before the first event
        }
        let incarnation = *self.incarnation.get_or_insert(found.incarnation);
        demand(found.incarnation == incarnation, || {
            format!("the incarnation changed from {incarnation} to {}", found.incarnation)
        })
    }

    /// The index goes into files.
    fn file_some(&mut self, life: &mut Life) -> Verdict {
        for _ in 0..self.chance.pick(&[1, 2, 12]) {
            if !life.file_some(&self.disk) {
                break;
            }
            self.trace.note(|| "put some of the index into a file".to_owned());
        }
        Ok(())
    }

    /// The index goes into files until the process or the system ends meanwhile.
    fn file_until_struck(&mut self, life: &mut Life) -> Struck {
        let calls = self.chance.pick(&[8, 30, 90]);
        let calls = self.chance.within(0..calls);
        if self.chance.percent(50) {
            self.disk.strike_after(calls);
        } else {
            self.disk.strike_in_merge_after(calls);
        }
        while life.file_some(&self.disk) {
            self.trace.note(|| "put some of the index into a file".to_owned());
        }
        if self.disk.call_off_strike() { Struck::Yes } else { Struck::No }
    }

    fn topic(&mut self) -> Topic {
        if self.chance.percent(50) {
            let history = self.model.history();
            let state = |stream: &StreamName| history.stream_past(stream, history.head()).state;
            let is_hidden = |stream: &&StreamName| state(stream) == StreamState::Deleted;
            let hidden: Vec<_> = history.stream_names().filter(is_hidden).cloned().collect();
            let about_hidden = !hidden.is_empty() && self.chance.percent(75);
            let any = self.client.stream();
            return Topic::Stream(if about_hidden { self.chance.pick(&hidden) } else { any });
        }
        let filter = reads::some_filter(&mut self.client, &mut self.chance);
        Topic::All(filter, self.chance.pick(&[Visibility::Raw, Visibility::Visible]))
    }

    fn let_time_pass(&mut self) -> Verdict {
        match (self.deadline, self.chance.below(20)) {
            (Some(deadline), 0..12) => self.clock.advance_to(deadline),
            (_, 19) => self.clock.set_back(Duration::from_secs(self.chance.within(1..4_000))),
            _ => self.clock.advance(Duration::from_micros(self.chance.within(1..30_000))),
        }
        Ok(())
    }

    /// The disk fills, or somebody makes room.
    fn change_room(&mut self) -> Verdict {
        let room = match self.chance.below(3) {
            0 => Some(self.chance.below(20_000)),
            _ => None,
        };
        self.trace.note(|| format!("room for {room:?} more bytes"));
        self.disk.leave_room(room);
        Ok(())
    }

    /// Lets everything end that is under way, and the store come to rest.
    fn settle(&mut self, life: &mut Life) -> Verdict {
        self.settle_until(life, Settled::AtRest)
    }

    fn settle_until(&mut self, life: &mut Life, settled: Settled) -> Verdict {
        for _ in 0..TURNS_TO_SETTLE_MAX {
            let turn = self.turn(life)?;
            if settled == Settled::Answered && life.unanswered() == 0 {
                return Ok(());
            }
            let idle = !self.disk.step();
            match turn {
                Turn::At(deadline) if idle => self.clock.advance_to(deadline),
                Turn::Wait | Turn::Ended if idle && life.unanswered() == 0 => return Ok(()),
                Turn::At(_) | Turn::Wait | Turn::Ended => {}
            }
        }
        let unanswered = life.unanswered();
        Err(Broken(match unanswered {
            0 => "the store does not come to rest".to_owned(),
            _ => format!("{unanswered} appends were never answered"),
        }))
    }

    /// Ends a life: mostly by a crash, now and then in peace.
    fn end(&mut self, life: Life) -> Verdict {
        self.story.unknown += life.unanswered() as u64;
        let in_peace = self.chance.percent(10) && !life.is_doomed();
        if in_peace {
            let (disk, clock) = (&self.disk, &self.clock);
            life.close().finish(|| {
                disk.step();
                clock.advance(Duration::from_millis(1));
            })?;
        } else {
            drop(life);
        }
        self.crash();
        Ok(())
    }

    /// Ends a life in which a crash has struck already.
    fn die(&mut self, life: Life) {
        self.story.unknown += life.unanswered() as u64;
        drop(life);
        self.crash();
    }

    fn crash(&mut self) {
        let crash = self.chance.pick(&[Crash::PowerCut, Crash::PowerCut, Crash::Kill]);
        self.trace.note(|| format!("{crash:?}, {} operations under way", self.disk.under_way()));
        self.disk.crash(crash);
        self.disk.leave_room(None);
        self.forget_index();
        self.story.crashes += 1;
    }
}
