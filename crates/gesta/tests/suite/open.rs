//! URLs of stores, and the durability of a log.

use std::{
    fs,
    sync::atomic::{AtomicUsize, Ordering},
};

use gesta::{Gesta, OpenError, RecordedWhen};
use tracing::{
    Event, Metadata, Subscriber,
    span::{Attributes, Id, Record},
};

use crate::accounts::{balance, deposit, open_accounts};

#[tokio::test]
async fn a_log_keeps_what_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("gesta:{}", directory.path().display());
    let gesta = Gesta::at(&url).open().await.unwrap();
    open_accounts(&gesta, &[10]).await;
    let receipt = gesta.execute(deposit(1, 5)).command_id("request-1").await.unwrap();
    drop(gesta);
    let gesta = Gesta::at(&url).open().await.unwrap();
    assert_eq!(balance(&gesta, 1).await, 15);
    let again = gesta.execute(deposit(1, 5)).command_id("request-1").await.unwrap();
    assert_eq!((again.position, again.recorded), (receipt.position, RecordedWhen::Earlier));
    assert_eq!(balance(&gesta, 1).await, 15);
}

#[tokio::test]
async fn a_second_opening_of_a_log_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("gesta:{}", directory.path().display());
    let _gesta = Gesta::at(&url).open().await.unwrap();
    let error = Gesta::at(&url).open().await.unwrap_err();
    assert!(matches!(error, OpenError::Log(_)), "{error}");
}

#[tokio::test]
async fn urls_that_mean_no_store_are_told_why() {
    for (url, reason) in [
        ("order", "`order` has no scheme; expected `memory:`, `gesta:DIRECTORY` or `postgres://…`"),
        (
            "pigeon:ann",
            "unknown store scheme `pigeon:`; expected `memory:`, `gesta:DIRECTORY` or `postgres://…`",
        ),
        (
            "kafka://broker:9092/shop",
            "`kafka:` is no event store: a topic cannot refuse an event because another one came \
             first, so there is no expected revision; keep events in `gesta:DIRECTORY` or \
             `postgres://…`, and relay them to Kafka with gesta-kafka",
        ),
        ("memory:here", "`memory:` takes no path; got `here`"),
        ("gesta:", "`gesta:` needs a directory, as in `gesta:./data`"),
    ] {
        assert_eq!(gesta::open(url).await.err().unwrap().to_string(), reason);
    }
}

/// Number of log lines about damage of a store.
static DAMAGE_LINES: AtomicUsize = AtomicUsize::new(0);

/// A subscriber that counts them. Global, because a store opens on a thread of its own.
struct DamageLog;

impl Subscriber for DamageLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.fields().field("damage").is_some()
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {
        DAMAGE_LINES.fetch_add(1, Ordering::SeqCst);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn a_damaged_store_is_logged_once() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("gesta:{}", directory.path().display());
    let gesta = Gesta::at(&url).open().await.unwrap();
    open_accounts(&gesta, &[10]).await;
    gesta.close().await;
    let segments = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path());
    let mut damaged = 0;
    for segment in segments.filter(|path| path.extension().is_some_and(|it| it == "seg")) {
        let mut bytes = fs::read(&segment).unwrap();
        let Some(place) = bytes.windows(7).position(|text| text == b"account") else { continue };
        bytes[place] ^= 1;
        fs::write(&segment, bytes).unwrap();
        damaged += 1;
    }
    assert_eq!(damaged, 1, "the events are in one segment");
    tracing::subscriber::set_global_default(DamageLog).unwrap();
    let gesta = Gesta::at(&url).open().await.unwrap();
    gesta.close().await;
    assert_eq!(DAMAGE_LINES.load(Ordering::SeqCst), 1);
}
