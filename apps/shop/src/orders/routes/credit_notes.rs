//! Routes of credit notes.

use gesta_http::{
    Commands, Created, JsonBody, PathOf, Problem, Queries, Resource, Route, get, post, request,
    response,
};
use jiff::Timestamp;

use crate::{
    http::{
        occurred_at,
        values::{AnyAmount, Id, List, Pieces, Text, Time},
    },
    id::{CreditNoteId, CustomerId, ProductId},
    money::Money,
    orders::{
        Line,
        credit_notes::{CreditNoteDetails, FindCreditNote, IssueCreditNote, LINES_MAX},
    },
};

pub(super) fn routes() -> [Route; 2] {
    [
        post("/v1/credit-notes", issue_credit_note, "Issues a credit note"),
        get("/v1/credit-notes/{creditNoteId}", find_credit_note, "Returns a credit note"),
    ]
}

request! {
    /// The credit note to issue.
    struct NewCreditNote {
        /// Id of the new credit note; generated if left out.
        credit_note_id: Option<Id<CreditNoteId>>,
        /// Customer; absent for a guest.
        customer_id: Option<Id<CustomerId>>,
        /// The customer's country.
        country: Option<Text>,
        /// Returned products with quantities and unit prices.
        lines: List<NewLine, 1, LINES_MAX>,
        /// Business time; defaults to the current time.
        occurred_at: Option<Time>,
    }
}

request! {
    /// A number of returned pieces of one product.
    struct NewLine {
        /// Code of the product.
        product_id: Id<ProductId>,
        /// Number of pieces.
        quantity: Pieces,
        /// Refund for a piece.
        unit_price: AnyAmount,
    }
}

async fn issue_credit_note(
    commands: Commands,
    JsonBody(note): JsonBody<NewCreditNote>,
) -> Result<Created, Problem> {
    let credit_note_id = note.credit_note_id.map_or_else(|| commands.new_id().into(), |id| id.0);
    let line = |line: NewLine| Line {
        product_id: line.product_id.0,
        unit_price: line.unit_price.0,
        quantity: line.quantity.0,
    };
    let issue = IssueCreditNote {
        credit_note_id: credit_note_id.clone(),
        customer_id: note.customer_id.map(|id| id.0),
        country: note.country.map(|country| country.0),
        lines: note.lines.0.into_iter().map(line).collect(),
        occurred_at: occurred_at(note.occurred_at, commands.now()),
    };
    commands.create(issue, credit_note_id, "/v1/credit-notes").await
}

request! {
    /// Path of a credit note.
    struct CreditNotePath {
        /// Id of the credit note.
        credit_note_id: Id<CreditNoteId>,
    }
}

async fn find_credit_note(
    queries: Queries,
    path: PathOf<CreditNotePath>,
) -> Result<Resource<CreditNoteDetails>, Problem> {
    let find = FindCreditNote { credit_note_id: path.credit_note_id.0.clone() };
    queries.ask(find).await?.found("credit note")
}

response! {
    /// A credit note, as returned by queries.
    CreditNoteDetails {
        /// Id of the credit note.
        credit_note_id: CreditNoteId,
        /// Customer; absent for a guest.
        customer_id: Option<CustomerId>,
        /// The customer's country.
        country: Option<String>,
        /// Returned products with quantities and unit prices.
        lines: Vec<Line>,
        /// Sum of the lines.
        total: Money,
        /// Time of issue.
        issued_at: Timestamp,
    }
}
