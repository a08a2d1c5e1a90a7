//! The table of a disturbed import: the shop's sample, or the data set next to the repository, with
//! further adjustments of one product.
//!
//! Without them no stream has as many events as the shop lets pass between two stored states, and
//! no state would be stored. Invariant: the report on the table is the known one with these
//! adjustments.

use std::{fs, io::Write as _, path::Path};

use anyhow::{Context as _, Result};
use gesta_services::e2e::is_full;
use serde_json::Value;
use tempfile::NamedTempFile;

use crate::import::{data, expected_report};

const SAMPLE: &str = "data/sample.csv";
const SAMPLE_REPORT: &str = "data/sample-report.json";

/// Number of added adjustments. A state is stored at each tenth event of a stream.
const ADJUSTMENTS: usize = 30;
/// Beginning of the numbers of the added documents.
const ADJUSTED: &str = "adjusted-";

/// A table with its report. The file is removed with it.
pub(super) struct Table {
    file: NamedTempFile,
    report: Value,
}

impl Table {
    /// Writes the table of the short or of the full form.
    pub(super) fn of_this_form() -> Result<Self> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let (table, mut report) = if is_full() {
            (data()?, expected_report()?)
        } else {
            let report = fs::read(here.join(SAMPLE_REPORT))?;
            (here.join(SAMPLE), serde_json::from_slice(&report)?)
        };
        let adjusted =
            report.get_mut("stock_adjustments").context("a report counts adjustments")?;
        *adjusted = (adjusted.as_u64().context("a number")? + ADJUSTMENTS as u64).into();
        Ok(Self { file: write_adjusted(&table)?, report })
    }

    /// Writes a table with the first document of each kind: an order, a credit note and an
    /// adjustment.
    #[cfg(feature = "mongodb")]
    pub(super) fn first_documents(&self) -> Result<NamedTempFile> {
        let text = fs::read_to_string(self.path())?;
        let (header, rows) = text.split_once('\n').context("a table has a header")?;
        let first = |is_wanted: fn(&str) -> bool| {
            rows.lines().map(number_of).find(|number| is_wanted(number))
        };
        let credit_note = first(|number| number.starts_with('C'));
        let adjustment = first(|number| number.starts_with(ADJUSTED));
        let wanted = [first(|_| true), credit_note, adjustment];
        anyhow::ensure!(
            wanted.iter().all(Option::is_some),
            "the table has no document of each kind"
        );
        let mut file = NamedTempFile::new()?;
        writeln!(file, "{header}")?;
        for row in rows.lines().filter(|row| wanted.contains(&Some(number_of(row)))) {
            writeln!(file, "{row}")?;
        }
        Ok(file)
    }

    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    /// The report on the table.
    pub(super) const fn report(&self) -> &Value {
        &self.report
    }

    /// Number of events that the import records: three of an order, one of any other document and
    /// of a product.
    pub(super) fn events(&self) -> Result<u64> {
        let count =
            |key: &str| self.report.get(key).and_then(Value::as_u64).context("a report counts");
        Ok(3 * count("orders")?
            + count("credit_notes")?
            + count("stock_adjustments")?
            + count("products")?)
    }
}

/// The number of the document that a row belongs to.
#[cfg(feature = "mongodb")]
fn number_of(row: &str) -> &str {
    row.split(',').next().unwrap_or_default()
}

/// Copies a table, and spreads adjustments of its first product over the rows.
fn write_adjusted(table: &Path) -> Result<NamedTempFile> {
    let text = fs::read_to_string(table).with_context(|| table.display().to_string())?;
    let (header, rows) = text.split_once('\n').context("a table has a header")?;
    let rows: Vec<&str> = rows.lines().collect();
    let product = rows.first().and_then(|row| row.split(',').nth(1)).context("a row has a code")?;
    let mut file = NamedTempFile::new()?;
    writeln!(file, "{header}")?;
    for (number, some) in rows.chunks(rows.len() / ADJUSTMENTS).enumerate() {
        writeln!(file, "{}", some.join("\n"))?;
        if number < ADJUSTMENTS {
            writeln!(file, "{ADJUSTED}{number},{product},,-1,2011-12-09T12:00:00Z,0,,France")?;
        }
    }
    Ok(file)
}
