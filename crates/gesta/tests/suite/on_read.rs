//! Projections on read: an answer equals a replay, whatever was stored before.

use std::sync::Arc;

use gesta::{
    AsOf, Gesta, OnRead, Projection, ReadOnDemandError, ReadTypedRows, TypedRows, prelude::*,
};
use gesta_sqlite::Sqlite;
use gesta_store::{
    DeleteStream, EventStore, ExpectedRevision, ReadModelStore, ReadModelTx, SetStreamMetadata,
    StreamMetadata, StreamName,
};

use tokio::sync::Semaphore;

use crate::bank::{Account, Audit, BalanceEvent, Deposited, deposit, new_store};

/// The amount of a deposit whose fold is signalled.
const SIGNALLED: u64 = 9_999;

static FOLDED: Semaphore = Semaphore::const_new(0);

/// The deposits of an account, in order.
pub(crate) struct Card;

impl Projection for Card {
    const NAME: &'static str = "account-card";
    type Event = BalanceEvent;
}

impl OnRead for Card {
    const CATEGORY: &'static str = Account::CATEGORY;
    type Id = String;
    type Row = Vec<u64>;

    fn evolve(row: &mut Vec<u64>, event: &Recorded<BalanceEvent>) {
        let BalanceEvent::Deposited(Deposited { amount }) = event.event;
        row.push(amount);
        if amount == SIGNALLED {
            FOLDED.add_permits(1);
        }
    }
}

async fn open(store: &Arc<dyn EventStore>, models: &Sqlite) -> Gesta {
    Gesta::on(Arc::clone(store)).project_on_read(Card, models).open().await.unwrap()
}

async fn card(gesta: &Gesta) -> Option<Vec<u64>> {
    let fresh = gesta.read_on_demand::<Card>(&"ann".to_owned(), AsOf::Now).await.unwrap();
    fresh.map(|fresh| fresh.row)
}

/// The revision of the row that is kept.
async fn kept_revision(models: &Sqlite) -> Option<u64> {
    let id = models.list_read_models("account-card").await.unwrap().remove(0).id;
    let mut reader = models.reader(&id).await.unwrap();
    let stored: Option<serde_json::Value> = reader.get("on_read", "account-ann").await.unwrap();
    stored?.get("revision")?.as_u64()
}

#[tokio::test]
async fn an_answer_is_always_fresh_and_is_kept() {
    let (store, models) = (new_store(), Sqlite::temporary().await.unwrap());
    let gesta = open(&store, &models).await;
    assert_eq!(card(&gesta).await, None, "no events, no row");
    let mut expected = Vec::new();
    for amount in 1..=20 {
        deposit(&gesta, "ann", amount).await;
        expected.push(amount);
        if amount % 3 == 0 {
            assert_eq!(card(&gesta).await.as_ref(), Some(&expected));
            assert_eq!(kept_revision(&models).await, Some(amount - 1));
        }
    }
    let again = open(&store, &models).await;
    assert_eq!(card(&again).await, Some(expected), "from what another program kept");
}

#[tokio::test]
async fn events_that_the_row_does_not_understand_are_passed() {
    let (store, models) = (new_store(), Sqlite::temporary().await.unwrap());
    let gesta = open(&store, &models).await;
    deposit(&gesta, "ann", 1).await;
    gesta.execute(Audit { account: "ann".to_owned() }).await.unwrap();
    assert_eq!(card(&gesta).await, Some(vec![1]));
    assert_eq!(kept_revision(&models).await, Some(1));
}

