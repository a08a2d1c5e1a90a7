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
mod masking;
mod progress;
mod relay;
mod serve;
mod settings;
mod store;
mod telemetry;
mod tenant_urls;

use std::{
    fs::File,
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::{Context as _, Result, ensure};
use gesta::TenantId;
use gesta_http::{NewApiKey, Principal};
use shop::{
    processes::ProcessDelays,
    samples::{self, faults},
};

use crate::{
    arguments::{Command, DemoOptions, ServeOptions, usage_error},
    engines::{Place, Purpose},
    importing::{import, import_sample, report},
    settings::Settings,
    store::{InvalidPlace, Node, OpenShop, Places, close_all},
};

/// Read models of the balances that come from Kafka, unless others are given.
const BALANCES: &str = "sqlite:./shop-balances";

#[tokio::main]
async fn main() -> ExitCode {
    run().await.unwrap_or_else(|error| {
        // Paths and arguments in it may be URLs that stand in the wrong place.
        let text = masking::masked(&with_causes(&error));
        drop(writeln!(io::stderr(), "{text}"));
        ExitCode::FAILURE
    })
}

/// Returns the text of an error, and its causes without those that a text before has in it.
fn with_causes(error: &anyhow::Error) -> String {
    let mut text = format!("Error: {error}");
    let mut causes: Vec<String> = Vec::new();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) && !causes.iter().any(|before| before.contains(&cause)) {
            causes.push(cause);
        }
    }
    if !causes.is_empty() {
        text.push_str("\n\nCaused by:");
    }
    for cause in &causes {
        text.push_str(&format!("\n    {}", cause.replace('\n', "\n    ")));
    }
    text
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
    let telemetry = settings.arguments.telemetry.start()?;
    let outcome = carry_out(&settings).await;
    telemetry.finish();
    outcome
}

