//! Opens and reads a directory whose bytes and names were changed as the input says; what has to
//! hold is what the test `hostile` of `gesta-log` demands.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

mod draws;
#[path = "../../crates/gesta-log/tests/hostile/look.rs"]
mod look;
#[path = "../../crates/gesta-log/tests/hostile/mutate.rs"]
mod mutate;
#[path = "../../crates/gesta-log/tests/hostile/stores.rs"]
mod stores;

static STORES: OnceLock<Vec<stores::Whole>> = OnceLock::new();

fuzz_target!(|input: &[u8]| {
    let stores = STORES.get_or_init(stores::stores);
    let mut draws = draws::Draws(input);
    let whole = &stores[draws.below(stores.len() as u64) as usize];
    let mut files = whole.files.clone();
    let harm = mutate::mutate(&mut files, &mut draws);
    let directory = tempfile::tempdir().expect("there is room for a directory");
    look::write(directory.path(), &files);
    look::look(directory.path(), whole, harm, "as the input says");
});
