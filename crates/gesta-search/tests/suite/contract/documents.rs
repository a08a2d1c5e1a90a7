//! Writes of documents: versions, tombstones, transactions.

use std::{future::poll_fn, task::Poll};

use gesta_search::{Document, IndexDefinition, Search, SearchStore};
use gesta_store::{
    Advance, Checkpoint, DatabaseError, Incarnation, Position, ReadModelId, ReadModelStore as _,
    ReadModelTx as _,
};
use serde_json::json;
use uuid::Uuid;

use crate::engines::{create, write};

type Outcome = anyhow::Result<()>;

const fn at(position: u64) -> Position {
    Position::new(position)
}

fn order(status: &str) -> Document {
    Document::new("1").text("name", "White lantern").keyword("status", status)
}

async fn get(
    store: &SearchStore,
    id: &ReadModelId,
    document: &str,
) -> anyhow::Result<Option<Document>> {
    Ok(store.reader(id).await?.get(document).await?)
}

async fn total(store: &SearchStore, id: &ReadModelId, search: Search) -> anyhow::Result<u64> {
    Ok(store.reader(id).await?.search(&search).await?.total)
}

pub(super) async fn a_document_comes_back_as_it_was_put(store: &SearchStore) -> Outcome {
    let id = create(store).await?;
    let full = Document::new("Ä/1 \"x\"")
        .texts("name", ["White lantern", "CAFÉ"])
        .keyword_set("colours", ["red", "blue", ""])
        .number("total", -17.85)
        .date("placedAt", 1_291_191_960_123_456)
        .body(json!({ "lines": [{ "n": 1.5, "nothing": null }], "text": "a\nb\u{0}" }));
    let empty = Document::new("2");
    write(store, &id, |tx| {
        tx.put(full.clone(), at(7))?;
        Ok(tx.put(empty.clone(), at(8))?)
    })
    .await?;
    assert_eq!(get(store, &id, full.id()).await?, Some(full.clone()));
    assert_eq!(get(store, &id, "2").await?, Some(empty));
    assert_eq!(get(store, &id, "3").await?, None);
    let found = store.reader(&id).await?.search(&Search::new().text("cafe")).await?;
    assert_eq!(found.hits.into_iter().map(|hit| hit.document).collect::<Vec<_>>(), [full]);
    Ok(())
}

pub(super) async fn an_event_that_is_applied_again_changes_nothing(store: &SearchStore) -> Outcome {
    let id = create(store).await?;
    write(store, &id, |tx| Ok(tx.put(order("paid"), at(8))?)).await?;
    for replayed in [7, 8] {
        // Without a look at the document first: the engine itself compares.
        write(store, &id, |tx| Ok(tx.put(order("placed"), at(replayed))?)).await?;
        write(store, &id, |tx| {
            tx.delete("1", at(replayed));
            Ok(())
        })
        .await?;
        assert_eq!(get(store, &id, "1").await?, Some(order("paid")), "{replayed}");
    }
    write(store, &id, |tx| Ok(tx.put(order("shipped"), at(9))?)).await?;
    assert_eq!(get(store, &id, "1").await?, Some(order("shipped")));
    assert_eq!(total(store, &id, Search::new()).await?, 1);
    Ok(())
}

pub(super) async fn a_tombstone_guards_against_late_writes(store: &SearchStore) -> Outcome {
    let id = create(store).await?;
    for first in [Some(order("paid")), None] {
        let deleted = if first.is_some() { 9 } else { 20 };
        write(store, &id, |tx| {
            if let Some(first) = first {
                tx.put(first, at(8))?;
            }
            tx.delete("1", at(deleted));
            Ok(())
        })
        .await?;
        write(store, &id, |tx| Ok(tx.put(order("placed"), at(deleted - 1))?)).await?;
        assert_eq!(get(store, &id, "1").await?, None);
        assert_eq!(total(store, &id, Search::new()).await?, 0);
        assert_eq!(total(store, &id, Search::new().text("lantern")).await?, 0);
    }
    write(store, &id, |tx| Ok(tx.put(order("placed"), at(21))?)).await?;
    assert_eq!(get(store, &id, "1").await?, Some(order("placed")), "a later event revives it");
    Ok(())
}

