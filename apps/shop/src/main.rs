//! The shop's binary: command line and output.
//!
//! Owns: the verbs and what they print. Not here: the application itself, which is the library.

mod arguments;
mod log;
mod masking;
mod progress;
mod serve;
mod settings;
mod store;

use std::{
    fmt,
    fs::File,
    io::{self, Read, Write as _},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, Result};
use clap::{CommandFactory as _, error::ErrorKind};
use gesta::{Gesta, Position, Role};
use shop::{
    import::{self, Documents, ImportSummary},
    orders::sales::{MakeReport, Report},
    processes::ProcessDelays,
    read_side,
};

use crate::{
    arguments::{Arguments, Command, ServeOptions},
    progress::Progress,
    serve::ListenOptions,
    settings::Settings,
    store::{Node, Places},
};

/// Sample that ships with the shop; `data/README.md` states its origin and licence.
const SAMPLE: &[u8] = include_bytes!("../data/sample.csv");

/// Maximum time for a read model to reach the end of the store.
const CATCH_UP_MAX: Duration = Duration::from_secs(3_600);

#[tokio::main]
async fn main() -> ExitCode {
    run().await.unwrap_or_else(|error| {
        // Paths and arguments in it may be URLs that stand in the wrong place.
        let text = masking::masked(&format!("Error: {error:?}"));
        drop(writeln!(io::stderr(), "{text}"));
        ExitCode::FAILURE
    })
}

async fn run() -> Result<ExitCode> {
    let settings = Settings::read()?;
    let store = settings.arguments.places.places().unwrap_or_else(|invalid| {
        masking::exit(&Arguments::command().error(ErrorKind::ValueValidation, invalid))
    });
    log::start()?;
    match &settings.arguments.command {
        Command::Demo { listen } => demo(&store, listen).await,
        Command::Serve { serve } => {
            // Bind first: with the port taken, the store need not be opened at all.
            let server = serve.listen.bind().await?;
            let node = Node { label: &serve.label(), role: serve.role };
            server.serve(store.open_with_processes(&node, serve.delays()).await?).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Config { serve } => {
            print_config(&settings, &store, serve)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Import { file } => {
            let table =
                File::open(file).with_context(|| format!("cannot open {}", file.display()))?;
            // Without process managers: imported orders have no payment account, so fulfilment
            // would ignore them anyway.
            let shop = store.open("import").await?;
            let outcome = import(&shop.gesta, table).await?;
            shop.close().await;
            Ok(outcome)
        }
        Command::Report { json } => {
            // Nothing is decided for a report, so the process managers stay off here too.
            let shop = store.open_existing("report").await?;
            let report = report(&shop.gesta).await?;
            shop.close().await;
            let text =
                if *json { serde_json::to_string_pretty(&report)? } else { report.to_string() };
            writeln!(io::stdout(), "{}", text.trim_end())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Prints the settings in force, with their origins.
fn print_config(settings: &Settings, places: &Places, serve: &ServeOptions) -> io::Result<()> {
    let local = places.local.as_ref();
    let rows = [
        ("store", places.store.to_string()),
        ("read-models", places.read_models.to_string()),
        ("local", local.map_or("none".to_owned(), |local| local.display().to_string())),
        ("listen", serve.listen.listen.to_string()),
        ("allow-remote", serve.listen.allow_remote.to_string()),
        ("allow-origin", serve.listen.allow_origin_text()),
        ("welcome-after", serve.welcome_after.to_string()),
        ("node", serve.label()),
        ("role", serve.role.to_string()),
    ];
    let mut out = io::stdout().lock();
    rows.iter().try_for_each(|(name, value)| {
        let origin = settings.origin(name);
        writeln!(out, "{}", masking::masked(&format!("{name:<15}{value}  ({origin})")))
    })
}

async fn demo(store: &Places, listen: &ListenOptions) -> Result<ExitCode> {
    let server = listen.bind().await?;
    let node = Node { label: "demo", role: Role::All };
    let shop = store.open_with_processes(&node, ProcessDelays::default()).await?;
    let outcome = import(&shop.gesta, SAMPLE).await?;
    writeln!(io::stdout(), "\n{}\nevent store: {}", report(&shop.gesta).await?, store.store)?;
    server.serve(shop).await?;
    Ok(outcome)
}

/// Imports a table and waits until every read model includes it.
///
/// Returns a failure if a row or document was not imported.
async fn import(shop: &Gesta, table: impl Read) -> Result<ExitCode> {
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
async fn report(shop: &Gesta) -> Result<Report> {
    // Read models follow the log with a delay; without the position the report could be too old.
    let head = shop.store().head().await?.position;
    Ok(shop.ask(MakeReport).at_least_position(head).within(CATCH_UP_MAX).await?)
}

async fn caught_up(shop: &Gesta, position: Position) -> Result<()> {
    Ok(read_side::caught_up(shop, position, CATCH_UP_MAX).await?)
}
