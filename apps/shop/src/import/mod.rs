//! The import of sales from elsewhere: a CSV table of invoice lines.
//!
//! Owns: the conversion of rows to products, orders, credit notes and stock adjustments, and their
//! execution. Invariants: the import uses the same commands as clients; command ids derive from the
//! documents, so importing again adds nothing twice; a row that cannot be read does not affect
//! other rows. Not here: business rules, which are in the domains.

mod documents;
mod rows;
mod run;

pub use documents::{Documents, RejectedDocument};
pub use rows::{InvalidRow, ReadError};
pub use run::{IN_FLIGHT, ImportError, ImportSummary, run};
