//! Contenders that append in turns within one process, for what lies closer together than a machine
//! is steady: whatever else it does, it does to all of them alike.
//!
//! Invariants: one contender appends at a time, with all its threads, and is charged until the last
//! of them rests; closing it is charged to it as well. Not here: what an append is, and that it is
//! a closed loop ([`append`](gesta_bench::load::append)).

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

/// How long a turn is: far shorter than the device keeps a mood, far longer than an append.
const TURN: Duration = Duration::from_millis(50);

/// Who takes turns, and with what.
#[derive(Args)]
pub(crate) struct Turns {
    /// A directory of the contenders' own, emptied before.
    #[arg(long)]
    directory: PathBuf,
    /// An engine, or an engine and what its appends demand: `gesta`, `gesta:query`.
    #[arg(long = "contender", required = true)]
    contenders: Vec<Contender>,
    /// For each of them; `--seconds` are those of all together.
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

/// What a contender came to.
#[derive(Debug, Serialize)]
pub(crate) struct Took {
    events: u64,
    /// In its turns, and closing.
    seconds: f64,
    events_per_second: f64,
    latency: Quantiles,
}

/// The first contender, and the others by their names.
#[derive(Debug, Serialize)]
pub(crate) struct TurnsReport {
    #[serde(flatten)]
    first: Took,
    beside: BTreeMap<String, Took>,
    /// Processor time of all of them, outside the kernel.
    all_user_seconds: f64,
}

impl Turns {
    pub(crate) fn run(&self) -> Result<TurnsReport> {
        let mut players = Vec::new();
        for (nth, contender) in self.contenders.iter().enumerate() {
            let load = AppendLoad { condition: contender.condition, ..self.load.clone() };
            let directory = self.directory.join(nth.to_string());
            empty(&directory)?;
            players.push((contender.engine.open(&directory, bytes_of(&load))?, load));
        }
        let played = play(&players, self.load.time())?;
        let ended = players.into_iter().zip(played).map(|((engine, load), (latencies, time))| {
            let stopwatch = Stopwatch::start();
            engine.close().context("closing")?;
            let seconds = (time + stopwatch.elapsed()).as_secs_f64();
            let events = latencies.count() * load.events_per_append;
            let events_per_second = events as f64 / seconds;
            Ok(Took { events, seconds, events_per_second, latency: latencies.quantiles() })
        });
        let mut took = ended.collect::<Result<Vec<_>>>()?.into_iter();
        let first = took.next().context("there were no turns")?;
        let others = self.contenders.iter().skip(1).map(ToString::to_string);
        let beside = others.zip(took).collect();
        let all_user_seconds = Usage::now(&self.directory)?.user_seconds;
        Ok(TurnsReport { first, beside, all_user_seconds })
    }
}

/// All threads of all players, in turns. Returns the duration of each append, and of each player's
/// turns in total.
fn play(
    players: &[(Box<dyn Engine>, AppendLoad)],
    time: Duration,
) -> Result<Vec<(Latencies, Duration)>> {
    let shared: Vec<_> = players.iter().map(|(_, load)| AppendRun::of(load)).collect();
    let stage = Stage::default();
    let stopwatch = Stopwatch::start();
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for (player, ((engine, load), shared)) in players.iter().zip(&shared).enumerate() {
            let stage = &stage;
            let begin = |thread| {
                scope.spawn(move || {
                    let appender = engine.writer().map(|writer| shared.appender(writer, thread));
                    stage.play(player, stopwatch, appender)
                })
            };
            threads.push((0..load.writers).map(begin).collect::<Vec<_>>());
        }
        let times = stage.direct(players.len(), time, stopwatch);
        let mut played = Vec::new();
        for (threads, time) in threads.into_iter().zip(times) {
            let mut all = Latencies::default();
            for thread in threads {
                all.merge(&thread.join().expect("a writer's thread does not panic")?);
            }
            played.push((all, time));
        }
        Ok(played)
    })
}