pub(super) async fn the_last_of_several_writes_at_one_position_counts(
    store: &SearchStore,
) -> Outcome {
    let id = create(store).await?;
    let mut tx = store.begin(&id).await?;
    tx.put(order("placed"), at(7))?;
    tx.put(order("paid"), at(7))?;
    assert_eq!(tx.get("1").await?, Some(order("paid")), "its own write");
    tx.put(order("late"), at(6))?;
    tx.delete("2", at(7));
    assert_eq!(tx.get("2").await?, None);
    tx.commit().await?;
    assert_eq!(get(store, &id, "1").await?, Some(order("paid")));
    Ok(())
}

/// A crash between documents and checkpoint repeats events on documents that have some of them.
pub(super) async fn a_replay_on_a_newer_document_goes_on_from_it(store: &SearchStore) -> Outcome {
    let id = create(store).await?;
    let count = |count: u64| Document::new("1").body(count.into());
    write(store, &id, |tx| Ok(tx.put(count(2), at(8))?)).await?;
    let mut tx = store.begin(&id).await?;
    for event in [7, 8, 9] {
        let before = tx.get("1").await?.and_then(|it| it.body_value().as_u64()).unwrap_or_default();
        tx.put(count(before + 1), at(event))?;
    }
    tx.commit().await?;
    assert_eq!(get(store, &id, "1").await?, Some(count(3)), "each event counts once");
    Ok(())
}

pub(super) async fn an_unlisted_document_is_only_found_by_its_id(store: &SearchStore) -> Outcome {
    let id = create(store).await?;
    let name =
        Document::new("name").text("name", "lantern").keyword("status", "x").number("total", 1.0);
    let name = name.unlisted();
    write(store, &id, |tx| Ok(tx.put(name.clone(), at(7))?)).await?;
    assert_eq!(get(store, &id, "name").await?, Some(name));
    let all = gesta_search::Filter::numbers("total", ..);
    for search in [Search::new(), Search::new().text("lantern"), Search::new().filter(all)] {
        assert_eq!(total(store, &id, search).await?, 0);
    }
    Ok(())
}

pub(super) async fn what_was_not_committed_is_not_found(store: &SearchStore) -> Outcome {
    let id = create(store).await?;
    for is_dropped in [true, false] {
        let mut tx = store.begin(&id).await?;
        tx.put(order("paid"), at(7))?;
        if is_dropped {
            drop(tx);
        } else {
            tx.rollback().await?;
        }
        assert_eq!(get(store, &id, "1").await?, None);
        assert_eq!(total(store, &id, Search::new()).await?, 0);
    }
    Ok(())
}

pub(super) async fn other_fields_need_another_version(store: &SearchStore) -> Outcome {
    let id = create(store).await?;
    let mut tx = store.begin(&id).await?;
    tx.define(crate::engines::definition())?;
    let refused = tx.define(IndexDefinition::new().keyword("other")).unwrap_err();
    assert!(refused.to_string().contains("increase the projection's version"), "{refused}");
    let refused = tx.put(Document::new("1").keyword("other", "x"), at(7)).unwrap_err();
    assert!(refused.to_string().contains("has no field `other`"), "{refused}");
    Ok(())
}

/// A commit whose future was dropped may still happen, and another process may write.
pub(super) async fn a_late_writer_is_told_the_stored_checkpoint(store: &SearchStore) -> Outcome {
    let id = create(store).await?;
    let checkpoint = |position| Checkpoint {
        position: at(position),
        incarnation: Incarnation::new(Uuid::nil()),
    };
    let mut late = store.begin(&id).await?;
    late.advance(Advance { from: None, to: checkpoint(7) }).await?;
    // The turn ends with the future, and the work that has begun goes on.
    let mut commit = Box::pin(late.commit());
    let _ = poll_fn(|context| Poll::Ready(commit.as_mut().poll(context).is_ready())).await;
    drop(commit);
    let mut first = store.begin(&id).await?;
    let from = first.checkpoint().await?;
    first.advance(Advance { from, to: checkpoint(9) }).await?;
    let expected = match first.commit().await {
        Ok(()) => checkpoint(9),
        Err(DatabaseError::CheckpointConflict { expected, stored }) => {
            assert_eq!((expected, stored), (from, Some(checkpoint(7))));
            checkpoint(7)
        }
        Err(other) => panic!("expected success or a conflict, got {other}"),
    };
    let models = store.list_read_models("orders").await?;
    assert_eq!(models.first().and_then(|model| model.checkpoint), Some(expected));
    Ok(())
}
