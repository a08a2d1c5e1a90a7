//! `gesta serve`: serves a store to KurrentDB clients until a signal stops it.
//!
//! Owns: the composition of store and server. Invariants: nothing is opened before the arguments
//! are known to be allowed; the store is closed after the last call has ended.

mod first_users;
mod listen;
mod notify;
mod plan;
mod protection;
mod scavenging;
mod telemetry;
mod upkeep;

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use clap::{Args, value_parser};
use gesta_server::{
    CONNECTIONS_MAX, InvalidListener, Server, ServerAddress, ServerLabels, ServerSetting,
};
use gesta_settings::{Listing, SettingInForce, SettingValue};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tokio::{
    net::TcpListener,
    runtime::Builder,
    signal::unix::{SignalKind, signal},
};

use self::{
    listen::ListenAddress,
    plan::{ServePlan, check_port},
    protection::{Protection, ProtectionOptions},
    scavenging::LogScavenger,
    telemetry::{Telemetry, TelemetryOptions},
    upkeep::LogUpkeep,
};
use crate::{
    directory,
    exit::{Outcome, Refusal},
    output::{Output, Style},
    store_url::{ServedStore, StoreUrl},
};

const HINT: &str = "\
Examples:
  gesta certs dev
  gesta serve --store gesta:./things --tls-cert certs/server.pem --tls-key certs/server.key
  gesta serve --store memory: --insecure --listen 127.0.0.1:2114
  gesta serve --config serve.toml --check-config
  gesta serve --config serve.toml --print-config

The log goes to standard error (--log, --log-format). Clients of an insecure server connect with
kurrentdb://127.0.0.1:2113?tls=false, those of a secure one with
kurrentdb://LOGIN:PASSWORD@HOST:2113?tlsCaFile=certs/ca.pem. A browser finds the console at
the same address. GET /health/ready, /stats and /metrics answer there, too, and /v1/docs shows the
HTTP interface.";

/// Serve the store to KurrentDB and EventStoreDB clients
///
/// gRPC and HTTP on one port, with TLS and users. Needs exclusive access to a store in a directory,
/// and creates one if the directory is empty. The first start of a store makes the users `admin`
/// and `ops` with random passwords. An interrupt or a termination signal ends subscriptions at
/// once, lets other calls finish, and closes the store.
#[derive(Args, Debug)]
#[command(after_help = HINT)]
pub(crate) struct Serve {
    /// IP address or localhost, and port, to listen on, as in 0.0.0.0:2113; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:2113", env = "GESTA_LISTEN")]
    listen: ListenAddress,
    /// Maximum number of connections. Half of the limit of open files is a maximum, too
    #[arg(long, value_name = "NUMBER", default_value_t = CONNECTIONS_MAX,
          value_parser = value_parser!(u32).range(1..), env = "GESTA_MAX_CONNECTIONS")]
    max_connections: u32,
    #[command(flatten)]
    protection: ProtectionOptions,
    /// Address by which clients reach this server, when several servers share a store: its host
    /// name and port. The servers name each other by it
    #[arg(long, value_name = "HOST:PORT", env = "GESTA_ADVERTISE")]
    advertise: Option<ServerAddress>,
    /// Seconds for which a server that was asked to stop still serves, while /health/ready answers
    /// 503
    #[arg(long, value_name = "SECONDS", default_value = "0", env = "GESTA_DRAIN_SECONDS")]
    drain_seconds: u16,
    /// Directory below which operators may back the store up while it is served, each backup in a
    /// directory of its name. Without it, the server makes no backups
    #[arg(long, value_name = "DIRECTORY", value_parser = directory::file, env = "GESTA_BACKUPS")]
    backups: Option<PathBuf>,
    /// Name of the environment, such as production, which the console shows on every screen
    #[arg(long, value_name = "NAME", env = "GESTA_ENVIRONMENT")]
    environment: Option<String>,
    #[command(flatten)]
    telemetry: TelemetryOptions,
    /// TOML file with settings by the names of these options and `store`; options and environment
    /// variables are stronger
    #[arg(long, value_name = "FILE", env = "GESTA_CONFIG")]
    config: Option<PathBuf>,
    /// Check options, settings and files, print what would be served, and end
    #[arg(long)]
    check_config: bool,
    /// Print the settings in force and the source of each, without passwords, and end
    #[arg(long)]
    pub(crate) print_config: bool,
    /// The settings in force.
    #[arg(skip)]
    pub(crate) listing: Listing,
}

impl Serve {
    /// Prints the settings in force: as a settings file, or as JSON.
    pub(crate) fn print_config(&self, output: &mut Output) -> Result<Outcome> {
        for setting in self.listing.iter() {
            match output.style() {
                Style::Text => output.line(setting)?,
                Style::Json => output.json(setting)?,
            }
        }
        Ok(Outcome::Done)
    }

    pub(crate) const fn settings_file(&self) -> Option<&PathBuf> {
        self.config.as_ref()
    }

    pub(crate) fn run(self, store: &StoreUrl, output: &mut Output) -> Result<Outcome> {
        let protection = self.protection.read()?;
        let telemetry = self.telemetry.read()?;
        if self.check_config {
            self.check(&protection, &telemetry, store, output)?;
            return Ok(Outcome::Done);
        }
        let running = telemetry.install()?;
        let runtime = Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.context("cannot start the threads of the server")?;
        let ended = runtime.block_on(self.serve(protection, store, output));
        match &ended {
            Ok(_) => tracing::info!("the server has ended"),
            // The error itself is printed when the program ends.
            Err(_) => tracing::error!("the server has ended with an error"),
        }
        running.finish();
        ended
    }

