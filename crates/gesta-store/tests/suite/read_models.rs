//! Read models in memory pass every clause.

use gesta_store::{MemoryReadModels, conformance::read_models::ReadModelFixture};

gesta_store::read_model_conformance!(fixture);

fn fixture() -> ReadModelFixture<MemoryReadModels> {
    let store = MemoryReadModels::new();
    ReadModelFixture::new(move || store.clone())
}
