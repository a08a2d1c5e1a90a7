//! Opens and reads a directory whose bytes and names were changed by the input, and checks it like
//! the test `hostile` of `gesta-log`.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/gesta-log/tests/hostile/check.rs"]
mod check;
mod draws;
#[path = "../../crates/gesta-log/tests/hostile/mutate.rs"]
mod mutate;
#[path = "../../crates/gesta-log/tests/hostile/stores.rs"]
mod stores;

static STORES: OnceLock<Vec<stores::IntactStore>> = OnceLock::new();

fuzz_target!(|input: &[u8]| {
    let stores = STORES.get_or_init(stores::stores);
    let mut draws = draws::Draws(input);
    let intact = &stores[draws.below(stores.len() as u64) as usize];
    let mut files = intact.files.clone();
    let damage = mutate::mutate(&mut files, &mut draws);
    let directory = tempfile::tempdir().expect("a temporary directory can be created");
    check::write(directory.path(), &files);
    check::check_directory(directory.path(), intact, damage, "changed by the input");
});
