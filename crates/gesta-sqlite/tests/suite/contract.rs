//! Scenarios of the read model store contract. Each runs on every store.

use gesta_sqlite::Sqlite;
use gesta_store::{
    Advance, Checkpoint, CheckpointStore, CreateReadModel, DatabaseError, DeadLetter,
    DeadLetterReason, EventId, EventType, Fingerprint, Incarnation, ListRows, MemoryReadModels,
    Position, ReadModelId, ReadModelStore, ReadModelTx, ReadRows, RecordedAt, Revision, Rows,
    Snapshot, SnapshotStore, Stage, StreamName, conformance::block_on,
};
use uuid::Uuid;

pub(crate) trait Portable:
    ReadModelStore<Tx: Rows, Reader: ReadRows> + CheckpointStore + SnapshotStore
{
}
impl<S: ReadModelStore<Tx: Rows, Reader: ReadRows> + CheckpointStore + SnapshotStore> Portable
    for S
{
}

macro_rules! on_every_store {
    ($($scenario:ident),+ $(,)?) => {
        mod memory {
            $(#[test] fn $scenario() {
                super::block_on(super::$scenario(super::MemoryReadModels::new())).unwrap();
            })+
        }
        mod sqlite {
            $(#[test] fn $scenario() {
                super::block_on(async {
                    let store = super::Sqlite::temporary().await?;
                    super::$scenario(store.clone()).await?;
                    store.close().await;
                    Ok::<_, super::DatabaseError>(())
                })
                .unwrap();
            })+
        }
    };
}

on_every_store!(
    a_commit_shows_rows_checkpoint_and_dead_letters_together,
    what_was_not_committed_never_happened,
    a_checkpoint_that_another_writer_moved_refuses_to_move,
    a_transaction_waits_for_the_one_before,
    a_reader_sees_one_moment,
    read_models_keep_apart,
    a_switch_leaves_one_live_read_model,
    a_switch_that_keeps_retires_the_one_before_and_drops_all_others,
    a_retired_read_model_is_filled_again_and_switched_back_to,
    a_quarantined_read_model_is_no_longer_there,
    a_property_is_of_its_transaction,
    only_the_first_of_two_deletions_of_a_dead_letter_reports_it,
    readers_of_a_dropped_read_model_finish,
    rows_are_listed_in_order_by_prefix_and_page,
    a_dead_letter_survives_as_it_was,
    a_consumers_checkpoint_never_goes_back_in_one_incarnation,
    an_older_snapshot_does_not_win,
);

type Outcome = Result<(), DatabaseError>;

pub(crate) fn checkpoint(position: u64) -> Checkpoint {
    Checkpoint { position: Position::new(position), incarnation: Incarnation::new(Uuid::nil()) }
}

pub(crate) async fn create(
    store: &impl ReadModelStore,
    stage: Stage,
) -> Result<ReadModelId, DatabaseError> {
    let projection = "order-summaries";
    store.create_read_model(CreateReadModel::new(projection, 1, stage)).await
}

fn letter(position: u64, reason: DeadLetterReason) -> DeadLetter {
    DeadLetter {
        position: Position::new(position),
        event: EventId::derived_from("request-42", 0),
        event_type: EventType::new("order-placed").unwrap(),
        stream: StreamName::new("order-é1").unwrap(),
        revision: Revision::new(3),
        recorded_at: RecordedAt::from_micros(1_700_000_000_000_000),
        reason,
    }
}

async fn a_commit_shows_rows_checkpoint_and_dead_letters_together(store: impl Portable) -> Outcome {
    let id = create(&store, Stage::Live).await?;
    let mut tx = store.begin(&id).await?;
    tx.put_json("orders", "1", &"placed".into()).await?;
    tx.advance(Advance { from: None, to: checkpoint(7) }).await?;
    tx.put_dead_letter(letter(6, DeadLetterReason::Behind { first: Position::new(5) })).await?;
    assert!(store.reader(&id).await?.get_json("orders", "1").await?.is_none(), "not yet");
    tx.commit().await?;

    assert_eq!(store.reader(&id).await?.get_json("orders", "1").await?, Some("placed".into()));
    let listed = store.list_read_models("order-summaries").await?;
    assert_eq!(listed[0].checkpoint, Some(checkpoint(7)));
    assert_eq!(store.dead_letters(&id).await?.len(), 1);
    Ok(())
}

