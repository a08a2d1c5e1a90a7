//! The store of one tenant.
//!
//! Owns: the record of a store's owner (`owner.rs`), and the store through which the application of
//! a tenant appends (`marked_store.rs`).
//!
//! Invariants: a store that an application of one tenant has opened is refused to the applications
//! of others; every event that the application of a tenant appends has the tenant's id in its
//! metadata.
//!
//! Not here: the choice of the application by the caller's tenant, which an edge makes.

mod marked_store;
mod owner;

use std::sync::Arc;

use gesta_store::EventStore;

use self::{marked_store::MarkedStore, owner::claim};
use crate::TenantId;

pub(crate) use self::owner::STREAM;
pub use self::owner::TenantError;

/// Claims a store for a tenant, and returns the store through which the tenant's application
/// appends. Without a tenant it is the store itself.
pub(crate) async fn opened_for(
    tenant: Option<&TenantId>,
    store: Arc<dyn EventStore>,
) -> Result<Arc<dyn EventStore>, TenantError> {
    let Some(tenant) = tenant else { return Ok(store) };
    claim(store.as_ref(), tenant).await?;
    Ok(Arc::new(MarkedStore::new(store, tenant.clone())))
}
