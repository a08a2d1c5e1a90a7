//! The import with every part: events in the log, rows in SQLite, answers and states in Redis,
//! documents in OpenSearch, and events in Kafka, while the importer and the servers are disturbed.
//!
//! Run it with the shop's feature `everything`; `GESTA_E2E=full` imports the data set next to the
//! repository.

use std::{fs, path::Path, sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use gesta::{
    Gesta,
    kafka::KafkaFeed,
    sqlite::Sqlite,
    store::{EventStore as _, ReadAll},
};
use gesta_services::{
    OwnServer,
    e2e::{empty_directory, figures},
};
use serde_json::Value;
use shop::{
    orders::sales::{MakeReport, Sales},
    read_models::ReadModels,
};
use tokio::runtime::Runtime;

use crate::{disturbed_import::DisturbedShop, search_import::check_indexes};

/// Maximum time for a read model to reach the end of the topics.
const CATCH_UP_MAX: Duration = Duration::from_secs(600);

/// The places of a shop with every part, in a file of settings: no argument names the relay, which
/// only some verbs have.
fn write_settings(
    directory: &Path,
    store: &str,
    [redis, search, relay]: [&str; 3],
) -> Result<String> {
    let file = directory.join("shop.toml");
    let text = format!(
        "store = {store:?}\nsearch = {search:?}\ncache = {redis:?}\nsnapshots = {redis:?}\n\
         relay = \"{relay}?delivery=exactly-once\"\n"
    );
    fs::write(&file, text)?;
    Ok(file.display().to_string())
}

/// Returns the report on what Kafka has, and its number of events.
async fn report_from(relay: &str) -> Result<(Value, usize)> {
    let feed = Arc::new(KafkaFeed::at(&relay.parse()?)?);
    let head = feed.head().await?.position;
    let read_models = ReadModels::from(Sqlite::temporary().await?);
    let builder = Gesta::on(feed.clone()).idempotency_optional();
    let gesta = builder.project(Sales, &read_models).open().await?;
    let asked = gesta.ask(MakeReport).at_least_position(head).within(CATCH_UP_MAX).await;
    gesta.close().await;
    read_models.close().await;
    let events = feed.read_all(ReadAll::forwards()).collect_events().await?.len();
    Ok((serde_json::to_value(asked?)?, events))
}

#[test]
fn an_import_into_every_part_survives_kills_of_the_importer_and_of_the_servers() -> Result<()> {
    let start = OwnServer::start_or_skip;
    let (Some(redis), Some(search), Some(kafka)) =
        (start("redis"), start("opensearch"), start("kafka"))
    else {
        return Ok(());
    };
    let directory = empty_directory("everything-import")?;
    let store = format!("gesta:{}", directory.join("events").display());
    let (cache, indexes) =
        (format!("{}?prefix=shop", redis.url()), format!("{}/shop", search.url()));
    let relay = format!("{}/shop", kafka.url());
    let settings = write_settings(&directory, &store, [&cache, &indexes, &relay])?;
    let shop = DisturbedShop::new(&store, &["--config", &settings])?;
    let shop = shop.restart(redis).restart(search).restart(kafka).disturb()?;
    let runtime = Runtime::new()?;
    let (report, published) = runtime.block_on(report_from(&relay))?;
    ensure!(report == *shop.expected_report(), "not the expected report from Kafka: {report}");
    ensure!(u64::try_from(published)? == shop.expected_events()?, "{published} events in Kafka");
    let found = check_indexes(&indexes, shop.expected_report())?;
    figures(format!("the same report from {published} events in Kafka; {found}"))
}
