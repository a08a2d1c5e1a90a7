//! Contenders that append in turns within one process, to compare figures that are closer than the
//! machine's noise: disturbances hit all contenders alike.
//!
//! Invariant: one contender appends at a time, with all its threads. Its time lasts until its last
//! thread has stopped, and includes closing it. Not here: the appends
//! ([`append`](gesta_bench::load::append)).

use std::{
    collections::BTreeMap,
    fmt,
    path::PathBuf,
    str::FromStr,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum as _};
use gesta_bench::load::{
    append::{AppendLoad, AppendRun, Appender, Condition},
    clock::Stopwatch,
    engine::Engine,
    latencies::{Latencies, Quantiles},
};
use serde::Serialize;

use crate::{
    empty,
    engines::{Peer, bytes_of},
    usage::Usage,
};

/// Duration of a turn: much shorter than slow phases of a device, much longer than an append.
const TURN: Duration = Duration::from_millis(50);

/// Contenders and their load.
#[derive(Args)]
pub(crate) struct Turns {
    /// Directory for the contenders' files; emptied first
    #[arg(long)]
    directory: PathBuf,
    /// Engine, with an optional condition of its appends: `gesta`, `gesta:query`
    #[arg(long = "contender", required = true)]
    contenders: Vec<Contender>,
    /// Load of each contender; `--seconds` is the total for all
    #[command(flatten)]
    load: AppendLoad,
}

#[derive(Clone, Copy, Debug)]
struct Contender {
    engine: Peer,
    condition: Condition,
}

impl FromStr for Contender {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (engine, condition) = text.split_once(':').unwrap_or((text, "none"));
        let engine = Peer::from_str(engine, false)?;
        Ok(Self { engine, condition: Condition::from_str(condition, false)? })
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |value: Option<clap::builder::PossibleValue>| {
            value.map_or_else(String::new, |value| value.get_name().to_owned())
        };
        f.write_str(&name(self.engine.to_possible_value()))?;
        match self.condition {
            Condition::None => Ok(()),
            condition => write!(f, ":{}", name(condition.to_possible_value())),
        }
    }
}

/// Result of a contender.
#[derive(Debug, Serialize)]
pub(crate) struct ContenderReport {
    events: u64,
    /// Time of its turns and of its close.
    seconds: f64,
    events_per_second: f64,
    latency: Quantiles,
}

/// Results of the first contender, and of the others by name.
#[derive(Debug, Serialize)]
pub(crate) struct TurnsReport {
    #[serde(flatten)]
    first: ContenderReport,
    beside: BTreeMap<String, ContenderReport>,
    /// Processor time of all contenders, without the kernel's.
    all_user_seconds: f64,
}

impl Turns {
    pub(crate) fn run(&self) -> Result<TurnsReport> {
        let mut contenders = Vec::new();
        for (nth, contender) in self.contenders.iter().enumerate() {
            let load = AppendLoad { condition: contender.condition, ..self.load.clone() };
            let directory = self.directory.join(nth.to_string());
            empty(&directory)?;
            contenders.push((contender.engine.open(&directory, bytes_of(&load))?, load));
        }
        let measured = append_in_turns(&contenders, self.load.time())?;
        let ended =
            contenders.into_iter().zip(measured).map(|((engine, load), (latencies, time))| {
                let stopwatch = Stopwatch::start();
                engine.close().context("cannot close the engine")?;
                let seconds = (time + stopwatch.elapsed()).as_secs_f64();
                let events = latencies.count() * load.events_per_append;
                let events_per_second = events as f64 / seconds;
                Ok(ContenderReport {
                    events,
                    seconds,
                    events_per_second,
                    latency: latencies.quantiles(),
                })
            });
        let mut reports = ended.collect::<Result<Vec<_>>>()?.into_iter();
        let first = reports.next().context("there is no contender")?;
        let others = self.contenders.iter().skip(1).map(ToString::to_string);
        let beside = others.zip(reports).collect();
        let all_user_seconds = Usage::now(&self.directory)?.user_seconds;
        Ok(TurnsReport { first, beside, all_user_seconds })
    }
}

/// Runs all threads of all contenders in turns. Returns the latencies of each contender's appends,
/// and the duration of its turns.
fn append_in_turns(
    contenders: &[(Box<dyn Engine>, AppendLoad)],
    time: Duration,
) -> Result<Vec<(Latencies, Duration)>> {
    let shared: Vec<_> = contenders.iter().map(|(_, load)| AppendRun::of(load)).collect();
    let control = TurnControl::default();
    let stopwatch = Stopwatch::start();
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for (contender, ((engine, load), shared)) in contenders.iter().zip(&shared).enumerate() {
            let control = &control;
            let begin = |thread| {
                scope.spawn(move || {
                    let appender = engine.writer().map(|writer| shared.appender(writer, thread));
                    control.append_in_turns(contender, stopwatch, appender)
                })
            };
            threads.push((0..load.writers).map(begin).collect::<Vec<_>>());
        }
        let times = control.run_turns(contenders.len(), time, stopwatch);
        let mut measured = Vec::new();
        for (threads, time) in threads.into_iter().zip(times) {
            let mut all = Latencies::default();
            for thread in threads {
                all.merge(&thread.join().expect("a writer's thread does not panic")?);
            }
            measured.push((all, time));
        }
        Ok(measured)
    })
}

