//! Runs a scenario under many schedules, each drawn from a seed.
//!
//! Owns the passage of time, which the first thread of a schedule controls. *Patient* time passes
//! only when no thread can run, so a lost wake-up shows as elapsed time. *Hasty* time passes at any
//! moment, as on a machine whose threads are late. A failure names its seed;
//! `GESTA_SCHEDULES_FIRST` starts with that one.

use std::{
    cell::Cell,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use shuttle::{
    Config, MaxSteps, Runner,
    scheduler::{
        PctScheduler, RandomScheduler, Schedule, Scheduler, Task, TaskId,
        UncontrolledNondeterminismCheckScheduler as PlayedTwice,
    },
};

use crate::sync::{thread, timed};

/// Steps after which a schedule counts as a livelock.
const STEPS_MAX: usize = 50_000;
/// A debug build keeps much on its stack.
const STACK_BYTES: usize = 1 << 20;
/// Schedules that are played from one seed.
const FROM_ONE_SEED: usize = 250;
/// Average number of steps between two advances of hasty time.
const HASTY: u64 = 24;
/// The thread that keeps the time.
const KEEPER: usize = 0;

thread_local! {
    static PASSING: Cell<Passing> = const { Cell::new(Passing::Patient) };
    /// True while only the time keeper can run.
    static ALONE: Cell<bool> = const { Cell::new(false) };
}

/// The passage of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passing {
    Patient,
    Hasty,
}

/// The choice of the next thread.
#[derive(Clone, Copy, Debug)]
enum Choice {
    /// Any, at every step.
    Random,
    /// The runnable thread of the highest priority; priorities change this many times.
    Ranked(usize),
}

const WAYS: [(Choice, Passing); 4] = [
    (Choice::Random, Passing::Patient),
    (Choice::Ranked(3), Passing::Patient),
    (Choice::Random, Passing::Hasty),
    (Choice::Ranked(5), Passing::Patient),
];

/// Maximum wait under patient time unless a wake-up was lost: longer than a group gathers, shorter
/// than the writer thread's own recheck interval.
pub(super) const PATIENCE: Duration = Duration::from_millis(8);

/// A scenario, from an empty disk to the end of the last thread.
pub(super) type Scene = fn();

/// Returns whether time is patient.
pub(super) fn is_patient() -> bool {
    PASSING.get() == Passing::Patient
}

/// A schedule that went wrong.
pub(super) struct FailedSchedule {
    /// The seed that reproduces it.
    seed: u64,
    choice: Choice,
    passing: Passing,
    said: String,
}

impl fmt::Display for FailedSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, choice, passing, said } = self;
        write!(f, "seed {seed} ({choice:?}, {passing:?}): {said}")
    }
}

/// Runs a scenario under `schedules` schedules, until one fails.
pub(super) fn play(scene: Scene, schedules: usize) -> Result<(), FailedSchedule> {
    let mut played = 0;
    for seed in asked("GESTA_SCHEDULES_FIRST", 0).. {
        // Each way has its turn, even where few are asked for.
        let many = FROM_ONE_SEED.min(schedules.div_ceil(WAYS.len())).min(schedules - played);
        if many == 0 {
            break;
        }
        let (choice, passing) = WAYS[(seed % WAYS.len() as u64) as usize];
        let outcome = catch_unwind(AssertUnwindSafe(|| match choice {
            Choice::Random => run(scene, RandomScheduler::new_from_seed(seed, many), passing),
            Choice::Ranked(changes) => {
                run(scene, PctScheduler::new_from_seed(seed, changes, many), passing);
            }
        }));
        if let Err(panic) = outcome {
            let said = panic.downcast_ref::<String>().map(String::as_str);
            let said = said.or_else(|| panic.downcast_ref::<&str>().copied());
            let said = said.unwrap_or("a panic").to_owned();
            return Err(FailedSchedule { seed, choice, passing, said });
        }
        played += many;
    }
    Ok(())
}

/// Runs each schedule of a scenario twice. Panics if the runs differ: a seed would not reproduce a
/// failure.
pub(super) fn play_twice(scene: Scene, schedules: usize) {
    // Patient time draws nothing, so that the second time is as the first.
    let twice = PlayedTwice::new(RandomScheduler::new_from_seed(0, schedules));
    run(scene, twice, Passing::Patient);
}

/// Returns the number in an environment variable, or a default.
pub(super) fn asked(variable: &str, otherwise: u64) -> u64 {
    let asked = std::env::var(variable).ok();
    asked.and_then(|number| number.parse().ok()).unwrap_or(otherwise)
}

fn run(scene: Scene, scheduler: impl Scheduler + 'static, passing: Passing) {
    let mut config = Config::new();
    config.max_steps = MaxSteps::FailAfter(STEPS_MAX);
    config.stack_size = STACK_BYTES;
    config.silence_warnings = true;
    config.ungraceful_shutdown_config.immediately_return_on_panic = true;
    PASSING.set(passing);
    let timed = Timed { scheduler, passing, draws: 0 };
    Runner::new(timed, config).run(move || keep_time(scene));
}

/// The first thread of a schedule: advances time until no thread waits for it.
fn keep_time(scene: Scene) {
    timed::begin();
    let story = thread::spawn(scene);
    loop {
        thread::yield_now();
        let alone = ALONE.get();
        if !timed::end_first_wait() && alone {
            break;
        }
    }
    // A thread that is still parked now is deadlocked, and `shuttle` reports it.
    story.join().unwrap();
}

/// A scheduler with time.
struct Timed<S> {
    scheduler: S,
    passing: Passing,
    draws: u64,
}

impl<S: Scheduler> Scheduler for Timed<S> {
    fn new_execution(&mut self) -> Option<Schedule> {
        let schedule = self.scheduler.new_execution()?;
        self.draws = schedule.seed;
        Some(schedule)
    }

    fn next_task(
        &mut self,
        runnable: &[&Task],
        current: Option<TaskId>,
        is_yielding: bool,
    ) -> Option<TaskId> {
        let keeper = TaskId::from(KEEPER);
        let others: Vec<&Task> =
            runnable.iter().copied().filter(|task| task.id() != keeper).collect();
        let keeps = others.len() < runnable.len();
        ALONE.set(others.is_empty());
        let passes = match self.passing {
            Passing::Patient => others.is_empty(),
            Passing::Hasty => others.is_empty() || self.one_in(HASTY),
        };
        if keeps && passes {
            return Some(keeper);
        }
        self.scheduler.next_task(&others, current, is_yielding)
    }

    fn next_u64(&mut self) -> u64 {
        self.scheduler.next_u64()
    }
}

impl<S> Timed<S> {
    fn one_in(&mut self, many: u64) -> bool {
        // SplitMix64.
        self.draws = self.draws.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.draws ^ self.draws >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31).is_multiple_of(many)
    }
}
