//! The whole picture on one page: `shop demo --everything`.
//!
//! Owns: the demo with every part, the page, and the page's consumer of balances from Kafka.
//!
//! Invariants: a part that is down is shown as down, and delays the page by a few seconds at most.
//! No URL and no error on the page has a password. The page loads nothing from other servers.
//!
//! Not here: the parts themselves, which work without the page.

mod consumer;
mod page;
mod picture;
mod survey;
mod topic;

use std::{
    io::{self, Write as _},
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context as _, Result};
use gesta::{redis::Redis, search::SearchStore, sqlite::Sqlite, store::EventStore};
use shop::{processes::ProcessDelays, read_models::ReadModels, samples};

use self::{
    consumer::Consumer,
    survey::{NamedPart, RunningParts, Survey},
    topic::Topic,
};
use crate::{
    arguments::{DemoOptions, usage_error},
    engines::{Kind, Place},
    importing::import_sample,
    store::{Node, Places},
};

/// Subdirectory of the read models of the consumer.
const BALANCES: &str = "balances";

/// Imports the sample, prints its report, and serves the shop with the page.
pub(crate) async fn demo(mut places: Places, options: &DemoOptions) -> Result<ExitCode> {
    let relay = options.relay.place(&places).unwrap_or_else(usage_error);
    let server = options.listen.bind().await?;
    let lost_search = leave_out_lost_search(&mut places).await;
    let mut shop = places.open_with_processes(&Node::DEMO, ProcessDelays::default()).await?;
    if let Some(relay) = &relay {
        shop.relay_to(relay)?;
    }
    let open = shop.parts();
    let search = match (open.indexes, &places.search) {
        (Some(store), Some(place)) => Some(named(place, Ok(store.clone()))),
        _ => lost_search,
    };
    let cache = match places.cache.as_ref().or(places.snapshots.as_ref()) {
        Some(place) => Some(named(place, redis_of(place).await?)),
        None => None,
    };
    let parts = RunningParts {
        gesta: open.gesta.clone(),
        address: server.url(),
        routes: shop.api().routes().len(),
        store: named(&places.store, open.server.cloned()),
        read_models: places.read_models.to_string(),
        cache,
        search,
        relay: open.relay.zip(relay.as_ref()).map(|(relay, at)| named(at, Arc::clone(relay))),
        topic: relay.as_ref().map(Topic::of).transpose()?,
        consumer: match &relay {
            Some(relay) => Some(start_consumer(relay, &places).await?),
            None => None,
        },
    };
    let survey = Arc::new(Survey::new(parts));
    samples::prepare(&shop.gesta).await?;
    let outcome = import_sample(&shop.gesta, &places).await?;
    writeln!(io::stdout(), "everything {}{}", server.url(), page::PATH)?;
    server.serve(shop, page::routes(&survey)).await?;
    survey.close().await;
    Ok(outcome)
}

fn named<T>(place: &Place, part: T) -> NamedPart<T> {
    NamedPart { url: place.to_string(), part }
}

/// Leaves out search if its server is away, so that the other parts work. Returns its place with
/// the error.
async fn leave_out_lost_search(
    places: &mut Places,
) -> Option<NamedPart<Result<SearchStore, String>>> {
    let place = places.search.as_ref()?;
    let error = match place.open_indexes().await {
        Ok(indexes) => {
            // The shop opens them itself.
            drop(indexes.close().await);
            return None;
        }
        Err(error) => format!("{error:#}"),
    };
    tracing::warn!(%place, %error, "the demo goes on without full-text search");
    let lost = named(place, Err(format!("{error}; start the demo again once it is there")));
    places.search = None;
    Some(lost)
}

/// Connects to Redis for the page. A connection of its own: a look does not disturb the cache.
async fn redis_of(place: &Place) -> Result<Option<Redis>> {
    if place.kind() != Kind::Redis {
        return Ok(None);
    }
    Ok(Some(Redis::connect(place.url()).await?))
}

/// Starts the consumer, whose rows are apart from the shop's.
async fn start_consumer(relay: &Place, places: &Places) -> Result<Consumer> {
    let read_models: ReadModels = match &places.local {
        Some(local) => Sqlite::open(local.join(BALANCES)).await.context("balances")?.into(),
        None => Sqlite::temporary().await?.into(),
    };
    let feed: Arc<dyn EventStore> = relay.feed()?;
    let url = relay.to_string();
    // The options are those of the relay.
    let url = url.split('?').next().unwrap_or_default();
    Ok(Consumer::start(url.to_owned(), feed, read_models))
}
