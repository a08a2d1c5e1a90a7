//! Lists that may be too long for one row: rows of their own, with as many entries as fit.

use gesta::{
    ApplyError, ReadTypedRows as _,
    store::{ListRows, ReadRows, Rows},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{joined, keys::part_number};

/// Bytes of a part as JSON. The stores with the least take 190 KB.
const PART_BYTES_MAX: usize = 100 * 1_024;

/// Keeps a list under a key.
pub(crate) async fn put_parts<T: Serialize>(
    tx: &mut impl Rows,
    table: &str,
    key: &str,
    entries: &[T],
) -> Result<(), ApplyError> {
    for (number, part) in divided(entries)?.into_iter().enumerate() {
        tx.put_json(table, &joined(&[key, &part_number(number)]), &Value::Array(part)).await?;
    }
    Ok(())
}

/// Returns the list that is kept under a key.
pub(crate) async fn list_parts<T: DeserializeOwned + Send>(
    rows: &mut impl ReadRows,
    table: &str,
    key: &str,
) -> Result<Vec<T>, ApplyError> {
    let prefix = joined(&[key, ""]);
    let parts: Vec<(String, Vec<T>)> = rows.list(ListRows::of(table).prefix(&prefix)).await?;
    Ok(parts.into_iter().flat_map(|(_, part)| part).collect())
}

/// Deletes the list that is kept under a key.
pub(crate) async fn delete_parts(
    tx: &mut impl Rows,
    table: &str,
    key: &str,
) -> Result<(), ApplyError> {
    let prefix = joined(&[key, ""]);
    for row in tx.list_json(ListRows::of(table).prefix(&prefix)).await? {
        tx.delete(table, &row.key).await?;
    }
    Ok(())
}

fn divided<T: Serialize>(entries: &[T]) -> serde_json::Result<Vec<Vec<Value>>> {
    let (mut parts, mut part, mut bytes) = (Vec::new(), Vec::new(), 0);
    for entry in entries {
        let entry = serde_json::to_value(entry)?;
        // With a comma.
        let of_entry = entry.to_string().len() + 1;
        if bytes + of_entry > PART_BYTES_MAX && !part.is_empty() {
            parts.push(std::mem::take(&mut part));
            bytes = 0;
        }
        part.push(entry);
        bytes += of_entry;
    }
    if !part.is_empty() {
        parts.push(part);
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use gesta::store::{
        CreateReadModel, MemoryReadModels, ReadModelStore as _, Stage, conformance::block_on,
    };

    use super::*;

    #[test]
    fn a_long_list_is_kept_in_rows_that_fit_and_comes_back_in_order() {
        let store = MemoryReadModels::new();
        let create = CreateReadModel::new("lists", 1, Stage::Live);
        let entries: Vec<String> =
            (0..300).map(|nth| format!("{nth}{}", "x".repeat(999))).collect();
        block_on(async {
            let id = store.create_read_model(create).await.unwrap();
            let mut tx = store.begin(&id).await.unwrap();
            put_parts(&mut tx, "t", "a", &entries).await.unwrap();
            put_parts(&mut tx, "t", "ab", &["other"]).await.unwrap();
            let rows = tx.list_json(ListRows::of("t")).await.unwrap();
            assert!(rows.len() > 3);
            assert!(rows.iter().all(|row| row.value.to_string().len() <= PART_BYTES_MAX + 2));
            assert_eq!(list_parts::<String>(&mut tx, "t", "a").await.unwrap(), entries);
            delete_parts(&mut tx, "t", "a").await.unwrap();
            assert_eq!(list_parts::<String>(&mut tx, "t", "a").await.unwrap(), [""; 0]);
            assert_eq!(list_parts::<String>(&mut tx, "t", "ab").await.unwrap(), ["other"]);
        });
    }
}
