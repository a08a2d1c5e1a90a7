//! Clauses about the partitions of a read model.

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

/// Moves the checkpoint of a partition in a transaction of its own, beside a row. Returns the
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
