//! The engines that the shop can keep its things in: one entry for each, and its driver.
//!
//! Owns: [`ENGINES`], the only list of them, with schemes, forms of URLs and Cargo features; the
//! help and the errors that follow from it; [`Place`], a URL that an engine has checked. A new
//! engine is an entry here and a driver in a file of its own.
//!
//! Invariants: a URL is printed without its password, also in an error. A URL of an engine that
//! this program was built without is refused with the feature to build with. Not here: the
//! arguments (`store.rs`), and what goes together with what.

#[cfg(feature = "cache")]
mod cache;
mod driver;
#[cfg(feature = "dynamodb")]
mod dynamodb;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "kurrentdb")]
mod kurrentdb;
mod local;
#[cfg(feature = "mongodb")]
mod mongodb;
mod postgres;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "search")]
mod search;

use std::{fmt, path::PathBuf, sync::Arc};

use anyhow::Result;
use gesta::{
    Builder,
    store::{EventStore, QueryCache},
};
use shop::read_models::ReadModels;
use tokio::sync::oneshot;

#[cfg(feature = "everything")]
pub(crate) use self::driver::RelayLook;
use self::driver::{Driver, EngineFuture};
pub(crate) use self::driver::{Indexes, NewRelay, Purpose, RelayWatch};

/// The identity of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Log,
    Memory,
    Sqlite,
    Postgres,
    Kurrent,
    Dynamo,
    Mongo,
    Tantivy,
    OpenSearch,
    Moka,
    Redis,
    Kafka,
}

/// An engine.
pub(crate) struct Engine {
    kind: Kind,
    /// Name for people.
    name: &'static str,
    /// Schemes of its URLs. The first one is the usual one.
    schemes: &'static [&'static str],
    /// Form of its URLs.
    form: &'static str,
    purposes: &'static [Purpose],
    driver: BuiltDriver,
}

/// The driver of an engine, if this program has it.
struct BuiltDriver {
    /// The shop's Cargo feature that it comes with. `None`: every build has it.
    feature: Option<&'static str>,
    driver: Option<&'static dyn Driver>,
}

impl BuiltDriver {
    const fn always(driver: &'static dyn Driver) -> Self {
        Self { feature: None, driver: Some(driver) }
    }
}

/// The driver that comes with a feature of the shop.
macro_rules! with_feature {
    ($feature:literal, $driver:path) => {
        BuiltDriver {
            feature: Some($feature),
            #[cfg(feature = $feature)]
            driver: Some(&$driver),
            #[cfg(not(feature = $feature))]
            driver: None,
        }
    };
}

/// All engines, in the order in which help lists them.
static ENGINES: [Engine; 12] = [
    Engine {
        kind: Kind::Log,
        name: "the embedded log",
        schemes: &["gesta"],
        form: "gesta:DIRECTORY",
        purposes: &[Purpose::Store],
        driver: BuiltDriver::always(&local::LogDriver),
    },
    Engine {
        kind: Kind::Sqlite,
        name: "SQLite",
        schemes: &["sqlite"],
        form: "sqlite:DIRECTORY",
        purposes: &[Purpose::ReadModels],
        driver: BuiltDriver::always(&local::SqliteDriver),
    },
    Engine {
        kind: Kind::Postgres,
        name: "PostgreSQL",
        schemes: &["postgres", "postgresql"],
        form: "postgres://USER:PASSWORD@HOST:PORT/DATABASE?schema=NAME",
        purposes: &[Purpose::Store, Purpose::ReadModels],
        driver: BuiltDriver::always(&postgres::PostgresDriver),
    },
    Engine {
        kind: Kind::Kurrent,
        name: "KurrentDB",
        schemes: &["kurrentdb", "kurrent", "kdb", "esdb"],
        form: "kurrentdb://USER:PASSWORD@HOST:PORT",
        purposes: &[Purpose::Store],
        driver: with_feature!("kurrentdb", kurrentdb::KurrentDriver),
    },
    Engine {
        kind: Kind::Dynamo,
        name: "DynamoDB",
        schemes: &["dynamodb"],
        form: "dynamodb://REGION/PREFIX",
        purposes: &[Purpose::Store, Purpose::ReadModels, Purpose::Snapshots],
        driver: with_feature!("dynamodb", dynamodb::DynamoDriver),
    },
    Engine {
        kind: Kind::Mongo,
        name: "MongoDB",
        schemes: &["mongodb", "mongodb+srv"],
        form: "mongodb://USER:PASSWORD@HOST:PORT/DATABASE",
        purposes: &[Purpose::ReadModels, Purpose::Snapshots],
        driver: with_feature!("mongodb", mongodb::MongoDriver),
    },
    Engine {
        kind: Kind::Tantivy,
        name: "Tantivy",
        schemes: &["tantivy"],
        form: "tantivy:DIRECTORY",
        purposes: &[Purpose::Search],
        driver: with_feature!("search", search::SearchDriver),
    },
    Engine {
        kind: Kind::OpenSearch,
        name: "OpenSearch and Elasticsearch",
        schemes: &["opensearch", "opensearch+https", "elasticsearch", "elasticsearch+https"],
        form: "opensearch://USER:PASSWORD@HOST:PORT/PREFIX",
        purposes: &[Purpose::Search],
        driver: with_feature!("search", search::SearchDriver),
    },
    Engine {
        kind: Kind::Moka,
        name: "the cache in memory",
        schemes: &["moka"],
        form: "moka:",
        purposes: &[Purpose::Cache],
        driver: with_feature!("cache", cache::MokaDriver),
    },
    Engine {
        kind: Kind::Redis,
        name: "Redis",
        schemes: &["redis", "rediss"],
        form: "redis://:PASSWORD@HOST:PORT?prefix=NAME",
        purposes: &[Purpose::Cache, Purpose::Snapshots],
        driver: with_feature!("redis", redis::RedisDriver),
    },
    Engine {
        kind: Kind::Kafka,
        name: "Kafka",
        schemes: &["kafka", "kafka+ssl"],
        form: "kafka://HOST:PORT/RELAY",
        purposes: &[Purpose::Relay],
        driver: with_feature!("kafka", kafka::KafkaDriver),
    },
    Engine {
        kind: Kind::Memory,
        name: "memory",
        schemes: &["memory"],
        form: "memory:",
        purposes: &[Purpose::Store, Purpose::ReadModels],
        driver: BuiltDriver::always(&local::MemoryDriver),
    },
];

