//! The read model of credit notes as rows: one for a credit note, its lines in rows of their own,
//! and its id under its customer.

use gesta::{
    ApplyError, ReadTypedRows as _, TypedRows as _,
    store::{ReadRows as _, Rows as _},
};

use super::{CreditNoteIssued, details::CreditNoteDetails};
use crate::{
    id::CustomerId,
    rows::{RowsReader, RowsTx, delete_parts, joined, list_parts, page, put_parts, whole_micros},
};

/// Key: id of the credit note. The value has no lines.
const NOTES: &str = "credit-notes";
/// Key: id of the credit note, and the part of the list.
const LINES: &str = "credit-note-lines";
/// Key: id of the customer, and id of the credit note.
const BY_CUSTOMER: &str = "credit-notes-by-customer";

pub(super) async fn put(tx: &mut RowsTx, issued: &CreditNoteIssued) -> Result<(), ApplyError> {
    let id = issued.credit_note_id.as_str();
    let note = CreditNoteDetails {
        credit_note_id: issued.credit_note_id.clone(),
        customer_id: issued.customer_id.clone(),
        country: issued.country.clone(),
        lines: Vec::new(),
        total: issued.total,
        issued_at: whole_micros(issued.occurred_at),
    };
    tx.put(NOTES, id, &note).await?;
    put_parts(tx, LINES, id, &issued.lines).await?;
    match &issued.customer_id {
        Some(customer) => tx.put(BY_CUSTOMER, &joined(&[customer.as_str(), id]), &()).await,
        None => Ok(()),
    }
}

pub(super) async fn forget(tx: &mut RowsTx, id: &str) -> Result<(), ApplyError> {
    let known = tx.get::<CreditNoteDetails>(NOTES, id).await?;
    if let Some(customer) = known.and_then(|note| note.customer_id) {
        tx.delete(BY_CUSTOMER, &joined(&[customer.as_str(), id])).await?;
    }
    delete_parts(tx, LINES, id).await?;
    Ok(tx.delete(NOTES, id).await?)
}

pub(super) async fn find(
    rows: &mut RowsReader,
    id: &str,
) -> Result<Option<CreditNoteDetails>, ApplyError> {
    match rows.get(NOTES, id).await? {
        Some(note) => Ok(Some(with_lines(rows, note).await?)),
        None => Ok(None),
    }
}

/// Lists the credit notes of a customer after an id.
pub(super) async fn list(
    rows: &mut RowsReader,
    customer: &CustomerId,
    after: &str,
    limit: u32,
) -> Result<Vec<CreditNoteDetails>, ApplyError> {
    let prefix = joined(&[customer.as_str(), ""]);
    let after = joined(&[customer.as_str(), after]);
    let listed = rows.list_json(page(BY_CUSTOMER, &prefix, &after, limit)).await?;
    let ids: Vec<&str> = listed.iter().filter_map(|row| row.key.strip_prefix(&prefix)).collect();
    let mut notes = Vec::new();
    for note in rows.get_many(NOTES, &ids).await?.into_iter().flatten() {
        notes.push(with_lines(rows, note).await?);
    }
    Ok(notes)
}

/// Lists all credit notes after an id.
pub(super) async fn list_all(
    rows: &mut RowsReader,
    after: &str,
    limit: u32,
) -> Result<Vec<CreditNoteDetails>, ApplyError> {
    let listed: Vec<(_, CreditNoteDetails)> = rows.list(page(NOTES, "", after, limit)).await?;
    let mut notes = Vec::new();
    for (_, note) in listed {
        notes.push(with_lines(rows, note).await?);
    }
    Ok(notes)
}

async fn with_lines(
    rows: &mut RowsReader,
    note: CreditNoteDetails,
) -> Result<CreditNoteDetails, ApplyError> {
    let lines = list_parts(rows, LINES, note.credit_note_id.as_str()).await?;
    Ok(CreditNoteDetails { lines, ..note })
}