#[tokio::test]
async fn a_row_that_was_folded_further_is_not_replaced() {
    let (store, models) = (new_store(), Sqlite::temporary().await.unwrap());
    let gesta = open(&store, &models).await;
    deposit(&gesta, "ann", 1).await;
    card(&gesta).await;
    let id = models.list_read_models("account-card").await.unwrap().remove(0).id;
    let further = models.reader(&id).await.unwrap().get("on_read", "account-ann").await.unwrap();
    let mut further: serde_json::Value = further.unwrap();
    further["revision"] = 9.into();
    deposit(&gesta, "ann", SIGNALLED).await;

    // Another reader, further than this one will be, keeps its row while this one folds.
    let mut tx = models.begin(&id).await.unwrap();
    tx.put("on_read", "account-ann", &further).await.unwrap();
    let reading = card(&gesta);
    tokio::pin!(reading);
    tokio::select! {
        biased;
        _ = &mut reading => panic!("the open transaction lets it keep no row"),
        folded = FOLDED.acquire() => folded.unwrap().forget(),
    }
    tx.commit().await.unwrap();
    assert_eq!(reading.await, Some(vec![1, SIGNALLED]));
    assert_eq!(kept_revision(&models).await, Some(9));
}

#[tokio::test]
async fn a_row_whose_events_are_gone_is_of_no_use() {
    let (store, models) = (new_store(), Sqlite::temporary().await.unwrap());
    let gesta = open(&store, &models).await;
    deposit(&gesta, "ann", 1).await;
    card(&gesta).await;
    let stream = StreamName::new("account-ann").unwrap();
    let delete = DeleteStream::new(stream, ExpectedRevision::Any);
    store.delete_stream(delete).await.unwrap();
    assert_eq!(card(&gesta).await, None);
    deposit(&gesta, "ann", 5).await;
    assert_eq!(card(&gesta).await, Some(vec![5]), "a revived stream begins anew");
    let restored = new_store();
    let gesta = open(&restored, &models).await;
    deposit(&gesta, "ann", 8).await;
    deposit(&gesta, "ann", 9).await;
    assert_eq!(card(&gesta).await, Some(vec![8, 9]), "belongs to another incarnation of the store");
}

#[tokio::test]
async fn a_row_is_read_as_of_a_moment() {
    let (store, models) = (new_store(), Sqlite::temporary().await.unwrap());
    let gesta = open(&store, &models).await;
    let first = deposit(&gesta, "ann", 1).await;
    deposit(&gesta, "ann", 2).await;
    card(&gesta).await;
    let ann = "ann".to_owned();
    let before = gesta.read_on_demand::<Card>(&ann, first.position).await.unwrap().unwrap();
    assert_eq!((before.row, before.revision), (vec![1], Revision::FIRST));
    let none = gesta.read_on_demand::<Card>(&ann, Position::START).await.unwrap();
    assert!(none.is_none());
    assert_eq!(card(&gesta).await, Some(vec![1, 2]), "the past is not kept");
}

#[tokio::test]
async fn a_projection_that_was_not_registered_says_so() {
    let gesta = Gesta::on(new_store()).open().await.unwrap();
    let error = gesta.read_on_demand::<Card>(&"ann".to_owned(), AsOf::Now).await.unwrap_err();
    assert!(matches!(error, ReadOnDemandError::NotRegistered { projection: "account-card" }));
}

#[tokio::test]
async fn a_row_of_a_truncated_stream_covers_what_is_hidden_or_there_is_none() {
    let (store, models) = (new_store(), Sqlite::temporary().await.unwrap());
    let gesta = open(&store, &models).await;
    deposit(&gesta, "ann", 1).await;
    assert_eq!(card(&gesta).await, Some(vec![1]));
    deposit(&gesta, "ann", 2).await;
    let stream = StreamName::new("account-ann").unwrap();
    let metadata = StreamMetadata::default().truncate_before(Revision::new(1));
    let set = SetStreamMetadata::new(stream, ExpectedRevision::Any, metadata);
    store.set_stream_metadata(set).await.unwrap();
    assert_eq!(card(&gesta).await, Some(vec![1, 2]), "from the row that was kept");

    let without_rows = open(&store, &Sqlite::temporary().await.unwrap()).await;
    let refused = without_rows.read_on_demand::<Card>(&"ann".to_owned(), AsOf::Now).await;
    assert!(matches!(refused, Err(ReadOnDemandError::Truncated(_))), "{refused:?}");
}
