//! Clauses about the partitions of a read model.

use std::{
    future::{Future as _, poll_fn},
    pin::pin,
    task::Poll,
};

use super::{
    fixture::{PortableReadModels, ReadModelFixture},
    support::{Outcome, advance, checkpoint, create, put},
};
use crate::{
    Advance, Checkpoint, DatabaseError, FencingToken, Partition, ReadModelId, ReadModelStore,
    ReadModelTx, ReadRows as _, Rows, Stage,
};

fn pair() -> [Partition; 2] {
    let mut all = Partition::all(2);
    [(); 2].map(|()| all.next().expect("there are two"))
}

/// Moves the checkpoint of a partition in a transaction of its own, next to a row. Returns the
/// checkpoint of the read model.
async fn move_partition(
    store: &impl ReadModelStore<Tx: Rows>,
    id: &ReadModelId,
    partition: Partition,
    (from, to): (u64, u64),
) -> Result<Option<Checkpoint>, DatabaseError> {
    let mut tx = store.begin_partition(id, partition).await?;
    tx.put_json("orders", &partition.to_string(), &to.into()).await?;
    let advance = Advance { from: Some(checkpoint(from)), to: checkpoint(to) };
    tx.advance_partition(partition, advance).await?;
    tx.commit().await?;
    let mut tx = store.begin(id).await?;
    assert_eq!(tx.partition_checkpoint(partition).await?, Some(checkpoint(to)));
    assert_eq!(tx.get_json("orders", &partition.to_string()).await?, Some(to.into()));
    let own = tx.checkpoint().await?;
    tx.rollback().await?;
    Ok(own)
}

pub(super) async fn the_lowest_partition_is_the_checkpoint_of_the_read_model<S>(
    fixture: &ReadModelFixture<S>,
) -> Outcome
where
    S: PortableReadModels,
{
    let (store, other) = ((fixture.connect)(), (fixture.connect)());
    let id = create(&store, Stage::Live).await?;
    // A read model that was not divided before.
    advance(&store, &id, Advance { from: None, to: checkpoint(5) }).await?;
    let [first, second] = pair();
    assert_eq!(move_partition(&store, &id, first, (5, 9)).await?, Some(checkpoint(5)));
    assert_eq!(move_partition(&other, &id, second, (5, 7)).await?, Some(checkpoint(7)));
    assert_eq!(move_partition(&other, &id, second, (7, 12)).await?, Some(checkpoint(9)));
    assert_eq!(move_partition(&store, &id, first, (9, 10)).await?, Some(checkpoint(10)));
    Ok(())
}

pub(super) async fn a_partition_that_another_writer_moved_refuses_to_move<S>(
    fixture: &ReadModelFixture<S>,
) -> Outcome
where
    S: PortableReadModels,
{
    let (store, other) = ((fixture.connect)(), (fixture.connect)());
    let id = create(&store, Stage::Live).await?;
    advance(&store, &id, Advance { from: None, to: checkpoint(5) }).await?;
    let [first, _] = pair();
    move_partition(&other, &id, first, (5, 9)).await?;
    let of_three = Partition::all(3).next().expect("there are three");
    for (partition, stored) in [(first, Some(checkpoint(9))), (of_three, None)] {
        let expected = Some(checkpoint(5));
        let mut late = store.begin_partition(&id, partition).await?;
        assert_eq!(late.partition_checkpoint(partition).await?, stored);
        let advance = Advance { from: expected, to: checkpoint(11) };
        match late.advance_partition(partition, advance).await {
            Err(DatabaseError::CheckpointConflict { expected: named, stored: found }) => {
                assert_eq!((named, found), (expected, stored));
            }
            outcome => panic!("expected a conflict, got {outcome:?}"),
        }
        late.rollback().await?;
    }
    Ok(())
}

/// Adds to one row, from the value that it has, and moves the checkpoint of a partition.
async fn add_to_total(tx: &mut (impl ReadModelTx + Rows), partition: Partition) -> Outcome {
    let before = tx.get_json("orders", "total").await?.and_then(|total| total.as_u64());
    tx.put_json("orders", "total", &(before.unwrap_or_default() + 1).into()).await?;
    let advance = Advance { from: Some(checkpoint(5)), to: checkpoint(6) };
    tx.advance_partition(partition, advance).await
}

/// A store may let partitions take turns, or refuse the second one, which is repeated then.
pub(super) async fn partitions_that_change_one_row_at_the_same_time_lose_no_change<S>(
    fixture: &ReadModelFixture<S>,
) -> Outcome
where
    S: PortableReadModels,
{
    let (store, other) = ((fixture.connect)(), (fixture.connect)());
    let id = create(&store, Stage::Live).await?;
    advance(&store, &id, Advance { from: None, to: checkpoint(5) }).await?;
    let [first, second] = pair();
    let mut one = store.begin_partition(&id, first).await?;
    let mut begin = pin!(other.begin_partition(&id, second));
    let early = poll_fn(|context| Poll::Ready(begin.as_mut().poll(context))).await;
    add_to_total(&mut one, first).await?;
    one.commit().await?;
    let mut two = match early {
        Poll::Ready(begun) => begun?,
        Poll::Pending => begin.await?,
    };
    let outcome = match add_to_total(&mut two, second).await {
        Ok(()) => two.commit().await,
        Err(error) => two.rollback().await.and(Err(error)),
    };
    match outcome {
        Err(DatabaseError::Unavailable { .. }) => {
            let mut again = other.begin_partition(&id, second).await?;
            add_to_total(&mut again, second).await?;
            again.commit().await?;
        }
        outcome => outcome?,
    }
    let mut tx = store.begin(&id).await?;
    assert_eq!(tx.get_json("orders", "total").await?, Some(2.into()));
    assert_eq!(tx.checkpoint().await?, Some(checkpoint(6)));
    tx.rollback().await
}

pub(super) async fn a_partition_refuses_the_earlier_leases_of_its_own_only<S>(
    fixture: &ReadModelFixture<S>,
) -> Outcome
where
    S: PortableReadModels,
{
    let store = (fixture.connect)();
    let id = create(&store, Stage::Live).await?;
    put(&store, &id, "1", "placed").await?;
    let [first, second] = pair();
    let (earlier, later) = (FencingToken::new(1), FencingToken::new(2));
    for (partition, token) in [(first, later), (second, earlier), (first, later)] {
        let mut tx = store.begin_partition(&id, partition).await?;
        token.fence_partition(&mut tx, partition).await?;
        tx.commit().await?;
    }
    let mut late = store.begin_partition(&id, first).await?;
    match earlier.fence_partition(&mut late, first).await {
        Err(DatabaseError::Fenced { token, admitted }) => {
            assert_eq!((token, admitted), (earlier, later));
        }
        outcome => panic!("expected that the earlier lease is refused, got {outcome:?}"),
    }
    late.rollback().await
}
