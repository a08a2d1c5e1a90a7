//! A store with few features: an application that needs more is refused when it opens.

use gesta::{Gesta, OpenError};
use gesta_store::{
    Append, Appended, Capabilities, Capability, CapabilitySet, EventStore, MemoryReadModels, Pages,
    ReadStream, StoreFuture, StreamDescription, StreamName, Subscribe, Subscription,
    memory::MemoryStore,
};

use crate::{
    bank::{Balances, Controls},
    fragile::Fragile,
    idempotency::Fetch,
};

/// A memory store that lacks features. Nothing is called before the check.
struct PoorStore {
    inner: MemoryStore,
    lacks: &'static [Capability],
}

impl EventStore for PoorStore {
    fn append(&self, append: Append) -> StoreFuture<'_, Appended> {
        self.inner.append(append)
    }

    fn read_stream(&self, read: ReadStream) -> Pages {
        self.inner.read_stream(read)
    }

    fn subscribe(&self, subscribe: Subscribe) -> Subscription {
        self.inner.subscribe(subscribe)
    }

    fn describe_stream(&self, stream: &StreamName) -> StoreFuture<'_, StreamDescription> {
        self.inner.describe_stream(stream)
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = self.inner.capabilities();
        for lacking in self.lacks {
            capabilities.supported = capabilities.supported.without(*lacking);
        }
        capabilities
    }
}

fn on_a_store_without(lacks: &'static [Capability]) -> gesta::Builder {
    Gesta::on(std::sync::Arc::new(PoorStore { inner: MemoryStore::new(), lacks }))
}

async fn refusal(builder: gesta::Builder) -> String {
    let error = builder.open().await.expect_err("the store lacks a feature");
    assert!(matches!(error, OpenError::Unsupported { .. }), "{error}");
    error.to_string()
}

#[tokio::test]
async fn a_projection_needs_the_order_of_the_whole_store_and_filters() {
    let projection = Balances(Controls::free());
    let builder = on_a_store_without(&[Capability::GlobalOrder, Capability::EventTypeFilter]);
    let told = refusal(builder.project(projection, &MemoryReadModels::new())).await;
    assert_eq!(
        told,
        "the store lacks reads of the whole store, filters by event type, which projection \
         `balances` needs; use a store that has it, or leave that part out"
    );
}

#[tokio::test]
async fn an_inline_projection_needs_a_store_that_takes_it_along() {
    let builder = on_a_store_without(&[Capability::InlineConsumers]);
    let balances = Balances(Controls::free());
    let told = refusal(builder.project_inline(balances, &MemoryReadModels::new())).await;
    let expected = "the store lacks inline projections, which inline projection `balances` needs";
    assert!(told.starts_with(expected), "{told}");
}

#[tokio::test]
async fn a_process_manager_needs_filters_by_category() {
    let builder = on_a_store_without(&[Capability::CategoryFilter]);
    let told = refusal(builder.process::<Fragile<true>>()).await;
    assert!(told.contains("lacks filters by category, which process manager `fragile`"), "{told}");
}

#[tokio::test]
async fn idempotent_commands_need_to_find_appends_unless_the_program_does_without() {
    let lacking = &[Capability::FindAppend];
    let told = refusal(on_a_store_without(lacking)).await;
    assert!(told.contains("finding appends by event id, which idempotent commands need"), "{told}");
    assert!(told.contains("`Builder::idempotency_optional`"), "{told}");
    on_a_store_without(lacking).idempotency_optional().open().await.unwrap();
}

#[tokio::test]
async fn remembered_rejections_need_appends_to_several_streams() {
    let builder = on_a_store_without(&[Capability::MultiStreamAppend]);
    let told = refusal(builder.remember_rejections::<Fetch>()).await;
    assert!(told.contains("appends to several streams, which remembered rejections of"), "{told}");
}

#[tokio::test]
async fn a_part_that_is_not_registered_states_what_it_needs() {
    const TAGGED: CapabilitySet =
        CapabilitySet::of(&[Capability::Tags, Capability::AppendCondition]);
    let builder = on_a_store_without(&[Capability::Tags, Capability::AppendCondition]);
    let told = refusal(builder.requires("unique e-mail addresses", TAGGED)).await;
    assert!(told.starts_with("the store lacks append conditions, tags, which unique"), "{told}");
}

#[tokio::test]
async fn an_application_opens_on_a_store_that_has_what_it_needs() {
    let unused = &[Capability::Tags, Capability::StreamListing, Capability::TimeStarts];
    on_a_store_without(unused).open().await.unwrap();
}
