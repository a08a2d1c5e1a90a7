//! The read side as a whole: every projection of the shop, in one list.

use std::time::Duration;

use gesta::{Builder, Gesta, Position, WaitError, sqlite::Sqlite};

use crate::{
    accounts::Accounts,
    catalogue::Products,
    orders::{OrderCard, credit_notes::CreditNotes, sales::Sales, summaries::OrderSummaries},
    users::Users,
};

/// One list for both, so that nobody waits for fewer projections than run.
macro_rules! projections {
    ($($projection:ident),+) => {
        /// Runs every projection of the shop into these read models.
        pub fn project_all(builder: Builder, read_models: &Sqlite) -> Builder {
            builder
                $(.project($projection, read_models))+
                .project_on_read(OrderCard, read_models)
        }

        /// Waits until every read model has the effect of everything up to a position, each no
        /// longer than this.
        ///
        /// # Errors
        /// [`WaitError`] of the first one that does not get there.
        pub async fn caught_up(
            gesta: &Gesta,
            position: Position,
            within: Duration,
        ) -> Result<(), WaitError> {
            $(gesta.wait_for_position::<$projection>(position).within(within).await?;)+
            Ok(())
        }
    };
}
projections!(Users, Products, OrderSummaries, CreditNotes, Sales, Accounts);
