//! Commits that are cut off between any two of their writes.

use gesta_mongodb::MongoReadModels;
use gesta_store::{
    Advance, Checkpoint, DatabaseError, Incarnation, ListRows, Position, ReadModelId,
    ReadModelStore as _, ReadModelTx as _, ReadRows as _, Rows as _, conformance::block_on,
};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    proxy::WriteLimit,
    server::{ORDERS, connect, create, fresh_url, get, put},
};

/// More than the head takes, so that the batch has parts.
const LARGE_BYTES: usize = 700_000;

fn at(position: u64) -> Checkpoint {
    let incarnation = Incarnation::new(Uuid::nil());
    Checkpoint { position: Position::new(position), incarnation }
}

/// Commits a batch with a new row, a changed one, a deleted one and a checkpoint.
async fn commit_batch(
    store: &MongoReadModels,
    id: &ReadModelId,
    (from, to): (Option<Checkpoint>, Checkpoint),
    padding: &str,
) -> Result<(), DatabaseError> {
    let mut tx = store.begin(id).await?;
    let number = to.position.number();
    tx.put_json(ORDERS, "changed", &format!("{number}{padding}").into()).await?;
    tx.put_json(ORDERS, &format!("new-{number}"), &format!("{number}{padding}").into()).await?;
    if from.is_some() {
        tx.delete(ORDERS, &format!("new-{}", number - 1)).await?;
    }
    tx.put_json("numbers", "last", &number.into()).await?;
    tx.advance(Advance { from, to }).await?;
    tx.commit().await
}

/// Returns the rows of both tables, and the checkpoint, of one moment.
async fn contents(
    store: &MongoReadModels,
    id: &ReadModelId,
) -> Result<(Vec<(String, Value)>, Option<Value>, Option<Checkpoint>), DatabaseError> {
    let mut reader = store.reader(id).await?;
    let rows = reader.list_json(ListRows::of(ORDERS)).await?;
    let last = reader.get_json("numbers", "last").await?;
    let listed = store.list_read_models(&id.projection).await?;
    let rows = rows.into_iter().map(|row| (row.key, row.value)).collect();
    Ok((rows, last, listed.first().and_then(|one| one.checkpoint)))
}

/// Checks that the rows are those of the batch with this number, and nothing else.
fn assert_is_batch(
    (rows, last, checkpoint): &(Vec<(String, Value)>, Option<Value>, Option<Checkpoint>),
    number: u64,
    padding: &str,
) {
    let text: Value = format!("{number}{padding}").into();
    let expected = [("changed".to_owned(), text.clone()), (format!("new-{number}"), text)];
    assert_eq!(rows.as_slice(), expected);
    assert_eq!(*last, Some(number.into()));
    assert_eq!(*checkpoint, Some(at(number)));
}

/// Cuts a commit off after each number of writes, until one is not cut off.
fn cut_after_every_write(padding: &str) -> u32 {
    let Some(server) = gesta_services::url_or_skip("ferretdb") else { return 0 };
    let mut writes = 0;
    loop {
        let proxy = WriteLimit::start(&server);
        let direct = fresh_url(&server);
        let database = direct.strip_prefix(server.as_str()).unwrap();
        let dying = connect(&format!("{}{database}", proxy.url()));
        let id = block_on(create(&dying)).unwrap();
        block_on(commit_batch(&dying, &id, (None, at(1)), padding)).unwrap();
        proxy.cut_after(writes);
        let outcome = block_on(commit_batch(&dying, &id, (Some(at(1)), at(2)), padding));

        // Another process: a reader sees one of the two batches and no mixture.
        let next = connect(&direct);
        let seen = block_on(contents(&next, &id)).unwrap();
        let number = seen.2.unwrap().position.number();
        assert_is_batch(&seen, number, padding);
        if outcome.is_ok() {
            assert_eq!(number, 2);
            return writes;
        }
        assert!(proxy.has_cut(), "{outcome:?}");
        assert!(outcome.unwrap_err().is_transient(), "after {writes} writes");

        // The next transaction sees either one, and goes on from there.
        let mut tx = block_on(next.begin(&id)).unwrap();
        let stored = block_on(tx.checkpoint()).unwrap().unwrap();
        block_on(tx.rollback()).unwrap();
        assert!(stored.position.number() >= number, "it does not go back");
        assert_is_batch(
            &block_on(contents(&next, &id)).unwrap(),
            stored.position.number(),
            padding,
        );
        for number in stored.position.number()..3 {
            let moves = (Some(at(number)), at(number + 1));
            block_on(commit_batch(&next, &id, moves, padding)).unwrap();
        }
        assert_is_batch(&block_on(contents(&next, &id)).unwrap(), 3, padding);
        writes += 1;
    }
}

#[test]
fn a_commit_that_is_cut_off_after_any_write_is_seen_whole_or_not_at_all() {
    let writes = cut_after_every_write("");
    assert!(writes == 0 || writes >= 5, "a batch takes more than {writes} writes");
}

#[test]
fn a_large_commit_that_is_cut_off_after_any_write_is_seen_whole_or_not_at_all() {
    let writes = cut_after_every_write(&"x".repeat(LARGE_BYTES));
    assert!(writes == 0 || writes >= 7, "a batch with parts takes more than {writes} writes");
}

#[test]
fn a_batch_that_was_decided_is_completed_by_the_next_transaction() {
    let Some(server) = gesta_services::url_or_skip("ferretdb") else { return };
    let proxy = WriteLimit::start(&server);
    let direct = fresh_url(&server);
    let database = direct.strip_prefix(server.as_str()).unwrap();
    let dying = connect(&format!("{}{database}", proxy.url()));
    let outcome = block_on(async {
        let id = create(&dying).await?;
        put(&dying, &id, ("1", 1)).await?;
        // The head takes the batch, and nothing is applied.
        proxy.cut_after(1);
        put(&dying, &id, ("1", 2)).await.unwrap_err();

        let next = connect(&direct);
        assert_eq!(get(&next, &id, "1").await?, Some(1.into()), "readers stay before it");
        let mut tx = next.begin(&id).await?;
        assert_eq!(tx.get_json(ORDERS, "1").await?, Some(2.into()));
        tx.rollback().await?;
        assert_eq!(get(&next, &id, "1").await?, Some(2.into()), "a rollback does not undo it");
        Ok::<(), DatabaseError>(())
    });
    outcome.unwrap();
}
