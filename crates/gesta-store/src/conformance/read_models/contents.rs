//! Clauses about what a read model holds: rows, dead letters and properties.

use serde_json::json;

use super::{
    fixture::{PortableReadModels, ReadModelFixture},
    support::{Outcome, advance, behind, checkpoint, create, letter, put},
};
use crate::{
    Advance, DatabaseError, DeadLetterReason, ListRows, Position, ReadModelTx, ReadRows, Rows,
    Stage, VisitRows,
};

/// Number of rows of the clause about visitors: more than a store reads at once.
const VISITED: usize = 2_500;

/// Number of rows that one commit replaces: more than a server takes in one request.
const REPLACED: usize = 250;

/// Keeps the rows that it is handed.
struct KeepRows(Vec<(String, String)>);

impl VisitRows for KeepRows {
    fn visit(&mut self, table: &str, row: &str) {
        self.0.push((table.to_owned(), row.to_owned()));
    }
}

async fn keys(rows: &mut impl ReadRows, list: ListRows<'_>) -> Result<Vec<String>, DatabaseError> {
    Ok(rows.list_json(list).await?.into_iter().map(|row| row.key).collect())
}

pub(super) async fn a_transaction_reads_its_own_rows<S: PortableReadModels>(
    fixture: &ReadModelFixture<S>,
) -> Outcome {
    let store = (fixture.connect)();
    let id = create(&store, Stage::Live).await?;
    put(&store, &id, "1", "placed").await?;
    let mut tx = store.begin(&id).await?;
    tx.put_json("orders", "2", &"placed".into()).await?;
    tx.put_json("orders", "2", &"paid".into()).await?;
    tx.delete("orders", "1").await?;
    assert_eq!(tx.get_json("orders", "1").await?, None);
    assert_eq!(tx.get_json("orders", "2").await?, Some("paid".into()));
    let both = tx.get_many_json("orders", &["1", "2"]).await?;
    assert_eq!(both, [None, Some("paid".into())]);
    assert_eq!(keys(&mut tx, ListRows::of("orders")).await?, ["2"]);
    tx.rollback().await
}

pub(super) async fn a_commit_replaces_hundreds_of_rows<S: PortableReadModels>(
    fixture: &ReadModelFixture<S>,
) -> Outcome {
    let store = (fixture.connect)();
    let id = create(&store, Stage::Live).await?;
    let keys: Vec<String> = (0..REPLACED).map(|nth| format!("{nth:03}")).collect();
    for state in ["placed", "paid"] {
        let mut tx = store.begin(&id).await?;
        for key in &keys {
            tx.put_json("orders", key, &state.into()).await?;
        }
        tx.commit().await?;
    }
    let rows = store.reader(&id).await?.list_json(ListRows::of("orders")).await?;
    let paid = rows.iter().filter(|row| row.value == "paid").map(|row| &row.key);
    assert!(paid.eq(&keys), "each row once, as the last commit left it");
    Ok(())
}

pub(super) async fn rows_are_listed_in_order_by_prefix_and_page<S: PortableReadModels>(
    fixture: &ReadModelFixture<S>,
) -> Outcome {
    let store = (fixture.connect)();
    let id = create(&store, Stage::Live).await?;
    let mut tx = store.begin(&id).await?;
    for key in ["b-2", "a-1", "b-1", "b-3", "c-1", "é"] {
        tx.put_json("orders", key, &key.into()).await?;
    }
    tx.put_json("others", "b-9", &0.into()).await?;
    tx.delete("orders", "b-2").await?;
    tx.delete("orders", "never there").await?;
    tx.commit().await?;

    let mut reader = store.reader(&id).await?;
    let everything = keys(&mut reader, ListRows::of("orders")).await?;
    assert_eq!(everything, ["a-1", "b-1", "b-3", "c-1", "é"]);
    let prefix = ListRows::of("orders").prefix("b-");
    assert_eq!(keys(&mut reader, prefix.clone()).await?, ["b-1", "b-3"]);
    assert_eq!(keys(&mut reader, prefix.clone().limit(1)).await?, ["b-1"]);
    let page = prefix.clone().after("b-1").limit(1);
    assert_eq!(keys(&mut reader, page).await?, ["b-3"]);
    let before = prefix.clone().after("a");
    assert_eq!(keys(&mut reader, before).await?, ["b-1", "b-3"]);
    assert_eq!(keys(&mut reader, prefix.after("c")).await?, [""; 0]);
    assert_eq!(keys(&mut reader, ListRows::of("orders").limit(0)).await?, [""; 0]);
    assert_eq!(keys(&mut reader, ListRows::of("nothing")).await?, [""; 0]);
    let several = reader.get_many_json("orders", &["c-1", "b-2", "a-1", "c-1"]).await?;
    assert_eq!(several, [Some("c-1".into()), None, Some("a-1".into()), Some("c-1".into())]);
    assert_eq!(reader.get_many_json("orders", &[]).await?, []);
    Ok(())
}

