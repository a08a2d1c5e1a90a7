//! SQLite passes every clause of read models. A store is used by one process, so its clones stand
//! for the others.

use std::rc::Rc;

use gesta_sqlite::Sqlite;
use gesta_store::conformance::{block_on, read_models::ReadModelFixture};

gesta_store::read_model_conformance!(fixture);

fn fixture() -> ReadModelFixture<Sqlite> {
    let store = Rc::new(block_on(Sqlite::temporary()).expect("a temporary directory"));
    let kept = Rc::clone(&store);
    ReadModelFixture::new(move || Sqlite::clone(&store)).keep_alive(kept)
}
