//! The locations of events, read models and mails.
//!
//! Invariant: a URL is printed without its password, also in an error. Not here: the engines that
//! the URLs name (`engines.rs`).

use std::{
    convert::Infallible,
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use gesta::{
    Builder, Gesta, Nodes, Position, Role, TenantId,
    postgres::PostgresStore,
    store::{EventStore as _, Leases as _},
};
use gesta_http::Api;
use shop::{
    http,
    outbox::Outbox,
    processes::{self, ProcessDelays},
    reactors,
    read_models::ReadModels,
    read_side,
    samples::Example,
};
use tokio::task::JoinSet;

#[cfg(feature = "everything")]
use crate::engines::RelayWatch;
use crate::{
    engines::{self, Indexes, Kind, Place, Purpose},
    relay::RelayTask,
    tenant_urls::of_tenant,
};

/// Subdirectory of the read models.
const READ_MODELS: &str = "read-models";
/// Subdirectory of the mails.
const OUTBOX: &str = "outbox";
/// Directory of the mails of a store in a database.
const LOCAL_DEFAULT: &str = "shop-data";
/// The value of an argument that names no place.
const NONE: &str = "none";

/// Term of a node's leases. The work of a node that was killed waits for it.
const TERM: Duration = Duration::from_secs(5);

/// Arguments of the locations.
#[derive(Args, Debug)]
pub(crate) struct PlaceArguments {
    #[arg(
        long,
        global = true,
        value_name = "URL",
        default_value = "gesta:./shop-data?index=event-id,correlation,causation",
        env = "GESTA_STORE",
        hide_env_values = true,
        help = format!(
            "Event store: {}; what is in memory is lost when the program ends",
            engines::forms(Purpose::Store)
        )
    )]
    store: GivenUrl,
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "GESTA_READ_MODELS",
        hide_env_values = true,
        help = format!(
            "Read models: {}; by default next to the events: in the directory `read-models`, or in \
             the same database",
            engines::forms(Purpose::ReadModels)
        )
    )]
    read_models: Option<GivenUrl>,
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "GESTA_SEARCH",
        hide_env_values = true,
        help = format!(
            "Full-text indexes of orders and products: {}; by default none",
            engines::forms(Purpose::Search)
        )
    )]
    search: Option<GivenUrl>,
    #[arg(
        long,
        global = true,
        value_name = "URL",
        default_value = NONE,
        env = "GESTA_CACHE",
        hide_env_values = true,
        help = format!(
            "Cache of queries: `none`, {}; nodes share the one on a server",
            engines::forms(Purpose::Cache)
        )
    )]
    cache: GivenUrl,
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "GESTA_SNAPSHOTS",
        hide_env_values = true,
        help = format!(
            "Stored states, from which loads of orders, products and accounts begin: {}; none by \
             default",
            engines::forms(Purpose::Snapshots)
        )
    )]
    snapshots: Option<GivenUrl>,
    /// Directory of the outbox; by default that of a `gesta:` store, or `./shop-data`
    #[arg(long, global = true, value_name = "DIRECTORY", env = "GESTA_LOCAL")]
    local: Option<PathBuf>,
    /// Tenant: each has places of its own, whose URLs have `{tenant}` for its name. `serve` takes
    /// several, with an access file, and answers each caller from the places of the caller's tenant
    #[arg(
        id = "tenant",
        long = "tenant",
        global = true,
        value_name = "NAME",
        env = "GESTA_TENANT",
        value_delimiter = ','
    )]
    tenants: Vec<TenantId>,
}

/// A URL as it was given. It may have a password and is never printed.
#[derive(Clone)]
pub(crate) struct GivenUrl(String);

impl FromStr for GivenUrl {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        // Read later: the parser of arguments repeats a text that it refuses.
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for GivenUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GivenUrl")
    }
}

/// Locations of everything that the shop keeps.
#[derive(Debug)]
pub(crate) struct Places {
    /// The tenant that they belong to.
    pub(crate) tenant: Option<TenantId>,
    pub(crate) store: Place,
    pub(crate) read_models: Place,
    /// Full-text indexes, if there are any.
    pub(crate) search: Option<Place>,
    /// Cache of queries. `None`: every query reads its read model.
    pub(crate) cache: Option<Place>,
    pub(crate) snapshots: Option<Place>,
    /// Directory of the outbox. A memory store has none: nothing of it is kept.
    pub(crate) local: Option<PathBuf>,
}

