//! Credit notes: refunds without an order, or for several orders.
//!
//! Invariant: an issued credit note never changes.

mod details;
mod issue;
mod queries;
mod read_model;
mod rows;

pub use details::CreditNoteDetails;
pub use issue::{CreditNote, CreditNoteEvent, CreditNoteIssued, IssueCreditNote, LINES_MAX};
pub use queries::{FindCreditNote, ListCreditNotes};
pub use read_model::CreditNotes;
