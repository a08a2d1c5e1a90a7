//! Directories of arbitrary bytes: opening and reading them never panics, never shows wrong events,
//! and takes bounded memory.
//!
//! Starts with intact stores and changes some bytes and names, from seeds. Some changes are
//! *forged*: their checksums are corrected, so that code after the checksum is reached too. Only
//! forged bytes may lead to wrong events.
//!
//! `GESTA_HOSTILE_CASES` sets the number of cases, `GESTA_HOSTILE_FIRST` the first seed.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod check;
#[path = "../suite/draws.rs"]
mod draws;
mod memory;
mod mutate;
mod stores;

use tempfile::TempDir;

use self::{
    check::{Outcome, check_directory, write},
    draws::Draws,
    mutate::{Damage, mutate},
    stores::stores,
};

/// A directory that is kept if the test fails: its bytes depend on more than the seed.
struct KeptDir(Option<TempDir>);

impl Drop for KeptDir {
    fn drop(&mut self) {
        if std::thread::panicking() {
            drop(self.0.take().map(TempDir::keep));
        }
    }
}

/// Number of cases under `CI=true`, and otherwise.
const CASES_CI: u64 = 2_000;
const CASES: u64 = 1_000;
/// More than a small store, its cache and its buffers ever need.
const LIVE_BYTES_MAX: usize = 96 << 20;

fn asked(variable: &str, otherwise: u64) -> u64 {
    let asked = std::env::var(variable).ok();
    asked.and_then(|number| number.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn whatever_lies_in_a_directory_is_read_as_it_was_or_refused() {
    let stores = stores();
    let in_ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
    let cases = asked("GESTA_HOSTILE_CASES", if in_ci { CASES_CI } else { CASES });
    let first = asked("GESTA_HOSTILE_FIRST", 0);
    let mut outcomes = [0_u64; 3];
    for seed in first..first + cases {
        let mut draws = Draws(seed);
        let whole = &stores[draws.below(stores.len() as u64) as usize];
        let mut files = whole.files.clone();
        let harm = mutate(&mut files, &mut draws);
        let directory = KeptDir(Some(tempfile::tempdir().unwrap()));
        let path = directory.0.as_ref().unwrap().path();
        write(path, &files);
        let before = memory::begin();
        let what = format!("seed {seed}, {harm:?}, kept in {}", path.display());
        let outcome = check_directory(path, whole, harm, &what);
        outcomes[outcome as usize] += 1;
        let most = memory::most_since(before);
        assert!(most < LIVE_BYTES_MAX, "seed {seed}: {most} bytes");
    }
    // Both unnoticed and refused changes must occur.
    assert!(cases < 100 || outcomes.iter().all(|count| *count > 0), "{outcomes:?}");
}

#[test]
fn the_whole_stores_read_as_they_were() {
    for whole in stores() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), &whole.files);
        let outcome = check_directory(directory.path(), &whole, Damage::Bytes, "a whole store");
        assert_eq!(outcome, Outcome::Same);
    }
}