pub(super) async fn values_come_back_as_they_were_given<S: PortableReadModels>(
    fixture: &ReadModelFixture<S>,
) -> Outcome {
    let store = (fixture.connect)();
    let id = create(&store, Stage::Live).await?;
    let values = [
        json!(null),
        json!([true, false, [], {}]),
        json!([0, i64::MIN, i64::MAX, u64::MAX]),
        json!([0.1, -2.5e-9, 1.797e300, 3.0]),
        json!({"": "", "é": "\u{0} \" \\ \n 日本語 🦀", "b": {"a": [{"c": null}]}}),
        json!("text ".repeat(20_000)),
    ];
    let mut tx = store.begin(&id).await?;
    for (nth, value) in values.iter().enumerate() {
        tx.put_json("values", &nth.to_string(), value).await?;
    }
    tx.commit().await?;
    let mut reader = store.reader(&id).await?;
    for (nth, value) in values.iter().enumerate() {
        let found = reader.get_json("values", &nth.to_string()).await?;
        assert_eq!(found.as_ref(), Some(value));
    }
    let listed = reader.list_json(ListRows::of("values")).await?;
    assert!(listed.iter().map(|row| &row.value).eq(&values));
    Ok(())
}

pub(super) async fn keys_come_back_as_they_were_given<S: PortableReadModels>(
    fixture: &ReadModelFixture<S>,
) -> Outcome {
    let store = (fixture.connect)();
    let id = create(&store, Stage::Live).await?;
    // In the order of their bytes, which is not that of a dictionary.
    let given = [
        "",
        " ",
        "\"",
        "%",
        "'",
        "-1",
        "A",
        "B",
        "\\",
        "_",
        "_1",
        "a",
        "a ",
        "a-1",
        "a1",
        "aa",
        "b",
        "É",
        "é",
        "日本語",
        "🦀",
    ];
    let mut tx = store.begin(&id).await?;
    for key in given.iter().rev() {
        tx.put_json("a \"table\" 'é'", key, &(*key).into()).await?;
    }
    tx.commit().await?;
    let mut reader = store.reader(&id).await?;
    for key in given {
        let found = reader.get_json("a \"table\" 'é'", key).await?;
        assert_eq!(found, Some(key.into()));
    }
    let all = ListRows::of("a \"table\" 'é'");
    assert_eq!(keys(&mut reader, all.clone()).await?, given);
    assert_eq!(keys(&mut reader, all.clone().prefix("_")).await?, ["_", "_1"]);
    assert_eq!(keys(&mut reader, all.clone().prefix("%")).await?, ["%"]);
    assert_eq!(keys(&mut reader, all.after("b")).await?, ["É", "é", "日本語", "🦀"]);
    Ok(())
}

pub(super) async fn a_dead_letter_survives_as_it_was<S: PortableReadModels>(
    fixture: &ReadModelFixture<S>,
) -> Outcome {
    let store = (fixture.connect)();
    let id = create(&store, Stage::Live).await?;
    let error = "no such customer: 'Ann', \"é\" \n".to_owned();
    let failed = letter(5, DeadLetterReason::Failed { error, attempts: 5 });
    let mut tx = store.begin(&id).await?;
    tx.put_dead_letter(behind(9)).await?;
    tx.put_dead_letter(behind(5)).await?;
    tx.put_dead_letter(failed.clone()).await?;
    tx.commit().await?;
    assert_eq!(store.dead_letters(&id).await?, [failed, behind(9)], "by position");

    let mut tx = store.begin(&id).await?;
    tx.delete_dead_letter(Position::new(5)).await?;
    tx.commit().await?;
    assert_eq!(store.dead_letters(&id).await?, [behind(9)]);
    Ok(())
}

