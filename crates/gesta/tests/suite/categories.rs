//! Two categories with events of the same name.

use std::convert::Infallible;

use gesta::{
    Answer, Apply, ApplyError, EncodeError, ExecuteError, Gesta, OpenError, Projection, Query,
    QueryError, ReadTypedRows, TypedRows, prelude::*, testing::drain,
};
use gesta_store::{ListRows, MemoryReadModels, MemoryReader, ReadRows, Rows};

/// An aggregate with one event, `cancelled`, and a projection that counts it. With categories
/// given, the projection's set is restricted to them.
macro_rules! cancelled {
    ($module:ident, $category:literal, $field:ident $(, $events:meta)?) => {
        mod $module {
            use super::*;

            #[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
            #[event(name = "cancelled")]
            pub(super) struct Cancelled {
                pub(super) $field: String,
            }

            #[derive(EventSet, Clone, Debug, PartialEq)]
            $(#[$events])?
            pub(super) enum Events {
                Cancelled(Cancelled),
            }

            #[derive(Default)]
            pub(super) struct Thing;

            impl Aggregate for Thing {
                const CATEGORY: &'static str = $category;
                type Id = u8;
                type Event = Events;

                fn evolve(&mut self, _: &Events) {}
            }

            #[derive(Command, Serialize, Deserialize)]
            #[command(name = "cancel", on = Thing, either)]
            pub(super) struct Cancel {
                #[command(id)]
                pub(super) id: u8,
            }

            impl Decide for Cancel {
                type Rejection = Infallible;

                fn decide(&self, _: &Thing) -> Decision<Self> {
                    Ok(Cancelled { $field: "late".to_owned() }.into())
                }
            }

            pub(super) struct List;

            impl Projection for List {
                const NAME: &'static str = $category;
                type Event = Events;
            }

            impl<Tx: Rows> Apply<Tx> for List {
                async fn apply(
                    &self,
                    tx: &mut Tx,
                    events: &[Recorded<Events>],
                ) -> Result<(), ApplyError> {
                    for event in events {
                        let Events::Cancelled(Cancelled { $field }) = &event.event;
                        tx.put("cancelled", event.stream.as_str(), $field).await?;
                    }
                    Ok(())
                }
            }

            #[allow(dead_code, reason = "not each of the modules is asked")]
            pub(super) struct All;

            impl Query for All {
                type Reads = List;
                type Answer = Vec<(String, String)>;
            }

            impl<Reader: ReadRows> Answer<Reader> for All {
                async fn answer(
                    &self,
                    rows: &mut Reader,
                ) -> Result<Vec<(String, String)>, QueryError> {
                    Ok(rows.list(ListRows::of("cancelled")).await?)
                }
            }
        }
    };
}

cancelled!(order, "order", reason);
cancelled!(invoice, "invoice", because);
cancelled!(scoped_order, "order", reason, events(categories("order")));
cancelled!(scoped_invoice, "invoice", because, events(categories("invoice")));

#[tokio::test]
async fn two_sets_that_may_take_each_others_events_are_refused_when_the_program_opens() {
    let rows = MemoryReadModels::new();
    let gesta = Gesta::at("memory:").project(order::List, &rows).project(invoice::List, &rows);
    let refused = gesta.open().await.unwrap_err();
    let OpenError::DuplicateEventName(twice) = &refused else { panic!("{refused}") };
    assert_eq!(twice.name, "cancelled");
    assert!(twice.first.ends_with("order::Cancelled"), "{twice}");
    assert!(twice.second.ends_with("invoice::Cancelled"), "{twice}");
    assert!(refused.to_string().contains("#[events(categories("), "{refused}");
}

#[tokio::test]
async fn sets_that_say_which_categories_they_mean_see_only_those() {
    let rows = MemoryReadModels::new();
    let gesta = Gesta::at("memory:")
        .project(scoped_order::List, &rows)
        .project(scoped_invoice::List, &rows);
    let gesta = gesta.open().await.unwrap();
    gesta.execute(scoped_order::Cancel { id: 1 }).await.unwrap();
    gesta.execute(scoped_invoice::Cancel { id: 2 }).await.unwrap();
    drain(&gesta).await;
    let late = |stream: &str| vec![(stream.to_owned(), "late".to_owned())];
    assert_eq!(gesta.ask::<_, MemoryReader>(scoped_order::All).await.unwrap(), late("order-1"));
    assert_eq!(gesta.ask::<_, MemoryReader>(scoped_invoice::All).await.unwrap(), late("invoice-2"));
    let projections = gesta.projections().await.unwrap();
    assert!(projections.iter().all(|projection| projection.dead_letters == 0));
}

#[tokio::test]
async fn an_aggregate_whose_events_would_reach_anothers_projection_gets_no_command() {
    let rows = MemoryReadModels::new();
    let gesta = Gesta::at("memory:").project(order::List, &rows).open().await.unwrap();
    gesta.execute(order::Cancel { id: 1 }).await.unwrap();
    let refused = gesta.execute(invoice::Cancel { id: 2 }).await.unwrap_err();
    let ExecuteError::Unencodable(EncodeError::DuplicateEventName(twice)) = refused else {
        panic!("{refused}");
    };
    assert_eq!(twice.name, "cancelled");
    assert_eq!(gesta.store().head().await.unwrap().position, Position::new(1));
}

#[tokio::test]
async fn an_aggregate_that_the_program_names_is_checked_when_it_opens() {
    let rows = MemoryReadModels::new();
    let builder = Gesta::at("memory:").project(order::List, &rows);
    let refused = builder.aggregates::<(order::Thing, invoice::Thing)>().open().await.unwrap_err();
    let OpenError::DuplicateEventName(twice) = &refused else { panic!("{refused}") };
    assert_eq!(twice.name, "cancelled");
}

#[tokio::test]
async fn aggregates_of_two_categories_that_nobody_projects_may_share_a_name() {
    let gesta = Gesta::at("memory:").open().await.unwrap();
    gesta.execute(order::Cancel { id: 1 }).await.unwrap();
    gesta.execute(invoice::Cancel { id: 2 }).await.unwrap();
}