impl Places {
    /// Returns the parts besides the store, by their arguments.
    pub(crate) fn parts(&self) -> [(&'static str, Option<&Place>); 4] {
        [
            ("read-models", Some(&self.read_models)),
            ("snapshots", self.snapshots.as_ref()),
            ("cache", self.cache.as_ref()),
            ("search", self.search.as_ref()),
        ]
    }
}

/// The place of this process among the nodes that share the work.
#[derive(Debug)]
pub(crate) struct Node<'a> {
    /// Name for operators.
    pub(crate) label: &'a str,
    pub(crate) role: Role,
}

impl Node<'_> {
    /// The node of the demo.
    pub(crate) const DEMO: Self = Self { label: "demo", role: Role::All };
}

/// An open shop with its read models.
pub(crate) struct OpenShop {
    pub(crate) gesta: Gesta,
    /// The event store, if it also has the leases of the nodes.
    shared: Option<Arc<PostgresStore>>,
    read_models: ReadModels,
    indexes: Option<Box<dyn Indexes>>,
    relay: Option<RelayTask>,
    /// Examples that name what is in this store.
    pub(crate) examples: Vec<Example>,
}

/// The parts of an open shop, for a look at them.
#[cfg(feature = "everything")]
pub(crate) struct OpenParts<'a> {
    pub(crate) gesta: &'a Gesta,
    /// The event store, if it is in PostgreSQL together with the read models.
    pub(crate) server: Option<&'a Arc<PostgresStore>>,
    pub(crate) indexes: Option<&'a gesta::search::SearchStore>,
    pub(crate) relay: Option<&'a Arc<dyn RelayWatch>>,
}

impl OpenShop {
    /// Publishes all events to a Kafka cluster until the shop is closed.
    pub(crate) fn relay_to(&mut self, place: &Place) -> Result<()> {
        let store = Arc::clone(self.gesta.store());
        let relay = RelayTask::start(place, store).context("--relay")?;
        let watch = Arc::clone(relay.watch());
        self.gesta.watch_part("relay", move || watch.status());
        self.relay = Some(relay);
        Ok(())
    }

    /// Waits until every event up to a position is published. Without a relay there is nothing to
    /// wait for.
    pub(crate) async fn published(&self, position: Position) -> Result<()> {
        let Some(relay) = &self.relay else { return Ok(()) };
        ensure!(relay.watch().reached(position).await, "the relay ended before the last event");
        Ok(())
    }

    /// Returns the parts that the page of all parts shows.
    #[cfg(feature = "everything")]
    pub(crate) fn parts(&self) -> OpenParts<'_> {
        let Self { gesta, shared, indexes, relay, .. } = self;
        OpenParts {
            gesta,
            server: shared.as_ref(),
            indexes: indexes.as_ref().map(|indexes| indexes.store()),
            relay: relay.as_ref().map(RelayTask::watch),
        }
    }

    /// Returns the HTTP interface of the shop.
    pub(crate) fn api(&self) -> Api {
        let api = self.indexes.as_ref().map_or_else(http::api, |indexes| indexes.api());
        self.examples.iter().cloned().fold(api, |api, example| example.of(api))
    }

    /// Closes the application, then the files or connections of its read models.
    pub(crate) async fn close(self) {
        if let Some(stopping) = self.relay.map(RelayTask::stop) {
            stopping.await;
        }
        self.gesta.close().await;
        if let Some(store) = self.shared
            && let Err(error) = store.close().await
        {
            tracing::warn!(%error, "the event store was not closed in an orderly way");
        }
        self.read_models.close().await;
        if let Some(indexes) = self.indexes
            && let Err(error) = indexes.close().await
        {
            tracing::warn!(%error, "the indexes were not closed in an orderly way");
        }
    }
}

/// Closes shops at the same time: each waits until its parts have ended.
pub(crate) async fn close_all(shops: Vec<OpenShop>) {
    let closing: JoinSet<()> = shops.into_iter().map(OpenShop::close).collect();
    closing.join_all().await;
}