/// Nobody's turn.
const NOBODY: usize = usize::MAX;

/// Whose turn it is.
#[derive(Debug)]
struct Stage {
    /// The same as in the scene, for a look between two appends.
    on: AtomicUsize,
    scene: Mutex<Scene>,
    changed: Condvar,
}

#[derive(Debug)]
struct Scene {
    on: usize,
    /// Threads that append.
    busy: usize,
    ended: bool,
}

impl Default for Stage {
    fn default() -> Self {
        let scene = Mutex::new(Scene { on: NOBODY, busy: 0, ended: false });
        Self { on: AtomicUsize::new(NOBODY), scene, changed: Condvar::new() }
    }
}

impl Stage {
    /// One thread's appends, whenever it is its player's turn, until the end.
    fn play(
        &self,
        player: usize,
        stopwatch: Stopwatch,
        appender: Result<Appender<'_>>,
    ) -> Result<Latencies> {
        let mut latencies = Latencies::default();
        let mut appender = appender.inspect_err(|_| self.end())?;
        while self.enter(player) {
            let played = self.take_turn(player, stopwatch, &mut appender, &mut latencies);
            self.leave();
            played.inspect_err(|_| self.end())?;
        }
        Ok(latencies)
    }

    fn take_turn(
        &self,
        player: usize,
        stopwatch: Stopwatch,
        appender: &mut Appender<'_>,
        latencies: &mut Latencies,
    ) -> Result<()> {
        while self.on.load(Ordering::Relaxed) == player {
            latencies.add(appender.append_one(stopwatch)?);
        }
        Ok(())
    }

    /// Waits for a player's turn; false once there are no more.
    fn enter(&self, player: usize) -> bool {
        let others = |scene: &mut Scene| scene.on != player && !scene.ended;
        let mut scene = self.wait_while(self.scene(), others);
        scene.busy += usize::from(!scene.ended);
        !scene.ended
    }

    fn leave(&self) {
        self.scene().busy -= 1;
        self.changed.notify_all();
    }

    fn end(&self) {
        self.scene().ended = true;
        self.set_on(NOBODY);
    }

    fn set_on(&self, player: usize) {
        self.on.store(player, Ordering::Relaxed);
        self.scene().on = player;
        self.changed.notify_all();
    }

    /// Gives all players turns for so long; how long each one's were.
    fn direct(&self, players: usize, time: Duration, stopwatch: Stopwatch) -> Vec<Duration> {
        let mut times = vec![Duration::ZERO; players];
        while stopwatch.elapsed() < time && !self.scene().ended {
            for (player, all) in times.iter_mut().enumerate() {
                let began = stopwatch.elapsed();
                self.set_on(player);
                let waited =
                    self.changed.wait_timeout_while(self.scene(), TURN, |scene| !scene.ended);
                drop(waited);
                self.set_on(NOBODY);
                drop(self.wait_while(self.scene(), |scene| scene.busy > 0));
                *all += stopwatch.elapsed() - began;
            }
        }
        self.end();
        times
    }

    fn wait_while<'a>(
        &self,
        scene: MutexGuard<'a, Scene>,
        condition: impl FnMut(&mut Scene) -> bool,
    ) -> MutexGuard<'a, Scene> {
        self.changed.wait_while(scene, condition).unwrap_or_else(PoisonError::into_inner)
    }

    fn scene(&self) -> MutexGuard<'_, Scene> {
        self.scene.lock().unwrap_or_else(PoisonError::into_inner)
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
        for took in report.beside.values().chain([&report.first]) {
            assert!(took.events > 0 && took.events_per_second > 0.0, "{report:?}");
            assert!(took.seconds < 0.5, "its own turns only: {report:?}");
        }
    }

    #[test]
    fn contenders_that_do_not_exist_are_refused() {
        for wrong in ["oracle", "gesta:never", "gesta:", ""] {
            assert!(wrong.parse::<Contender>().is_err(), "{wrong}");
        }
    }
}
