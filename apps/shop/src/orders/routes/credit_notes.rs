//! Routes of credit notes.

use gesta_http::{ApiRoute, RequestFields, Time};

use crate::{
    http::values::{AnyAmount, Id, List, Pieces, Text},
    id::{CreditNoteId, CustomerId, ProductId},
    orders::{
        Line,
        credit_notes::{FindCreditNote, IssueCreditNote, LINES_MAX, ListCreditNotes},
    },
    samples,
};

pub(super) fn routes() -> [ApiRoute; 3] {
    [
        ApiRoute::post("/v1/credit-notes", "Issues a credit note")
            .create(NewCreditNote::into_command),
        ApiRoute::get("/v1/credit-notes", "Lists credit notes, by id").list(
            "credit-notes",
            |search: CreditNoteSearch, (), page| ListCreditNotes {
                customer_id: search.customer.map(Into::into),
                page,
            },
        ),
        ApiRoute::get("/v1/credit-notes/{creditNoteId}", "Returns a credit note")
            .find("credit note", |Id(credit_note_id)| FindCreditNote { credit_note_id })
            .example("creditNoteId", samples::CREDIT_NOTE),
    ]
}

/// Search for credit notes.
#[derive(RequestFields)]
struct CreditNoteSearch {
    /// Customer of the credit note.
    customer: Option<Id<CustomerId>>,
}

/// The credit note to issue.
#[derive(RequestFields)]
#[request(command = IssueCreditNote)]
struct NewCreditNote {
    /// Id of the new credit note; generated if left out.
    #[request(new_id)]
    credit_note_id: Option<Id<CreditNoteId>>,
    /// Customer; absent for a guest.
    #[request(example = samples::USER)]
    customer_id: Option<Id<CustomerId>>,
    /// The customer's country.
    #[request(example = "United Kingdom")]
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
    #[request(example = samples::PRODUCT)]
    product_id: Id<ProductId>,
    /// Number of pieces.
    quantity: Pieces,
    /// Refund for a piece.
    unit_price: AnyAmount,
}