/// The error for a location that cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidPlace {
    #[error("--store: {0}")]
    Store(String),
    #[error("--read-models: {0}")]
    ReadModels(String),
    #[error("--search: {0}")]
    Search(String),
    #[error("--cache: {0}")]
    Cache(String),
    #[error("--snapshots: {0}")]
    Snapshots(String),
    #[error("--relay: {0}")]
    Relay(String),
    #[error("--source: {0}")]
    Source(String),
    #[error("--local: {0}")]
    Local(String),
    #[error("--tenant: {0}")]
    Tenant(String),
}

impl PlaceArguments {
    /// Reads the URL of the read models, or this one if it was not given.
    pub(crate) fn read_models_or(
        &self,
        default: &str,
        tenant: Option<&TenantId>,
    ) -> Result<Place, InvalidPlace> {
        let url = match &self.read_models {
            Some(given) => of_tenant(&given.0, tenant).map_err(InvalidPlace::ReadModels)?,
            None => default.to_owned(),
        };
        Place::parse(Purpose::ReadModels, &url).map_err(InvalidPlace::ReadModels)
    }

    /// Returns the tenant of a verb that takes one at most.
    pub(crate) fn tenant(&self) -> Result<Option<&TenantId>, InvalidPlace> {
        match &*self.tenants {
            [] => Ok(None),
            [tenant] => Ok(Some(tenant)),
            _ => Err(InvalidPlace::Tenant("only `serve` takes several tenants".to_owned())),
        }
    }

    /// Reads the URLs of each tenant, or those without tenants.
    pub(crate) fn all_places(&self) -> Result<Vec<Places>, InvalidPlace> {
        let is_twice =
            |tenant: &&TenantId| self.tenants.iter().filter(|it| it == tenant).count() > 1;
        if let Some(twice) = self.tenants.iter().find(is_twice) {
            return Err(InvalidPlace::Tenant(format!("`{twice}` is given twice")));
        }
        match self.tenants.is_empty() {
            true => Ok(vec![self.places_of(None)?]),
            false => {
                let of_tenants = self.tenants.iter().map(|tenant| self.places_of(Some(tenant)));
                let all = of_tenants.collect::<Result<Vec<_>, _>>()?;
                check_apart(&all).map_err(InvalidPlace::Tenant)?;
                Ok(all)
            }
        }
    }

    /// Reads the URLs for a verb that works on one store.
    pub(crate) fn places(&self) -> Result<Places, InvalidPlace> {
        self.places_of(self.tenant()?)
    }

    /// Reads the URLs, and completes what was not given.
    fn places_of(&self, tenant: Option<&TenantId>) -> Result<Places, InvalidPlace> {
        let store = of_tenant(&self.store.0, tenant);
        let store = store.and_then(|url| Place::parse(Purpose::Store, &url));
        let store = store.map_err(InvalidPlace::Store)?;
        let local = match (&self.local, store.kind()) {
            (_, Kind::Memory) => None,
            (Some(directory), _) => Some(local_of_tenant(directory, tenant)?),
            // Next to the log: moving the directory moves both.
            (None, _) => Some(store.log_directory().unwrap_or_else(|| {
                let directory = PathBuf::from(LOCAL_DEFAULT);
                tenant.map_or(directory.clone(), |tenant| directory.join(tenant.as_str()))
            })),
        };
        let beside = match (store.kind(), &local) {
            (Kind::Postgres, _) => store.url().to_owned(),
            (_, Some(directory)) => format!("sqlite:{}", directory.join(READ_MODELS).display()),
            // Read models of a memory store are temporary as well: they would outlive the events.
            (_, None) => "memory:".to_owned(),
        };
        let read_models = self.read_models_or(&beside, tenant)?;
        let placed = |purpose, given: Option<&GivenUrl>| placed(purpose, given, tenant);
        let search = placed(Purpose::Search, self.search.as_ref()).map_err(InvalidPlace::Search)?;
        let cache = placed(Purpose::Cache, Some(&self.cache)).map_err(InvalidPlace::Cache)?;
        let snapshots = placed(Purpose::Snapshots, self.snapshots.as_ref());
        let snapshots = snapshots.map_err(InvalidPlace::Snapshots)?;
        let tenant = tenant.cloned();
        Ok(Places { tenant, store, read_models, search, cache, snapshots, local })
    }
}