/// The turn of no contender.
const NO_TURN: usize = usize::MAX;

/// The contender whose turn it is.
#[derive(Debug)]
struct TurnControl {
    /// Copy of the number in the state, which threads read between two appends.
    on: AtomicUsize,
    state: Mutex<TurnState>,
    changed: Condvar,
}

#[derive(Debug)]
struct TurnState {
    on: usize,
    /// Number of threads that append.
    busy: usize,
    ended: bool,
}

impl Default for TurnControl {
    fn default() -> Self {
        let state = Mutex::new(TurnState { on: NO_TURN, busy: 0, ended: false });
        Self { on: AtomicUsize::new(NO_TURN), state, changed: Condvar::new() }
    }
}

impl TurnControl {
    /// Appends on one thread in the turns of its contender, until the end.
    fn append_in_turns(
        &self,
        contender: usize,
        stopwatch: Stopwatch,
        appender: Result<Appender<'_>>,
    ) -> Result<Latencies> {
        let mut latencies = Latencies::default();
        let mut appender = appender.inspect_err(|_| self.end())?;
        while self.enter(contender) {
            let measured = self.take_turn(contender, stopwatch, &mut appender, &mut latencies);
            self.leave();
            measured.inspect_err(|_| self.end())?;
        }
        Ok(latencies)
    }

    fn take_turn(
        &self,
        contender: usize,
        stopwatch: Stopwatch,
        appender: &mut Appender<'_>,
        latencies: &mut Latencies,
    ) -> Result<()> {
        while self.on.load(Ordering::Relaxed) == contender {
            latencies.add(appender.append_one(stopwatch)?);
        }
        Ok(())
    }

    /// Waits for a contender's turn. Returns `false` at the end.
    fn enter(&self, contender: usize) -> bool {
        let others = |state: &mut TurnState| state.on != contender && !state.ended;
        let mut state = self.wait_while(self.state(), others);
        state.busy += usize::from(!state.ended);
        !state.ended
    }

    fn leave(&self) {
        self.state().busy -= 1;
        self.changed.notify_all();
    }

    fn end(&self) {
        self.state().ended = true;
        self.set_on(NO_TURN);
    }

    fn set_on(&self, contender: usize) {
        self.on.store(contender, Ordering::Relaxed);
        self.state().on = contender;
        self.changed.notify_all();
    }

    /// Gives turns to all contenders for this time. Returns the duration of each one's turns.
    fn run_turns(&self, contenders: usize, time: Duration, stopwatch: Stopwatch) -> Vec<Duration> {
        let mut times = vec![Duration::ZERO; contenders];
        while stopwatch.elapsed() < time && !self.state().ended {
            for (contender, all) in times.iter_mut().enumerate() {
                let began = stopwatch.elapsed();
                self.set_on(contender);
                let waited =
                    self.changed.wait_timeout_while(self.state(), TURN, |state| !state.ended);
                drop(waited);
                self.set_on(NO_TURN);
                drop(self.wait_while(self.state(), |state| state.busy > 0));
                *all += stopwatch.elapsed() - began;
            }
        }
        self.end();
        times
    }

    fn wait_while<'a>(
        &self,
        state: MutexGuard<'a, TurnState>,
        condition: impl FnMut(&mut TurnState) -> bool,
    ) -> MutexGuard<'a, TurnState> {
        self.changed.wait_while(state, condition).unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, TurnState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_contender_appends_in_its_turns() {
        let directory = tempfile::tempdir().unwrap();
        let contender = |text: &str| text.parse::<Contender>().unwrap();
        let load = AppendLoad {
            writers: 2,
            events_per_append: 1,
            event_bytes: 100,
            seconds: 0.3,
            condition: Condition::None,
            streams: 100,
            tags: 100,
            fill: 0,
            seed: 1,
        };
        let turns = Turns {
            directory: directory.path().to_owned(),
            contenders: ["gesta", "gesta:query", "gesta:exact", "device-sync"]
                .map(contender)
                .into(),
            load,
        };
        let report = turns.run().unwrap();
        let names: Vec<_> = report.beside.keys().map(String::as_str).collect();
        assert_eq!(names, ["device-sync", "gesta:exact", "gesta:query"]);
        for reports in report.beside.values().chain([&report.first]) {
            assert!(reports.events > 0 && reports.events_per_second > 0.0, "{report:?}");
            assert!(reports.seconds < 0.5, "its own turns only: {report:?}");
        }
    }

    #[test]
    fn contenders_that_do_not_exist_are_refused() {
        for wrong in ["oracle", "gesta:never", "gesta:", ""] {
            assert!(wrong.parse::<Contender>().is_err(), "{wrong}");
        }
    }
}