    /// Checks what serving would use, and prints it.
    fn check(
        &self,
        protection: &Protection,
        telemetry: &Telemetry,
        store: &StoreUrl,
        output: &mut Output,
    ) -> Result<()> {
        let is_secure = matches!(protection, Protection::Secure(_));
        if !is_secure {
            Server::check_loopback(self.listen.0).map_err(refused)?;
        }
        check_port(self.listen.0)?;
        let store_state = store.check_to_serve()?;
        let given = &self.protection;
        given.check_first_passwords(store_state)?;
        let plan = ServePlan {
            store: store.to_string(),
            store_state,
            listen: self.listen.to_string(),
            advertise: self.advertise.as_ref().map(ToString::to_string),
            tls: is_secure,
            users: is_secure,
            tls_cert: given.tls_cert.clone(),
            tls_key: given.tls_key.clone(),
            client_certificates: given.client_ca.is_some(),
            client_ca: given.client_ca.clone(),
            tokens: given.jwt_key.is_some(),
            jwt_key: given.jwt_key.clone(),
            jwt_issuer: given.jwt_issuer.clone(),
            jwt_audience: given.jwt_audience.clone(),
            admin_password_file: given.admin_password_file.clone(),
            max_connections: self.max_connections,
            drain_seconds: self.drain_seconds,
            backups: self.backups.clone(),
            environment: self.environment.clone(),
            log: self.telemetry.levels().to_owned(),
            log_format: self.telemetry.format_name(),
            traces: telemetry.endpoint(),
            trace_ratio: telemetry.ratio(),
        };
        plan.show(output)
    }

    async fn serve(
        self,
        protection: Protection,
        url: &StoreUrl,
        output: &mut Output,
    ) -> Result<Outcome> {
        raise_limit_of_open_files();
        let stop = stop_signal().context("cannot wait for signals")?;
        let listener = self.listener(&protection).await?;
        let address = listener.local_addr().context("cannot tell the address of the listener")?;
        let opened = url.clone();
        // Opening blocks, and a store's own threads run without this runtime.
        let ServedStore { store, leases, log } =
            tokio::task::spawn_blocking(move || opened.open_to_serve()).await??;
        let (server, scheme) = match protection {
            Protection::Insecure => (Server::insecure(Arc::clone(&store)), "http"),
            Protection::Secure(security) => {
                (Server::secure(Arc::clone(&store), *security), "https")
            }
        };
        let server = server.connections_max(self.max_connections);
        let server = server.labelled(labels(url, self.environment, &self.listing));
        let server = match leases {
            Some(leases) => server.sharing(leases),
            None => server,
        };
        let server = match log {
            Some(log) => {
                let directory = url.log("serve", "")?.path();
                let server = server.keeping(Arc::new(LogUpkeep::new(directory, self.backups)));
                server.scavenging(Arc::new(LogScavenger(log)))
            }
            None => server,
        };
        let server = server.drain_for(Duration::from_secs(self.drain_seconds.into()));
        let server = match self.advertise {
            Some(address) => server.advertise(address),
            None => server,
        };
        let file = self.protection.admin_password_file.as_ref();
        let served = match first_users::create(&server, file, output).await {
            Ok(()) => {
                match output.style() {
                    Style::Text => {
                        output.line(format_args!("serving {url} at {scheme}://{address}"))?;
                    }
                    Style::Json => output.json(&json!({
                        "store": url.to_string(),
                        "address": address.to_string(),
                        "secure": scheme == "https",
                    }))?,
                }
                output.flush()?;
                let version = env!("CARGO_PKG_VERSION");
                tracing::info!(store = %url, %scheme, %address, version, "serving");
                notify::ready();
                let stop = async {
                    stop.await;
                    notify::stopping();
                };
                server.run(listener, stop).await.map_err(anyhow::Error::from)
            }
            Err(error) => Err(error),
        };
        tracing::info!("closing the store");
        let closed = store.close().await;
        served?;
        closed?;
        Ok(Outcome::Done)
    }

    async fn listener(&self, protection: &Protection) -> Result<TcpListener> {
        let listener = match protection {
            Protection::Insecure => Server::bind_loopback(self.listen.0).await,
            Protection::Secure(security) => security.bind(self.listen.0).await,
        };
        listener.map_err(refused)
    }
}

/// Returns what the console shows. Neither the URL nor a setting is printed with its password.
fn labels(url: &StoreUrl, environment: Option<String>, listing: &Listing) -> ServerLabels {
    let labels = ServerLabels::default().store(url.to_string());
    let labels = labels.settings(listing.iter().map(shown));
    match environment {
        Some(name) => labels.environment(name),
        None => labels,
    }
}

/// Returns a setting in force as operators of the server read it.
fn shown(setting: &SettingInForce) -> ServerSetting {
    let shown = ServerSetting::new(&setting.name, setting.source.to_string());
    match &setting.value {
        Some(SettingValue::One(text)) => shown.value(text),
        Some(SettingValue::List(texts)) => texts.iter().fold(shown, ServerSetting::value),
        // A later version has values of other forms.
        Some(_) | None => shown,
    }
}

/// Raises the limit of open files as far as the system lets this process: each connection is one.
fn raise_limit_of_open_files() {
    let limit = getrlimit(Resource::Nofile);
    // A system that refuses leaves the limit as it is, and the server serves fewer connections.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

fn refused(error: InvalidListener) -> anyhow::Error {
    match error {
        InvalidListener::Public { .. } => {
            let hint = "pass --tls-cert and --tls-key instead of --insecure";
            Refusal::usage("public-listener", error.to_string()).hint(hint).into()
        }
        error => error.into(),
    }
}

/// Waits for an interrupt or a termination signal.
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