pub(super) async fn only_the_first_of_two_deletions_of_a_dead_letter_reports_it<S>(
    fixture: &ReadModelFixture<S>,
) -> Outcome
where
    S: PortableReadModels,
{
    let (store, other) = ((fixture.connect)(), (fixture.connect)());
    let id = create(&store, Stage::Live).await?;
    let mut tx = store.begin(&id).await?;
    tx.put_dead_letter(behind(5)).await?;
    tx.commit().await?;
    for (store, is_there) in [(&store, true), (&other, false)] {
        let mut tx = store.begin(&id).await?;
        assert_eq!(tx.delete_dead_letter(Position::new(5)).await?, is_there);
        tx.commit().await?;
    }
    Ok(())
}

pub(super) async fn a_property_is_of_its_transaction<S: PortableReadModels>(
    fixture: &ReadModelFixture<S>,
) -> Outcome {
    let store = (fixture.connect)();
    let id = create(&store, Stage::Live).await?;
    let mut tx = store.begin(&id).await?;
    assert_eq!(tx.property("event-types").await?, None);
    tx.set_property("event-types", "a").await?;
    tx.set_property("event-types", "a, é").await?;
    assert_eq!(tx.property("event-types").await?.as_deref(), Some("a, é"));
    tx.commit().await?;
    let mut tx = store.begin(&id).await?;
    tx.set_property("event-types", "b").await?;
    tx.rollback().await?;
    let mut tx = store.begin(&id).await?;
    assert_eq!(tx.property("event-types").await?.as_deref(), Some("a, é"));
    assert_eq!(tx.property("other").await?, None);
    tx.rollback().await
}

pub(super) async fn read_models_keep_apart<S: PortableReadModels>(
    fixture: &ReadModelFixture<S>,
) -> Outcome {
    let store = (fixture.connect)();
    let live = create(&store, Stage::Live).await?;
    let rebuilding = create(&store, Stage::Rebuilding).await?;
    put(&store, &live, "1", "placed").await?;
    advance(&store, &live, Advance { from: None, to: checkpoint(7) }).await?;
    let mut tx = store.begin(&live).await?;
    tx.put_dead_letter(behind(5)).await?;
    tx.set_property("event-types", "a").await?;
    tx.commit().await?;

    let mut tx = store.begin(&rebuilding).await?;
    assert_eq!(tx.get_json("orders", "1").await?, None);
    assert_eq!(tx.checkpoint().await?, None);
    assert_eq!(tx.property("event-types").await?, None);
    assert!(!tx.delete_dead_letter(Position::new(5)).await?);
    tx.commit().await?;
    assert_eq!(store.dead_letters(&rebuilding).await?, []);
    assert_eq!(store.dead_letters(&live).await?, [behind(5)]);
    Ok(())
}

pub(super) async fn a_visitor_gets_each_row_once_or_is_refused<S: PortableReadModels>(
    fixture: &ReadModelFixture<S>,
) -> Outcome {
    let store = (fixture.connect)();
    let id = create(&store, Stage::Live).await?;
    let other = create(&store, Stage::Rebuilding).await?;
    put(&store, &other, "1", "of another read model").await?;
    let mut tx = store.begin(&id).await?;
    tx.put_dead_letter(behind(3)).await?;
    tx.set_property("colour", "blue").await?;
    tx.put_json("customers", "é", &json!({"b": "\" 🦀", "a": 0.1})).await?;
    let mut expected = vec![("customers".to_owned(), json!({"a": 0.1, "b": "\" 🦀"}))];
    for number in 0..VISITED {
        tx.put_json("orders", &number.to_string(), &number.into()).await?;
        expected.push(("orders".to_owned(), number.into()));
    }
    tx.commit().await?;

    let mut reader = store.reader(&id).await?;
    put(&store, &id, "1", "changed later").await?;
    let visited = match S::visit_rows(&mut reader, KeepRows(Vec::new())).await {
        Err(DatabaseError::Rejected { .. }) => return Ok(()),
        visited => visited?.0,
    };
    // Twice with one reader: the same rows, as the same texts.
    let mut again = S::visit_rows(&mut reader, KeepRows(Vec::new())).await?.0;
    let mut values = Vec::new();
    for (table, row) in &visited {
        let row: serde_json::Value = serde_json::from_str(row).expect("a row is JSON");
        values.push((table.clone(), row.get("value").cloned().unwrap_or_default()));
    }
    let in_order = |(table, value): &(String, serde_json::Value)| (table.clone(), value.as_u64());
    values.sort_by_key(in_order);
    assert_eq!(values, expected);
    let mut visited = visited;
    visited.sort();
    again.sort();
    assert_eq!(visited, again);
    Ok(())
}
