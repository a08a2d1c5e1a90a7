//! The tests of the domains once more, with read models that are rows by key.

/// Open shops whose read models are rows.
mod opened {
    use gesta::{Gesta, store::MemoryReadModels};

    use crate::opened::in_memory_with;
    pub(super) use crate::opened::{money, noon, pieces};

    pub(super) async fn in_memory() -> Gesta {
        in_memory_with(MemoryReadModels::new()).await
    }
}

#[path = "accounts.rs"]
mod accounts;
#[path = "catalogue.rs"]
mod catalogue;
#[path = "credit_notes.rs"]
mod credit_notes;
#[path = "orders.rs"]
mod orders;
#[path = "users.rs"]
mod users;
