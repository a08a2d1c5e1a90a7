//! A server is killed under load; afterwards every command is present once.
//!
//! Writers record acknowledged commands outside the server. After each kill the log is read as it
//! was left; after the last one the server may finish, and the log is compared with the writers'
//! records.

use std::{thread, time::Duration};

use anyhow::{Result, ensure};
use gesta_services::e2e::{figures, is_full};

use crate::{
    log::Log,
    server::{Server, Shop, gesta},
    writers::{self, Acknowledged},
};

const WRITERS: usize = 32;
const KILLS_FULL: usize = 50;
const KILLS_SHORT: usize = 3;
/// Minimum of acknowledged commands between two kills.
const ACKNOWLEDGED_MIN: usize = 100;
/// Minimum share of kills with a pending timer, and of kills between a decision and its command.
const KILLS_OF_EACH_KIND_MIN: (usize, usize) = (10, 50);
const POLL: Duration = Duration::from_millis(2);

/// Kills the server repeatedly and checks the log.
#[test]
fn every_acknowledged_command_takes_effect_once() -> Result<()> {
    let shop = Shop::build("serve-kills")?;
    let gesta = gesta()?;
    let store = shop.store("store");
    let kills = if is_full() { KILLS_FULL } else { KILLS_SHORT };
    let acknowledged = Acknowledged::default();
    let mut server = shop.serve(&store)?;
    writers::prepare(server.address)?;
    let (mut with_timer, mut with_decision) = (0, 0);
    for kill in 0..kills {
        load_until_killed(&mut server, &acknowledged, kill)?;
        // Read before the restart, which would finish pending work.
        let log = Log::read(&gesta, &store)?;
        with_timer += usize::from(log.pending_timers() > 0);
        with_decision += usize::from(log.pending_commands() > 0);
        server = shop.serve(&store)?;
    }
    let log = Log::read_when_finished(&gesta, &store)?;
    drop(server);
    log.check(&acknowledged)?;
    let (needed, of) = KILLS_OF_EACH_KIND_MIN;
    // Kills must also hit timers and decisions, not only idle moments.
    let enough = |count: usize| count * of >= kills * needed;
    let summary = format!(
        "{kills} kills, {} acknowledged commands present once; {with_timer} kills with a timer \
         pending, {with_decision} between a decision and its command; {} users welcomed once, {} \
         orders ended once",
        acknowledged.count(),
        log.count("user-welcomed"),
        log.ended_orders().len(),
    );
    ensure!(enough(with_timer) && enough(with_decision), "{summary}");
    figures(summary)
}

/// Runs writers at full speed until enough commands are acknowledged, then kills the server a
/// moment later.
fn load_until_killed(server: &mut Server, acknowledged: &Acknowledged, kill: usize) -> Result<()> {
    let before = acknowledged.count();
    writers::under_load(server.address, WRITERS, acknowledged, |load| {
        // Enough commands between two kills, so that each kill interrupts real work.
        while acknowledged.count() < before + ACKNOWLEDGED_MIN && load.is_running() {
            thread::park_timeout(POLL);
        }
        // A different delay each time.
        thread::park_timeout(POLL * u32::try_from(kill * 7 % 60).unwrap_or(0));
        server.kill()
    })
}
