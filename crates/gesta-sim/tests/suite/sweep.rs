//! Corruption of every place of a small store: found, reported, and never read as data.
//!
//! One bit of every byte, every sector, every eighth length, every pair of frames, sectors over
//! others; each is opened with and without an index. `cargo run --release -p gesta-sim -- sweep 64`
//! flips every bit and cuts at every length; without a number it sweeps a store of one mebibyte.

use gesta_sim::{Coverage, Shutdown, SweepOptions, sweep};

/// Minimum total size of the segments under `CI=true`, and otherwise. The time grows with its
/// square.
const STORE_BYTES_CI: usize = 64 << 10;
const STORE_BYTES: usize = 32 << 10;

#[expect(clippy::print_stdout, reason = "the table is what the test is read for")]
fn swept(shutdown: Shutdown) {
    let in_ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
    let store_bytes = if in_ci { STORE_BYTES_CI } else { STORE_BYTES };
    let sweep = sweep(SweepOptions { store_bytes, shutdown, coverage: Coverage::Every8th });
    let swept = sweep.unwrap_or_else(|violation| panic!("{violation}"));
    println!("{shutdown:?}:\n{swept}");
    assert!(swept.reported() > 0, "{swept}");
}

#[test]
fn wherever_an_ended_store_is_damaged_it_reads_the_same_or_names_the_damage() {
    swept(Shutdown::Closed);
}

/// Covers the last segment; the others are the same as in a closed store.
#[test]
fn wherever_a_killed_store_is_damaged_nothing_is_lost_that_a_frame_vouches_for() {
    swept(Shutdown::Killed);
}
