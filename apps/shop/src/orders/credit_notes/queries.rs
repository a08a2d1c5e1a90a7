//! Queries on credit notes.

use gesta::{Answer, Query, QueryError};
use gesta_http::PageRequest;

use super::{CreditNoteDetails, CreditNotes};
use crate::{
    id::{CreditNoteId, CustomerId},
    paging::{Page, fetch_limit},
    sql::{self, params},
};

/// Finds one credit note.
#[derive(Query, Clone, Debug)]
#[query(reads = CreditNotes, answer = Option<CreditNoteDetails>)]
pub struct FindCreditNote {
    /// Id of the credit note.
    pub credit_note_id: CreditNoteId,
}

impl Answer<sql::Reader> for FindCreditNote {
    async fn answer(&self, rows: &mut sql::Reader) -> Result<Self::Answer, QueryError> {
        let sql = "select credit_note_id, customer_id, country, lines, total, issued_at
                   from credit_notes where credit_note_id = ?1";
        Ok(rows.find(sql, params![self.credit_note_id.as_str()], credit_note).await?)
    }
}

/// Lists the credit notes of a customer by id.
#[derive(Query, Clone, Debug)]
#[query(reads = CreditNotes, answer = Page<CreditNoteDetails>)]
pub struct ListCreditNotes {
    /// Id of the customer.
    pub customer_id: CustomerId,
    /// Page to return.
    pub page: PageRequest<CreditNoteId>,
}

impl Answer<sql::Reader> for ListCreditNotes {
    async fn answer(&self, rows: &mut sql::Reader) -> Result<Self::Answer, QueryError> {
        let sql = "select credit_note_id, customer_id, country, lines, total, issued_at
                   from credit_notes where customer_id = ?1 and credit_note_id > ?2
                   order by credit_note_id limit ?3";
        let after = self.page.after.as_ref().map_or("", CreditNoteId::as_str);
        let values = params![self.customer_id.as_str(), after, fetch_limit(self.page.limit)];
        let found = rows.query(sql, values, credit_note).await?;
        Ok(Page::from_rows(found, self.page.limit, |note| note.credit_note_id.to_string()))
    }
}

fn credit_note(row: &dyn sql::Row) -> sql::Result<CreditNoteDetails> {
    Ok(CreditNoteDetails {
        credit_note_id: sql::parsed(row, 0)?,
        customer_id: sql::optional_parsed(row, 1)?,
        country: row.optional(2)?,
        lines: sql::json(row, 3)?,
        total: sql::money(row, 4)?,
        issued_at: sql::time(row, 5)?,
    })
}
