//! Line 7: a server is killed while it is busy; afterwards everything is there once.
//!
//! Writers keep, outside the server, which commands were acknowledged. After each kill the log is
//! read as the kill left it; after the last one the server gets time to finish, and the log is
//! judged against what the writers know.

use std::{thread, time::Duration};

use anyhow::{Result, ensure};

use super::{
    Effort, Ground,
    log::Log,
    server::{Server, Shop},
    writers::{self, Known},
};

const WRITERS: usize = 32;
const KILLS_FULL: usize = 50;
const KILLS_SHORT: usize = 3;
/// Commands that are acknowledged between two kills, at least.
const ACKNOWLEDGED_MIN: usize = 100;
/// Of 50 kills so many at least meet a pending timer, and so many a decision without its command.
const KILLS_OF_EACH_KIND_MIN: (usize, usize) = (10, 50);
const POLL: Duration = Duration::from_millis(2);

/// Kills and judges.
pub(super) fn everything_once(ground: &Ground) -> Result<String> {
    let shop = Shop::build(ground, "serve-kills")?;
    let gesta = ground.target_directory.join("release/gesta");
    let store = shop.store("store");
    let kills = match ground.effort {
        Effort::Short => KILLS_SHORT,
        Effort::Full => KILLS_FULL,
    };
    let known = Known::default();
    let mut server = shop.serve(&store)?;
    writers::prepare(&server)?;
    let (mut with_timer, mut with_decision) = (0, 0);
    for kill in 0..kills {
        load_until_killed(&mut server, &known, kill)?;
        let log = Log::read(&gesta, &store)?;
        with_timer += usize::from(log.pending_timers() > 0);
        with_decision += usize::from(log.undone_decisions() > 0);
        server = shop.serve(&store)?;
    }
    let log = Log::finish(&gesta, &store)?;
    drop(server);
    log.judge(&known)?;
    let (needed, of) = KILLS_OF_EACH_KIND_MIN;
    let enough = |count: usize| count * of >= kills * needed;
    let figures = format!(
        "{kills} kills, {} acknowledged commands there once; {with_timer} kills with a timer \
         pending, {with_decision} between a decision and its command; {} users welcomed once, {} \
         orders ended once",
        known.count(),
        log.count("user-welcomed"),
        log.ended_orders().len(),
    );
    ensure!(enough(with_timer) && enough(with_decision), "{figures}");
    Ok(figures)
}

/// Writers at full speed, until enough was acknowledged and a moment more; then the kill.
fn load_until_killed(server: &mut Server, known: &Known, kill: usize) -> Result<()> {
    let before = known.count();
    writers::under_load(server.address, WRITERS, known, |load| {
        while known.count() < before + ACKNOWLEDGED_MIN && load.goes_on() {
            thread::park_timeout(POLL);
        }
        // Somewhere in the next moment, another one each time.
        thread::park_timeout(POLL * u32::try_from(kill * 7 % 60).unwrap_or(0));
        server.kill()
    })
}