/// Refuses places that two tenants would share, by the names that the engines take from the URLs.
fn check_apart(all: &[Places]) -> Result<(), String> {
    for (index, one) in all.iter().enumerate() {
        for other in all.iter().skip(index + 1) {
            let pairs = one.kept().zip(other.kept());
            if let Some((shared, _)) = pairs.into_iter().find(|(one, other)| one == other) {
                return Err(format!("two tenants would share {shared}"));
            }
        }
    }
    Ok(())
}

/// Returns the directory of a tenant's outbox.
fn local_of_tenant(directory: &Path, tenant: Option<&TenantId>) -> Result<PathBuf, InvalidPlace> {
    let Some(tenant) = tenant else { return Ok(directory.to_owned()) };
    // By the rule of URLs. A directory is no URL, so it gets a scheme for that.
    let url = of_tenant(&format!("local:{}", directory.display()), Some(tenant));
    let url = url.map_err(InvalidPlace::Local)?;
    Ok(url.strip_prefix("local:").unwrap_or(&url).into())
}

/// Reads a URL that may be left out.
fn placed(
    purpose: Purpose,
    given: Option<&GivenUrl>,
    tenant: Option<&TenantId>,
) -> Result<Option<Place>, String> {
    let Some(given) = given.filter(|given| given.0 != NONE) else { return Ok(None) };
    Place::parse(purpose, &of_tenant(&given.0, tenant)?).map(Some)
}

impl Places {
    /// Returns the places that outlive the program, for people, each purpose in its turn.
    fn kept(&self) -> impl Iterator<Item = String> {
        let optional = [self.search.as_ref(), self.cache.as_ref(), self.snapshots.as_ref()];
        let all = [Some(&self.store), Some(&self.read_models)].into_iter().chain(optional);
        let is_kept = |place: &&Place| ![Kind::Memory, Kind::Moka].contains(&place.kind());
        all.flatten().filter(is_kept).map(ToString::to_string)
    }

    /// Returns the directory of the mails, if there is one.
    pub(crate) fn outbox(&self) -> Option<PathBuf> {
        self.local.as_ref().map(|local| local.join(OUTBOX))
    }

    /// Opens the shop for a report, without its process managers and reactors. A store that does
    /// not exist is refused, because opening would create an empty one.
    pub(crate) async fn open_existing(&self, verb: &str) -> Result<OpenShop> {
        let is_there = self.store.has_store().await;
        let is_there = is_there.with_context(|| format!("cannot open {}", self.store))?;
        ensure!(
            is_there,
            "no store at {}; check --store, or begin one with `shop import` or `shop demo`",
            self.store,
        );
        self.open(verb).await
    }

    /// Opens the shop without its process managers and reactors. `verb` is what operators see.
    pub(crate) async fn open(&self, verb: &str) -> Result<OpenShop> {
        self.open_with(&Node { label: verb, role: Role::All }, |builder| builder).await
    }

    /// Opens the shop with its process managers and reactors.
    pub(crate) async fn open_with_processes(
        &self,
        node: &Node<'_>,
        delays: ProcessDelays,
    ) -> Result<OpenShop> {
        let outbox = self.local.as_deref().map(open_outbox).transpose()?;
        let checked = self.check_sole_node().await;
        checked.with_context(|| format!("cannot open {}", self.store))?;
        self.open_with(node, |builder| {
            let builder = processes::run_all(builder, delays);
            match outbox {
                Some(outbox) => reactors::run_all(builder, outbox),
                None => builder,
            }
        })
        .await
    }

