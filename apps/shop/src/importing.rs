//! The import of a table and the report on sales, as verbs print them.
//!
//! Not here: the import itself, which is in the library.

use std::{
    fmt,
    io::{self, Read, Write as _},
    process::ExitCode,
    time::Duration,
};

use anyhow::Result;
use gesta::{Gesta, Position};
use shop::{
    import::{self, Documents, ImportSummary},
    orders::sales::{MakeReport, Report},
    read_side,
};

use crate::{progress::Progress, store::Places};

/// Sample that ships with the shop; `data/README.md` states its origin and licence.
const SAMPLE: &[u8] = include_bytes!("../data/sample.csv");

/// Maximum time for a read model to reach the end of the store.
const CATCH_UP_MAX: Duration = Duration::from_secs(3_600);

/// Imports the sample, and prints its report.
pub(crate) async fn import_sample(shop: &Gesta, places: &Places) -> Result<ExitCode> {
    let outcome = import(shop, SAMPLE).await?;
    writeln!(io::stdout(), "\n{}\nevent store: {}", report(shop).await?, places.store)?;
    Ok(outcome)
}

/// Imports a table and waits until every read model includes it.
///
/// Returns a failure if a row or document was not imported.
pub(crate) async fn import(shop: &Gesta, table: impl Read) -> Result<ExitCode> {
    // The whole table first: an order's rows may be anywhere in the file.
    let documents = Documents::read(table)?;
    let invalid_rows = documents.invalid_rows().to_vec();
    // Shown before the import starts, since that may take minutes.
    print_problems(&invalid_rows)?;
    let progress = Progress::over(documents.len());
    let imported = import::run(shop, documents, progress.step()).await;
    // Also after an error, which would otherwise be printed into the bar.
    progress.end();
    let imported = imported?;
    // The report that follows must include the import.
    caught_up(shop, imported.position).await?;
    print_summary(&imported)?;
    print_problems(&imported.rejected)?;
    let all_in = invalid_rows.is_empty() && imported.rejected.is_empty();
    Ok(if all_in { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print_problems(problems: &[impl fmt::Display]) -> io::Result<()> {
    let mut out = io::stderr().lock();
    problems.iter().try_for_each(|problem| writeln!(out, "{problem}"))
}

fn print_summary(imported: &ImportSummary) -> io::Result<()> {
    let ImportSummary { new, known, position, .. } = imported;
    writeln!(
        io::stdout(),
        "imported; commands executed: {new}, executed before: {known}; head of the store: \
         {position}"
    )
}

/// Returns the sales up to the last event of the store.
pub(crate) async fn report(shop: &Gesta) -> Result<Report> {
    // Read models follow the log with a delay; without the position the report could be too old.
    let head = shop.store().head().await?.position;
    Ok(shop.ask(MakeReport).at_least_position(head).within(CATCH_UP_MAX).await?)
}

async fn caught_up(shop: &Gesta, position: Position) -> Result<()> {
    Ok(read_side::caught_up(shop, position, CATCH_UP_MAX).await?)
}