/// Returns the forms of URLs for a purpose, with the features that a build needs for them.
pub(crate) fn forms(purpose: Purpose) -> String {
    let engines = ENGINES.iter().filter(|engine| engine.purposes.contains(&purpose));
    let forms: Vec<String> = engines.map(Engine::form_with_feature).collect();
    match forms.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        _ => forms.concat(),
    }
}

impl Engine {
    /// Returns the engine of a URL's scheme.
    fn of(url: &str) -> Option<&'static Self> {
        let (scheme, _) = url.split_once(':')?;
        let name = scheme.strip_suffix("+discover").unwrap_or(scheme);
        ENGINES.iter().find(|engine| engine.schemes.contains(&name))
    }

    fn form_with_feature(&self) -> String {
        match self.driver.feature {
            Some(feature) => format!("`{}` (feature `{feature}`)", self.form),
            None => format!("`{}`", self.form),
        }
    }

    fn driver(&self) -> Result<&'static dyn Driver, String> {
        self.driver.driver.ok_or_else(|| {
            let feature = self.driver.feature.unwrap_or_default();
            format!(
                "this program was built without {}; build it with `cargo build --release -p shop \
                 --features {feature}`",
                self.name,
            )
        })
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The URL of a place, which its engine has checked. It may have a password, which is not printed.
#[derive(Clone)]
pub(crate) struct Place {
    kind: Kind,
    driver: &'static dyn Driver,
    url: String,
    without_password: String,
}

impl Place {
    /// Reads the URL of a place for a purpose. An error does not repeat the URL.
    pub(crate) fn parse(purpose: Purpose, url: &str) -> Result<Self, String> {
        let Some(engine) = Engine::of(url) else {
            return Err(format!("the URL has no known scheme; expected {}", forms(purpose)));
        };
        if !engine.purposes.contains(&purpose) {
            let purposes: Vec<_> = engine.purposes.iter().map(|it| it.argument()).collect();
            let reason = match (engine.kind, purpose) {
                (Kind::Kafka, Purpose::Store) => {
                    ": it is no event store, because a topic has no expected revision"
                }
                _ => "",
            };
            return Err(format!(
                "{} can be given to {}{reason}; expected {}",
                engine.name,
                purposes.join(" and "),
                forms(purpose),
            ));
        }
        let driver = engine.driver()?;
        let without_password = driver.check(url)?;
        Ok(Self { kind: engine.kind, driver, url: url.to_owned(), without_password })
    }

    pub(crate) const fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the URL that opens the place, with its password.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Returns the directory of an embedded store.
    pub(crate) fn log_directory(&self) -> Option<PathBuf> {
        (self.kind == Kind::Log).then(|| gesta::directory_of(&self.url).ok().flatten()).flatten()
    }