    /// Refuses to run next to nodes with leases if this one would take none, because its read
    /// models are its own: each process manager and reactor would run twice.
    async fn check_sole_node(&self) -> Result<()> {
        if self.store.kind() != Kind::Postgres || self.read_models.kind() == Kind::Postgres {
            return Ok(());
        }
        let store = PostgresStore::connect(self.store.url()).await?;
        let leases = store.list().await;
        store.close().await?;
        // Each node that may run parts has such a lease; other programs have other names.
        let is_node = |name: &str| name.starts_with("node:");
        if let Some(lease) = leases?.iter().find(|lease| is_node(lease.name.as_str())) {
            bail!(
                "node `{}` works on this store, and would share no work with a node that has \
                 --read-models {}; leave --read-models out, or stop the other nodes",
                lease.node,
                self.read_models,
            );
        }
        tracing::warn!(
            read_models = %self.read_models,
            "read models of this node alone: it runs every process manager and reactor without \
             leases; start no other node on this store"
        );
        Ok(())
    }

    async fn open_with(
        &self,
        node: &Node<'_>,
        change: impl FnOnce(Builder) -> Builder,
    ) -> Result<OpenShop> {
        let opened = self.read_models.open_read_models().await;
        let read_models = opened.with_context(|| format!("cannot open {}", self.read_models))?;
        let indexes = match &self.search {
            Some(place) => {
                let opened = place.open_indexes().await;
                Some(opened.with_context(|| format!("cannot open --search {place}"))?)
            }
            None => None,
        };
        let change = |builder| match &indexes {
            Some(indexes) => change(indexes.project(builder)),
            None => change(builder),
        };
        let opened = self.open_on(&read_models, node, change).await;
        let (gesta, shared) = opened.with_context(|| format!("cannot open {}", self.store))?;
        let examples = Vec::new();
        Ok(OpenShop { gesta, shared, read_models, indexes, relay: None, examples })
    }

    async fn open_on(
        &self,
        read_models: &ReadModels,
        node: &Node<'_>,
        change: impl FnOnce(Builder) -> Builder,
    ) -> Result<(Gesta, Option<Arc<PostgresStore>>)> {
        let (builder, shared) = match (self.store.kind(), self.read_models.kind()) {
            (Kind::Postgres, Kind::Postgres) => {
                // One node at a time fills an index, and the others have to read the same one.
                if let Some(search) = self.search.as_ref().filter(|it| it.is_of_one_node()) {
                    bail!(
                        "--search {search} is of one node alone, and the nodes on {} share their \
                         work; give opensearch://HOST:PORT, or --read-models of this node alone",
                        self.store,
                    );
                }
                let store = Arc::new(PostgresStore::connect(self.store.url()).await?);
                let nodes = Nodes::new(store.clone(), node.label)?.term(TERM);
                (Gesta::on(store.clone()).nodes(nodes).role(node.role), Some(store))
            }
            _ => {
                // Its read models are its own, so it has to fill them itself.
                ensure!(
                    node.role == Role::All,
                    "--role {} needs events and read models that all nodes share: give \
                     postgres://… for --store and --read-models",
                    node.role,
                );
                (Gesta::at(self.store.url()), None)
            }
        };
        let builder = match &self.tenant {
            Some(tenant) => builder.tenant(tenant.clone()),
            None => builder,
        };
        let builder = match &self.cache {
            Some(place) => {
                let opened = place.open_cache().await;
                builder.query_cache(opened.with_context(|| format!("cannot open {place}"))?)
            }
            None => builder,
        };
        let builder = read_side::project_all(builder, read_models);
        let builder = match &self.snapshots {
            Some(place) => {
                let kept = place.keep_snapshots(builder).await;
                kept.with_context(|| format!("cannot open {place}"))?
            }
            None => builder,
        };
        let gesta = change(builder).open().await?;
        Ok((gesta, shared))
    }
}

