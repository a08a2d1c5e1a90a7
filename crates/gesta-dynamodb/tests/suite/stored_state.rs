//! State that is stored with its revision, and the tail folded on read: written back only if no
//! other reader was further.

use std::sync::Arc;

use gesta::{Gesta, SnapshotPolicy, prelude::*, stream_of};
use gesta_dynamodb::DynamoReadModels;
use gesta_store::{EventStore, SnapshotStore as _, memory::MemoryStore};

use crate::server::fresh_url;

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "item-added")]
struct ItemAdded {
    number: u64,
}

#[derive(EventSet, Clone, Debug, PartialEq)]
enum OrderEvent {
    Added(ItemAdded),
}

#[derive(Default, Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    /// Numbers of the items, in their order: a second application of an event would show.
    items: Vec<u64>,
}

impl Aggregate for Order {
    const CATEGORY: &'static str = "order";
    type Id = u32;
    type Event = OrderEvent;

    fn evolve(&mut self, event: &OrderEvent) {
        let OrderEvent::Added(ItemAdded { number }) = event;
        self.items.push(*number);
    }
}

#[derive(Debug, PartialEq, thiserror::Error, Rejection)]
#[error("never")]
#[rejection(code = "never")]
struct Never;

#[derive(Command, Serialize, Deserialize)]
#[command(name = "add-item", on = Order, either)]
struct AddItem {
    #[command(id)]
    order: u32,
}

impl Decide for AddItem {
    type Rejection = Never;

    fn decide(&self, order: &Order) -> Decision<Self> {
        Ok(ItemAdded { number: order.items.len() as u64 }.into())
    }
}

const ITEMS: u64 = 60;
const READERS: usize = 4;

/// A node of its own: a connection to the key-value store, and an application on the events.
async fn node(events: &Arc<dyn EventStore>, url: &str) -> (Gesta, DynamoReadModels) {
    let states = DynamoReadModels::connect(url).await.unwrap();
    let builder = Gesta::on(Arc::clone(events));
    let every = SnapshotPolicy::every(1);
    (builder.snapshots::<Order>(&states, every).open().await.unwrap(), states)
}

/// Loads until all items are there. Each load is a prefix of the items, each once.
async fn read_until_full(gesta: Gesta) {
    let mut seen = 0;
    while seen < ITEMS {
        let Some(order) = gesta.load::<Order>(&1).await.unwrap() else { continue };
        let count = order.state.items.len() as u64;
        assert!(order.state.items.iter().copied().eq(0..count), "each event once, in order");
        assert!(count >= seen, "a later read sees as much");
        seen = count;
    }
}

/// Watches the stored state, whose revision never falls.
async fn watch_until_full(states: DynamoReadModels) {
    let stream = stream_of::<Order>(&1).unwrap();
    let mut seen = 0;
    while seen + 1 < ITEMS {
        let Some(stored) = states.load_snapshot(&stream).await.unwrap() else { continue };
        let revision = stored.revision.number();
        assert!(revision >= seen, "{revision} was stored in place of {seen}");
        let order: Order = serde_json::from_slice(&stored.state).unwrap();
        assert!(order.items.iter().copied().eq(0..=revision), "the state of that revision");
        seen = revision;
    }
}

#[tokio::test]
async fn concurrent_reads_fold_the_tail_and_never_store_an_older_state() {
    let Some(endpoint) = gesta_services::url_or_skip("dynamodb") else { return };
    let url = fresh_url(&endpoint);
    let events: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
    let (writer, states) = node(&events, &url).await;
    let mut tasks = vec![tokio::spawn(watch_until_full(states))];
    for _ in 0..READERS {
        tasks.push(tokio::spawn(read_until_full(node(&events, &url).await.0)));
    }
    for _ in 0..ITEMS {
        writer.execute(AddItem { order: 1 }).await.unwrap();
    }
    // The last state is stored by whichever load sees it first.
    writer.load::<Order>(&1).await.unwrap();
    for task in tasks {
        task.await.unwrap();
    }
}
