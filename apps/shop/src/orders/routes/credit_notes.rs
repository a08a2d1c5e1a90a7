//! Credit notes over HTTP.

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
        get("/v1/credit-notes/{creditNoteId}", find_credit_note, "Tells about a credit note"),
    ]
}

request! {
    /// A credit note to be.
    struct NewCreditNote {
        /// Under which id; a new one, if it is left out.
        credit_note_id: Option<Id<CreditNoteId>>,
        /// Who gets the money; nobody for a guest.
        customer_id: Option<Id<CustomerId>>,
        /// The customer's country.
        country: Option<Text>,
        /// What came back.
        lines: List<NewLine, 1, LINES_MAX>,
        /// When it was issued, if not now.
        occurred_at: Option<Time>,
    }
}

request! {
    /// So many pieces of a product that came back.
    struct NewLine {
        /// Which one.
        product_id: Id<ProductId>,
        /// How many.
        quantity: Pieces,
        /// What goes back for a piece.
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
    /// Which credit note.
    struct CreditNotePath {
        /// The credit note's id.
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
    /// A credit note.
    CreditNoteDetails {
        /// The credit note's id.
        credit_note_id: CreditNoteId,
        /// Who got the money; nobody for a guest.
        customer_id: Option<CustomerId>,
        /// The customer's country.
        country: Option<String>,
        /// What came back, at which prices.
        lines: Vec<Line>,
        /// What went back for it.
        total: Money,
        /// When.
        issued_at: Timestamp,
    }
}
