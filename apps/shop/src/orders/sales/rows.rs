//! The read model of sales as rows: one for each sum, and one for an order.

use gesta::{
    ApplyError, ReadTypedRows as _, TypedRows as _,
    store::{ListRows, ReadRows},
};
use serde::{Deserialize, Serialize};

use super::{
    sold::SoldOrder,
    sums::{SumChanges, Sums},
};
use crate::{
    id::OrderId,
    rows::{RowsReader, RowsTx, joined, short, whole_micros},
};

/// Key: kind of the scope, and its key.
const SUMS: &str = "sums";
/// Key: id of the order.
const SOLD: &str = "sold";

#[derive(Serialize, Deserialize)]
struct SumRow {
    /// The whole text, which may be too long for a key.
    key: String,
    sums: Sums,
}

fn row_key(scope: &str, key: &str) -> String {
    joined(&[scope, &short(key)])
}

/// Adds the changes to the stored sums, which are read together.
pub(super) async fn write(tx: &mut RowsTx, changes: &SumChanges) -> Result<(), ApplyError> {
    let keys = changes.iter().map(|(scope, _)| {
        let (scope, key) = scope.parts();
        row_key(scope, key)
    });
    let keys: Vec<String> = keys.collect();
    let of_rows: Vec<&str> = keys.iter().map(String::as_str).collect();
    let stored = tx.get_many::<SumRow>(SUMS, &of_rows).await?;
    for (((scope, change), row), stored) in changes.iter().zip(&of_rows).zip(stored) {
        let mut sums = stored.map(|row| row.sums).unwrap_or_default();
        sums.add(change);
        sums.first_at = sums.first_at.map(whole_micros);
        sums.last_at = sums.last_at.map(whole_micros);
        let key = scope.parts().1.to_owned();
        tx.put(SUMS, row, &SumRow { key, sums }).await?;
    }
    Ok(())
}

pub(super) async fn put(
    tx: &mut RowsTx,
    order: &OrderId,
    sold: &SoldOrder,
) -> Result<(), ApplyError> {
    tx.put(SOLD, order.as_str(), sold).await
}

pub(super) async fn find(
    rows: &mut impl ReadRows,
    order: &OrderId,
) -> Result<Option<SoldOrder>, ApplyError> {
    rows.get(SOLD, order.as_str()).await
}

/// Reads the sums of one key of a scope.
pub(super) async fn sums_of(
    rows: &mut RowsReader,
    scope: &str,
    key: &str,
) -> Result<Option<Sums>, ApplyError> {
    Ok(rows.get::<SumRow>(SUMS, &row_key(scope, key)).await?.map(|row| row.sums))
}

/// Reads all sums of a scope, by key.
pub(super) async fn all_sums(
    rows: &mut RowsReader,
    scope: &str,
) -> Result<Vec<(String, Sums)>, ApplyError> {
    let prefix = joined(&[scope, ""]);
    let listed: Vec<(_, SumRow)> = rows.list(ListRows::of(SUMS).prefix(&prefix)).await?;
    let mut found: Vec<_> = listed.into_iter().map(|(_, row)| (row.key, row.sums)).collect();
    // Long texts are not in the order of their rows.
    found.sort_by(|(key, _), (other, _)| key.cmp(other));
    Ok(found)
}
