//! The framework's suite of read models, on rows that are documents.

use gesta_store::conformance::read_models::{ReadModelFixture, clauses};

use crate::{
    engines::{self, Engine},
    portable::Portable,
};

mod tantivy {
    use super::*;

    fn on_tantivy() -> ReadModelFixture<Portable> {
        fixture(engines::tantivy().unwrap())
    }

    gesta_store::read_model_conformance!(on_tantivy);
}

fn fixture(engine: Engine) -> ReadModelFixture<Portable> {
    let store = Portable::on(engine.store.clone());
    ReadModelFixture::new(move || store.clone()).keep_alive(engine)
}

/// Clauses about readers that see one moment, also of a read model that was dropped since. Searches
/// of a server have each a moment of their own, and end with the index.
const OF_ONE_MOMENT: [&str; 2] =
    ["a_reader_sees_one_moment", "readers_of_a_dropped_read_model_finish"];

#[test]
fn opensearch_has_read_models_whose_searches_have_each_a_moment_of_their_own() {
    for clause in clauses().iter().filter(|it| !OF_ONE_MOMENT.contains(&it.name)) {
        let Some(engine) = engines::opensearch() else { return };
        clause.check(&fixture(engine));
    }
}
