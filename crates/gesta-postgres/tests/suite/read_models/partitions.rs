//! Transactions of partitions, which run side by side.

use gesta_postgres::{PostgresReadModels, Refresh, Tx, View};
use gesta_store::{
    Advance, Checkpoint, DatabaseError, FencingToken, Partition, ReadModelId, ReadModelStore,
    ReadModelTx, ReadRows, Rows, Stage, conformance::block_on,
};

use super::{TestReadModels, checkpoint, create, first_advance};

fn pair() -> [Partition; 2] {
    let mut all = Partition::all(2);
    [(); 2].map(|()| all.next().expect("there are two"))
}

/// Creates a read model that has handled the events up to position 5, and was not divided.
async fn undivided(store: &PostgresReadModels) -> Result<ReadModelId, DatabaseError> {
    let id = create(store, Stage::Live).await?;
    let mut tx = store.begin(&id).await?;
    tx.advance(first_advance(5)).await?;
    tx.commit().await?;
    Ok(id)
}

async fn own_checkpoint(
    store: &PostgresReadModels,
    id: &ReadModelId,
) -> Result<Option<Checkpoint>, DatabaseError> {
    let listed = store.list_read_models(&id.projection).await?;
    Ok(listed.into_iter().find(|listed| listed.id == *id).and_then(|listed| listed.checkpoint))
}

/// Adds an amount to a row, from the value that it had.
async fn add(tx: &mut Tx, key: &str, amount: u64) -> Result<(), DatabaseError> {
    let before = tx.get_json("sums", key).await?.and_then(|value| value.as_u64());
    tx.put_json("sums", key, &(before.unwrap_or_default() + amount).into()).await
}

fn move_to(from: u64, to: u64) -> Advance {
    Advance { from: Some(checkpoint(from)), to: checkpoint(to) }
}

#[test]
fn transactions_of_two_partitions_are_open_at_the_same_time() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let test = TestReadModels::create(&server);
    let (store, other) = (test.open(), test.open());
    block_on(async {
        let id = undivided(&store).await?;
        let [first, second] = pair();
        // The first move divides the read model: the second one would wait for it.
        for partition in [first, second] {
            let mut tx = store.begin_partition(&id, partition).await?;
            tx.advance_partition(partition, move_to(5, 6)).await?;
            tx.commit().await?;
        }
        // In one process, and on two nodes.
        for (from, beside) in [(6, &store), (7, &other)] {
            let mut one = store.begin_partition(&id, first).await?;
            let mut two = beside.begin_partition(&id, second).await?;
            add(&mut one, "first", 1).await?;
            add(&mut two, "second", 1).await?;
            one.advance_partition(first, move_to(from, from + 1)).await?;
            two.advance_partition(second, move_to(from, from + 1)).await?;
            two.commit().await?;
            assert_eq!(own_checkpoint(&store, &id).await?, Some(checkpoint(from)));
            one.commit().await?;
            assert_eq!(own_checkpoint(&store, &id).await?, Some(checkpoint(from + 1)));
        }
        let mut reader = store.reader(&id).await?;
        assert_eq!(reader.get_json("sums", "first").await?, Some(2.into()));
        assert_eq!(reader.get_json("sums", "second").await?, Some(2.into()));
        Ok::<_, DatabaseError>(())
    })
    .unwrap();
}

#[test]
fn of_two_partitions_that_change_one_row_the_second_one_is_repeated() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let test = TestReadModels::create(&server);
    let store = test.open();
    block_on(async {
        let id = undivided(&store).await?;
        let [first, second] = pair();
        // The row is new at first, then it is there.
        for round in 0..2 {
            let mut one = store.begin_partition(&id, first).await?;
            let mut two = store.begin_partition(&id, second).await?;
            add(&mut one, "total", 1).await?;
            add(&mut two, "total", 10).await?;
            one.advance_partition(first, move_to(5 + round, 6 + round)).await?;
            one.commit().await?;
            let refused = two.advance_partition(second, move_to(5 + round, 6 + round)).await;
            assert!(matches!(refused, Err(DatabaseError::Unavailable { .. })), "{refused:?}");
            two.rollback().await?;
            let mut again = store.begin_partition(&id, second).await?;
            add(&mut again, "total", 10).await?;
            again.advance_partition(second, move_to(5 + round, 6 + round)).await?;
            again.commit().await?;
        }
        let mut reader = store.reader(&id).await?;
        assert_eq!(reader.get_json("sums", "total").await?, Some(22.into()));
        Ok::<_, DatabaseError>(())
    })
    .unwrap();
}

#[test]
fn a_transaction_that_began_before_a_later_lease_wrote_is_refused() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let test = TestReadModels::create(&server);
    let (paused, successor) = (test.open(), test.open());
    block_on(async {
        let id = undivided(&paused).await?;
        let [partition, _] = pair();
        let (earlier, later) = (FencingToken::new(1), FencingToken::new(2));
        let mut first = paused.begin_partition(&id, partition).await?;
        earlier.fence_partition(&mut first, partition).await?;
        first.commit().await?;
        let mut late = paused.begin_partition(&id, partition).await?;
        let mut taking_over = successor.begin_partition(&id, partition).await?;
        later.fence_partition(&mut taking_over, partition).await?;
        taking_over.commit().await?;
        let refused = earlier.fence_partition(&mut late, partition).await;
        assert!(matches!(refused, Err(DatabaseError::Unavailable { .. })), "{refused:?}");
        late.rollback().await?;
        let mut again = paused.begin_partition(&id, partition).await?;
        let refused = earlier.fence_partition(&mut again, partition).await;
        assert!(matches!(refused, Err(DatabaseError::Fenced { .. })), "{refused:?}");
        again.rollback().await
    })
    .unwrap();
}

