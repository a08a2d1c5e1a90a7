//! Every read model of a served shop is rebuilt under load, and the server is killed
//! during it.
//!
//! Invariant: a reader queries continuously and counts only correct answers: unchanged data is
//! answered as before, and an acknowledged write is visible. A read model's file name contains its
//! build number, so the directory shows whether a rebuild was resumed after a kill or restarted.
//! Old rows are dropped before the next rebuild. At the end every answer is compared with that of a
//! server with the same log and no read models. Not here: failing projections (`dead_letters`).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use gesta_services::e2e::{figures, is_full};

use self::reader::{AnswersByPath, ConcurrentReader, Projections, Unchanged};
use crate::{
    import,
    log::Log,
    server::{Server, Shop, gesta},
    writers::{self, Acknowledged, WriterLoad},
};

mod reader;

/// Few enough for processes to keep up with them, so that nothing is pending at the end.
const WRITERS: usize = 4;
const KILLS_FULL: usize = 10;
const KILLS_SHORT: usize = 2;
/// Slowest projection; its progress determines the time of a kill.
const SLOWEST: &str = "order-summaries";
/// Limit of rebuilds per kill: a rebuild may finish before its progress is seen.
const TRIES_MAX: usize = 50;
const POLL: Duration = Duration::from_millis(5);
const POLLS_MAX: usize = 12_000;

/// State of the check over all kills.
struct RebuildRun {
    acknowledged: Acknowledged,
    unchanged: Unchanged,
    /// Rebuilds interrupted by a kill.
    interrupted: usize,
    /// Interrupted rebuilds seen at or after their position.
    resumed: usize,
    /// Correct answers during a rebuild.
    answers: usize,
}

/// Kills the server during rebuilds, and compares the answers with a replay.
#[test]
fn rebuilds_resume_after_kills_and_equal_a_replay() -> Result<()> {
    let shop = Shop::build("rebuild-kills")?;
    let gesta = gesta()?;
    let store = shop.store("store");
    shop.import(&import::data()?, &store)?;
    let kills = if is_full() { KILLS_FULL } else { KILLS_SHORT };
    let mut server = shop.serve(&store)?;
    writers::prepare(server.address)?;
    let mut run = RebuildRun::begin(&server)?;
    for kill in 1..=kills {
        // Spread the kills over the rebuild.
        let share = kill as f64 / (kills + 1) as f64;
        let at_kill = run.kill_at(&mut server, share)?;
        // Read before the restart, which resumes the builds.
        let mut interrupted = Builds::read(&store)?.unfinished();
        // The others had finished: their older file is the one that they replaced.
        interrupted.retain(|name, _| at_kill.position_of(name).is_some());
        ensure!(!interrupted.is_empty(), "kill {kill} interrupted no rebuild");
        server = shop.serve(&store)?;
        run.until_done(&server, &at_kill)?;
        let now = Builds::read(&store)?;
        now.check_resumed(&interrupted).with_context(|| format!("after kill {kill}"))?;
        run.interrupted += interrupted.len();
    }
    let log = Log::read_when_finished(&gesta, &store)?;
    log.check(&run.acknowledged)?;
    // A replay from the log alone is the reference for every answer.
    let compared = run.compare(&shop, server, &log)?;
    ensure!(run.resumed > 0, "no rebuild was seen resuming after a kill");
    figures(format!(
        "{kills} kills met {} rebuilds, each was resumed and finished, {} of them observed; {} correct \
         answers during rebuilds; {compared} equal to a replay from the first event; {} acknowledged commands \
         there once, {} users welcomed once, {} orders ended once",
        run.interrupted,
        run.resumed,
        run.answers,
        run.acknowledged.count(),
        log.count("user-welcomed"),
        log.ended_orders().len(),
    ))
}

impl RebuildRun {
    fn begin(server: &Server) -> Result<Self> {
        let unchanged = Unchanged::read(server)?;
        Ok(Self {
            acknowledged: Acknowledged::default(),
            unchanged,
            interrupted: 0,
            resumed: 0,
            answers: 0,
        })
    }

    fn reader(&self, server: &Server) -> Result<ConcurrentReader<'_>> {
        ConcurrentReader::of(server, &self.acknowledged, &self.unchanged)
    }

    /// Queries during rebuilds under load until one has reached `share`, then kills the server.
    /// Returns the progress of each.
    fn kill_at(&mut self, server: &mut Server, share: f64) -> Result<Projections> {
        let mut answers = 0;
        let at_kill = writers::under_load(server.address, WRITERS, &self.acknowledged, |load| {
            let mut reader = self.reader(server)?;
            for _ in 0..TRIES_MAX {
                reader.rebuild_all()?;
                if let Some(at_kill) = at_share(share, &mut reader, load, &mut answers)? {
                    server.kill()?;
                    return Ok(at_kill);
                }
            }
            bail!("no rebuild of {SLOWEST} was seen at {share:.2} of its work")
        })?;
        self.answers += answers;
        Ok(at_kill)
    }

    /// Queries under load until every rebuild is finished; none may be behind its position before
    /// the kill.
    fn until_done(&mut self, server: &Server, at_kill: &Projections) -> Result<()> {
        let (mut resumed, mut answers) = (0, 0);
        writers::under_load(server.address, WRITERS, &self.acknowledged, |load| {
            let mut reader = self.reader(server)?;
            let now = reader.projections()?;
            for (name, was) in at_kill.rebuilding() {
                if let Some(is) = now.position_of(name) {
                    ensure!(is >= was, "the rebuild of {name} was at {was} and is at {is}");
                    resumed += 1;
                }
            }
            for _ in 0..POLLS_MAX {
                if reader.read_all(&mut answers)?.all_run() {
                    return Ok(());
                }
                ensure!(load.is_running(), "the writers ended");
                thread::park_timeout(POLL);
            }
            bail!("the rebuilds did not end in time")
        })?;
        self.resumed += resumed;
        self.answers += answers;
        Ok(())
    }

    /// Compares every answer with that of a server with only the log.
    fn compare(&self, shop: &Shop, server: Server, log: &Log) -> Result<String> {
        let answers = self.reader(&server)?.everything(log.head())?;
        drop(server);
        let (store, replay) = (shop.store("store"), shop.store("replay"));
        // Without read models, the second server replays the log from its first event.
        copy_log(&store, &replay)?;
        let fresh = shop.serve(&replay)?;
        let replayed = self.reader(&fresh)?.everything(log.head())?;
        drop(fresh);
        are_equal(&answers, &replayed)?;
        ensure!(shop.report(&store)? == shop.report(&replay)?, "the reports differ");
        let entries: usize = answers.values().map(Vec::len).sum();
        Ok(format!("{entries} entries of {} answers, and the report, are", answers.len()))
    }
}

