//! Damage all over a small store: it is found, named, and never read as data.
//!
//! One bit of every byte, every sector, every eighth length, every two frames, sectors over others,
//! each with openings with and without files of the index.
//! `cargo run --release -p gesta-sim -- sweep 64` flips every bit and cuts at every length; without
//! a number it does so over a mebibyte.

use gesta_sim::{Ending, Extent, Sweep, sweep};

/// Segments of 64 KiB together, and some.
const STORE_BYTES: usize = 64 << 10;

#[expect(clippy::print_stdout, reason = "the table is what the test is read for")]
fn swept(ending: Ending) {
    let sweep = sweep(Sweep { store_bytes: STORE_BYTES, ending, extent: Extent::Every8th });
    let swept = sweep.unwrap_or_else(|broken| panic!("{broken}"));
    println!("{ending:?}:\n{swept}");
    assert!(swept.named() > 0, "{swept}");
}

#[test]
fn wherever_an_ended_store_is_damaged_it_reads_the_same_or_names_the_damage() {
    swept(Ending::Closed);
}

/// From its last segment on; the others are the same as in an ended store.
#[test]
fn wherever_a_killed_store_is_damaged_nothing_is_lost_that_a_frame_vouches_for() {
    swept(Ending::Killed);
}
