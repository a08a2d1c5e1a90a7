//! The whole conformance suite, over a store in its own directory.

use gesta_log::{LogStore, Options};
use gesta_store::conformance::Fresh;

fn fresh() -> Fresh {
    let directory = tempfile::tempdir().expect("a temporary directory is to be had");
    let store =
        LogStore::open(directory.path(), Options::default()).expect("an empty directory opens");
    Fresh::new(store).keeping(directory)
}

gesta_store::conformance!(fresh);
