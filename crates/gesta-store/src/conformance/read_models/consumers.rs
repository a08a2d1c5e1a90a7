//! Clauses about checkpoints of consumers, and about snapshots.

use super::{
    fixture::{PortableReadModels, ReadModelFixture},
    support::{Outcome, checkpoint, incarnation, stream},
};
use crate::{Checkpoint, Fingerprint, Incarnation, Revision, Snapshot};

fn snapshot(name: &str, revision: u64, fingerprint: u64) -> Snapshot {
    Snapshot::new(
        stream(name),
        Revision::new(revision),
        incarnation(0),
        Fingerprint::new(fingerprint),
        format!("state at {revision}").into(),
    )
}

fn of_incarnation(snapshot: Snapshot, incarnation: Incarnation) -> Snapshot {
    Snapshot { incarnation, ..snapshot }
}

pub(super) async fn a_consumers_checkpoint_never_goes_back_in_one_incarnation<S>(
    fixture: &ReadModelFixture<S>,
) -> Outcome
where
    S: PortableReadModels,
{
    let (store, other) = ((fixture.connect)(), (fixture.connect)());
    assert_eq!(store.load_checkpoint("relay").await?, None);
    store.save_checkpoint("relay", checkpoint(7)).await?;
    other.save_checkpoint("relay", checkpoint(5)).await?;
    assert_eq!(store.load_checkpoint("relay").await?, Some(checkpoint(7)));
    let restored = Checkpoint { incarnation: incarnation(1), ..checkpoint(2) };
    store.save_checkpoint("relay", restored).await?;
    assert_eq!(other.load_checkpoint("relay").await?, Some(restored));
    Ok(())
}

pub(super) async fn consumers_keep_apart<S: PortableReadModels>(
    fixture: &ReadModelFixture<S>,
) -> Outcome {
    let store = (fixture.connect)();
    store.save_checkpoint("Relay", checkpoint(7)).await?;
    store.save_checkpoint("relay 'é'", checkpoint(5)).await?;
    assert_eq!(store.load_checkpoint("relay").await?, None);
    assert_eq!(store.load_checkpoint("Relay").await?, Some(checkpoint(7)));
    assert_eq!(store.load_checkpoint("relay 'é'").await?, Some(checkpoint(5)));
    Ok(())
}

pub(super) async fn an_older_snapshot_does_not_win<S: PortableReadModels>(
    fixture: &ReadModelFixture<S>,
) -> Outcome {
    let (store, other) = ((fixture.connect)(), (fixture.connect)());
    let order = stream("order-1");
    let of = |revision, fingerprint| snapshot("order-1", revision, fingerprint);
    store.save_snapshot(of(9, u64::MAX)).await?;
    other.save_snapshot(of(5, u64::MAX)).await?;
    assert_eq!(store.load_snapshot(&order).await?, Some(of(9, u64::MAX)));
    store.save_snapshot(of(5, 1)).await?;
    assert_eq!(other.load_snapshot(&order).await?, Some(of(5, 1)), "of another fold");
    let restored = of_incarnation(of(3, 1), incarnation(1));
    store.save_snapshot(restored.clone()).await?;
    assert_eq!(store.load_snapshot(&order).await?, Some(restored), "of another incarnation");
    Ok(())
}

/// The lower half of a fingerprint depends on the last event.
pub(super) async fn an_older_snapshot_with_another_last_event_does_not_win<
    S: PortableReadModels,
>(
    fixture: &ReadModelFixture<S>,
) -> Outcome {
    let (store, other) = ((fixture.connect)(), (fixture.connect)());
    let order = stream("order-1");
    // The highest bit is the sign of a number in databases that have no others.
    for fold in [0, 1, u64::from(u32::MAX)] {
        let of = |revision, last_event| snapshot("order-1", revision, (fold << 32) | last_event);
        store.save_snapshot(of(9, 0x8000_0000)).await?;
        for last_event in [0, 1, u64::from(u32::MAX)] {
            other.save_snapshot(of(5, last_event)).await?;
            let kept = store.load_snapshot(&order).await?;
            assert_eq!(kept, Some(of(9, 0x8000_0000)), "a late writer of an earlier state");
        }
        other.save_snapshot(of(10, 1)).await?;
        assert_eq!(store.load_snapshot(&order).await?, Some(of(10, 1)), "a later state");
    }
    Ok(())
}

pub(super) async fn a_snapshot_comes_back_as_it_was<S: PortableReadModels>(
    fixture: &ReadModelFixture<S>,
) -> Outcome {
    let store = (fixture.connect)();
    let saved = Snapshot {
        // Bytes that are no text.
        state: (0..=255).collect::<Vec<u8>>().into(),
        ..of_incarnation(snapshot("order-é1", 1 << 40, u64::MAX - 1), incarnation(u128::MAX))
    };
    let stream = saved.stream.clone();
    assert_eq!(store.load_snapshot(&stream).await?, None);
    store.save_snapshot(saved.clone()).await?;
    assert_eq!(store.load_snapshot(&stream).await?, Some(saved));
    Ok(())
}

pub(super) async fn snapshots_of_streams_keep_apart<S: PortableReadModels>(
    fixture: &ReadModelFixture<S>,
) -> Outcome {
    let store = (fixture.connect)();
    let (one, other) = (snapshot("order-1", 9, 1), snapshot("order-2", 5, 1));
    store.save_snapshot(one.clone()).await?;
    store.save_snapshot(other.clone()).await?;
    assert_eq!(store.load_snapshot(&one.stream).await?, Some(one.clone()));
    store.delete_snapshot(&one.stream).await?;
    store.delete_snapshot(&one.stream).await?;
    assert_eq!(store.load_snapshot(&one.stream).await?, None);
    assert_eq!(store.load_snapshot(&other.stream).await?, Some(other));
    Ok(())
}
