//! Clauses about transactions and readers.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{Arc, Barrier},
    task::Poll,
    thread,
};

use super::{
    fixture::{PortableReadModels, ReadModelFixture},
    support::{ORDERS, Outcome, advance, behind, checkpoint, create, get, put},
};
use crate::{
    Advance, DatabaseError, FencingToken, ReadModelTx, ReadRows, Rows, Stage,
    conformance::block_on_within,
};

/// Threads that wait for one transaction.
const WRITERS: usize = 4;

/// Polls a future once. Returns `true` if it is not ready.
async fn is_pending<T>(mut future: Pin<&mut impl Future<Output = T>>) -> bool {
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_pending())).await
}

pub(super) async fn a_commit_shows_rows_checkpoint_and_dead_letters_together<S>(
    fixture: &ReadModelFixture<S>,
) -> Outcome
where
    S: PortableReadModels,
{
    let (store, other) = ((fixture.connect)(), (fixture.connect)());
    let id = create(&store, Stage::Live).await?;
    let mut tx = store.begin(&id).await?;
    tx.put_json("orders", "1", &"placed".into()).await?;
    tx.advance(Advance { from: None, to: checkpoint(7) }).await?;
    tx.put_dead_letter(behind(6)).await?;
    assert_eq!(tx.checkpoint().await?, Some(checkpoint(7)), "the transaction sees it");
    tx.commit().await?;

    for store in [&store, &other] {
        assert_eq!(get(store, &id, "1").await?.as_deref(), Some("placed"));
        let listed = store.list_read_models(ORDERS).await?;
        let checkpoints: Vec<_> = listed.iter().map(|one| one.checkpoint).collect();
        assert_eq!(checkpoints, [Some(checkpoint(7))]);
        assert_eq!(store.dead_letters(&id).await?, [behind(6)]);
    }
    Ok(())
}

pub(super) async fn what_was_not_committed_never_happened<S: PortableReadModels>(
    fixture: &ReadModelFixture<S>,
) -> Outcome {
    let store = (fixture.connect)();
    let id = create(&store, Stage::Live).await?;
    for is_dropped in [true, false] {
        let mut tx = store.begin(&id).await?;
        tx.put_json("orders", "1", &"placed".into()).await?;
        tx.put_dead_letter(behind(6)).await?;
        tx.advance(Advance { from: None, to: checkpoint(7) }).await?;
        if is_dropped {
            drop(tx);
        } else {
            tx.rollback().await?;
        }
        let mut tx = store.begin(&id).await?;
        assert_eq!(tx.checkpoint().await?, None);
        assert_eq!(tx.get_json("orders", "1").await?, None);
        tx.rollback().await?;
        assert_eq!(store.dead_letters(&id).await?, []);
    }
    Ok(())
}

pub(super) async fn a_checkpoint_that_another_writer_moved_refuses_to_move<S>(
    fixture: &ReadModelFixture<S>,
) -> Outcome
where
    S: PortableReadModels,
{
    let (store, other) = ((fixture.connect)(), (fixture.connect)());
    let id = create(&store, Stage::Live).await?;
    advance(&other, &id, Advance { from: None, to: checkpoint(7) }).await?;
    let mut late = store.begin(&id).await?;
    for expected in [None, Some(checkpoint(6))] {
        match late.advance(Advance { from: expected, to: checkpoint(9) }).await {
            Err(DatabaseError::CheckpointConflict { expected: named, stored }) => {
                assert_eq!((named, stored), (expected, Some(checkpoint(7))));
            }
            outcome => panic!("expected a conflict, got {outcome:?}"),
        }
    }
    late.advance(Advance { from: Some(checkpoint(7)), to: checkpoint(9) }).await?;
    late.commit().await
}

pub(super) async fn a_transaction_waits_for_the_one_before<S: PortableReadModels>(
    fixture: &ReadModelFixture<S>,
) -> Outcome {
    let store = (fixture.connect)();
    let id = create(&store, Stage::Live).await?;
    let mut first = store.begin(&id).await?;
    let mut second = pin!(store.begin(&id));
    assert!(is_pending(second.as_mut()).await);
    first.put_json("orders", "1", &"placed".into()).await?;
    first.commit().await?;
    assert_eq!(second.await?.get_json("orders", "1").await?, Some("placed".into()));
    Ok(())
}

pub(super) async fn a_dropped_wait_leaves_the_turn_to_the_next<S: PortableReadModels>(
    fixture: &ReadModelFixture<S>,
) -> Outcome {
    let (store, other) = ((fixture.connect)(), (fixture.connect)());
    let id = create(&store, Stage::Live).await?;
    for store in [&store, &other] {
        let first = store.begin(&id).await?;
        let mut second = Box::pin(store.begin(&id));
        assert!(is_pending(second.as_mut()).await);
        let mut third = pin!(store.begin(&id));
        assert!(is_pending(third.as_mut()).await);
        drop(second);
        first.rollback().await?;
        third.await?.rollback().await?;
        // A wait may also be over when it is dropped.
        let mut fourth = Box::pin(store.begin(&id));
        let _ = is_pending(fourth.as_mut()).await;
        drop(fourth);
        put(store, &id, "1", "placed").await?;
    }
    Ok(())
}

