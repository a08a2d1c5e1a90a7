//! The shop, as far as it goes: an order is placed durably and read back.

#![expect(clippy::print_stdout, reason = "a program talks to its user")]

use anyhow::ensure;
use gesta_log::{LogStore, Options};
use gesta_store::{
    Append, EventId, EventStore, EventType, ExpectedRevision, NewEvent, ReadAll, StreamName,
    conformance::block_on,
};

fn main() -> anyhow::Result<()> {
    ensure!(std::env::args().nth(1).as_deref() == Some("demo"), "usage: shop demo");
    let store = LogStore::open("shop-data", Options::default())?;
    let order = StreamName::new(format!("order-{}", EventId::random()))?;
    let placed = NewEvent::json(EventId::random(), EventType::new("order-placed")?, "{}");
    block_on(store.append(Append::to(order, ExpectedRevision::NoStream, [placed])))?;
    drop(store);

    let store = LogStore::open("shop-data", Options::default())?;
    println!("events in shop-data, read after opening it again:");
    for event in block_on(store.read_all(ReadAll::forwards()).collect_events())? {
        println!("{:>6}  {}  {}", event.position, event.stream, event.event_type);
    }
    Ok(())
}
