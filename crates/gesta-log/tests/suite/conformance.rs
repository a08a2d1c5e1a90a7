//! The whole conformance suite, over a store in its own directory: as it is by default, and with
//! an index of all ids.

use gesta_log::{IndexedIds, LogStore, Options};
use gesta_store::conformance::Fixture;

fn fixture_of(options: Options) -> Fixture {
    let directory = tempfile::tempdir().expect("a temporary directory is to be had");
    let store = LogStore::open(directory.path(), options).expect("an empty directory opens");
    Fixture::new(store).keep_alive(directory)
}

fn fixture() -> Fixture {
    fixture_of(Options::default())
}

gesta_store::conformance!(fixture);

mod with_all_ids {
    use super::{Fixture, IndexedIds, Options, fixture_of};

    fn fixture() -> Fixture {
        fixture_of(Options::default().index(IndexedIds::ALL))
    }

    gesta_store::conformance!(fixture);
}

/// The same by a runtime with one thread, as adapters for drivers that need one run it.
mod in_a_runtime {
    use gesta_store::conformance::Fixture;

    fn fixture() -> Fixture {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.expect("a runtime needs no resources");
        super::fixture().executor(move |future| runtime.block_on(future))
    }

    gesta_store::conformance!(fixture);
}
