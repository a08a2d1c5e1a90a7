//! The event, aggregate and command of a credit note.

use std::convert::Infallible;

use gesta::prelude::*;
use jiff::Timestamp;

use crate::{
    checks,
    id::{CreditNoteId, CustomerId},
    money::Money,
    orders::Line,
};

/// Maximum number of lines of a credit note.
pub const LINES_MAX: usize = 5_000;

/// A credit note was issued.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "credit-note-issued")]
#[serde(rename_all = "camelCase")]
pub struct CreditNoteIssued {
    /// Id of the new credit note.
    pub credit_note_id: CreditNoteId,
    /// Customer; `None` for a guest.
    #[event(tag = "customer")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<CustomerId>,
    /// The customer's country.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// Returned products with quantities and unit prices.
    pub lines: Vec<Line>,
    /// Sum of the lines.
    pub total: Money,
    /// Business time of the change.
    pub occurred_at: Timestamp,
}

/// The events of a credit note.
#[derive(EventSet, Clone, Debug, PartialEq)]
pub enum CreditNoteEvent {
    /// The credit note was issued.
    Issued(CreditNoteIssued),
}

/// State of one credit note. Decisions only need to know that it exists.
#[derive(Debug, Default, Serialize)]
pub struct CreditNote {}

impl Aggregate for CreditNote {
    const CATEGORY: &'static str = "creditNote";
    type Id = CreditNoteId;
    type Event = CreditNoteEvent;

    fn evolve(&mut self, event: &CreditNoteEvent) {
        match event {
            // The stream's existence is the whole state: a credit note never changes.
            CreditNoteEvent::Issued(_) => {}
        }
    }
}

/// Issues a credit note.
#[derive(Command, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[command(name = "issue-credit-note", on = CreditNote, new, validate = IssueCreditNote::check)]
#[serde(rename_all = "camelCase")]
pub struct IssueCreditNote {
    /// Id of the new credit note.
    #[command(id)]
    pub credit_note_id: CreditNoteId,
    /// Customer; `None` for a guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<CustomerId>,
    /// The customer's country.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// Returned products with quantities and unit prices.
    pub lines: Vec<Line>,
    /// Business time of the change.
    #[command(edge)]
    pub occurred_at: Timestamp,
}

impl IssueCreditNote {
    fn check(&self) -> Result<(), InvalidField> {
        checks::count("lines", self.lines.len(), 1..=LINES_MAX)?;
        for (place, line) in self.lines.iter().enumerate() {
            // A price may be negative: the line then reduces the refund, such as a fee.
            checks::amount(&format!("lines[{place}].unitPrice"), line.unit_price)?;
        }
        checks::optional_text("country", self.country.as_deref())
    }
}

impl Decide for IssueCreditNote {
    type Rejection = Infallible;

    fn decide(&self, _: &CreditNote) -> Decision<Self> {
        Ok(CreditNoteIssued {
            credit_note_id: self.credit_note_id.clone(),
            customer_id: self.customer_id.clone(),
            country: self.country.clone(),
            total: self.lines.iter().map(Line::amount).sum(),
            lines: self.lines.clone(),
            occurred_at: self.occurred_at,
        }
        .into())
    }
}

#[cfg(test)]
mod tests {
    use gesta::testing::given;

    use super::*;
    use crate::{id::ProductId, quantity::Quantity};

    fn line(price: &str, quantity: u64) -> Line {
        Line {
            product_id: ProductId::new("mug").unwrap(),
            unit_price: price.parse().unwrap(),
            quantity: Quantity::new(quantity).unwrap(),
        }
    }

    fn issue(lines: Vec<Line>) -> IssueCreditNote {
        IssueCreditNote {
            credit_note_id: CreditNoteId::new("C536379").unwrap(),
            customer_id: None,
            country: Some("France".to_owned()),
            lines,
            occurred_at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_credit_note_gives_back_what_its_lines_say() {
        let lines = vec![line("2.55", 3), line("0.001", 1)];
        given::<CreditNote>([]).when(issue(lines.clone())).then(CreditNoteIssued {
            credit_note_id: CreditNoteId::new("C536379").unwrap(),
            customer_id: None,
            country: Some("France".to_owned()),
            lines,
            total: "7.651".parse().unwrap(),
            occurred_at: Timestamp::UNIX_EPOCH,
        });
    }

    #[test]
    fn a_credit_note_without_lines_is_invalid() {
        given::<CreditNote>([]).when(issue(vec![])).then_invalid("lines");
    }
}