async fn what_was_not_committed_never_happened(store: impl Portable) -> Outcome {
    let id = create(&store, Stage::Live).await?;
    for dropped in [true, false] {
        let mut tx = store.begin(&id).await?;
        tx.put_json("orders", "1", &"placed".into()).await?;
        tx.advance(Advance { from: None, to: checkpoint(7) }).await?;
        if dropped {
            drop(tx);
        } else {
            tx.rollback().await?;
        }
        let mut tx = store.begin(&id).await?;
        assert_eq!(tx.checkpoint().await?, None);
        assert_eq!(tx.get_json("orders", "1").await?, None);
    }
    Ok(())
}

async fn a_checkpoint_that_another_writer_moved_refuses_to_move(store: impl Portable) -> Outcome {
    let id = create(&store, Stage::Live).await?;
    let mut first = store.begin(&id).await?;
    first.advance(Advance { from: None, to: checkpoint(7) }).await?;
    first.commit().await?;

    let mut second = store.begin(&id).await?;
    let refused = second.advance(Advance { from: None, to: checkpoint(9) }).await;
    let stored = Some(checkpoint(7));
    assert!(
        matches!(refused, Err(DatabaseError::CheckpointConflict { expected: None, stored: s }) if s == stored)
    );
    second.advance(Advance { from: stored, to: checkpoint(9) }).await
}

async fn a_transaction_waits_for_the_one_before(store: impl Portable) -> Outcome {
    let id = create(&store, Stage::Live).await?;
    let mut first = store.begin(&id).await?;
    let mut second = Box::pin(store.begin(&id));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(second.as_mut().poll(&mut context).is_pending());
    first.put_json("orders", "1", &1.into()).await?;
    first.commit().await?;
    assert_eq!(second.await?.get_json("orders", "1").await?, Some(1.into()));
    Ok(())
}

async fn a_reader_sees_one_moment(store: impl Portable) -> Outcome {
    let id = create(&store, Stage::Live).await?;
    let mut reader = store.reader(&id).await?;
    assert_eq!(reader.get_json("orders", "1").await?, None);
    let mut tx = store.begin(&id).await?;
    tx.put_json("orders", "1", &1.into()).await?;
    tx.commit().await?;
    assert_eq!(reader.get_json("orders", "1").await?, None, "the moment of its first read");
    assert_eq!(store.reader(&id).await?.get_json("orders", "1").await?, Some(1.into()));
    Ok(())
}

async fn read_models_keep_apart(store: impl Portable) -> Outcome {
    let answering = create(&store, Stage::Live).await?;
    let rebuilding = create(&store, Stage::Rebuilding).await?;
    let mut one = store.begin(&answering).await?;
    let mut other = store.begin(&rebuilding).await?;
    one.put_json("orders", "1", &"old".into()).await?;
    other.put_json("orders", "1", &"new".into()).await?;
    other.commit().await?;
    one.commit().await?;
    assert_eq!(store.reader(&answering).await?.get_json("orders", "1").await?, Some("old".into()));
    assert_eq!(store.reader(&rebuilding).await?.get_json("orders", "1").await?, Some("new".into()));
    Ok(())
}

async fn a_switch_leaves_one_live_read_model(store: impl Portable) -> Outcome {
    let old = create(&store, Stage::Live).await?;
    let new = create(&store, Stage::Rebuilding).await?;
    let another = CreateReadModel::new("users", 1, Stage::Live);
    store.create_read_model(another).await?;
    assert!(new.build > old.build);
    store.switch_to(&new).await?;

    let listed = store.list_read_models("order-summaries").await?;
    assert_eq!(listed.len(), 1);
    assert_eq!((&listed[0].id, listed[0].stage), (&new, Stage::Live));
    assert!(matches!(store.begin(&old).await, Err(DatabaseError::Missing { .. })));
    assert!(matches!(store.switch_to(&old).await, Err(DatabaseError::Missing { .. })));
    assert_eq!(store.list_read_models("users").await?.len(), 1, "others are left alone");
    Ok(())
}

async fn stages(store: &impl ReadModelStore) -> Result<Vec<(u64, Stage)>, DatabaseError> {
    let listed = store.list_read_models("order-summaries").await?;
    Ok(listed.iter().map(|one| (one.id.build, one.stage)).collect())
}

