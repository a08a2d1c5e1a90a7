//! Arguments of the command line.

use std::{path::PathBuf, time::Duration};

use clap::{Args, CommandFactory as _, Parser, Subcommand, error::ErrorKind};
use gesta::Role;
use shop::{processes::ProcessDelays, users::Welcome};

use crate::{
    engines::{self, Place, Purpose},
    masking,
    serve::ListenOptions,
    store::{InvalidPlace, PlaceArguments, Places},
    telemetry::TelemetryOptions,
    tenant_urls::of_tenant,
};

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
    #[command(flatten)]
    pub(crate) telemetry: TelemetryOptions,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Import the sample, print the sales report, and serve the shop
    Demo {
        #[command(flatten)]
        demo: DemoOptions,
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
        #[command(flatten)]
        relay: RelayOption,
    },
    /// Print a new API key, and the line for the file of keys that an access file names
    ApiKey {
        /// Name that events will have as their actor; a customer's is the customer's id
        actor: String,
        /// Roles: customer, clerk, auditor or operator
        #[arg(required = true, value_parser = shop::access::ROLES)]
        roles: Vec<String>,
    },
    /// Print the balances of all accounts, as JSON lines, from Kafka alone: the event store is not
    /// opened. They are kept where `--read-models` says, by default in `sqlite:./shop-balances`
    Balances {
        /// Go on, and print each balance that changes, until interrupted
        #[arg(long)]
        follow: bool,
        #[arg(
            long,
            value_name = "URL",
            env = "GESTA_SOURCE",
            help = format!(
                "Relay of a shop that runs with `--relay`: {}",
                engines::forms(Purpose::Relay)
            )
        )]
        source: String,
    },
    /// Print the sales report
    Report {
        /// Print the report as JSON
        #[arg(long)]
        json: bool,
    },
}

/// Places of `demo --everything` that are not given: the ports that `compose.yaml` publishes.
pub(crate) const EVERYTHING: [(&str, &str); 5] = [
    ("store", "postgres://postgres@127.0.0.1:15418/postgres?schema=shop"),
    ("cache", "redis://127.0.0.1:15379?prefix=shop"),
    ("snapshots", "redis://127.0.0.1:15379?prefix=shop"),
    ("search", "opensearch://127.0.0.1:15920/shop"),
    ("relay", "kafka://127.0.0.1:15492/shop?delivery=exactly-once"),
];

/// Options of the demo.
#[derive(Args, Debug)]
pub(crate) struct DemoOptions {
    #[command(flatten)]
    pub(crate) listen: ListenOptions,
    /// Use PostgreSQL, Redis, OpenSearch and Kafka, and show the state of each part at
    /// `/everything` (feature `everything`); places that are not given are those of `compose.yaml`
    #[arg(long)]
    pub(crate) everything: bool,
    /// Also prepare faults, so that every example of the operator's operations can be sent as it
    /// is: dead letters, inputs that are set aside, pending timers, rebuilds that await a decision.
    /// Needs an empty store; takes half a minute
    #[arg(long, conflicts_with = "everything")]
    pub(crate) faults: bool,
    #[command(flatten)]
    pub(crate) relay: RelayOption,
}

/// The place to which events are published.
#[derive(Args, Debug)]
pub(crate) struct RelayOption {
    #[arg(
        long,
        value_name = "URL",
        env = "GESTA_RELAY",
        help = format!(
            "Brokers to which this program publishes all events, and the name of the relay: {}, with \
             `?delivery=exactly-once` for each event once; one program at a time",
            engines::forms(Purpose::Relay)
        )
    )]
    relay: Option<String>,
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
    #[command(flatten)]
    pub(crate) relay: RelayOption,
    /// Check options, settings and files, print what would be served, and end
    #[arg(long)]
    pub(crate) check_config: bool,
    /// Print the settings in force and the source of each, without passwords, and end
    #[arg(long)]
    pub(crate) print_config: bool,
}

impl RelayOption {
    /// Returns the place for these events, if one was given.
    pub(crate) fn place(&self, places: &Places) -> Result<Option<Place>, InvalidPlace> {
        let parse = |url: &String| {
            let url = of_tenant(url, places.tenant.as_ref())?;
            Place::parse(Purpose::Relay, &url)
        };
        self.relay.as_ref().map(parse).transpose().map_err(InvalidPlace::Relay)
    }
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

/// Ends the program with a place that cannot be read.
pub(crate) fn usage_error<T>(invalid: InvalidPlace) -> T {
    masking::exit(&Arguments::command().error(ErrorKind::ValueValidation, invalid))
}
