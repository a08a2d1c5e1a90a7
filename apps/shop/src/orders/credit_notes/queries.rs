//! Queries on credit notes.

use gesta::{Answer, Query, QueryError};
use gesta_http::PageRequest;

use super::{CreditNotes, details::CreditNoteDetails, rows as note_rows};
use crate::{
    id::{CreditNoteId, CustomerId},
    paging::{Page, fetch_limit},
    read_models::Reader,
    sql::{self, params},
};

/// Finds one credit note.
#[derive(Query, Clone, Debug)]
#[query(reads = CreditNotes, answer = Option<CreditNoteDetails>)]
pub struct FindCreditNote {
    /// Id of the credit note.
    pub credit_note_id: CreditNoteId,
}

impl Answer<Reader> for FindCreditNote {
    async fn answer(&self, rows: &mut Reader) -> Result<Self::Answer, QueryError> {
        let sql = "select credit_note_id, customer_id, country, lines, total, issued_at
                   from credit_notes where credit_note_id = ?1";
        let id = self.credit_note_id.as_str();
        match rows {
            Reader::Sql(rows) => Ok(rows.find(sql, params![id], credit_note).await?),
            Reader::Rows(rows) => Ok(note_rows::find(rows, id).await?),
        }
    }
}

/// Lists the credit notes of a customer, or all, by id.
#[derive(Query, Clone, Debug)]
#[query(reads = CreditNotes, answer = Page<CreditNoteDetails>)]
pub struct ListCreditNotes {
    /// Id of the customer; `None` for all credit notes.
    pub customer_id: Option<CustomerId>,
    /// Page to return.
    pub page: PageRequest<CreditNoteId>,
}

impl Answer<Reader> for ListCreditNotes {
    async fn answer(&self, rows: &mut Reader) -> Result<Self::Answer, QueryError> {
        let after = self.page.after.as_ref().map_or("", CreditNoteId::as_str);
        let limit = fetch_limit(self.page.limit);
        let found = match (rows, &self.customer_id) {
            (Reader::Sql(rows), Some(customer)) => {
                let sql = "select credit_note_id, customer_id, country, lines, total, issued_at
                           from credit_notes where customer_id = ?1 and credit_note_id > ?2
                           order by credit_note_id limit ?3";
                rows.query(sql, params![customer.as_str(), after, limit], credit_note).await?
            }
            (Reader::Sql(rows), None) => {
                let sql = "select credit_note_id, customer_id, country, lines, total, issued_at
                           from credit_notes where credit_note_id > ?1
                           order by credit_note_id limit ?2";
                rows.query(sql, params![after, limit], credit_note).await?
            }
            (Reader::Rows(rows), Some(customer)) => {
                note_rows::list(rows, customer, after, limit).await?
            }
            (Reader::Rows(rows), None) => note_rows::list_all(rows, after, limit).await?,
        };
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
