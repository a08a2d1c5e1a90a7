//! The import with full-text indexes, in files and on a server, while the importer is killed and
//! the server is restarted. Run it with the shop's feature `search`.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, Result, ensure};
use gesta::{
    search::{FACET_VALUES_MAX, Facet, Search, SearchResults, SearchStore},
    store::{ReadModelStore as _, Stage, conformance::block_on},
};
use gesta_services::{
    OwnServer,
    e2e::{empty_directory, figures},
};
use serde_json::Value;

use crate::disturbed_import::DisturbedShop;

/// The counts that indexes and a report have in common.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    orders: u64,
    products: u64,
    /// Number of orders by status. An import ships all of them.
    by_status: BTreeMap<String, u64>,
    /// Number of orders by country, without countries that have none.
    by_country: BTreeMap<String, u64>,
}

impl Counts {
    fn of_report(report: &Value) -> Result<Self> {
        let number = |value: &Value, name: &str| value.get(name).and_then(Value::as_u64);
        let countries = report.get("by_country").and_then(Value::as_array).context("countries")?;
        let by_country = countries.iter().filter_map(|country| {
            let orders = number(country, "orders").filter(|orders| *orders > 0)?;
            Some((country.get("country")?.as_str()?.to_owned(), orders))
        });
        let orders = number(report, "orders").context("orders")?;
        Ok(Self {
            orders,
            products: number(report, "products").context("products")?,
            by_status: [("shipped".to_owned(), orders)].into(),
            by_country: by_country.collect(),
        })
    }

    async fn of_indexes(url: &str) -> Result<Self> {
        let indexes = SearchStore::open(url).await?;
        let facet = |field| Facet::of(field).limit(FACET_VALUES_MAX);
        let orders = Search::new().facet(facet("status")).facet(facet("country"));
        let orders = search(&indexes, "order-search", &orders).await?;
        let products = search(&indexes, "product-search", &Search::new()).await?;
        indexes.close().await;
        let counts = |field: &str| {
            let facet = orders.facets.iter().find(|facet| facet.field == field);
            facet.into_iter().flat_map(|facet| facet.values.iter().cloned()).collect()
        };
        Ok(Self {
            orders: orders.total,
            products: products.total,
            by_status: counts("status"),
            by_country: counts("country"),
        })
    }
}

async fn search(indexes: &SearchStore, projection: &str, search: &Search) -> Result<SearchResults> {
    let listed = indexes.list_read_models(projection).await?;
    let live = listed.into_iter().find(|one| one.stage == Stage::Live).context("an index")?;
    Ok(indexes.reader(&live.id).await?.search(search).await?)
}

/// Checks that each order and each product of a report is in the indexes behind a URL once. Returns
/// what was found, for people.
pub(super) fn check_indexes(url: &str, report: &Value) -> Result<String> {
    let (expected, found) = (Counts::of_report(report)?, block_on(Counts::of_indexes(url))?);
    ensure!(found == expected, "the indexes have {found:?} instead of {expected:?}");
    Ok(format!("{} orders and {} products found", found.orders, found.products))
}

/// Returns the URL of an empty log in a directory.
fn log_in(directory: &Path) -> String {
    format!("gesta:{}", directory.join("store").display())
}

#[test]
fn an_import_with_indexes_in_files_survives_kills_of_the_importer() -> Result<()> {
    let directory = empty_directory("tantivy-import")?;
    let indexes = format!("tantivy:{}", directory.join("search").display());
    let shop = DisturbedShop::new(&log_in(&directory), &["--search", &indexes])?.disturb()?;
    figures(check_indexes(&indexes, shop.expected_report())?)
}

#[test]
fn an_import_with_indexes_in_opensearch_survives_kills_and_restarts_of_the_server() -> Result<()> {
    let Some(server) = OwnServer::start_or_skip("opensearch") else { return Ok(()) };
    let directory = empty_directory("opensearch-import")?;
    let indexes = format!("{}/shop", server.url());
    let shop = DisturbedShop::new(&log_in(&directory), &["--search", &indexes])?;
    let shop = shop.restart(server).disturb()?;
    figures(check_indexes(&indexes, shop.expected_report())?)
}