    /// Returns whether other nodes cannot share what is there.
    pub(crate) fn is_of_one_node(&self) -> bool {
        match self.kind {
            Kind::Log | Kind::Memory | Kind::Sqlite | Kind::Tantivy | Kind::Moka => true,
            Kind::Postgres
            | Kind::Kurrent
            | Kind::Dynamo
            | Kind::Mongo
            | Kind::OpenSearch
            | Kind::Redis
            | Kind::Kafka => false,
        }
    }

    pub(crate) fn has_store(&self) -> EngineFuture<'_, bool> {
        self.driver.has_store(&self.url)
    }

    pub(crate) fn open_read_models(&self) -> EngineFuture<'_, ReadModels> {
        self.driver.open_read_models(&self.url)
    }

    pub(crate) fn open_indexes(&self) -> EngineFuture<'_, Box<dyn Indexes>> {
        self.driver.open_indexes(&self.url)
    }

    pub(crate) fn open_cache(&self) -> EngineFuture<'_, Arc<dyn QueryCache>> {
        self.driver.open_cache(&self.url)
    }

    pub(crate) fn keep_snapshots(&self, builder: Builder) -> EngineFuture<'_, Builder> {
        self.driver.keep_snapshots(&self.url, builder)
    }

    pub(crate) fn relay(
        &self,
        store: Arc<dyn EventStore>,
        stopped: oneshot::Receiver<()>,
    ) -> Result<NewRelay> {
        self.driver.relay(&self.url, store, stopped)
    }

    pub(crate) fn feed(&self) -> Result<Arc<dyn EventStore>> {
        self.driver.feed(&self.url)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.without_password)
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Place({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_scheme_is_refused_with_the_known_ones() {
        for url in ["", "moka", "//ann:secret@db", "memcached://ann:secret@db"] {
            let error = Place::parse(Purpose::Cache, url).unwrap_err();
            assert_eq!(
                error,
                "the URL has no known scheme; expected `moka:` (feature `cache`) or \
                 `redis://:PASSWORD@HOST:PORT?prefix=NAME` (feature `redis`)"
            );
        }
    }

    #[test]
    fn an_engine_for_another_purpose_is_refused_with_its_own() {
        let error = Place::parse(Purpose::Store, "sqlite:ann:secret@db").unwrap_err();
        let expected =
            "SQLite can be given to --read-models; expected `gesta:DIRECTORY`, `postgres://";
        assert!(error.starts_with(expected) && !error.contains("secret"), "{error}");
    }

    #[test]
    fn an_engine_that_is_not_built_in_is_refused_with_its_feature() {
        let kafka = "kafka://ann:secret@db:x/orders";
        let mongo = "mongodb://ann:secret@db:x/shop";
        for (purpose, url, feature, is_built) in [
            (Purpose::Store, "dynamodb://eu:secret@db", "dynamodb", cfg!(feature = "dynamodb")),
            (Purpose::Store, "esdb://ann:secret@db:x", "kurrentdb", cfg!(feature = "kurrentdb")),
            (Purpose::ReadModels, mongo, "mongodb", cfg!(feature = "mongodb")),
            (Purpose::Search, "opensearch://ann:secret@", "search", cfg!(feature = "search")),
            (Purpose::Cache, "redis://:secret@db:x", "redis", cfg!(feature = "redis")),
            (Purpose::Relay, kafka, "kafka", cfg!(feature = "kafka")),
        ] {
            let error = Place::parse(purpose, url).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
            assert_eq!(error.contains(&format!("--features {feature}`")), !is_built, "{error}");
        }
    }

    #[test]
    fn a_place_is_printed_without_its_password() {
        let place = Place::parse(Purpose::Store, "postgres://ann:secret@db/shop").unwrap();
        assert_eq!(place.to_string(), "postgres://ann@db:5432/shop?schema=gesta");
        assert!(!format!("{place:?}").contains("secret"));
        if let Ok(place) = Place::parse(Purpose::Cache, "redis://:secret@db:7000/1") {
            assert!(!format!("{place} {place:?}").contains("secret"), "{place}");
        }
    }

    #[test]
    fn no_scheme_belongs_to_two_engines() {
        let mut schemes: Vec<_> = ENGINES.iter().flat_map(|engine| engine.schemes).collect();
        let all = schemes.len();
        schemes.sort_unstable();
        schemes.dedup();
        assert_eq!(schemes.len(), all);
    }
}