async fn a_switch_that_keeps_retires_the_one_before_and_drops_all_others(
    store: impl Portable,
) -> Outcome {
    let first = create(&store, Stage::Live).await?;
    let mut tx = store.begin(&first).await?;
    tx.put_json("orders", "1", &"old".into()).await?;
    tx.commit().await?;
    let second = create(&store, Stage::Rebuilding).await?;
    let unfinished = create(&store, Stage::Rebuilding).await?;
    store.switch_keeping(&second).await?;
    let expected = [(first.build, Stage::Retired), (second.build, Stage::Live)];
    assert_eq!(stages(&store).await?, expected);
    let old = store.reader(&first).await?.get_json("orders", "1").await?;
    assert_eq!(old, Some("old".into()), "its rows stay");
    assert!(matches!(store.begin(&unfinished).await, Err(DatabaseError::Missing { .. })));

    let third = create(&store, Stage::Rebuilding).await?;
    store.switch_keeping(&third).await?;
    let expected = [(second.build, Stage::Retired), (third.build, Stage::Live)];
    assert_eq!(stages(&store).await?, expected, "one is kept");
    store.drop_read_model(&second).await?;
    assert_eq!(stages(&store).await?, [(third.build, Stage::Live)]);
    assert!(matches!(store.switch_keeping(&second).await, Err(DatabaseError::Missing { .. })));
    Ok(())
}

async fn a_retired_read_model_is_filled_again_and_switched_back_to(
    store: impl Portable,
) -> Outcome {
    let first = create(&store, Stage::Live).await?;
    let second = create(&store, Stage::Rebuilding).await?;
    store.switch_keeping(&second).await?;
    store.resume(&second).await?;
    store.resume(&first).await?;
    let expected = [(first.build, Stage::Rebuilding), (second.build, Stage::Live)];
    assert_eq!(stages(&store).await?, expected, "only a retired one is resumed");
    store.switch_keeping(&first).await?;
    let expected = [(first.build, Stage::Live), (second.build, Stage::Retired)];
    assert_eq!(stages(&store).await?, expected);
    store.drop_read_model(&second).await?;
    assert!(matches!(store.resume(&second).await, Err(DatabaseError::Missing { .. })));
    Ok(())
}

async fn a_quarantined_read_model_is_no_longer_there(store: impl Portable) -> Outcome {
    let id = create(&store, Stage::Live).await?;
    drop(store.begin(&id).await?);
    store.quarantine(&id).await?;
    assert!(stages(&store).await?.is_empty());
    assert!(matches!(store.begin(&id).await, Err(DatabaseError::Missing { .. })));
    let next = create(&store, Stage::Live).await?;
    assert!(next.build > id.build);
    Ok(())
}

async fn a_property_is_of_its_transaction(store: impl Portable) -> Outcome {
    let id = create(&store, Stage::Live).await?;
    let mut tx = store.begin(&id).await?;
    assert_eq!(tx.property("event-types").await?, None);
    tx.set_property("event-types", "a").await?;
    tx.set_property("event-types", "a, é").await?;
    assert_eq!(tx.property("event-types").await?.as_deref(), Some("a, é"));
    tx.commit().await?;
    let mut tx = store.begin(&id).await?;
    tx.set_property("event-types", "b").await?;
    tx.rollback().await?;
    let mut tx = store.begin(&id).await?;
    assert_eq!(tx.property("event-types").await?.as_deref(), Some("a, é"));
    assert_eq!(tx.property("other").await?, None);
    Ok(())
}

async fn only_the_first_of_two_deletions_of_a_dead_letter_reports_it(
    store: impl Portable,
) -> Outcome {
    let id = create(&store, Stage::Live).await?;
    let mut tx = store.begin(&id).await?;
    tx.put_dead_letter(letter(5, DeadLetterReason::Behind { first: Position::START })).await?;
    tx.commit().await?;
    for is_there in [true, false] {
        let mut tx = store.begin(&id).await?;
        assert_eq!(tx.delete_dead_letter(Position::new(5)).await?, is_there);
        tx.commit().await?;
    }
    Ok(())
}

async fn readers_of_a_dropped_read_model_finish(store: impl Portable) -> Outcome {
    let id = create(&store, Stage::Live).await?;
    let mut tx = store.begin(&id).await?;
    tx.put_json("orders", "1", &1.into()).await?;
    tx.commit().await?;
    let mut reader = store.reader(&id).await?;
    let mut tx = store.begin(&id).await?;
    store.drop_read_model(&id).await?;
    store.drop_read_model(&id).await?;
    assert_eq!(reader.get_json("orders", "1").await?, Some(1.into()));
    tx.put_json("orders", "2", &2.into()).await?;
    tx.commit().await?;
    assert!(matches!(store.reader(&id).await, Err(DatabaseError::Missing { .. })));
    Ok(())
}

