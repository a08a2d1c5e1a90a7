//! Values and short calls that the clauses share.

use uuid::Uuid;

use crate::{
    Advance, Checkpoint, CreateReadModel, DatabaseError, DeadLetter, DeadLetterReason, EventId,
    EventType, Incarnation, Position, ReadModelId, ReadModelStore, ReadModelTx, ReadRows,
    RecordedAt, Revision, Rows, Stage, StreamName,
};

pub(super) type Outcome = Result<(), DatabaseError>;

/// The projection of most clauses.
pub(super) const ORDERS: &str = "order-summaries";

pub(super) async fn create(
    store: &impl ReadModelStore,
    stage: Stage,
) -> Result<ReadModelId, DatabaseError> {
    store.create_read_model(CreateReadModel::new(ORDERS, 1, stage)).await
}

pub(super) fn checkpoint(position: u64) -> Checkpoint {
    Checkpoint { position: Position::new(position), incarnation: incarnation(0) }
}

pub(super) fn incarnation(number: u128) -> Incarnation {
    Incarnation::new(Uuid::from_u128(number))
}

pub(super) fn stream(name: &str) -> StreamName {
    StreamName::new(name).expect("a clause names streams well")
}

pub(super) fn letter(position: u64, reason: DeadLetterReason) -> DeadLetter {
    DeadLetter {
        position: Position::new(position),
        event: EventId::derived_from("request-42", 0),
        event_type: EventType::new("order-placed").expect("a clause names types well"),
        stream: stream("order-é1"),
        revision: Revision::new(3),
        recorded_at: RecordedAt::from_micros(1_700_000_000_000_000),
        reason,
    }
}

/// A dead letter that waits behind another one.
pub(super) fn behind(position: u64) -> DeadLetter {
    letter(position, DeadLetterReason::Behind { first: Position::new(1) })
}

/// Commits one row of the table `orders`.
pub(super) async fn put(
    store: &impl ReadModelStore<Tx: Rows>,
    id: &ReadModelId,
    key: &str,
    value: &str,
) -> Outcome {
    let mut tx = store.begin(id).await?;
    tx.put_json("orders", key, &value.into()).await?;
    tx.commit().await
}

/// Returns a row of the table `orders`, as a new reader sees it.
pub(super) async fn get(
    store: &impl ReadModelStore<Reader: ReadRows>,
    id: &ReadModelId,
    key: &str,
) -> Result<Option<String>, DatabaseError> {
    let found = store.reader(id).await?.get_json("orders", key).await?;
    Ok(found.and_then(|value| value.as_str().map(str::to_owned)))
}

/// Commits a new checkpoint.
pub(super) async fn advance(
    store: &impl ReadModelStore,
    id: &ReadModelId,
    advance: Advance,
) -> Outcome {
    let mut tx = store.begin(id).await?;
    tx.advance(advance).await?;
    tx.commit().await
}

/// Asserts that a call was refused because this read model does not exist.
#[track_caller]
pub(super) fn assert_missing<T>(outcome: Result<T, DatabaseError>, id: &ReadModelId) {
    match outcome {
        Err(DatabaseError::Missing { read_model }) => assert_eq!(read_model, *id),
        Err(other) => panic!("expected that {id} is missing, got: {other}"),
        Ok(_) => panic!("expected that {id} is missing"),
    }
}
