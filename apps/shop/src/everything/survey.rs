//! The look at all parts.
//!
//! Invariants: each question ends within its time limit. All questions of one look are asked at the
//! same time, and viewers within [`FRESH`] share a look.

use std::{future::IntoFuture as _, sync::Arc, time::Duration};

use gesta::{
    Gesta, HealthCause, Position, Projection as _, ProjectionStatus, Severity,
    postgres::PostgresStore, redis::Redis, search::SearchStore,
};
use shop::{
    catalogue::search::{CountIndexedProducts, ProductIndex},
    orders::search::{CountIndexedOrders, OrderIndex},
};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use super::{
    consumer::Consumer,
    picture::{ANSWER_MAX, FollowerState, Part, PartState, Picture, bounded},
    topic::Topic,
};
use crate::engines::{RelayLook, RelayWatch};

/// Age up to which a look is shown again.
const FRESH: Duration = Duration::from_secs(1);

/// Projections whose rows are search documents.
const INDEXES: [&str; 2] = [OrderIndex::NAME, ProductIndex::NAME];

/// The parts of the running shop that the page shows.
pub(super) struct RunningParts {
    pub(super) gesta: Gesta,
    /// URL of the HTTP interface.
    pub(super) address: String,
    /// Number of routes of the HTTP interface.
    pub(super) routes: usize,
    pub(super) store: NamedPart<Option<Arc<PostgresStore>>>,
    pub(super) read_models: String,
    /// The place of the cache, or of the stored states.
    pub(super) cache: Option<NamedPart<Option<Redis>>>,
    pub(super) search: Option<NamedPart<Result<SearchStore, String>>>,
    pub(super) relay: Option<NamedPart<Arc<dyn RelayWatch>>>,
    pub(super) topic: Option<Topic>,
    pub(super) consumer: Option<Consumer>,
}

/// A part with its URL, which has no password.
pub(super) struct NamedPart<T> {
    pub(super) url: String,
    pub(super) part: T,
}

/// Looks at all parts.
pub(super) struct Survey {
    parts: RunningParts,
    last: Mutex<Option<(Instant, Arc<Picture>)>>,
}

/// The answers that several parts show.
struct Shared {
    head: Result<Position, String>,
    projections: Result<Vec<ProjectionStatus>, String>,
    causes: Vec<HealthCause>,
}

impl Survey {
    pub(super) fn new(parts: RunningParts) -> Self {
        Self { parts, last: Mutex::default() }
    }

    /// Ends what only the page needs.
    pub(super) async fn close(&self) {
        if let Some(consumer) = &self.parts.consumer {
            consumer.close().await;
        }
    }

    /// Returns the state of all parts, which is a second old at most.
    pub(super) async fn picture(&self) -> Arc<Picture> {
        // Held during a look, so that other viewers wait for it instead of asking again.
        let mut last = self.last.lock().await;
        if let Some((looked_at, picture)) = &*last
            && looked_at.elapsed() < FRESH
        {
            return Arc::clone(picture);
        }
        let picture = Arc::new(self.look().await);
        *last = Some((Instant::now(), Arc::clone(&picture)));
        picture
    }

    async fn look(&self) -> Picture {
        let gesta = &self.parts.gesta;
        let (head, projections, health) = tokio::join!(
            bounded(gesta.store().head()),
            bounded(gesta.projections()),
            timeout(ANSWER_MAX, gesta.health()),
        );
        let causes = health.map(|health| health.causes).unwrap_or_default();
        let shared = Shared { head: head.map(|head| head.position), projections, causes };
        let head = shared.head.as_ref().ok().copied();
        let (store, work, cache, search, relay, consumer) = tokio::join!(
            store(&self.parts.store, &shared.head),
            work(gesta),
            self.cache(),
            self.search(&shared),
            self.relay(head),
            async { Some(self.parts.consumer.as_ref()?.part(head).await) },
        );
        let interfaces = [Some(self.http(&shared)), Some(self.graphql())];
        let parts = [Some(store), Some(self.read_models(&shared)), Some(work)];
        let parts = interfaces.into_iter().chain(parts);
        let parts = parts.chain([cache, search, relay, consumer]);
        Picture { parts: parts.flatten().collect() }
    }

    /// The HTTP interface, which answers this request.
    fn http(&self, shared: &Shared) -> Part {
        let Shared { causes, .. } = shared;
        let is_ready = causes.iter().all(|cause| cause.severity != Severity::Unready);
        let part = Part::up("HTTP interface", &self.parts.address)
            .version(concat!("shop ", env!("CARGO_PKG_VERSION")))
            .figure("routes", self.parts.routes)
            .figure("ready", if is_ready { "yes" } else { "no" });
        match causes.iter().find(|cause| cause.severity > Severity::Notice) {
            Some(HealthCause { detail, .. }) => part.at_most(PartState::Troubled, detail),
            None => part,
        }
    }

    /// The GraphQL form of the HTTP interface, which answers its requests.
    fn graphql(&self) -> Part {
        let address = &self.parts.address;
        Part::up("GraphQL interface", format!("{address}/graphql"))
            .figure("page to try it", format!("{address}/graphiql"))
            .figure("WebSocket", format!("{}/graphql/ws", address.replacen("http", "ws", 1)))
    }

