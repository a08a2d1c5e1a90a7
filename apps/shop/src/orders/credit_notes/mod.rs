//! Credit notes: refunds without an order, or for several orders.
//!
//! Invariant: an issued credit note never changes.

mod issue;
mod queries;
mod read_model;

pub use issue::{CreditNote, CreditNoteEvent, CreditNoteIssued, IssueCreditNote, LINES_MAX};
pub use queries::{FindCreditNote, ListCreditNotes};
pub use read_model::{CreditNoteDetails, CreditNotes};
