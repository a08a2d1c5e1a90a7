//! Routes of credit notes.

use gesta_http::{ApiRoute, RequestFields, Time};

use crate::{
    http::values::{AnyAmount, Id, List, Pieces, Text},
    id::{CreditNoteId, CustomerId, ProductId},
    orders::{
        Line,
        credit_notes::{FindCreditNote, IssueCreditNote, LINES_MAX},
    },
};

pub(super) fn routes() -> [ApiRoute; 2] {
    [
        ApiRoute::post("/v1/credit-notes", "Issues a credit note")
            .create(NewCreditNote::into_command),
        ApiRoute::get("/v1/credit-notes/{creditNoteId}", "Returns a credit note")
            .find("credit note", |Id(credit_note_id)| FindCreditNote { credit_note_id }),
    ]
}

/// The credit note to issue.
#[derive(RequestFields)]
#[request(command = IssueCreditNote)]
struct NewCreditNote {
    /// Id of the new credit note; generated if left out.
    #[request(new_id)]
    credit_note_id: Option<Id<CreditNoteId>>,
    /// Customer; absent for a guest.
    customer_id: Option<Id<CustomerId>>,
    /// The customer's country.
    country: Option<Text>,
    /// Returned products with quantities and unit prices.
    lines: List<NewLine, 1, LINES_MAX>,
    /// Business time; defaults to the current time.
    #[request(now)]
    occurred_at: Option<Time>,
}

/// A number of returned pieces of one product.
#[derive(RequestFields)]
#[request(into = Line)]
struct NewLine {
    /// Code of the product.
    product_id: Id<ProductId>,
    /// Number of pieces.
    quantity: Pieces,
    /// Refund for a piece.
    unit_price: AnyAmount,
}
