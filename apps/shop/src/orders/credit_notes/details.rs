//! A credit note, as queries return it.

use gesta_http::Schema;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    id::{CreditNoteId, CustomerId},
    money::Money,
    orders::Line,
};

/// A credit note, as returned by queries.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Schema)]
#[serde(rename_all = "camelCase")]
pub struct CreditNoteDetails {
    /// Id of the credit note.
    pub credit_note_id: CreditNoteId,
    /// Customer; absent for a guest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<CustomerId>,
    /// The customer's country.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// Returned products with quantities and unit prices.
    pub lines: Vec<Line>,
    /// Sum of the lines.
    pub total: Money,
    /// Time of issue.
    pub issued_at: Timestamp,
}
