//! `gesta capabilities`: the optional features of each kind of store.
//!
//! Prints what the stores declare. Opens none.

use anyhow::Result;
use clap::Args;
use gesta_log::LogStore;
use gesta_store::{Capability, CapabilitySet, memory::MemoryStore};
use serde_json::{Map, Value, json};

use crate::{
    exit::Outcome,
    output::{Output, Style},
};

const HINT: &str = "\
Examples:
  gesta capabilities
  gesta capabilities --json";

/// Show the optional features of each kind of store
///
/// A store refuses what it does not have, and names the missing feature. The table is Markdown.
#[derive(Args, Debug)]
#[command(after_help = HINT)]
pub(crate) struct Capabilities {}

/// The features that stores of a kind declare.
struct Kind {
    scheme: &'static str,
    /// The features of every store of the kind.
    always: CapabilitySet,
    /// The features of a store that has what `needs` names.
    at_most: CapabilitySet,
    needs: &'static str,
}

impl Kind {
    const fn with_all(scheme: &'static str, all: CapabilitySet) -> Self {
        Self { scheme, always: all, at_most: all, needs: "" }
    }

    const fn cell(&self, capability: Capability) -> &'static str {
        match (self.always.contains(capability), self.at_most.contains(capability)) {
            (true, _) => "yes",
            (false, true) => self.needs,
            (false, false) => "–",
        }
    }
}

/// The stores of this build.
const KINDS: &[Kind] = &[
    Kind::with_all("memory:", MemoryStore::CAPABILITIES),
    Kind {
        scheme: "gesta:",
        always: LogStore::CAPABILITIES,
        at_most: LogStore::CAPABILITIES_AT_MOST,
        needs: "with `index`",
    },
    #[cfg(feature = "postgres")]
    Kind::with_all("postgres:", gesta_postgres::PostgresStore::CAPABILITIES),
    #[cfg(feature = "dynamodb")]
    Kind::with_all("dynamodb:", gesta_dynamodb::DynamoStore::CAPABILITIES),
    #[cfg(feature = "kurrentdb")]
    Kind {
        scheme: "kurrentdb:",
        always: gesta_kurrentdb::KurrentStore::CAPABILITIES,
        at_most: gesta_kurrentdb::KurrentStore::CAPABILITIES_AT_MOST,
        needs: "`gesta serve`",
    },
];

impl Capabilities {
    pub(crate) fn run(self, output: &mut Output) -> Result<Outcome> {
        if output.style() == Style::Text {
            let schemes = KINDS.iter().map(|kind| format!("`{}`", kind.scheme));
            output.line(row("feature".to_owned(), schemes))?;
            output.line(row("---".to_owned(), KINDS.iter().map(|_| "---".to_owned())))?;
        }
        for capability in Capability::ALL {
            let cells = KINDS.iter().map(|kind| kind.cell(*capability));
            match output.style() {
                Style::Text => {
                    output.line(row(capability.to_string(), cells.map(str::to_owned)))?;
                }
                Style::Json => output.line(object(*capability, cells))?,
            }
        }
        Ok(Outcome::Done)
    }
}

fn row(first: String, cells: impl Iterator<Item = String>) -> String {
    let cells = std::iter::once(first).chain(cells).collect::<Vec<_>>();
    format!("| {} |", cells.join(" | "))
}

fn object(capability: Capability, cells: impl Iterator<Item = &'static str>) -> Value {
    let stores = KINDS.iter().zip(cells).map(|(kind, cell)| {
        let value = match cell {
            "yes" => json!(true),
            "–" => json!(false),
            needs => json!(needs),
        };
        (kind.scheme.to_owned(), value)
    });
    json!({ "feature": capability.words(), "stores": stores.collect::<Map<_, _>>() })
}
