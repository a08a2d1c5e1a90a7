//! The shop's binary: which store, which command, what is printed.
//!
//! Owns: the command line, and the composition of store and read models. Not here: whatever the
//! shop does; the library owns that.

mod log;
mod progress;
mod serve;
mod store;

use std::{
    fmt,
    fs::File,
    io::{self, Read, Write as _},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use gesta::{Gesta, Position};
use shop::{
    import::{self, Documents, Imported},
    orders::sales::{MakeReport, Report},
    processes::Waits,
    read_side,
    users::Welcome,
};

use crate::{progress::Progress, serve::Listen, store::StoreUrl};

/// The sample that ships with the shop. Its origin and licence are told beside it.
const SAMPLE: &[u8] = include_bytes!("../data/sample.csv");

/// How long read models may take to reach the end of the store.
const CATCH_UP_MAX: Duration = Duration::from_secs(3_600);

/// A small company on Gesta: users, a catalogue, orders and accounts.
#[derive(Parser, Debug)]
#[command(name = "shop", version)]
struct Arguments {
    /// Where the events are: `gesta:DIRECTORY`, or `memory:` for as long as the program runs.
    #[arg(long, global = true, value_name = "URL", default_value = "gesta:./shop-data")]
    store: StoreUrl,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Imports the sample that ships with the shop, prints the report, and serves the shop.
    Demo {
        #[command(flatten)]
        listen: Listen,
    },
    /// Serves the shop over HTTP until it is interrupted.
    Serve {
        #[command(flatten)]
        listen: Listen,
        /// Delay between the creation of a user and the welcome.
        #[arg(long, value_name = "SECONDS", default_value_t = Welcome::DELAY.as_secs())]
        welcome_after: u64,
    },
    /// Imports a table of invoice lines (CSV). Importing it again adds nothing twice.
    Import {
        /// The table.
        file: PathBuf,
    },
    /// Says what was sold.
    Report {
        /// For programs.
        #[arg(long)]
        json: bool,
    },
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let Arguments { store, verb } = Arguments::parse();
    log::start()?;
    match verb {
        Verb::Demo { listen } => demo(&store, &listen).await,
        Verb::Serve { listen, welcome_after } => {
            let counter = listen.open().await?;
            let welcome = Duration::from_secs(welcome_after);
            let waits = Waits { welcome, ..Waits::default() };
            counter.serve(store.open_for_business(waits).await?).await?;
            Ok(ExitCode::SUCCESS)
        }
        Verb::Import { file } => {
            let table = File::open(&file).with_context(|| file.display().to_string())?;
            let shop = store.open().await?;
            let outcome = import(&shop, table).await?;
            shop.close().await;
            Ok(outcome)
        }
        Verb::Report { json } => {
            let shop = store.open().await?;
            let report = report(&shop).await?;
            shop.close().await;
            let text =
                if json { serde_json::to_string_pretty(&report)? } else { report.to_string() };
            writeln!(io::stdout(), "{}", text.trim_end())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn demo(store: &StoreUrl, listen: &Listen) -> Result<ExitCode> {
    let counter = listen.open().await?;
    let shop = store.open_for_business(Waits::default()).await?;
    let outcome = import(&shop, SAMPLE).await?;
    writeln!(io::stdout(), "\n{}\nThe events are in {store}.", report(&shop).await?)?;
    counter.serve(shop).await?;
    Ok(outcome)
}

/// Imports a table, tells what came of it, and is done when every read model has seen it.
async fn import(shop: &Gesta, table: impl Read) -> Result<ExitCode> {
    let documents = Documents::read(table)?;
    let bad_rows = documents.bad_rows().to_vec();
    tell_problems(&bad_rows)?;
    let progress = Progress::over(documents.len());
    let imported = import::run(shop, documents, progress.step()).await;
    progress.end();
    let imported = imported?;
    caught_up(shop, imported.position).await?;
    tell(&imported)?;
    tell_problems(&imported.refused)?;
    let all_in = bad_rows.is_empty() && imported.refused.is_empty();
    Ok(if all_in { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn tell_problems(problems: &[impl fmt::Display]) -> io::Result<()> {
    let mut out = io::stderr().lock();
    problems.iter().try_for_each(|problem| writeln!(out, "{problem}"))
}

fn tell(imported: &Imported) -> io::Result<()> {
    let Imported { new, known, position, .. } = imported;
    writeln!(io::stdout(), "imported: {new} new, {known} known already; the store is at {position}")
}

/// What was sold, up to the last event of the store.
async fn report(shop: &Gesta) -> Result<Report> {
    let head = shop.store().head().await?.position;
    Ok(shop.ask(MakeReport).at_least_position(head).within(CATCH_UP_MAX).await?)
}

async fn caught_up(shop: &Gesta, position: Position) -> Result<()> {
    Ok(read_side::caught_up(shop, position, CATCH_UP_MAX).await?)
}