fn open_outbox(directory: &Path) -> Result<Outbox> {
    let directory = directory.join(OUTBOX);
    Outbox::open(&directory).with_context(|| format!("cannot open {}", directory.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(store: &str, read_models: Option<&str>) -> Result<Places, InvalidPlace> {
        let given = |url: &str| GivenUrl(url.to_owned());
        let (store, read_models) = (given(store), read_models.map(given));
        let cache = given("none");
        let (search, snapshots) = (None, None);
        let tenants = Vec::new();
        PlaceArguments { store, read_models, search, cache, snapshots, local: None, tenants }
            .places()
    }

    #[test]
    fn read_models_are_beside_the_events_unless_they_are_placed() {
        for (store, given, expected) in [
            ("gesta:./data", None, "sqlite:./data/read-models"),
            ("memory:", None, "memory:"),
            ("gesta:./data", Some("sqlite:rows"), "sqlite:rows"),
            ("postgres://ann:secret@db/shop", None, "postgres://ann@db:5432/shop?schema=gesta"),
            ("postgres://ann:secret@db/shop", Some("sqlite:rows"), "sqlite:rows"),
        ] {
            let places = places(store, given).unwrap();
            assert_eq!(places.read_models.to_string(), expected);
        }
    }

    #[test]
    fn indexes_are_placed_by_a_program_that_has_them_only() {
        let given = |url: &str| Some(GivenUrl(url.to_owned()));
        let placed = |search: &str| {
            let store = GivenUrl("memory:".to_owned());
            let (search, cache) = (given(search), GivenUrl("none".to_owned()));
            let (read_models, snapshots) = (None, None);
            let tenants = Vec::new();
            PlaceArguments { store, read_models, search, cache, snapshots, local: None, tenants }
                .places()
        };
        if cfg!(feature = "search") {
            let places = placed("opensearch://ann:secret@db/shop").unwrap();
            assert_eq!(places.search.unwrap().to_string(), "opensearch://ann@db:9200/shop");
        }
        let reason = if cfg!(feature = "search") { "no host" } else { "--features search" };
        let error = placed("opensearch://ann:secret@").unwrap_err().to_string();
        assert!(error.starts_with("--search: ") && error.contains(reason), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn a_url_that_cannot_be_read_is_refused_without_its_text() {
        for (store, read_models, reason) in [
            ("//ann:secret@db/shop", None, "--store: the URL has no known scheme"),
            ("postgres://ann:secret@db:port/shop", None, "--store: the URL cannot be read"),
            (
                "memory:",
                Some("mysql://ann:secret@db"),
                "--read-models: the URL has no known scheme; expected `sqlite:DIRECTORY`, `",
            ),
            ("memory:", Some("sqlite:"), "--read-models: `sqlite:` needs a directory"),
            ("memory:", Some("sqlite:postgres://ann:secret@db"), "--read-models: `sqlite:` is"),
        ] {
            let error = places(store, read_models).unwrap_err().to_string();
            assert!(error.starts_with(reason) && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn each_tenant_has_places_of_its_own() {
        let given = |url: &str| GivenUrl(url.to_owned());
        let arguments = |store: &str, tenants: &[&str]| PlaceArguments {
            store: given(store),
            read_models: None,
            search: None,
            cache: given("none"),
            snapshots: None,
            local: None,
            tenants: tenants.iter().map(|tenant| tenant.parse().unwrap()).collect(),
        };
        let both = arguments("gesta:./data/{tenant}", &["acme", "globex"]);
        let all = both.all_places().unwrap();
        let shown = |places: &Places| {
            let local = places.local.as_ref().unwrap().display().to_string();
            [places.store.to_string(), places.read_models.to_string(), local]
        };
        for (places, tenant) in all.iter().zip(["acme", "globex"]) {
            let directory = format!("./data/{tenant}");
            let read_models = format!("sqlite:{directory}/read-models");
            assert_eq!(shown(places), [format!("gesta:{directory}"), read_models, directory]);
        }
        assert_eq!(all.len(), 2);
        assert!(both.places().unwrap_err().to_string().contains("only `serve`"));
        let in_database = arguments("postgres://ann@db/shop?schema=shop_{tenant}", &["acme"]);
        let expected = "postgres://ann@db:5432/shop?schema=shop_acme".to_owned();
        let local = "shop-data/acme".to_owned();
        assert_eq!(shown(&in_database.places().unwrap()), [expected.clone(), expected, local]);
        for (store, tenants, reason) in [
            ("gesta:./data", &["acme"][..], "--store: each tenant needs a place of its own"),
            ("gesta:./data/{tenant}", &[], "--store: the URL has `{tenant}`"),
            ("gesta:./{tenant}", &["acme", "acme"], "--tenant: `acme` is given twice"),
        ] {
            let error = arguments(store, tenants).all_places().unwrap_err().to_string();
            assert!(error.starts_with(reason), "{error}");
        }
    }
}
