//! Queries on credit notes.

use gesta::{Answer, Query, QueryError};

use super::{CreditNoteDetails, CreditNotes};
use crate::{
    id::{CreditNoteId, CustomerId},
    paging::{Page, PageSize},
    sql::{self, params},
};

/// Finds one credit note.
#[derive(Clone, Debug)]
pub struct FindCreditNote {
    /// Id of the credit note.
    pub credit_note_id: CreditNoteId,
}

impl Query for FindCreditNote {
    type Reads = CreditNotes;
    type Answer = Option<CreditNoteDetails>;
}

impl Answer<sql::Reader> for FindCreditNote {
    async fn answer(
        &self,
        rows: &mut sql::Reader,
    ) -> Result<Option<CreditNoteDetails>, QueryError> {
        let sql = "select credit_note_id, customer_id, country, lines, total, issued_at
                   from credit_notes where credit_note_id = ?1";
        Ok(rows.find(sql, [self.credit_note_id.as_str()], credit_note)?)
    }
}

/// Lists the credit notes of a customer by id.
#[derive(Clone, Debug)]
pub struct ListCreditNotes {
    /// Id of the customer.
    pub customer_id: CustomerId,
    /// Last id of the previous page.
    pub after: Option<CreditNoteId>,
    /// Maximum number of rows per page.
    pub size: PageSize,
}

impl Query for ListCreditNotes {
    type Reads = CreditNotes;
    type Answer = Page<CreditNoteDetails>;
}

impl Answer<sql::Reader> for ListCreditNotes {
    async fn answer(&self, rows: &mut sql::Reader) -> Result<Page<CreditNoteDetails>, QueryError> {
        let sql = "select credit_note_id, customer_id, country, lines, total, issued_at
                   from credit_notes where customer_id = ?1 and credit_note_id > ?2
                   order by credit_note_id limit ?3";
        let after = self.after.as_ref().map_or("", CreditNoteId::as_str);
        let values = params![self.customer_id.as_str(), after, self.size.fetch_limit()];
        let found = rows.query(sql, values, credit_note)?;
        Ok(Page::from_rows(found, self.size, |note| note.credit_note_id.to_string()))
    }
}

fn credit_note(row: &sql::Row<'_>) -> sql::Result<CreditNoteDetails> {
    Ok(CreditNoteDetails {
        credit_note_id: sql::parsed(row, 0)?,
        customer_id: sql::optional_parsed(row, 1)?,
        country: row.get(2)?,
        lines: sql::json(row, 3)?,
        total: sql::money(row, 4)?,
        issued_at: sql::time(row, 5)?,
    })
}