/// A lease that was taken over waits for the end of the transaction that was admitted before.
#[test]
fn a_later_lease_waits_for_an_admitted_transaction() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let test = TestReadModels::create(&server);
    let (earlier_node, successor) = (test.open(), test.open());
    block_on(async {
        let id = undivided(&earlier_node).await?;
        let [partition, _] = pair();
        let (earlier, later) = (FencingToken::new(1), FencingToken::new(2));
        let mut first = earlier_node.begin_partition(&id, partition).await?;
        earlier.fence_partition(&mut first, partition).await?;
        first.commit().await?;
        let mut admitted = earlier_node.begin_partition(&id, partition).await?;
        earlier.fence_partition(&mut admitted, partition).await?;
        let take_over = async {
            let mut tx = successor.begin_partition(&id, partition).await?;
            later.fence_partition(&mut tx, partition).await?;
            tx.commit().await?;
            let mut tx = successor.begin_partition(&id, partition).await?;
            let seen = tx.partition_checkpoint(partition).await?;
            tx.rollback().await?;
            Ok::<_, DatabaseError>(seen)
        };
        let finish = async {
            admitted.advance_partition(partition, move_to(5, 6)).await?;
            admitted.commit().await
        };
        let (seen, finished) = futures_util::future::join(take_over, finish).await;
        finished?;
        assert_eq!(seen?, Some(checkpoint(6)));
        Ok::<_, DatabaseError>(())
    })
    .unwrap();
}

#[test]
fn a_transaction_on_the_whole_waits_for_those_of_partitions() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let test = TestReadModels::create(&server);
    let (store, other) = (test.open(), test.open());
    block_on(async {
        let id = undivided(&store).await?;
        let [partition, _] = pair();
        for whole in [&store, &other] {
            let mut part = store.begin_partition(&id, partition).await?;
            let begin = whole.begin(&id);
            let finish = async {
                add(&mut part, "rows", 1).await?;
                part.commit().await
            };
            let (whole, finished) = futures_util::future::join(begin, finish).await;
            finished?;
            let mut whole = whole?;
            let seen = whole.get_json("sums", "rows").await?;
            assert!(seen.is_some(), "it began after the partition had committed");
            add(&mut whole, "rows", 1).await?;
            whole.commit().await?;
        }
        let mut reader = store.reader(&id).await?;
        assert_eq!(reader.get_json("sums", "rows").await?, Some(4.into()));
        Ok::<_, DatabaseError>(())
    })
    .unwrap();
}

#[test]
fn a_view_that_is_refreshed_after_each_batch_has_the_rows_of_all_partitions() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let test = TestReadModels::create(&server);
    let store = test.open();
    block_on(async {
        let id = create(&store, Stage::Live).await?;
        let mut tx = store.begin(&id).await?;
        tx.batch_execute("create table amounts (amount bigint not null)").await?;
        let query = "select sum(amount)::bigint as sum from amounts";
        tx.create_view(&View::new("sums", query, Refresh::AfterEachBatch)).await?;
        tx.advance(first_advance(5)).await?;
        tx.commit().await?;
        let insert = async |partition: Partition| {
            let mut tx = store.begin_partition(&id, partition).await?;
            tx.execute("insert into amounts values (1)", &[]).await?;
            tx.advance_partition(partition, move_to(5, 6)).await?;
            tx.commit().await
        };
        let [first, second] = pair();
        let (one, two) = futures_util::future::join(insert(first), insert(second)).await;
        one.and(two)?;
        let mut reader = store.reader(&id).await?;
        let sums = reader.query("select sum from sums", &[], |row| row.try_get::<_, i64>(0));
        assert_eq!(sums.await?, [2]);
        Ok::<_, DatabaseError>(())
    })
    .unwrap();
}

/// Earlier versions kept the checkpoints of all partitions in one property.
#[test]
fn checkpoints_of_an_earlier_catalogue_are_kept() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let test = TestReadModels::create(&server);
    let store = test.open();
    let id = block_on(undivided(&store)).unwrap();
    block_on(store.close());
    let incarnation = uuid::Uuid::nil();
    test.execute(&format!(
        "DROP VIEW {{schema}}.handled; DROP TABLE {{schema}}.partitions;
         UPDATE {{schema}}.catalogue SET version = 1;
         INSERT INTO {{schema}}.properties VALUES
             ({}, '$partitions', '9@{incarnation},7@{incarnation}')",
        id.build
    ));
    let store = test.open();
    block_on(async {
        let [first, second] = pair();
        let mut tx = store.begin_partition(&id, first).await?;
        assert_eq!(tx.partition_checkpoint(first).await?, Some(checkpoint(9)));
        assert_eq!(tx.partition_checkpoint(second).await?, Some(checkpoint(7)));
        tx.rollback().await?;
        assert_eq!(own_checkpoint(&store, &id).await?, Some(checkpoint(7)));
        Ok::<_, DatabaseError>(())
    })
    .unwrap();
}
