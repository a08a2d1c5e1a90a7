//! The audit stream: what operators did, by whom and why.
//!
//! Owns the stream [`STREAM`] and the event types in it. Invariants: an operation that changes a
//! process in the event store is recorded in the same append as the change; one that changes a read
//! model is recorded before the change, so that no change is without its record. A failure is
//! recorded as well. No event has the text of an error, which may repeat personal data. Not here:
//! the operations themselves.

use gesta_store::{
    Append, CausationId, EventId, EventStore, ExpectedRevision, NewEvent, StoreError, StreamName,
};
use serde::{Deserialize, Serialize};

use crate::{Event, EventMetadata, EventSet};

/// The kind of error of a retry that fails again.
pub(crate) const STILL_FAILS: &str = "still-fails";

/// The name of the audit stream.
pub const STREAM: &str = "audit-operations";

/// The operator who orders an operation, and the reason.
///
/// ```
/// use gesta::audit::Operator;
///
/// let operator = Operator::new("ann").because("the shipment was made by hand");
/// assert_eq!(operator.actor(), "ann");
/// assert_eq!(operator.reason(), Some("the shipment was made by hand"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    actor: String,
    reason: Option<String>,
}

impl Operator {
    /// An operator without a stated reason.
    #[must_use]
    pub fn new(actor: impl Into<String>) -> Self {
        Self { actor: actor.into(), reason: None }
    }

    /// Adds the reason.
    #[must_use]
    pub fn because(self, reason: impl Into<String>) -> Self {
        Self { reason: Some(reason.into()), ..self }
    }

    /// The name that the audit stream keeps.
    #[must_use]
    pub fn actor(&self) -> &str {
        &self.actor
    }

    /// The reason, if one was given.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }
}

/// An operator ordered an operation. The actor is in the event's metadata.
///
/// ```
/// use gesta::audit::OperationOrdered;
///
/// let stored = r#"{"operation":"retry-process","target":"welcome instance:ann"}"#;
/// let ordered: OperationOrdered = serde_json::from_str(stored)?;
/// assert_eq!(ordered.operation, "retry-process");
/// assert_eq!(ordered.reason, None);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(name = "operation-ordered")]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct OperationOrdered {
    /// The operation, such as `discard-dead-letter`.
    pub operation: String,
    /// The subject: the name of a projection, a dead letter's id, the stream of a process.
    pub target: String,
    /// The operator's reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// An operation that was [ordered](OperationOrdered) has failed. Its cause is the event of the
/// order.
///
/// Retries that fail again have it, and every operation on a projection that fails. Such an
/// operation without this event has been carried out, or nobody has waited for its outcome: the
/// program ended, or the caller left.
///
/// ```
/// use gesta::audit::OperationFailed;
///
/// let stored = r#"{"operation":"retry-dead-letter","target":"stock@17","error":"still-fails"}"#;
/// let failed: OperationFailed = serde_json::from_str(stored)?;
/// assert_eq!(failed.error, "still-fails");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(name = "operation-failed")]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct OperationFailed {
    /// The operation of the order.
    pub operation: String,
    /// The subject of the order.
    pub target: String,
    /// Kind of the error: `still-fails` for a retry, or that of [`OperationError::kind`].
    ///
    /// [`OperationError::kind`]: crate::OperationError::kind
    pub error: String,
}

/// The events of the audit stream.
///
/// ```
/// use gesta::{Recorded, audit::{AuditEvent, stream}};
///
/// # fn who(recorded: &Recorded<AuditEvent>) -> Option<&str> {
/// // An auditor reads who ordered it from the metadata.
/// recorded.metadata.actor.as_deref()
/// # }
/// assert_eq!(stream().as_str(), "audit-operations");
/// ```
#[derive(EventSet, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuditEvent {
    /// An operator ordered an operation.
    Ordered(OperationOrdered),
    /// An operation that was ordered has failed.
    Failed(OperationFailed),
}

/// Returns the name of the audit stream.
#[must_use]
pub fn stream() -> StreamName {
    StreamName::new(STREAM).expect("the audit stream has a valid name")
}

/// Encodes the record of one operation, for the append that performs it.
pub(crate) fn record_of(operator: &Operator, operation: &str, target: &str) -> NewEvent {
    let ordered = OperationOrdered {
        operation: operation.to_owned(),
        target: target.to_owned(),
        reason: operator.reason.clone(),
    };
    let metadata = EventMetadata::by(operator.actor.clone()).to_json();
    encoded(AuditEvent::Ordered(ordered)).metadata(metadata)
}

/// Encodes the failure of an operation, for the append after [its record](record_of) or with it.
pub(crate) fn failure_of(order: &NewEvent, error: &str) -> NewEvent {
    let OperationOrdered { operation, target, .. } =
        serde_json::from_slice(&order.data).expect("a record of an operation is in its own form");
    let failed = OperationFailed { operation, target, error: error.to_owned() };
    let cause = CausationId::new(order.id.to_string()).expect("an event id is a causation id");
    encoded(AuditEvent::Failed(failed)).metadata(order.metadata.clone()).causation_id(cause)
}

fn encoded(event: AuditEvent) -> NewEvent {
    event.encode().expect("three texts have a JSON form").with_id(EventId::random())
}

/// Appends the record of one operation, in an append of its own, and returns it.
pub(crate) async fn record(
    store: &dyn EventStore,
    operator: &Operator,
    operation: &str,
    target: &str,
) -> Result<NewEvent, StoreError> {
    let order = record_of(operator, operation, target);
    append(store, order.clone()).await?;
    Ok(order)
}

/// Appends the failure of an operation whose record was appended.
pub(crate) async fn record_failure(
    store: &dyn EventStore,
    order: &NewEvent,
    error: &str,
) -> Result<(), StoreError> {
    append(store, failure_of(order, error)).await
}

async fn append(store: &dyn EventStore, event: NewEvent) -> Result<(), StoreError> {
    store.append(Append::to(stream(), ExpectedRevision::Any, [event])).await?;
    Ok(())
}
