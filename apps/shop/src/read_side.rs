//! All projections of the shop, in one list.

use std::time::Duration;

use gesta::{Builder, Gesta, Position, WaitError};

use crate::{
    accounts::Accounts,
    catalogue::Products,
    orders::{OrderCard, credit_notes::CreditNotes, sales::Sales, summaries::OrderSummaries},
    read_models::ReadModels,
    users::Users,
};
#[cfg(feature = "search")]
use crate::{catalogue::search::ProductIndex, orders::search::OrderIndex};

/// Generates both functions from one list, so that `caught_up` waits for every projection.
macro_rules! projections {
    ($($projection:ident),+) => {
        /// Registers every projection of the shop with the database of the read models.
        pub fn project_all(builder: Builder, read_models: &ReadModels) -> Builder {
            builder
                $(.project($projection, read_models))+
                // Has no position to wait for: a read applies the missing events itself.
                .project_on_read(OrderCard, read_models)
        }

        /// Waits until every read model has reached a position; `within` limits the wait for each.
        ///
        /// # Errors
        /// [`WaitError`] of the first read model that does not reach it.
        pub async fn caught_up(
            gesta: &Gesta,
            position: Position,
            within: Duration,
        ) -> Result<(), WaitError> {
            $(gesta.wait_for_position::<$projection>(position).within(within).await?;)+
            #[cfg(feature = "search")]
            search_caught_up(gesta, position, within).await?;
            Ok(())
        }
    };
}
projections!(Users, Products, OrderSummaries, CreditNotes, Sales, Accounts);

/// Registers the projections of full-text search.
#[cfg(feature = "search")]
pub fn project_search(builder: Builder, indexes: &gesta::search::SearchStore) -> Builder {
    builder.project(ProductIndex, indexes).project(OrderIndex, indexes)
}

/// Waits for the indexes, if this shop has some.
#[cfg(feature = "search")]
async fn search_caught_up(
    gesta: &Gesta,
    position: Position,
    within: Duration,
) -> Result<(), WaitError> {
    if gesta.reached::<OrderIndex>().is_some() {
        gesta.wait_for_position::<ProductIndex>(position).within(within).await?;
        gesta.wait_for_position::<OrderIndex>(position).within(within).await?;
    }
    Ok(())
}
