//! Line 8: every read model of a served shop is filled anew while writers write, and the server
//! is killed in the middle.
//!
//! Always holds: somebody asks all the time, and counts an answer only if it is the right one: what
//! nobody changes is answered as before, what was just written is in the answer. Each file of read
//! models has its build's number in its name, so the directory says whether a rebuild went on
//! after a kill or began anew. The rows from before a switch-over are dropped before the next
//! rebuild. In the end every answer is compared with that of a server which has
//! the same log and no read models. Not here: projections that fail (`dead_letters`).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use self::asker::{Answers, Asker, Projections, Unchanged};
use super::{
    Effort, Ground, import,
    log::Log,
    server::{Server, Shop},
    writers::{self, Known, Load},
};

mod asker;

/// So few that processes keep up with them, and there is nothing to wait for in the end.
const WRITERS: usize = 4;
const KILLS_FULL: usize = 10;
const KILLS_SHORT: usize = 2;
/// The projection that has most to do, whose progress says when the kill comes.
const SLOWEST: &str = "order-summaries";
/// Rebuilds may end before anybody has seen them at work; then another one begins.
const TRIES_MAX: usize = 50;
const POLL: Duration = Duration::from_millis(5);
const POLLS_MAX: usize = 12_000;

/// What the check knows, and what was seen over all kills.
struct Watch {
    known: Known,
    unchanged: Unchanged,
    /// Rebuilds that a kill met.
    cut: usize,
    /// Of these, those that were seen going on where they were.
    going_on: usize,
    /// Right answers while what they came from was rebuilt.
    answers: usize,
}

/// Kills in the middle of rebuilds, and compares.
pub(super) fn as_a_replay(ground: &Ground) -> Result<String> {
    let shop = Shop::build(ground, "rebuild-kills")?;
    let gesta = ground.target_directory.join("release/gesta");
    let store = shop.store("store");
    shop.import(&import::data(ground)?, &store)?;
    let kills = match ground.effort {
        Effort::Short => KILLS_SHORT,
        Effort::Full => KILLS_FULL,
    };
    let mut server = shop.serve(&store)?;
    writers::prepare(&server)?;
    let mut watch = Watch::begin(&server)?;
    for kill in 1..=kills {
        let share = kill as f64 / (kills + 1) as f64;
        let at_kill = watch.kill_at(&mut server, share)?;
        let mut cut = Builds::read(&store)?.unfinished();
        // The others had ended before: the older file is what they replaced.
        cut.retain(|name, _| at_kill.position_of(name).is_some());
        ensure!(!cut.is_empty(), "kill {kill} met no rebuild");
        server = shop.serve(&store)?;
        watch.until_done(&server, &at_kill)?;
        let now = Builds::read(&store)?;
        now.are_those(&cut).with_context(|| format!("after kill {kill}"))?;
        watch.cut += cut.len();
    }
    let log = Log::finish(&gesta, &store)?;
    log.judge(&watch.known)?;
    let compared = watch.compare(&shop, server, &log)?;
    ensure!(watch.going_on > 0, "no rebuild was seen going on after a kill");
    Ok(format!(
        "{kills} kills met {} rebuilds, each went on and ended, {} of them seen doing so; {} right \
         answers meanwhile; {compared} as a replay from the first event; {} acknowledged commands \
         there once, {} users welcomed once, {} orders ended once",
        watch.cut,
        watch.going_on,
        watch.answers,
        watch.known.count(),
        log.count("user-welcomed"),
        log.ended_orders().len(),
    ))
}

impl Watch {
    fn begin(server: &Server) -> Result<Self> {
        let unchanged = Unchanged::read(server)?;
        Ok(Self { known: Known::default(), unchanged, cut: 0, going_on: 0, answers: 0 })
    }

