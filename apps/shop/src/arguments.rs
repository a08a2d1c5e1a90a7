//! Arguments of the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use shop::users::Welcome;

use crate::{serve::ListenOptions, store::PlaceArguments};

/// A small company on Gesta: users, a catalogue, orders and accounts.
#[derive(Parser, Debug)]
#[command(name = "shop", version)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) places: PlaceArguments,
    /// File of settings: arguments with `--` may stand there, as `store = "…"`, and count if they
    /// are neither given nor in the environment; by default `shop.toml`, if there is one
    #[arg(long, global = true, value_name = "FILE", env = "GESTA_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Import the sample, print the sales report, and serve the shop
    Demo {
        #[command(flatten)]
        listen: ListenOptions,
    },
    /// Serve the shop over HTTP until interrupted
    Serve {
        #[command(flatten)]
        serve: ServeOptions,
    },
    /// Import a CSV file of invoice lines; importing it again changes nothing
    Import {
        /// CSV file with the columns InvoiceNo, StockCode, Description, Quantity, InvoiceDate,
        /// UnitPrice, CustomerID and Country
        file: PathBuf,
    },
    /// Print the settings in force and where each comes from, without passwords
    Config {
        #[command(flatten)]
        serve: ServeOptions,
    },
    /// Print the sales report
    Report {
        /// Print the report as JSON
        #[arg(long)]
        json: bool,
    },
}

/// Options of the verb that serves.
#[derive(Args, Debug)]
pub(crate) struct ServeOptions {
    #[command(flatten)]
    pub(crate) listen: ListenOptions,
    /// Delay between a user's creation and the welcome message, in seconds
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = Welcome::DELAY.as_secs(),
        env = "GESTA_WELCOME_AFTER"
    )]
    pub(crate) welcome_after: u64,
}
