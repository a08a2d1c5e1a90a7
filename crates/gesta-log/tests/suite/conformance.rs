//! The whole conformance suite, over a store in its own directory.

use gesta_log::{LogStore, Options};
use gesta_store::conformance::Fixture;

fn fixture() -> Fixture {
    let directory = tempfile::tempdir().expect("a temporary directory is to be had");
    let store =
        LogStore::open(directory.path(), Options::default()).expect("an empty directory opens");
    Fixture::new(store).keep_alive(directory)
}

gesta_store::conformance!(fixture);
