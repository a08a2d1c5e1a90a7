//! The directory of the embedded engine: locks, restarts, damage.

use std::{fs, path::Path};

use gesta_search::{Document, OpenError, Search, SearchStore};
use gesta_store::{
    Advance, Checkpoint, CreateReadModel, DatabaseError, Incarnation, Position, ReadModelId,
    ReadModelStore as _, ReadModelTx as _, Stage,
};
use uuid::Uuid;

use crate::engines::{self, create, definition, write};

fn checkpoint(position: u64) -> Checkpoint {
    Checkpoint { position: Position::new(position), incarnation: Incarnation::new(Uuid::nil()) }
}

async fn filled(store: &SearchStore) -> anyhow::Result<ReadModelId> {
    let id = create(store).await?;
    let mut tx = store.begin(&id).await?;
    tx.put(Document::new("1").text("name", "lantern"), Position::new(7))?;
    tx.advance(Advance { from: None, to: checkpoint(7) }).await?;
    tx.commit().await?;
    Ok(id)
}

#[test]
fn documents_and_checkpoint_are_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    engines::run(async {
        let store = SearchStore::tantivy(directory.path()).await?;
        let id = filled(&store).await?;
        store.close().await;
        let store = SearchStore::tantivy(directory.path()).await?;
        let models = store.list_read_models("orders").await?;
        assert_eq!(models.len(), 1);
        assert_eq!((&models[0].id, models[0].checkpoint), (&id, Some(checkpoint(7))));
        let reader = store.reader(&id).await?;
        assert_eq!(reader.search(&Search::new().text("lantern")).await?.total, 1);
        // The same fields, and later events.
        write(&store, &id, |tx| {
            tx.define(definition())?;
            Ok(tx.put(Document::new("2").text("name", "lantern"), Position::new(8))?)
        })
        .await?;
        assert_eq!(reader.search(&Search::new()).await?.total, 1, "the moment of the reader");
        assert_eq!(store.reader(&id).await?.search(&Search::new()).await?.total, 2);
        Ok(())
    });
}

#[test]
fn a_directory_that_is_open_is_refused_until_it_is_closed() {
    let directory = tempfile::tempdir().unwrap();
    engines::run(async {
        let store = SearchStore::tantivy(directory.path()).await?;
        let clone = store.clone();
        match SearchStore::tantivy(directory.path()).await {
            Err(error @ OpenError::InUse { .. }) => {
                assert!(error.to_string().contains("is open elsewhere"), "{error}");
            }
            other => panic!("expected that the directory is in use, got {other:?}"),
        }
        store.close().await;
        let closed = clone.list_read_models("orders").await.unwrap_err();
        assert!(matches!(closed, DatabaseError::Unavailable { .. }), "{closed}");
        SearchStore::tantivy(directory.path()).await?;
        Ok(())
    });
}

#[test]
fn an_index_of_a_build_that_was_dropped_is_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let builds = |path: &Path| {
        let names = fs::read_dir(path).unwrap().map(|it| it.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().starts_with("build-")).count()
    };
    engines::run(async {
        let store = SearchStore::tantivy(directory.path()).await?;
        let first = filled(&store).await?;
        let reader = store.reader(&first).await?;
        let create = CreateReadModel::new("orders", 1, Stage::Rebuilding);
        let second = store.create_read_model(create).await?;
        write(&store, &second, |tx| Ok(tx.define(definition())?)).await?;
        assert_eq!(builds(directory.path()), 2);
        store.switch_to(&second).await?;
        assert_eq!(builds(directory.path()), 1);
        assert_eq!(reader.search(&Search::new()).await?.total, 1, "a reader ends in peace");
        let dropped = store.begin(&first).await.unwrap_err();
        assert!(matches!(dropped, DatabaseError::Missing { .. }), "{dropped}");
        store.close().await;
        // A crash after the catalogue was written leaves the files of the build.
        fs::create_dir(directory.path().join("build-77"))?;
        SearchStore::tantivy(directory.path()).await?;
        assert_eq!(builds(directory.path()), 1);
        Ok(())
    });
}

#[test]
fn damage_is_reported_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    engines::run(async {
        let store = SearchStore::tantivy(directory.path()).await?;
        let id = filled(&store).await?;
        store.close().await;
        let meta = directory.path().join(format!("build-{}", id.build)).join("meta.json");
        fs::write(&meta, "{")?;
        let store = SearchStore::tantivy(directory.path()).await?;
        let damaged = store.begin(&id).await.unwrap_err();
        assert!(matches!(damaged, DatabaseError::Corrupt { .. }), "{damaged}");
        // The framework's handling of a damaged read model.
        let kept = store.quarantine(&id).await?.unwrap();
        assert!(Path::new(&kept).join("meta.json").exists(), "{kept}");
        assert!(store.list_read_models("orders").await?.is_empty());
        store.close().await;
        fs::write(directory.path().join("catalogue.json"), "[]")?;
        let damaged = SearchStore::tantivy(directory.path()).await.unwrap_err().to_string();
        assert!(damaged.contains("delete the directory"), "{damaged}");
        Ok(())
    });
}

#[test]
fn deleted_files_are_damage_and_a_rebuild_mends_them() {
    for deletes_all in [false, true] {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("search");
        engines::run(async {
            let store = SearchStore::tantivy(&directory).await?;
            let id = filled(&store).await?;
            let gone = match deletes_all {
                true => directory.clone(),
                false => directory.join(format!("build-{}", id.build)),
            };
            fs::remove_dir_all(gone)?;
            let is_damage = |error: DatabaseError| {
                let text = error.to_string();
                assert!(matches!(error, DatabaseError::Corrupt { .. }), "{text}");
                let named = text.contains(&directory.display().to_string());
                assert!(named && text.contains("rebuild the projection"), "{text}");
            };
            is_damage(store.reader(&id).await.unwrap_err());
            is_damage(store.begin(&id).await.unwrap_err());
            let rebuilt = CreateReadModel::new("orders", 1, Stage::Rebuilding);
            let rebuilt = store.create_read_model(rebuilt).await?;
            write(&store, &rebuilt, |tx| {
                tx.define(definition())?;
                Ok(tx.put(Document::new("1").text("name", "lantern"), Position::new(7))?)
            })
            .await?;
            store.switch_to(&rebuilt).await?;
            let found = store.reader(&rebuilt).await?;
            assert_eq!(found.search(&Search::new().text("lantern")).await?.total, 1);
            let other = SearchStore::tantivy(&directory).await;
            assert!(matches!(other, Err(OpenError::InUse { .. })), "{other:?}");
            Ok(())
        });
    }
}
