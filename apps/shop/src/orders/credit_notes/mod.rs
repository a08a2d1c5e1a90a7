//! Credit notes: money that goes back without an order, or for several at once.
//!
//! Always holds: a credit note never changes once it is issued.

mod issue;
mod queries;
mod read_model;

pub use issue::{CreditNote, CreditNoteEvent, CreditNoteIssued, IssueCreditNote, LINES_MAX};
pub use queries::{FindCreditNote, ListCreditNotes};
pub use read_model::{CreditNoteDetails, CreditNotes};
