//! The read model of credit notes.

use gesta::{Aggregate as _, Apply, ApplyError, Projection, Recorded, StreamName};

use super::{CreditNote, CreditNoteEvent, CreditNoteIssued, rows};
use crate::{
    id::CustomerId,
    read_models::{self, Tx},
    sql::{self, SqlTx, params},
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

impl Apply<Tx> for CreditNotes {
    async fn prepare(&self, tx: &mut Tx) -> Result<(), ApplyError> {
        match tx {
            Tx::Sql(tx) => Ok(tx.create(TABLES).await?),
            Tx::Rows(_) => Ok(()),
        }
    }

    async fn apply(
        &self,
        tx: &mut Tx,
        events: &[Recorded<CreditNoteEvent>],
    ) -> Result<(), ApplyError> {
        for event in events {
            match (&event.event, &mut *tx) {
                (CreditNoteEvent::Issued(issued), Tx::Sql(tx)) => insert(tx, issued).await?,
                (CreditNoteEvent::Issued(issued), Tx::Rows(tx)) => rows::put(tx, issued).await?,
            }
        }
        Ok(())
    }

    async fn forget(&self, tx: &mut Tx, stream: &StreamName) -> Result<(), ApplyError> {
        let Some(id) = read_models::id_of(stream, CreditNote::CATEGORY) else { return Ok(()) };
        match tx {
            Tx::Sql(tx) => {
                let sql = "delete from credit_notes where credit_note_id = ?1";
                Ok(tx.execute(sql, params![id]).await?)
            }
            Tx::Rows(tx) => rows::forget(tx, id).await,
        }
    }
}

async fn insert(tx: &mut SqlTx, issued: &CreditNoteIssued) -> Result<(), ApplyError> {
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
