//! Directories of arbitrary bytes: whatever lies there, opening and reading it never panics, never
//! shows other events, and takes memory within bounds.
//!
//! Begins with whole stores and changes some of their bytes and names, from seeds. Some changes are
//! *forged*: their checksums are made right again, so that what lies behind them is reached, too.
//! Forged bytes may well be believed; only then may events be others.
//!
//! `GESTA_HOSTILE_CASES` asks for more than the test run has; `GESTA_HOSTILE_FIRST` for another
//! first seed.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

#[path = "../suite/draws.rs"]
mod draws;
mod look;
mod memory;
mod mutate;
mod stores;

use tempfile::TempDir;

use self::{
    draws::Draws,
    look::{Outcome, look, write},
    mutate::{Harm, mutate},
    stores::stores,
};

/// A directory that stays if the test fails: its bytes are not drawn from the seed alone.
struct Kept(Option<TempDir>);

impl Drop for Kept {
    fn drop(&mut self) {
        if std::thread::panicking() {
            drop(self.0.take().map(TempDir::keep));
        }
    }
}

const CASES: u64 = 2_000;
/// More than a small store, its cache and its buffers ever take.
const LIVE_BYTES_MAX: usize = 96 << 20;

fn asked(variable: &str, otherwise: u64) -> u64 {
    let asked = std::env::var(variable).ok();
    asked.and_then(|number| number.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn whatever_lies_in_a_directory_is_read_as_it_was_or_refused() {
    let stores = stores();
    let (first, cases) = (asked("GESTA_HOSTILE_FIRST", 0), asked("GESTA_HOSTILE_CASES", CASES));
    let mut outcomes = [0_u64; 3];
    for seed in first..first + cases {
        let mut draws = Draws(seed);
        let whole = &stores[draws.below(stores.len() as u64) as usize];
        let mut files = whole.files.clone();
        let harm = mutate(&mut files, &mut draws);
        let directory = Kept(Some(tempfile::tempdir().unwrap()));
        let path = directory.0.as_ref().unwrap().path();
        write(path, &files);
        let before = memory::begin();
        let what = format!("seed {seed}, {harm:?}, kept in {}", path.display());
        let outcome = look(path, whole, harm, &what);
        outcomes[outcome as usize] += 1;
        let most = memory::most_since(before);
        assert!(most < LIVE_BYTES_MAX, "seed {seed}: {most} bytes");
    }
    // Changes that nothing notices and changes that are refused are both met.
    assert!(cases < 100 || outcomes.iter().all(|count| *count > 0), "{outcomes:?}");
}

#[test]
fn the_whole_stores_read_as_they_were() {
    for whole in stores() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), &whole.files);
        let outcome = look(directory.path(), &whole, Harm::Bytes, "a whole store");
        assert_eq!(outcome, Outcome::Same);
    }
}