/// Carries out the verb.
async fn carry_out(settings: &Settings) -> Result<ExitCode> {
    match &settings.arguments.command {
        Command::Serve { serve } => run_server(settings, serve).await,
        Command::ApiKey { actor, roles } => {
            print_api_key(actor, roles, settings.arguments.places.tenant()?)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Demo { demo } => run_demo(places_of(settings), demo).await,
        Command::Import { file, relay } => {
            let store = places_of(settings);
            let relay = relay.place(&store).unwrap_or_else(usage_error);
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
            let tenant = places_of(settings).tenant;
            let source = Place::parse(Purpose::Relay, source).map_err(InvalidPlace::Source);
            let source = source.unwrap_or_else(usage_error).feed()?;
            let places = &settings.arguments.places;
            let read_models = places.read_models_or(BALANCES, tenant.as_ref());
            let read_models = read_models.unwrap_or_else(usage_error);
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
            print_report(places_of(settings), *json).await?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Returns the places of a verb that works on one store.
fn places_of(settings: &Settings) -> Places {
    settings.arguments.places.places().unwrap_or_else(usage_error)
}

async fn print_report(places: Places, json: bool) -> Result<()> {
    // A report searches nothing, and a directory of indexes is open in one program only.
    let places = Places { search: None, ..places };
    // Nothing is decided for a report, so the process managers stay off here too.
    let shop = places.open_existing("report").await?;
    let report = report(&shop.gesta).await?;
    shop.close().await;
    let text = if json { serde_json::to_string_pretty(&report)? } else { report.to_string() };
    writeln!(io::stdout(), "{}", text.trim_end())?;
    Ok(())
}

/// Prints a new API key, and the line for the file of keys.
fn print_api_key(actor: &str, roles: &[String], tenant: Option<&TenantId>) -> Result<()> {
    Principal::new(actor, roles.iter().cloned())?;
    let key = NewApiKey::random();
    let roles: Vec<_> = roles.iter().map(String::as_str).collect();
    let mut out = io::stdout().lock();
    writeln!(out, "key, for {actor} (it is stored nowhere):")?;
    writeln!(out, "{}", key.secret())?;
    writeln!(out, "line for the file of API keys:")?;
    let line = match tenant {
        Some(tenant) => key.line_of_tenant(tenant, actor, &roles),
        None => key.line(actor, &roles),
    };
    writeln!(out, "{line}")?;
    Ok(())
}

/// Serves one shop, or those of all tenants. With `--check-config` or `--print-config` it only says
/// what it would do.
async fn run_server(settings: &Settings, serve: &ServeOptions) -> Result<ExitCode> {
    if serve.print_config {
        write!(io::stdout(), "{}", masking::masked(&settings.of_serve().to_string()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let all = settings.arguments.places.all_places().unwrap_or_else(usage_error);
    serve.listen.check_tenants(&all)?;
    let relays: Result<Vec<_>, _> = all.iter().map(|places| serve.relay.place(places)).collect();
    let relays = relays.unwrap_or_else(usage_error);
    if serve.check_config {
        let address = serve.listen.check().await?;
        let stores: Vec<_> = all.iter().map(|places| places.store.to_string()).collect();
        writeln!(io::stdout(), "would serve {} {address}", stores.join(" and "))?;
        for (places, relay) in all.iter().zip(&relays) {
            for (part, place) in places.parts().into_iter().chain([("relay", relay.as_ref())]) {
                if let Some(place) = place {
                    writeln!(io::stdout(), "{part:<12} {place}")?;
                }
            }
        }
        return Ok(ExitCode::SUCCESS);
    }
    // Bind first: with the port taken, the stores need not be opened at all.
    let server = serve.listen.bind().await?;
    let mut shops = Vec::new();
    for (places, relay) in all.iter().zip(&relays) {
        match open_to_serve(places, serve, relay.as_ref()).await {
            Ok(shop) => shops.push(shop),
            Err(error) => {
                close_all(shops).await;
                return Err(error);
            }
        }
    }
    match &*all {
        [Places { tenant: None, .. }] => {
            let shop = shops.pop().context("a shop was opened for its places")?;
            server.serve(shop, Vec::new()).await?;
        }
        _ => server.serve_tenants(shops).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn open_to_serve(
    places: &Places,
    serve: &ServeOptions,
    relay: Option<&Place>,
) -> Result<OpenShop> {
    let node = Node { label: &serve.label(), role: serve.role };
    let mut shop = places.open_with_processes(&node, serve.delays()).await?;
    if let Some(relay) = relay {
        shop.relay_to(relay)?;
    }
    Ok(shop)
}

/// Appends the events that the faults begin with. Process managers and reactors are not open yet:
/// they append events of their own, and these need the first positions.
async fn plant_faults(places: &Places) -> Result<()> {
    let shop = places.open("demo").await?;
    let planted = faults::plant(&shop.gesta).await;
    shop.close().await;
    ensure!(planted?, "--faults needs an empty store, and {} has events", places.store);
    Ok(())
}

async fn run_demo(places: Places, options: &DemoOptions) -> Result<ExitCode> {
    #[cfg(feature = "everything")]
    if options.everything {
        return everything::demo(places, options).await;
    }
    let relay = options.relay.place(&places).unwrap_or_else(usage_error);
    let server = options.listen.bind().await?;
    let delays = if options.faults { faults::DELAYS } else { ProcessDelays::default() };
    if options.faults {
        plant_faults(&places).await?;
    }
    let mut shop = places.open_with_processes(&Node::DEMO, delays).await?;
    if let Some(relay) = &relay {
        shop.relay_to(relay)?;
    }
    samples::prepare(&shop.gesta).await?;
    let outcome = import_sample(&shop.gesta, &places).await?;
    if options.faults {
        let outbox = places.outbox().context("--faults needs a directory of mails: --local")?;
        shop.examples = faults::prepare(&shop.gesta, &outbox).await?;
    }
    server.serve(shop, Vec::new()).await?;
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn a_cause_that_an_earlier_text_has_is_printed_once() {
        let error = anyhow!("refused").context("the server: refused").context("cannot open it");
        let text = "Error: cannot open it\n\nCaused by:\n    the server: refused";
        assert_eq!(with_causes(&error), text);
        assert_eq!(with_causes(&anyhow!("alone")), "Error: alone");
    }
}
