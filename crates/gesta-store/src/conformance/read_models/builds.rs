//! Clauses about the set of read models: numbers, stages, switches and drops.

use super::{
    fixture::{PortableReadModels, ReadModelFixture},
    support::{ORDERS, Outcome, advance, assert_missing, checkpoint, create, get, put},
};
use crate::{
    Advance, CreateReadModel, DatabaseError, ReadModel, ReadModelStore, ReadModelTx, ReadRows,
    Rows, Stage,
};

async fn stages(store: &impl ReadModelStore) -> Result<Vec<(u64, Stage)>, DatabaseError> {
    let listed = store.list_read_models(ORDERS).await?;
    Ok(listed.iter().map(|one| (one.id.build, one.stage)).collect())
}

pub(super) async fn read_models_are_listed_by_build<S: PortableReadModels>(
    fixture: &ReadModelFixture<S>,
) -> Outcome {
    let (store, other) = ((fixture.connect)(), (fixture.connect)());
    assert_eq!(store.list_read_models(ORDERS).await?, []);
    let live = store.create_read_model(CreateReadModel::new(ORDERS, 7, Stage::Live)).await?;
    other.create_read_model(CreateReadModel::new("order", 1, Stage::Live)).await?;
    let create = CreateReadModel::new(ORDERS, u32::MAX, Stage::Rebuilding);
    let rebuilding = other.create_read_model(create).await?;
    assert_eq!((live.projection.as_str(), rebuilding.projection.as_str()), (ORDERS, ORDERS));
    assert!(rebuilding.build > live.build);
    let expected = [
        ReadModel::new(live, 7, Stage::Live),
        ReadModel::new(rebuilding, u32::MAX, Stage::Rebuilding),
    ];
    assert_eq!(store.list_read_models(ORDERS).await?, expected);
    Ok(())
}

pub(super) async fn build_numbers_are_not_given_again<S: PortableReadModels>(
    fixture: &ReadModelFixture<S>,
) -> Outcome {
    let store = (fixture.connect)();
    let mut builds = Vec::new();
    for _ in 0..3 {
        let id = create(&store, Stage::Live).await?;
        store.drop_read_model(&id).await?;
        builds.push(id.build);
    }
    assert!(builds.is_sorted_by(|earlier, later| earlier < later), "{builds:?}");
    Ok(())
}

pub(super) async fn a_switch_leaves_one_live_read_model<S: PortableReadModels>(
    fixture: &ReadModelFixture<S>,
) -> Outcome {
    let (store, other) = ((fixture.connect)(), (fixture.connect)());
    let old = create(&store, Stage::Live).await?;
    let new = create(&store, Stage::Rebuilding).await?;
    let another = CreateReadModel::new("users", 1, Stage::Live);
    store.create_read_model(another).await?;
    // The other process knows the read model that goes.
    drop(other.begin(&old).await?);
    store.switch_to(&new).await?;

    assert_eq!(stages(&store).await?, [(new.build, Stage::Live)]);
    assert_missing(other.begin(&old).await, &old);
    assert_missing(other.switch_to(&old).await, &old);
    assert_eq!(stages(&other).await?, [(new.build, Stage::Live)]);
    assert_eq!(store.list_read_models("users").await?.len(), 1, "others are left alone");
    Ok(())
}

pub(super) async fn a_switch_that_keeps_retires_the_one_before_and_drops_all_others<S>(
    fixture: &ReadModelFixture<S>,
) -> Outcome
where
    S: PortableReadModels,
{
    let store = (fixture.connect)();
    let first = create(&store, Stage::Live).await?;
    put(&store, &first, "1", "old").await?;
    let second = create(&store, Stage::Rebuilding).await?;
    let unfinished = create(&store, Stage::Rebuilding).await?;
    store.switch_keeping(&second).await?;
    let expected = [(first.build, Stage::Retired), (second.build, Stage::Live)];
    assert_eq!(stages(&store).await?, expected);
    assert_eq!(get(&store, &first, "1").await?.as_deref(), Some("old"), "its rows stay");
    assert_missing(store.begin(&unfinished).await, &unfinished);

    let third = create(&store, Stage::Rebuilding).await?;
    store.switch_keeping(&third).await?;
    let expected = [(second.build, Stage::Retired), (third.build, Stage::Live)];
    assert_eq!(stages(&store).await?, expected, "one is kept");
    store.drop_read_model(&second).await?;
    assert_eq!(stages(&store).await?, [(third.build, Stage::Live)]);
    assert_missing(store.switch_keeping(&second).await, &second);
    Ok(())
}