    fn asker(&self, server: &Server) -> Result<Asker<'_>> {
        Asker::of(server, &self.known, &self.unchanged)
    }

    /// Asks during rebuilds under load, until one has got so far; then the kill. How far each was.
    fn kill_at(&mut self, server: &mut Server, share: f64) -> Result<Projections> {
        let mut answers = 0;
        let at_kill = writers::under_load(server.address, WRITERS, &self.known, |load| {
            let mut asker = self.asker(server)?;
            for _ in 0..TRIES_MAX {
                asker.rebuild_all()?;
                if let Some(at_kill) = at_share(share, &mut asker, load, &mut answers)? {
                    server.kill()?;
                    return Ok(at_kill);
                }
            }
            bail!("no rebuild of {SLOWEST} was seen at {share:.2} of its work")
        })?;
        self.answers += answers;
        Ok(at_kill)
    }

    /// Asks under load until every rebuild has ended by itself; none may be behind where it was
    /// before the kill.
    fn until_done(&mut self, server: &Server, at_kill: &Projections) -> Result<()> {
        let (mut going_on, mut answers) = (0, 0);
        writers::under_load(server.address, WRITERS, &self.known, |load| {
            let mut asker = self.asker(server)?;
            let now = asker.projections()?;
            for (name, was) in at_kill.rebuilding() {
                if let Some(is) = now.position_of(name) {
                    ensure!(is >= was, "the rebuild of {name} was at {was} and is at {is}");
                    going_on += 1;
                }
            }
            for _ in 0..POLLS_MAX {
                if asker.ask(&mut answers)?.all_run() {
                    return Ok(());
                }
                ensure!(load.goes_on(), "the writers ended");
                thread::park_timeout(POLL);
            }
            bail!("the rebuilds did not end in time")
        })?;
        self.going_on += going_on;
        self.answers += answers;
        Ok(())
    }

    /// Every answer, against those of a server that has the log alone.
    fn compare(&self, shop: &Shop, server: Server, log: &Log) -> Result<String> {
        let answers = self.asker(&server)?.everything(log.head())?;
        drop(server);
        let (store, replay) = (shop.store("store"), shop.store("replay"));
        copy_log(&store, &replay)?;
        let fresh = shop.serve(&replay)?;
        let replayed = self.asker(&fresh)?.everything(log.head())?;
        drop(fresh);
        are_equal(&answers, &replayed)?;
        ensure!(shop.report(&store)? == shop.report(&replay)?, "the reports differ");
        let entries: usize = answers.values().map(Vec::len).sum();
        Ok(format!("{entries} entries of {} answers, and the report, are", answers.len()))
    }
}

fn are_equal(answers: &Answers, replayed: &Answers) -> Result<()> {
    for (path, entries) in answers {
        let same = replayed.get(path) == Some(entries) && !entries.is_empty();
        ensure!(same, "{path} is answered otherwise than after a replay, or with nothing");
    }
    Ok(())
}

/// Asks until the slowest rebuild has got so far, and says how far each is; nothing if it ended
/// before.
fn at_share(
    share: f64,
    asker: &mut Asker<'_>,
    load: &Load<'_>,
    answers: &mut usize,
) -> Result<Option<Projections>> {
    loop {
        let projections = asker.ask(answers)?;
        ensure!(load.goes_on(), "the writers ended before the kill");
        match projections.fraction_of(SLOWEST) {
            Some(fraction) if fraction >= share => return Ok(Some(projections)),
            Some(_) => {}
            None => return Ok(None),
        }
    }
}

/// The files of read models: for each projection the numbers of its builds.
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

    /// From names such as `users-7.db`.
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

    /// The newer one of each two.
    fn unfinished(&self) -> BTreeMap<String, u64> {
        let two = self.0.iter().filter(|(_, numbers)| numbers.len() > 1);
        two.filter_map(|(name, numbers)| Some((name.clone(), *numbers.last()?))).collect()
    }

    /// What was unfinished is the newest one now, beside at most the one that it replaced.
    fn are_those(&self, unfinished: &BTreeMap<String, u64>) -> Result<()> {
        for (name, number) in unfinished {
            let now = self.0.get(name).with_context(|| format!("{name} is gone"))?;
            let told: Vec<_> = now.iter().map(u64::to_string).collect();
            ensure!(
                now.len() <= 2 && now.last() == Some(number),
                "build {number} of {name} did not go on: there is {}",
                told.join(" and "),
            );
        }
        Ok(())
    }
}

/// Everything but the read models.
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
        let answers = |number: u64| Answers::from([("/v1/orders".to_owned(), vec![number.into()])]);
        assert!(are_equal(&answers(1), &answers(1)).is_ok());
        assert!(are_equal(&answers(1), &answers(2)).is_err());
        assert!(are_equal(&answers(1), &Answers::new()).is_err());
    }

    #[test]
    fn a_rebuild_that_began_anew_is_told_from_one_that_went_on() {
        let cut = Builds::of(
            ["users-1.db", "users-7.db", "users-7.db-wal", "sales-2.db", "catalogue.db"]
                .into_iter(),
        );
        let unfinished = cut.unfinished();
        assert_eq!(unfinished, BTreeMap::from([("users".to_owned(), 7)]));
        for right in [&["users-7.db"][..], &["users-1.db", "users-7.db"]] {
            assert!(Builds::of(right.iter().copied()).are_those(&unfinished).is_ok(), "{right:?}");
        }
        let begun_anew = ["users-1.db", "users-7.db", "users-8.db"];
        for wrong in [&["users-8.db"][..], &["users-1.db"], &begun_anew, &[]] {
            assert!(Builds::of(wrong.iter().copied()).are_those(&unfinished).is_err(), "{wrong:?}");
        }
    }
}
