//! Arguments of the command line.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};
use gesta::Role;
use shop::{processes::ProcessDelays, users::Welcome};

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
    /// Name of this node for operators, such as the host's; by default the address. Nodes share
    /// their work if events and read models are in PostgreSQL
    #[arg(long, value_name = "NAME", env = "GESTA_NODE")]
    pub(crate) node: Option<String>,
    /// Parts that this node serves: `commands`, `queries`, `projections` (with process managers and
    /// reactors) or `all`
    #[arg(long, value_name = "ROLE", default_value_t = Role::All, env = "GESTA_ROLE")]
    pub(crate) role: Role,
}

impl ServeOptions {
    pub(crate) fn label(&self) -> String {
        self.node.clone().unwrap_or_else(|| self.listen.listen.to_string())
    }

    pub(crate) fn delays(&self) -> ProcessDelays {
        let welcome = Duration::from_secs(self.welcome_after);
        ProcessDelays { welcome, ..ProcessDelays::default() }
    }
}
