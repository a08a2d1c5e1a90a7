//! The record of the tenant that a store belongs to.
//!
//! Invariant: the first record counts, and there is never a second one. Not here: the check of a
//! caller's tenant.

use gesta_store::{
    Append, Conflict, EventId, EventStore, ExpectedRevision, ReadStream, StoreError, StreamName,
};
use serde::{Deserialize, Serialize};

use crate::{Event, EventMetadata, EventSet, Recorded, TenantId};

/// The name of the stream with the record.
pub(crate) const STREAM: &str = "tenants:store-owner";

/// A store that cannot be used for a tenant.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TenantError {
    /// The store belongs to another tenant. Open the tenant's own store.
    #[error(
        "the store belongs to tenant `{owner}`, and was opened for `{tenant}`; each tenant has a \
         store of its own"
    )]
    OtherOwner {
        /// The tenant that the store was opened for.
        tenant: TenantId,
        /// The tenant that the store belongs to.
        owner: TenantId,
    },
    /// The record of the owner cannot be read. Look at the first event of the stream
    /// `tenants:store-owner`.
    #[error("the record of the tenant that the store belongs to cannot be read")]
    Unreadable,
    /// The store failed while the record was read or written. Open again.
    #[error("the tenant that the store belongs to was not found out: {0}")]
    Store(#[from] StoreError),
}

/// A store was opened for its first tenant.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(name = "store-claimed")]
struct StoreClaimed {
    tenant: String,
}

#[derive(EventSet, Clone, Debug, PartialEq, Eq)]
enum OwnerEvent {
    Claimed(StoreClaimed),
}

/// Records that a store belongs to a tenant, if it belongs to none yet.
pub(crate) async fn claim(store: &dyn EventStore, tenant: &TenantId) -> Result<(), TenantError> {
    let owner = match owner_of(store).await? {
        Some(owner) => owner,
        None => match store.append(record_of(tenant)).await {
            Ok(_) => return Ok(()),
            // Another application has claimed the store at the same time.
            Err(StoreError::Conflict(Conflict::Stream { .. })) => {
                owner_of(store).await?.ok_or(TenantError::Unreadable)?
            }
            Err(error) => return Err(error.into()),
        },
    };
    match owner == *tenant {
        true => Ok(()),
        false => Err(TenantError::OtherOwner { tenant: tenant.clone(), owner }),
    }
}

async fn owner_of(store: &dyn EventStore) -> Result<Option<TenantId>, TenantError> {
    let first = store.read_stream(ReadStream::forwards(stream()).limit(1)).collect_events().await?;
    let Some(first) = first.first() else { return Ok(None) };
    let recorded = Recorded::<OwnerEvent>::read(first).map_err(|_| TenantError::Unreadable)?;
    let OwnerEvent::Claimed(claimed) = recorded.event;
    claimed.tenant.parse().map(Some).map_err(|_| TenantError::Unreadable)
}

fn record_of(tenant: &TenantId) -> Append {
    let claimed: OwnerEvent = StoreClaimed { tenant: tenant.as_str().to_owned() }.into();
    let encoded = claimed.encode().expect("a text has a JSON form");
    let metadata = EventMetadata { tenant: Some(tenant.clone()), ..EventMetadata::default() };
    let event = encoded.with_id(EventId::random()).metadata(metadata.to_json());
    Append::to(stream(), ExpectedRevision::NoStream, [event])
}

fn stream() -> StreamName {
    StreamName::new(STREAM).expect("the stream of the owner has a valid name")
}