fn are_equal(answers: &AnswersByPath, replayed: &AnswersByPath) -> Result<()> {
    for (path, entries) in answers {
        let same = replayed.get(path) == Some(entries) && !entries.is_empty();
        ensure!(same, "{path} is empty or differs from the replay");
    }
    Ok(())
}

/// Queries until the slowest rebuild has reached `share`. Returns the progress of each, or `None`
/// if it finished before.
fn at_share(
    share: f64,
    reader: &mut ConcurrentReader<'_>,
    load: &WriterLoad<'_>,
    answers: &mut usize,
) -> Result<Option<Projections>> {
    loop {
        let projections = reader.read_all(answers)?;
        ensure!(load.is_running(), "the writers ended before the kill");
        match projections.fraction_of(SLOWEST) {
            Some(fraction) if fraction >= share => return Ok(Some(projections)),
            Some(_) => {}
            None => return Ok(None),
        }
    }
}

/// Build numbers of each projection's read-model files.
#[derive(Debug, PartialEq, Eq)]
struct Builds(BTreeMap<String, BTreeSet<u64>>);

impl Builds {
    fn read(store: &Path) -> Result<Self> {
        let mut names = Vec::new();
        for entry in fs::read_dir(store.join("read-models"))? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        Ok(Self::of(names.iter().map(String::as_str)))
    }

    /// Parses names such as `users-7.db`.
    fn of<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let mut builds: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
        for name in names {
            let parts = name.strip_suffix(".db").and_then(|name| name.rsplit_once('-'));
            let build = parts.and_then(|(name, number)| Some((name, number.parse().ok()?)));
            if let Some((name, number)) = build {
                builds.entry(name.to_owned()).or_default().insert(number);
            }
        }
        Self(builds)
    }

    /// Returns the newer build of each projection with two.
    fn unfinished(&self) -> BTreeMap<String, u64> {
        let two = self.0.iter().filter(|(_, numbers)| numbers.len() > 1);
        two.filter_map(|(name, numbers)| Some((name.clone(), *numbers.last()?))).collect()
    }

    /// Checks that each unfinished build is the newest one now, at most next to the one that it
    /// replaced.
    fn check_resumed(&self, unfinished: &BTreeMap<String, u64>) -> Result<()> {
        for (name, number) in unfinished {
            let now = self.0.get(name).with_context(|| format!("{name} is gone"))?;
            let numbers_found: Vec<_> = now.iter().map(u64::to_string).collect();
            ensure!(
                now.len() <= 2 && now.last() == Some(number),
                "build {number} of {name} was not resumed: builds now are {}",
                numbers_found.join(" and "),
            );
        }
        Ok(())
    }
}

/// Copies a store without its read models.
fn copy_log(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_a_replay_gives_otherwise_is_seen() {
        let answers =
            |number: u64| AnswersByPath::from([("/v1/orders".to_owned(), vec![number.into()])]);
        assert!(are_equal(&answers(1), &answers(1)).is_ok());
        assert!(are_equal(&answers(1), &answers(2)).is_err());
        assert!(are_equal(&answers(1), &AnswersByPath::new()).is_err());
    }

    #[test]
    fn a_restarted_rebuild_is_distinguished_from_a_resumed_one() {
        let interrupted = Builds::of(
            ["users-1.db", "users-7.db", "users-7.db-wal", "sales-2.db", "catalogue.db"]
                .into_iter(),
        );
        let unfinished = interrupted.unfinished();
        assert_eq!(unfinished, BTreeMap::from([("users".to_owned(), 7)]));
        for right in [&["users-7.db"][..], &["users-1.db", "users-7.db"]] {
            assert!(
                Builds::of(right.iter().copied()).check_resumed(&unfinished).is_ok(),
                "{right:?}"
            );
        }
        let restarted = ["users-1.db", "users-7.db", "users-8.db"];
        for wrong in [&["users-8.db"][..], &["users-1.db"], &restarted, &[]] {
            assert!(
                Builds::of(wrong.iter().copied()).check_resumed(&unfinished).is_err(),
                "{wrong:?}"
            );
        }
    }
}
