//! Open shops for tests.

use std::path::Path;

use gesta::{Gesta, sqlite::Sqlite};
use jiff::Timestamp;
use shop::{money::Money, quantity::Quantity, read_models::ReadModels, read_side};

/// Opens a shop in memory.
pub(crate) async fn in_memory() -> Gesta {
    in_memory_with(Sqlite::temporary().await.unwrap()).await
}

/// Opens a shop in memory, with these read models.
pub(crate) async fn in_memory_with(read_models: impl Into<ReadModels>) -> Gesta {
    read_side::project_all(Gesta::at("memory:"), &read_models.into()).open().await.unwrap()
}

/// Opens the shop in a directory.
pub(crate) async fn in_directory(directory: &Path) -> Gesta {
    let events = Gesta::at(format!("gesta:{}", directory.display()));
    let read_models = Sqlite::open(directory.join("read-models")).await.unwrap().into();
    read_side::project_all(events, &read_models).open().await.unwrap()
}

pub(crate) fn money(text: &str) -> Money {
    text.parse().unwrap()
}

pub(crate) fn pieces(number: u64) -> Quantity {
    Quantity::new(number).unwrap()
}

pub(crate) fn noon(day: i8) -> Timestamp {
    format!("2011-01-{day:02}T12:00:00Z").parse().unwrap()
}
