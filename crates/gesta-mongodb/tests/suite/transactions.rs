//! The conversation of a commit with transactions, on a server that only pretends to have them. Not
//! here: what a server makes of it, which needs MongoDB itself.

use gesta_mongodb::Commits;
use gesta_store::{
    Advance, Checkpoint, DatabaseError, Incarnation, Position, ReadModelStore as _,
    ReadModelTx as _, Rows as _, conformance::block_on,
};
use uuid::Uuid;

use crate::{
    pretender::{Command, Pretender},
    server::{ORDERS, connect, create, fresh_url, get, put},
};

fn at(position: u64) -> Checkpoint {
    let incarnation = Incarnation::new(Uuid::nil());
    Checkpoint { position: Position::new(position), incarnation }
}

/// The commands of transactions, by name and collection.
fn in_transactions(commands: &[Command]) -> Vec<String> {
    let inside = commands.iter().filter(|command| command.transaction.is_some());
    inside.map(|command| format!("{} {}", command.name, command.on).trim().to_owned()).collect()
}

#[test]
fn head_and_rows_change_in_one_transaction_which_is_committed_last() {
    let Some(server) = gesta_services::url_or_skip("ferretdb") else { return };
    let pretender = Pretender::start(&server);
    let store = connect(&fresh_url(&pretender.url()));
    assert_eq!(store.commits(), Commits::Transactions);
    let outcome = block_on(async {
        let id = create(&store).await?;
        put(&store, &id, ("1", 1)).await?;
        let mut tx = store.begin(&id).await?;
        tx.put_json(ORDERS, "1", &2.into()).await?;
        tx.put_json(ORDERS, "2", &2.into()).await?;
        tx.advance(Advance { from: None, to: at(7) }).await?;
        drop(pretender.take_commands());
        tx.commit().await?;
        let commands = pretender.take_commands();
        let rows = "order-summaries.1.orders";
        assert_eq!(
            in_transactions(&commands),
            [
                "update gesta.heads".to_owned(),
                format!("find {rows}"),
                format!("insert {rows}"),
                format!("update {rows}"),
                "commitTransaction".to_owned(),
            ]
        );
        let mut inside = commands.iter().filter(|command| command.transaction.is_some());
        let first = inside.next().cloned().unwrap();
        assert!(first.starts_transaction);
        assert!(inside.all(|command| {
            !command.starts_transaction && command.transaction == first.transaction
        }));
        assert_eq!(get(&store, &id, "1").await?, Some(2.into()));
        let listed = store.list_read_models(&id.projection).await?;
        assert_eq!(listed.first().and_then(|one| one.checkpoint), Some(at(7)));
        Ok::<(), DatabaseError>(())
    });
    outcome.unwrap();
}

#[test]
fn a_commit_that_another_process_was_faster_than_is_aborted_before_any_row() {
    let Some(server) = gesta_services::url_or_skip("ferretdb") else { return };
    let pretender = Pretender::start(&server);
    let url = fresh_url(&pretender.url());
    let direct = url.replace(&pretender.url(), &server);
    let (store, other) = (connect(&url), connect(&direct));
    assert_eq!(other.commits(), Commits::StagedBatches);
    let outcome = block_on(async {
        let id = create(&store).await?;
        put(&store, &id, ("1", 1)).await?;
        let mut late = store.begin(&id).await?;
        late.put_json(ORDERS, "1", &3.into()).await?;
        // The other one commits in another way, which makes no difference.
        put(&other, &id, ("1", 2)).await?;
        drop(pretender.take_commands());
        let error = late.commit().await.unwrap_err();
        assert!(error.is_transient(), "{error}");
        let commands = pretender.take_commands();
        assert_eq!(in_transactions(&commands), ["update gesta.heads", "abortTransaction"]);
        put(&store, &id, ("1", 3)).await?;
        assert_eq!(get(&other, &id, "1").await?, Some(3.into()));
        Ok::<(), DatabaseError>(())
    });
    outcome.unwrap();
}