pub(super) async fn a_retired_read_model_is_filled_again_and_switched_back_to<S>(
    fixture: &ReadModelFixture<S>,
) -> Outcome
where
    S: PortableReadModels,
{
    let store = (fixture.connect)();
    let first = create(&store, Stage::Live).await?;
    let to = checkpoint(7);
    advance(&store, &first, Advance { from: None, to }).await?;
    let second = create(&store, Stage::Rebuilding).await?;
    store.switch_keeping(&second).await?;
    store.resume(&second).await?;
    store.resume(&first).await?;
    let expected = [(first.build, Stage::Rebuilding), (second.build, Stage::Live)];
    assert_eq!(stages(&store).await?, expected, "only a retired one is resumed");
    advance(&store, &first, Advance { from: Some(to), to: checkpoint(9) }).await?;
    store.switch_keeping(&first).await?;
    let expected = [(first.build, Stage::Live), (second.build, Stage::Retired)];
    assert_eq!(stages(&store).await?, expected);
    store.drop_read_model(&second).await?;
    assert_missing(store.resume(&second).await, &second);
    Ok(())
}

pub(super) async fn a_quarantined_read_model_is_no_longer_there<S: PortableReadModels>(
    fixture: &ReadModelFixture<S>,
) -> Outcome {
    let store = (fixture.connect)();
    let other = store.create_read_model(CreateReadModel::new("users", 1, Stage::Live)).await?;
    let id = create(&store, Stage::Live).await?;
    put(&store, &id, "1", "damaged").await?;
    store.quarantine(&id).await?;
    assert_eq!(stages(&store).await?, []);
    assert_missing(store.begin(&id).await, &id);
    assert_missing(store.reader(&id).await, &id);
    let next = create(&store, Stage::Live).await?;
    assert!(next.build > id.build);
    assert_eq!(get(&store, &next, "1").await?, None, "the next one begins without rows");
    drop(store.begin(&other).await?);
    Ok(())
}

pub(super) async fn a_dropped_read_model_is_refused_by_every_call<S: PortableReadModels>(
    fixture: &ReadModelFixture<S>,
) -> Outcome {
    let (store, other) = ((fixture.connect)(), (fixture.connect)());
    let kept = create(&store, Stage::Live).await?;
    let id = create(&store, Stage::Rebuilding).await?;
    drop(other.begin(&id).await?);
    store.drop_read_model(&id).await?;
    store.drop_read_model(&id).await?;
    for store in [&store, &other] {
        assert_missing(store.begin(&id).await, &id);
        assert_missing(store.reader(&id).await, &id);
        assert_missing(store.dead_letters(&id).await, &id);
        assert_missing(store.switch_to(&id).await, &id);
        assert_missing(store.switch_keeping(&id).await, &id);
        assert_missing(store.resume(&id).await, &id);
        assert_eq!(stages(store).await?, [(kept.build, Stage::Live)]);
    }
    Ok(())
}

pub(super) async fn readers_of_a_dropped_read_model_finish<S: PortableReadModels>(
    fixture: &ReadModelFixture<S>,
) -> Outcome {
    let (store, other) = ((fixture.connect)(), (fixture.connect)());
    let id = create(&store, Stage::Live).await?;
    put(&store, &id, "1", "placed").await?;
    let mut reader = store.reader(&id).await?;
    let mut tx = store.begin(&id).await?;
    other.drop_read_model(&id).await?;
    store.drop_read_model(&id).await?;
    assert_missing(store.reader(&id).await, &id);
    assert_eq!(reader.get_json("orders", "1").await?, Some("placed".into()));
    tx.put_json("orders", "2", &"paid".into()).await?;
    assert_eq!(tx.get_json("orders", "2").await?, Some("paid".into()));
    tx.commit().await
}