/// Each of several writers waits for the same transaction, then adds one to a number.
pub(super) async fn transactions_that_waited_see_what_was_committed_before<S>(
    fixture: &ReadModelFixture<S>,
) -> Outcome
where
    S: PortableReadModels,
{
    let store = (fixture.connect)();
    let id = create(&store, Stage::Live).await?;
    let mut open = store.begin(&id).await?;
    open.put_json("counts", "writers", &1.into()).await?;
    let waiting = Arc::new(Barrier::new(WRITERS + 1));
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let (store, id) = ((fixture.connect)(), id.clone());
            let (waiting, timeout) = (Arc::clone(&waiting), fixture.timeout);
            let add = async move {
                let mut begun = pin!(store.begin(&id));
                let is_waiting = is_pending(begun.as_mut()).await;
                waiting.wait();
                if !is_waiting {
                    return Ok(false);
                }
                let mut tx = begun.await?;
                let before = tx.get_json("counts", "writers").await?;
                let count = before.and_then(|count| count.as_u64()).unwrap_or_default() + 1;
                tx.put_json("counts", "writers", &count.into()).await?;
                tx.commit().await?;
                Ok::<_, DatabaseError>(true)
            };
            thread::spawn(move || block_on_within(timeout, add))
        })
        .collect();
    waiting.wait();
    open.commit().await?;
    for writer in writers {
        assert!(writer.join().expect("a writer ends")?, "it waited for the open transaction");
    }
    let counted = store.reader(&id).await?.get_json("counts", "writers").await?;
    assert_eq!(counted, Some((WRITERS + 1).into()));
    Ok(())
}

pub(super) async fn a_reader_sees_one_moment<S: PortableReadModels>(
    fixture: &ReadModelFixture<S>,
) -> Outcome {
    let (store, other) = ((fixture.connect)(), (fixture.connect)());
    let id = create(&store, Stage::Live).await?;
    let mut reader = store.reader(&id).await?;
    assert_eq!(reader.get_json("orders", "1").await?, None);
    put(&other, &id, "1", "placed").await?;
    assert_eq!(reader.get_json("orders", "1").await?, None, "the moment of its first read");
    assert_eq!(get(&store, &id, "1").await?.as_deref(), Some("placed"));
    Ok(())
}

pub(super) async fn a_reader_does_not_wait_for_an_open_transaction<S: PortableReadModels>(
    fixture: &ReadModelFixture<S>,
) -> Outcome {
    let (store, other) = ((fixture.connect)(), (fixture.connect)());
    let id = create(&store, Stage::Live).await?;
    put(&store, &id, "1", "placed").await?;
    let mut tx = store.begin(&id).await?;
    tx.put_json("orders", "1", &"paid".into()).await?;
    for store in [&store, &other] {
        assert_eq!(get(store, &id, "1").await?.as_deref(), Some("placed"));
    }
    tx.commit().await?;
    for store in [&store, &other] {
        assert_eq!(get(store, &id, "1").await?.as_deref(), Some("paid"));
    }
    Ok(())
}

pub(super) async fn transactions_of_other_read_models_do_not_wait<S: PortableReadModels>(
    fixture: &ReadModelFixture<S>,
) -> Outcome {
    let store = (fixture.connect)();
    let answering = create(&store, Stage::Live).await?;
    let rebuilding = create(&store, Stage::Rebuilding).await?;
    let mut one = store.begin(&answering).await?;
    let mut other = store.begin(&rebuilding).await?;
    one.put_json("orders", "1", &"old".into()).await?;
    other.put_json("orders", "1", &"new".into()).await?;
    other.commit().await?;
    one.commit().await?;
    assert_eq!(get(&store, &answering, "1").await?.as_deref(), Some("old"));
    assert_eq!(get(&store, &rebuilding, "1").await?.as_deref(), Some("new"));
    Ok(())
}

pub(super) async fn a_transaction_of_an_earlier_lease_is_refused<S: PortableReadModels>(
    fixture: &ReadModelFixture<S>,
) -> Outcome {
    let (store, other) = ((fixture.connect)(), (fixture.connect)());
    let id = create(&store, Stage::Live).await?;
    let (first, second) = (FencingToken::new(1), FencingToken::new(2));
    for (store, token) in [(&store, first), (&other, second), (&other, second)] {
        let mut tx = store.begin(&id).await?;
        token.fence(&mut tx).await?;
        tx.commit().await?;
    }
    let mut late = store.begin(&id).await?;
    match first.fence(&mut late).await {
        Err(DatabaseError::Fenced { token, admitted }) => {
            assert_eq!((token, admitted), (first, second));
        }
        outcome => panic!("expected that the earlier lease is refused, got {outcome:?}"),
    }
    late.rollback().await
}

pub(super) async fn work_has_transactions_and_readers<S: PortableReadModels>(
    fixture: &ReadModelFixture<S>,
) -> Outcome {
    let store = (fixture.connect)();
    let id = create(&store, Stage::Live).await?;
    let (inside, written) = (store.clone(), id.clone());
    let write = async move {
        let mut tx = inside.begin(&written).await?;
        tx.put_json("orders", "1", &"placed".into()).await?;
        tx.advance(Advance { from: None, to: checkpoint(7) }).await?;
        tx.commit().await?;
        Ok::<_, DatabaseError>(7)
    };
    assert_eq!(store.run_write(&id, write).await??, 7);
    // A reader and a transaction may come into the work from outside.
    let mut reader = store.reader(&id).await?;
    let read = async move { reader.get_json("orders", "1").await };
    assert_eq!(store.run_read(read).await??, Some("placed".into()));
    let mut tx = store.begin(&id).await?;
    let finish = async move {
        tx.put_json("orders", "2", &"paid".into()).await?;
        tx.commit().await
    };
    store.run_write(&id, finish).await??;
    assert_eq!(get(&store, &id, "2").await?.as_deref(), Some("paid"));
    Ok(())
}
