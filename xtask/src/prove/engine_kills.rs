//! The engine under kill -9, seen from outside: what it acknowledged is there once, in order, with
//! its bytes.
//!
//! The program `gesta` appends by several threads, single events and batches, over one stream or
//! two, with conditions that hold, that race and that fail; what it tells is kept here. After each
//! kill a fresh process opens the store and reads everything back.

use std::{fs, time::Duration};

use anyhow::{Result, ensure};

use super::{
    Effort, Ground,
    import::chance,
    told::{Kill, Recounted, ToldStore, build},
};

const KILLS_FULL: u32 = 300;
const KILLS_SHORT: u32 = 10;
/// One life in so many is killed a moment after its start, whatever it does then.
const EARLY_ONE_IN: u32 = 4;
/// Latest moments of kills.
const EARLY_MAX: Duration = Duration::from_millis(25);
const LATE_MAX: Duration = Duration::from_millis(12);
/// Sizes of segments, in turn; small ones are sealed, filed and merged within a life.
const SEGMENT_BYTES: [&str; 3] = ["24576", "65536", "262144"];
/// Of a full run, so many acknowledged appends for each kill are expected at least.
const ACKNOWLEDGED_EACH_MIN: u64 = 30;

/// The loads of `cargo xtask bench`, each ended by a kill.
const LOADS: [(&str, &str); 5] = [("1", "1"), ("8", "1"), ("64", "1"), ("1", "100"), ("8", "100")];
const LOAD_SECONDS_FULL: u64 = 3;

/// Kills on one store that goes on growing.
pub(super) fn growing_store(ground: &Ground) -> Result<String> {
    let (gesta, directory) = build(ground, "engine-kills")?;
    let kills = match ground.effort {
        Effort::Short => KILLS_SHORT,
        Effort::Full => KILLS_FULL,
    };
    let mut store = ToldStore::new(&gesta, &directory)?;
    let mut opened = Vec::new();
    let mut last = None;
    for (life, segment) in (0..kills).zip(SEGMENT_BYTES.into_iter().cycle()) {
        let arguments =
            ["--writers", "8", "--streams", "300", "--tags", "300", "--segment-bytes", segment];
        let kill = match life % EARLY_ONE_IN {
            1 => Kill::AfterStart(EARLY_MAX.mul_f64(chance()?)),
            _ => Kill::AfterFirst(LATE_MAX.mul_f64(chance()?)),
        };
        store.live(&arguments, kill)?;
        let found = store.recount()?;
        opened.push(found.opened);
        last = Some(found);
    }
    let Some(found) = last else { return Ok("no kills".to_owned()) };
    let (segments, runs) = store.files()?;
    let enough = found.acknowledged >= u64::from(kills) * ACKNOWLEDGED_EACH_MIN;
    let told = format!(
        "{kills} kills; {}; {segments} segments, {runs} runs of the index; {}",
        tell(&found),
        times(&mut opened)
    );
    ensure!(enough, "too little was acknowledged: {told}");
    fs::remove_dir_all(directory)?;
    Ok(told)
}

/// One timed run of each load, ended by a kill.
pub(super) fn timed_loads(ground: &Ground) -> Result<String> {
    let (gesta, directory) = build(ground, "engine-loads")?;
    let seconds = match ground.effort {
        Effort::Short => 1,
        Effort::Full => LOAD_SECONDS_FULL,
    };
    let mut told = Vec::new();
    for (writers, events) in LOADS {
        let name = format!("w{writers}-b{events}");
        let below = directory.join(&name);
        let mut store = ToldStore::new(&gesta, &below)?;
        let arguments = ["--writers", writers, "--events-per-append", events];
        store.live(&arguments, Kill::AfterFirst(Duration::from_secs(seconds)))?;
        let found = store.recount()?;
        told.push(format!("{name}: {}, {}", tell(&found), times(&mut [found.opened])));
        fs::remove_dir_all(below)?;
    }
    Ok(told.join("; "))
}

fn tell(found: &Recounted) -> String {
    let Recounted { acknowledged, refused, open_and_there, events, .. } = found;
    format!(
        "{acknowledged} acknowledged appends there once, {refused} refused ones not, \
         {open_and_there} without an answer there; {events} events"
    )
}

fn times(opened: &mut [Duration]) -> String {
    opened.sort_unstable();
    let millis = |time: Option<&Duration>| time.map_or(0.0, |time| time.as_secs_f64() * 1e3);
    let (median, worst) = (opened.get(opened.len() / 2), opened.last());
    match opened.len() {
        1 => format!("opened in {:.1} ms", millis(worst)),
        _ => format!("opened in {:.1} ms, at worst {:.1} ms", millis(median), millis(worst)),
    }
}
