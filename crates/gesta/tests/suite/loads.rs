//! Loads of aggregates, now and as of earlier moments.

use gesta::{AsOf, Gesta, prelude::*};

use crate::accounts::{Account, deposit, open_accounts, recorded};

async fn bank() -> Gesta {
    let gesta = Gesta::at("memory:").open().await.unwrap();
    open_accounts(&gesta, &[1]).await;
    gesta.execute(deposit(1, 10)).await.unwrap();
    gesta.execute(deposit(1, 100)).await.unwrap();
    gesta
}

async fn cents(gesta: &Gesta, moment: impl Into<AsOf>) -> Option<u64> {
    let loaded = gesta.load::<Account>(&1).as_of(moment).await.unwrap();
    loaded.map(|account| account.state.cents)
}

#[tokio::test]
async fn an_aggregate_is_loaded_with_its_place() {
    let gesta = bank().await;
    let account = gesta.load::<Account>(&1).await.unwrap().unwrap();
    assert_eq!(account.state, Account { cents: 111 });
    assert_eq!(account.revision, Revision::new(3));
    assert_eq!(account.position, recorded(&gesta).await.pop().unwrap().position);
}

#[tokio::test]
async fn what_is_not_there_is_none() {
    assert!(bank().await.load::<Account>(&2).await.unwrap().is_none());
}

#[tokio::test]
async fn the_past_is_loaded_by_revision_position_and_time() {
    let gesta = bank().await;
    let events = recorded(&gesta).await;
    let third = &events[2];
    assert_eq!(cents(&gesta, third.revision).await, Some(11));
    assert_eq!(cents(&gesta, third.position).await, Some(11));
    let until: u64 = events
        .iter()
        .filter(|event| event.recorded_at <= third.recorded_at)
        .map(|event| [0, 1, 10, 100][usize::try_from(event.revision.number()).unwrap()])
        .sum();
    assert_eq!(cents(&gesta, third.recorded_at).await, Some(until));
    assert_eq!(cents(&gesta, AsOf::Now).await, Some(111));
}

#[tokio::test]
async fn before_its_first_event_an_aggregate_is_not_there() {
    let gesta = bank().await;
    assert_eq!(cents(&gesta, Position::START).await, None);
    assert_eq!(cents(&gesta, gesta::RecordedAt::from_micros(0)).await, None);
}
