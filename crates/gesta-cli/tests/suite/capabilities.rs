//! `gesta capabilities`, and the table of the guide.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::scene::{program, run};

const GUIDE: &str = include_str!("../../../../docs/guide/capabilities.md");

/// The cells of a Markdown table: columns by heading, and cells by the first one of their row.
fn columns(table: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut rows = table.lines().filter(|line| line.starts_with("| ")).map(|line| {
        line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>()
    });
    let headings = rows.next().expect("a table begins with its headings");
    let mut columns = BTreeMap::<_, BTreeMap<_, _>>::new();
    for row in rows.skip(1) {
        for (heading, cell) in headings.iter().zip(&row).skip(1) {
            columns.entry(heading.clone()).or_default().insert(row[0].clone(), cell.clone());
        }
    }
    columns
}

#[test]
fn the_guide_has_what_the_stores_of_this_build_declare() {
    let ended = run(program(&["capabilities"]));
    let printed = ended.stdout();
    let guide = columns(GUIDE);
    let declared = columns(printed);
    assert!(declared.len() >= 2, "{printed}");
    if cfg!(all(feature = "postgres", feature = "dynamodb", feature = "kurrentdb")) {
        assert!(guide.keys().eq(declared.keys()), "the guide has a store that declares nothing");
    }
    for (store, features) in declared {
        let written = guide.get(&store).unwrap_or_else(|| panic!("the guide has no {store}"));
        assert_eq!(*written, features, "docs/guide/capabilities.md, {store}");
    }
}

#[test]
fn a_program_reads_the_table_as_json() {
    let ended = run(program(&["capabilities", "--json"]));
    let rows: Vec<Value> =
        ended.stdout().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let tags = rows.iter().find(|row| row["feature"] == "tags").expect("a row for tags");
    assert_eq!(tags["stores"]["memory:"], json!(true));
    let by_id = rows.iter().find(|row| row["feature"] == "look-ups by event id").expect("a row");
    assert_eq!(by_id["stores"]["gesta:"], json!("with `index`"));
}
