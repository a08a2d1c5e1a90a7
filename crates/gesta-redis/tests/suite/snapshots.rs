//! Snapshots: they come back as they were, and an older one does not win.

use std::sync::Arc;

use gesta::{Gesta, SnapshotPolicy, store::memory::MemoryStore};
use gesta_services::OwnServer;
use gesta_store::{
    EventStore, Fingerprint, Incarnation, Revision, Snapshot, SnapshotStore, StreamName,
};
use uuid::Uuid;

use crate::{
    server::{connect, shared_or_skip, until},
    shop::{Customer, sell},
};

fn snapshot(stream: &str, revision: u64, fingerprint: u64) -> Snapshot {
    let stream = StreamName::new(stream).unwrap();
    let state = format!("\u{0}{revision}").into_bytes().into();
    let incarnation = Incarnation::new(Uuid::from_u128(7));
    let (revision, fingerprint) = (Revision::new(revision), Fingerprint::new(fingerprint));
    Snapshot::new(stream, revision, incarnation, fingerprint, state)
}

#[tokio::test]
async fn a_snapshot_comes_back_as_it_was() {
    let Some(url) = shared_or_skip() else { return };
    let (one, two) = (connect(&url).await.snapshots(), connect(&url).await.snapshots());
    for saved in [snapshot("order-é 1", u64::MAX, u64::MAX), snapshot("order-2", 0, 0)] {
        assert_eq!(two.load_snapshot(&saved.stream).await.unwrap(), None);
        one.save_snapshot(saved.clone()).await.unwrap();
        assert_eq!(two.load_snapshot(&saved.stream).await.unwrap(), Some(saved));
    }
}

#[tokio::test]
async fn an_older_snapshot_does_not_take_the_place_of_a_later_one() {
    let Some(url) = shared_or_skip() else { return };
    let snapshots = connect(&url).await.snapshots();
    let of = |revision, fingerprint| snapshot("order-1", revision, fingerprint);
    let stream = of(0, 0).stream;
    let saved = async |saved: Snapshot| {
        snapshots.save_snapshot(saved).await.unwrap();
        snapshots.load_snapshot(&stream).await.unwrap()
    };
    assert_eq!(saved(of(9, 1)).await, Some(of(9, 1)));
    assert_eq!(saved(of(5, 1)).await, Some(of(9, 1)));
    // As numbers, not as texts.
    assert_eq!(saved(of(10, 1)).await, Some(of(10, 1)));
    assert_eq!(saved(of(5, 2)).await, Some(of(10, 1)), "with another last event");
    let another_fold = 1 << 32;
    assert_eq!(saved(of(5, another_fold)).await, Some(of(5, another_fold)), "of another fold");
    let mut restored = of(3, another_fold);
    restored.incarnation = Incarnation::new(Uuid::nil());
    assert_eq!(saved(restored.clone()).await, Some(restored), "of another incarnation");
}

#[tokio::test]
async fn a_deleted_snapshot_is_gone_and_others_stay() {
    let Some(url) = shared_or_skip() else { return };
    let snapshots = connect(&url).await.snapshots();
    let (one, two) = (snapshot("order-1", 1, 1), snapshot("order-2", 2, 1));
    for saved in [&one, &two] {
        snapshots.save_snapshot(saved.clone()).await.unwrap();
    }
    for _ in 0..2 {
        snapshots.delete_snapshot(&one.stream).await.unwrap();
    }
    assert_eq!(snapshots.load_snapshot(&one.stream).await.unwrap(), None);
    assert_eq!(snapshots.load_snapshot(&two.stream).await.unwrap(), Some(two));
}

#[tokio::test]
async fn a_look_counts_what_the_application_keeps() {
    let Some(mut server) = OwnServer::start_or_skip("redis") else { return };
    let redis = connect(&format!("{}?prefix=one", server.url())).await;
    let other = connect(&format!("{}?prefix=two", server.url())).await;
    for nth in 0..2_500 {
        redis.snapshots().save_snapshot(snapshot(&format!("order-{nth}"), 1, 1)).await.unwrap();
    }
    other.snapshots().save_snapshot(snapshot("order-1", 1, 1)).await.unwrap();
    let look = redis.look().await.unwrap();
    assert_eq!((look.snapshots, look.answers, look.is_complete), (2_500, 0, true), "{look:?}");
    assert!(look.version.split('.').count() >= 2 && look.used_bytes > 0, "{look:?}");
    assert_eq!(other.look().await.unwrap().snapshots, 1);
    server.crash().unwrap();
    let cause = redis.look().await.unwrap_err();
    assert!(cause.contains("redis://127.0.0.1:"), "{cause}");
    // Nothing but looks uses this connection.
    server.start().unwrap();
    let look = until(async || redis.look().await.ok()).await;
    assert!(look.version.split('.').count() >= 2, "{look:?}");
}

/// A command needs no snapshot: it folds all events.
#[tokio::test]
async fn commands_go_on_while_the_server_is_down() {
    let Some(mut server) = OwnServer::start_or_skip("redis") else { return };
    let snapshots = connect(&server.url()).await.snapshots();
    let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
    let gesta = Gesta::on(store).snapshots::<Customer>(&snapshots, SnapshotPolicy::every(5));
    let gesta = gesta.open().await.unwrap();
    let stream = StreamName::new("customer-ann").unwrap();
    let mut sold = 0;
    let mut sell_some = async || {
        for _ in 0..12 {
            sell(&gesta, "ann", 1).await;
            sold += 1;
            let loaded = gesta.load::<Customer>(&"ann".to_owned()).await.unwrap();
            assert_eq!(loaded.expect("she has bought").state.sold, sold);
        }
    };
    sell_some().await;
    let kept = snapshots.load_snapshot(&stream).await.unwrap().expect("every fifth event");
    assert!(kept.revision >= Revision::new(4), "{kept:?}");
    server.crash().unwrap();
    sell_some().await;
    assert_eq!(snapshots.load_snapshot(&stream).await.unwrap(), None);
    server.start().unwrap();
    sell_some().await;
    // The server has kept it, as this one syncs each write.
    until(async || snapshots.load_snapshot(&stream).await.unwrap()).await;
}
