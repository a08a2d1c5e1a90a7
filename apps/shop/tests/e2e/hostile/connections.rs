//! Connections that say nothing.

use std::{
    net::{Ipv4Addr, TcpStream},
    time::Duration,
};

use anyhow::{Result, ensure};
use gesta_services::e2e::figures;

use super::{
    bystander::Watch,
    served::{Served, status_at_the_end},
    short_or_full,
};

/// Connections of the full form; fewer, if there are not twice as many open files.
const IDLE: (usize, usize) = (1_000, 9_900);
/// Most connections of one peer.
const OF_PEER: usize = 4_950;
/// Resident memory of an idle connection, in KiB, and room for the rest.
const CONNECTION_KIB_MAX: u64 = 24;
const GROWTH_MIB_MAX: u64 = 64;
/// Time after which the server has closed idle connections, with room for a busy machine.
const CLOSED: Duration = Duration::from_secs(60);

fn peer(number: usize) -> Ipv4Addr {
    let last = u8::try_from(2 + number / OF_PEER).unwrap_or(u8::MAX);
    Ipv4Addr::new(127, 0, 0, last)
}

#[test]
fn idle_connections_cost_little_and_are_closed() -> Result<()> {
    let connections = short_or_full(IDLE.0, IDLE.1);
    let mut shop = Served::start("shop-idle")?;
    let watch = Watch::begin(&shop)?;
    let mut idle: Vec<TcpStream> = Vec::new();
    for number in 0..connections {
        idle.push(shop.connect_from(peer(number))?);
    }
    let mut silent = 0;
    for stream in &mut idle {
        // An answer would be taken for that to the next request; a full server has one.
        silent += usize::from(status_at_the_end(stream, CLOSED)? == 0);
    }
    let mib = GROWTH_MIB_MAX + ((CONNECTION_KIB_MAX * connections as u64) >> 10);
    let seen = watch.end(&mut shop, mib)?;
    ensure!(silent == connections, "{} of {connections} were refused", connections - silent);
    let each = seen.grown_kib() / connections as u64;
    figures(format!("{connections} idle connections of {each} KiB at most; {seen}"))
}

#[test]
fn a_peer_that_takes_all_it_gets_leaves_room_for_others() -> Result<()> {
    // More than all peers together may have.
    let connections = short_or_full(5_500, 11_000);
    let mut shop = Served::start("shop-greedy-peer")?;
    let watch = Watch::begin(&shop)?;
    let mut held = Vec::new();
    for _ in 0..connections {
        held.push(shop.connect_from(Ipv4Addr::new(127, 0, 0, 2))?);
    }
    let seen = watch.end(&mut shop, 2 * GROWTH_MIB_MAX + 128)?;
    drop(held);
    figures(format!("{connections} connections of one peer; {seen}"))
}
