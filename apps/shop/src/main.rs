//! The shop's binary: command line and output.
//!
//! Owns: the verbs and what they print. Not here: the application itself, which is the library.

mod access_file;
mod arguments;
mod balances;
mod engines;
#[cfg(feature = "everything")]
mod everything;
mod importing;
mod log;
mod masking;
mod progress;
mod relay;
mod serve;
mod settings;
mod store;

use std::{
    fs::File,
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::{Context as _, Result, ensure};
use gesta_http::{NewApiKey, Principal};
use shop::processes::ProcessDelays;

use crate::{
    arguments::{Command, DemoOptions, ServeOptions, usage_error},
    engines::{Place, Purpose},
    importing::{import, import_sample, report},
    settings::Settings,
    store::{InvalidPlace, Node, Places},
};

/// Read models of the balances that come from Kafka, unless others are given.
const BALANCES: &str = "sqlite:./shop-balances";

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
    if let Command::Demo { demo } = &settings.arguments.command {
        ensure!(
            cfg!(feature = "everything") || !demo.everything,
            "this program was built without some of the parts; build it with `cargo build \
             --release -p shop --features everything`"
        );
    }
    let store = settings.arguments.places.places().unwrap_or_else(usage_error);
    log::start()?;
    match &settings.arguments.command {
        Command::Demo { demo } => run_demo(store, demo).await,
        Command::Serve { serve } => {
            let relay = serve.relay.place().unwrap_or_else(usage_error);
            // Bind first: with the port taken, the store need not be opened at all.
            let server = serve.listen.bind().await?;
            let node = Node { label: &serve.label(), role: serve.role };
            let mut shop = store.open_with_processes(&node, serve.delays()).await?;
            if let Some(relay) = &relay {
                shop.relay_to(relay)?;
            }
            server.serve(shop, Vec::new()).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::ApiKey { actor, roles } => {
            print_api_key(actor, roles)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Config { serve } => {
            print_config(&settings, &store, serve)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Import { file, relay } => {
            let relay = relay.place().unwrap_or_else(usage_error);
            let table =
                File::open(file).with_context(|| format!("cannot open {}", file.display()))?;
            // Without process managers: imported orders have no payment account, so fulfilment
            // would ignore them anyway.
            let mut shop = store.open("import").await?;
            if let Some(relay) = &relay {
                shop.relay_to(relay)?;
            }
            let outcome = import(&shop.gesta, table).await?;
            shop.published(shop.gesta.store().head().await?.position).await?;
            shop.close().await;
            Ok(outcome)
        }
        Command::Balances { source, follow } => {
            let source = Place::parse(Purpose::Relay, source).map_err(InvalidPlace::Source);
            let source = source.unwrap_or_else(usage_error).feed()?;
            let places = &settings.arguments.places;
            let read_models = places.read_models_or(BALANCES).unwrap_or_else(usage_error);
            let opened = read_models.open_read_models().await;
            let read_models = opened.with_context(|| format!("cannot open {read_models}"))?;
            let printed = match follow {
                true => balances::follow(source, &read_models, serve::interrupted()?).await,
                false => balances::print(source, &read_models).await,
            };
            read_models.close().await;
            printed.map(|()| ExitCode::SUCCESS)
        }
        Command::Report { json } => {
            print_report(&store, *json).await?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn print_report(store: &Places, json: bool) -> Result<()> {
    // Nothing is decided for a report, so the process managers stay off here too.
    let shop = store.open_existing("report").await?;
    let report = report(&shop.gesta).await?;
    shop.close().await;
    let text = if json { serde_json::to_string_pretty(&report)? } else { report.to_string() };
    writeln!(io::stdout(), "{}", text.trim_end())?;
    Ok(())
}

/// Prints a new API key, and the line for the file of keys.
fn print_api_key(actor: &str, roles: &[String]) -> Result<()> {
    Principal::new(actor, roles.iter().cloned())?;
    let key = NewApiKey::random();
    let roles: Vec<_> = roles.iter().map(String::as_str).collect();
    let mut out = io::stdout().lock();
    writeln!(out, "key, for {actor} (it is stored nowhere):")?;
    writeln!(out, "{}", key.secret())?;
    writeln!(out, "line for the file of API keys:")?;
    writeln!(out, "{}", key.line(actor, &roles))?;
    Ok(())
}

/// Prints the settings in force, with their origins.
fn print_config(settings: &Settings, places: &Places, serve: &ServeOptions) -> io::Result<()> {
    let local = places.local.as_ref();
    let optional = |place: Option<&Place>| place.map_or("none".to_owned(), ToString::to_string);
    let rows = [
        ("store", places.store.to_string()),
        ("read-models", places.read_models.to_string()),
        ("search", optional(places.search.as_ref())),
        ("cache", optional(places.cache.as_ref())),
        ("snapshots", optional(places.snapshots.as_ref())),
        ("local", local.map_or("none".to_owned(), |local| local.display().to_string())),
        ("listen", serve.listen.listen.to_string()),
        ("access", serve.listen.access_text()),
        ("allow-remote", serve.listen.allow_remote.to_string()),
        ("allow-origin", serve.listen.allow_origin_text()),
        ("welcome-after", serve.welcome_after.to_string()),
        ("node", serve.label()),
        ("role", serve.role.to_string()),
        ("relay", optional(serve.relay.place().unwrap_or_else(usage_error).as_ref())),
    ];
    let mut out = io::stdout().lock();
    rows.iter().try_for_each(|(name, value)| {
        let origin = settings.origin(name);
        writeln!(out, "{}", masking::masked(&format!("{name:<15}{value}  ({origin})")))
    })
}

async fn run_demo(places: Places, options: &DemoOptions) -> Result<ExitCode> {
    #[cfg(feature = "everything")]
    if options.everything {
        return everything::demo(places, options).await;
    }
    let relay = options.relay.place().unwrap_or_else(usage_error);
    let server = options.listen.bind().await?;
    let mut shop = places.open_with_processes(&Node::DEMO, ProcessDelays::default()).await?;
    if let Some(relay) = &relay {
        shop.relay_to(relay)?;
    }
    let outcome = import_sample(&shop.gesta, &places).await?;
    server.serve(shop, Vec::new()).await?;
    Ok(outcome)
}