async fn rows_are_listed_in_order_by_prefix_and_page(store: impl Portable) -> Outcome {
    let id = create(&store, Stage::Live).await?;
    let mut tx = store.begin(&id).await?;
    for key in ["b-2", "a-1", "b-1", "b-3", "c-1", "é"] {
        tx.put_json("orders", key, &key.into()).await?;
    }
    tx.put_json("others", "b-9", &0.into()).await?;
    tx.delete("orders", "b-2").await?;
    tx.delete("orders", "never there").await?;
    tx.commit().await?;

    let mut reader = store.reader(&id).await?;
    let everything = keys(&mut reader, ListRows::of("orders")).await?;
    assert_eq!(everything, ["a-1", "b-1", "b-3", "c-1", "é"]);
    let prefix = ListRows::of("orders").prefix("b-");
    assert_eq!(keys(&mut reader, prefix.clone()).await?, ["b-1", "b-3"]);
    let page = prefix.clone().after("b-1").limit(1);
    assert_eq!(keys(&mut reader, page).await?, ["b-3"]);
    let before = prefix.after("a");
    assert_eq!(keys(&mut reader, before).await?, ["b-1", "b-3"]);
    assert!(keys(&mut reader, ListRows::of("nothing")).await?.is_empty());
    Ok(())
}

async fn keys(
    reader: &mut impl ReadRows,
    list: ListRows<'_>,
) -> Result<Vec<String>, DatabaseError> {
    Ok(reader.list_json(list).await?.into_iter().map(|row| row.key).collect())
}

async fn a_dead_letter_survives_as_it_was(store: impl Portable) -> Outcome {
    let id = create(&store, Stage::Live).await?;
    let failed =
        letter(5, DeadLetterReason::Failed { error: "no such customer".to_owned(), attempts: 5 });
    let behind = letter(9, DeadLetterReason::Behind { first: Position::new(5) });
    let mut tx = store.begin(&id).await?;
    tx.put_dead_letter(behind.clone()).await?;
    tx.put_dead_letter(letter(5, DeadLetterReason::Behind { first: Position::START })).await?;
    tx.put_dead_letter(failed.clone()).await?;
    tx.commit().await?;
    assert_eq!(store.dead_letters(&id).await?, [failed, behind.clone()]);

    let mut tx = store.begin(&id).await?;
    tx.delete_dead_letter(Position::new(5)).await?;
    tx.delete_dead_letter(Position::new(5)).await?;
    tx.commit().await?;
    assert_eq!(store.dead_letters(&id).await?, [behind]);
    Ok(())
}

async fn a_consumers_checkpoint_never_goes_back_in_one_incarnation(
    store: impl Portable,
) -> Outcome {
    assert_eq!(store.load_checkpoint("relay").await?, None);
    store.save_checkpoint("relay", checkpoint(7)).await?;
    store.save_checkpoint("relay", checkpoint(5)).await?;
    assert_eq!(store.load_checkpoint("relay").await?, Some(checkpoint(7)));
    let restored =
        Checkpoint { incarnation: Incarnation::new(Uuid::from_u128(1)), ..checkpoint(2) };
    store.save_checkpoint("relay", restored).await?;
    assert_eq!(store.load_checkpoint("relay").await?, Some(restored));
    Ok(())
}

async fn an_older_snapshot_does_not_win(store: impl Portable) -> Outcome {
    let at = |revision, fingerprint| {
        Snapshot::new(
            StreamName::new("order-1").unwrap(),
            Revision::new(revision),
            Incarnation::new(Uuid::nil()),
            Fingerprint::new(fingerprint),
            format!("state at {revision}").into(),
        )
    };
    let stream = at(0, 0).stream;
    store.save_snapshot(at(9, u64::MAX)).await?;
    store.save_snapshot(at(5, u64::MAX)).await?;
    assert_eq!(store.load_snapshot(&stream).await?, Some(at(9, u64::MAX)));
    store.save_snapshot(at(5, 1)).await?;
    assert_eq!(store.load_snapshot(&stream).await?, Some(at(5, 1)), "of another fold");
    store.delete_snapshot(&stream).await?;
    assert_eq!(store.load_snapshot(&stream).await?, None);
    Ok(())
}
