//! A large store of the shop.
//!
//! Of ten streams, one is a user, one an account and eight are orders, each with ten events. The
//! events are appended as the shop's commands would record them. Each user has an instance of the
//! welcome process with a pending timer, and one order in a thousand is paid from an account, so it
//! has an instance of the fulfilment process.

use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use gesta::{
    EventId, EventType, Gesta, StreamName,
    store::{Append, CausationId, CorrelationId, EventStore, ExpectedRevision, NewEvent, Tag},
};
use gesta_log::LogStore;
use serde_json::{Value, json};
use shop::samples;

/// Events of each stream.
pub(crate) const EVENTS: u64 = 10;
/// Accounts to which money is paid although they were never opened: dead letters.
const ODD_ACCOUNTS: u64 = 100;
/// Users whose event cannot be read: inputs that are set aside, and dead letters.
const ODD_USERS: u64 = 50;
/// Customers, each with a tag.
const CUSTOMERS: u64 = 100_000;
/// One order in so many is paid from an account.
const PAID_FROM_ACCOUNT: u64 = 1_000;
/// Appends under way at a time.
const WRITERS: usize = 64;
/// Business time of all events.
const AT: &str = "2011-12-12T09:00:00Z";
/// Pause between two looks at the progress.
const POLL: Duration = Duration::from_secs(1);

/// Returns the name of a stream.
pub(crate) fn name(number: u64) -> String {
    format!("{}-{number}", category(number))
}

fn category(number: u64) -> &'static str {
    match number % EVENTS {
        0 => "user",
        1 => "account",
        _ => "order",
    }
}

/// Returns the id of an event.
pub(crate) fn id(stream: u64, number: u64) -> EventId {
    EventId::derived_from(&name(stream), number)
}

/// Fills an empty store.
pub(crate) async fn fill(store: &LogStore, streams: u64) -> Result<()> {
    let appends = stream::iter((0..streams).map(|place| {
        // Streams come in another order than that of their numbers.
        events_of(place * 7_919 % streams)
    }));
    appends
        .chain(stream::iter(odd_events()))
        .map(|append| async move { anyhow::Ok(store.append(append?).await.map(drop)?) })
        .buffer_unordered(WRITERS)
        .try_collect()
        .await
}

/// Adds the samples of the shop by its commands.
pub(crate) async fn add_samples(gesta: &Gesta) -> Result<()> {
    Ok(samples::prepare(gesta).await?)
}

/// Waits until every part has handled all events.
pub(crate) async fn caught_up(gesta: &Gesta) -> Result<()> {
    loop {
        let head = gesta.store().head().await?.position;
        let projections = gesta.projections().await?;
        let is_late = projections.iter().any(|one| one.position < head)
            || gesta.process_managers().iter().any(|one| one.position < head || one.commands > 0)
            || gesta.reactors().await?.iter().any(|one| one.position < head || one.retrying > 0);
        if !is_late && gesta.store().head().await?.position == head {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The events of one stream, each of a command of its own.
fn events_of(stream: u64) -> Result<Append> {
    let events: Vec<(&str, Value)> = match category(stream) {
        "user" => user(stream),
        "account" => account(stream),
        _ => order(stream),
    };
    let correlation = CorrelationId::new(format!("case-{stream}"))?;
    let tag = match category(stream) {
        "order" => Some(Tag::new(format!("customer:{}", customer(stream)))?),
        _ => None,
    };
    let events = events.into_iter().zip(0..).map(|((kind, data), number)| {
        let event = NewEvent::json(id(stream, number), EventType::new(kind)?, data.to_string())
            .correlation_id(correlation.clone())
            .causation_id(CausationId::new(format!("command-{stream}-{number}"))?);
        Ok(match &tag {
            // Only a placed order names its customer.
            Some(tag) if number == 0 => event.tagged([tag.clone()]),
            _ => event,
        })
    });
    let events: Result<Vec<_>> = events.collect();
    Ok(Append::to(StreamName::new(name(stream))?, ExpectedRevision::NoStream, events?))
}

fn customer(stream: u64) -> u64 {
    stream * 31 % CUSTOMERS
}

fn user(stream: u64) -> Vec<(&'static str, Value)> {
    let id = stream.to_string();
    (0..EVENTS)
        .map(|number| {
            let data = json!({
                "userId": id, "firstName": "Ann", "lastName": format!("Lee the {number}."),
            });
            (if number == 0 { "user-created" } else { "user-updated" }, data)
        })
        .collect()
}

fn account(stream: u64) -> Vec<(&'static str, Value)> {
    let id = stream.to_string();
    let opened = json!({ "accountId": id, "currency": "GBP", "occurredAt": AT });
    let deposited = |number| {
        let data = json!({
            "accountId": id, "amount": format!("{number}.25"), "reference": "wages",
            "occurredAt": AT,
        });
        ("money-deposited", data)
    };
    [("account-opened", opened)].into_iter().chain((1..EVENTS).map(deposited)).collect()
}

/// An order that is paid, delivered, and paid back in parts.
fn order(stream: u64) -> Vec<(&'static str, Value)> {
    let id = stream.to_string();
    let line = json!({ "productId": samples::PRODUCT, "unitPrice": "12.5", "quantity": 2 });
    let mut placed = json!({
        "orderId": id, "customerId": customer(stream).to_string(), "lines": [line],
        "amounts": { "subtotal": "25", "discount": "0", "total": "25" }, "occurredAt": AT,
        "shippingAddress": { "street": "High Street 1", "city": "London" },
    });
    if stream % PAID_FROM_ACCOUNT == 2
        && let Some(members) = placed.as_object_mut()
    {
        members.insert("paymentAccountId".to_owned(), (stream - 1).to_string().into());
    }
    let paid = json!({ "orderId": id, "method": "invoice", "amount": "25", "occurredAt": AT });
    let shipped = json!({ "orderId": id, "tracking": format!("T{stream}"), "occurredAt": AT });
    let delivered = json!({ "orderId": id, "occurredAt": AT });
    let begun = [
        ("order-placed", placed),
        ("order-paid", paid),
        ("order-shipped", shipped),
        ("order-delivered", delivered),
    ];
    let refunded = (0..EVENTS - 4).map(|number| {
        let left = (24 - number).to_string();
        let data = json!({ "orderId": id, "amount": "1", "left": left, "occurredAt": AT });
        ("order-refunded", data)
    });
    begun.into_iter().chain(refunded).collect()
}

/// Events that another, faulty program could have written.
fn odd_events() -> impl Iterator<Item = Result<Append>> {
    let deposits = (0..ODD_ACCOUNTS).map(|number| {
        let id = format!("odd-{number}");
        let data = json!({ "accountId": id, "amount": "1", "reference": "odd", "occurredAt": AT });
        odd(&format!("account-{id}"), "money-deposited", &data)
    });
    let users =
        (0..ODD_USERS).map(|number| odd(&format!("user-odd-{number}"), "user-created", &json!({})));
    deposits.chain(users)
}

fn odd(stream: &str, kind: &str, data: &Value) -> Result<Append> {
    let event =
        NewEvent::json(EventId::derived_from(stream, 0), EventType::new(kind)?, data.to_string());
    let name = StreamName::new(stream).context("a name of a stream")?;
    Ok(Append::to(name, ExpectedRevision::NoStream, [event]))
}
