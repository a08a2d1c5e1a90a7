//! The read model of credit notes.

use gesta::{Aggregate as _, Apply, ApplyError, Projection, Recorded, StreamName};
use gesta_http::Schema;
use jiff::Timestamp;
use serde::Serialize;

use super::{CreditNote, CreditNoteEvent, CreditNoteIssued};
use crate::{
    id::{CreditNoteId, CustomerId},
    money::Money,
    orders::Line,
    sql::{self, params},
};

const TABLES: &str = "
    create table credit_notes (
        credit_note_id text primary key,
        customer_id text,
        country text,
        lines text not null,
        total text not null,
        issued_at integer not null
    ) strict, without rowid;
    create index credit_notes_by_customer on credit_notes (customer_id, credit_note_id);
";

/// The projection that maintains the table of credit notes.
#[derive(Debug)]
pub struct CreditNotes;

impl Projection for CreditNotes {
    const NAME: &'static str = "credit-notes";
    type Event = CreditNoteEvent;
}

impl Apply<sql::Tx> for CreditNotes {
    async fn prepare(&self, tx: &mut sql::Tx) -> Result<(), ApplyError> {
        Ok(tx.create(TABLES).await?)
    }

    async fn apply(
        &self,
        tx: &mut sql::Tx,
        events: &[Recorded<CreditNoteEvent>],
    ) -> Result<(), ApplyError> {
        for event in events {
            match &event.event {
                CreditNoteEvent::Issued(issued) => insert(tx, issued).await?,
            }
        }
        Ok(())
    }

    async fn forget(&self, tx: &mut sql::Tx, stream: &StreamName) -> Result<(), ApplyError> {
        let Some(id) = sql::id_of(stream, CreditNote::CATEGORY) else { return Ok(()) };
        tx.execute("delete from credit_notes where credit_note_id = ?1", params![id]).await?;
        Ok(())
    }
}

async fn insert(tx: &mut sql::Tx, issued: &CreditNoteIssued) -> Result<(), ApplyError> {
    tx.execute(
        "insert into credit_notes values (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            issued.credit_note_id.as_str(),
            issued.customer_id.as_ref().map(CustomerId::as_str),
            issued.country.as_deref(),
            // Lines are only ever read with their credit note, so they need no table.
            serde_json::to_string(&issued.lines)?,
            issued.total.to_string(),
            sql::micros(issued.occurred_at),
        ],
    )
    .await?;
    Ok(())
}

/// A credit note, as returned by queries.
#[derive(Serialize, Clone, Debug, PartialEq, Schema)]
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