    fn read_models(&self, shared: &Shared) -> Part {
        let part = Part::up("Read models", &self.parts.read_models);
        match &shared.projections {
            Ok(all) => part.followed_by(followers(all, |name| !INDEXES.contains(&name))),
            Err(error) => part.at_most(PartState::Down, error),
        }
    }

    async fn cache(&self) -> Option<Part> {
        let NamedPart { url, part: redis } = self.parts.cache.as_ref()?;
        let counts = self.parts.gesta.query_cache_counts();
        let part = Part::up("Cache and stored states", url)
            .figure("answers from the cache", counts.hits)
            .figure("answers loaded into it", counts.loads)
            .figure("answers past it", counts.bypasses);
        // A cache in this process has no more to show.
        let Some(redis) = redis else { return Some(part) };
        Some(match bounded(redis.look()).await {
            Ok(server) => {
                let more = if server.is_complete { "" } else { " or more" };
                part.version(format!("Redis {}", server.version))
                    .figure("answers kept", format!("{}{more}", server.answers))
                    .figure("states kept", format!("{}{more}", server.snapshots))
                    .figure("memory", format!("{} KiB", server.used_bytes.div_ceil(1_024)))
            }
            Err(error) => part.at_most(PartState::Down, error),
        })
    }

    async fn search(&self, shared: &Shared) -> Option<Part> {
        let NamedPart { url, part: opened } = self.parts.search.as_ref()?;
        let part = Part::up("Full-text search", url);
        let indexes: &SearchStore = match opened {
            Ok(indexes) => indexes,
            Err(error) => return Some(part.at_most(PartState::Down, error)),
        };
        let gesta = &self.parts.gesta;
        let (version, orders, products) = tokio::join!(
            bounded(indexes.engine_version()),
            bounded(gesta.ask(CountIndexedOrders).into_future()),
            bounded(gesta.ask(CountIndexedProducts).into_future()),
        );
        let mut part = part;
        for (name, found) in [("orders found", &orders), ("products found", &products)] {
            if let Ok(found) = found {
                part = part.figure(name, found);
            }
        }
        part = match version {
            Ok(version) => part.version(version),
            Err(error) => part.at_most(PartState::Down, error),
        };
        if let Ok(all) = &shared.projections {
            part = part.followed_by(followers(all, |name| INDEXES.contains(&name)));
        }
        Some(match orders.err().or(products.err()) {
            Some(error) => part.at_most(PartState::Troubled, error),
            None => part,
        })
    }

    async fn relay(&self, head: Option<Position>) -> Option<Part> {
        let NamedPart { url, part: watch } = self.parts.relay.as_ref()?;
        let mut part = Part::up("Relay to Kafka", url);
        if let Some(topic) = &self.parts.topic {
            part = match bounded(topic.look()).await {
                Ok(state) => part
                    .figure("brokers", state.brokers)
                    .figure("partitions", state.partitions)
                    .figure("end offsets, in all", state.end_offsets),
                Err(error) => part.at_most(PartState::Down, error),
            };
        }
        let RelayLook { state, position, published, trouble } = watch.look();
        let position = position.map(Position::number);
        let lag = head.zip(position).map(|(head, at)| head.number().saturating_sub(at));
        let part = part.figure("events published since the start", published);
        let name = "relay".to_owned();
        Some(part.followed_by(vec![FollowerState { name, state, position, lag, error: trouble }]))
    }
}

/// The event store.
async fn store(
    NamedPart { url, part: server }: &NamedPart<Option<Arc<PostgresStore>>>,
    head: &Result<Position, String>,
) -> Part {
    let part = Part::up("Event store", url);
    let part = match head {
        Ok(head) => part.figure("events", head),
        Err(error) => part.at_most(PartState::Down, error),
    };
    let Some(server) = server else { return part };
    match bounded(server.server_version()).await {
        Ok(version) => part.version(format!("PostgreSQL {version}")),
        Err(error) => part.at_most(PartState::Down, error),
    }
}

/// Process managers and reactors.
async fn work(gesta: &Gesta) -> Part {
    let mut part = Part::up("Processes and reactors", "in this program");
    let managers = gesta.process_managers();
    let mut followers: Vec<_> = managers
        .iter()
        .map(|status| FollowerState {
            name: status.name.to_owned(),
            state: if status.trouble.is_some() { "retrying" } else { "running" },
            position: Some(status.position.number()),
            lag: None,
            error: status.trouble.clone().or_else(|| status.error.clone()),
        })
        .collect();
    part = part.figure("timers", managers.iter().map(|status| status.timers).sum::<usize>());
    match bounded(gesta.reactors()).await {
        Ok(reactors) => followers.extend(reactors.iter().map(|status| FollowerState {
            name: status.name.to_owned(),
            state: if status.trouble.is_some() { "retrying" } else { "running" },
            position: Some(status.position.number()),
            lag: status.lag.events,
            error: status.trouble.clone(),
        })),
        Err(error) => part = part.at_most(PartState::Troubled, error),
    }
    part.followed_by(followers)
}

fn followers(all: &[ProjectionStatus], is_here: impl Fn(&str) -> bool) -> Vec<FollowerState> {
    all.iter().filter(|one| is_here(one.name)).map(FollowerState::of_projection).collect()
}
