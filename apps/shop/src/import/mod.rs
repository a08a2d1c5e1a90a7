//! The import of what was sold elsewhere: a table of invoice lines in CSV.
//!
//! Owns: how rows become products, orders, credit notes and stock adjustments, and how these are
//! given to the shop. Always holds: everything goes in by the same commands that clients give;
//! command ids come from the documents, so importing again adds nothing twice; a row that cannot
//! be read keeps no other row out. Not here: what a document may be; the domains own that.

mod documents;
mod rows;
mod run;

pub use documents::{Documents, Refused};
pub use rows::{BadRow, ReadError};
pub use run::{IN_FLIGHT, ImportError, Imported, run};
