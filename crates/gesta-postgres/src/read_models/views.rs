//! Materialized views of read models, and when they are refreshed.
//!
//! Owns: [`View`], its creation, and the three strategies. A view that is refreshed after each
//! batch is refreshed in the transaction of the batch, so it never differs from the rows. The
//! views of an interval are refreshed by one of the processes that have the store open, for live
//! read models only. Not here: SQL of projections.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use gesta_store::{DatabaseError, ReadModelId};
use tokio::time::sleep;
use tokio_postgres::types::Type;

use super::{
    catalogue::column,
    core::{Purpose, ReadModelsCore, StoredView},
    session::{Parameter, Session},
};
use crate::{
    number::{from_sql, to_sql},
    schema_name::quoted,
};

/// Maximum time until a new view of an interval is noticed.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// Shortest interval of a view.
const EVERY_MIN: Duration = Duration::from_millis(100);

const CREATE: &str = "
INSERT INTO {schema}.views (build, name, refresh, every_micros, is_concurrent)
VALUES ($1, $2, $3, $4, $5)";

const OF_BATCH: &str = "
SELECT v.name, v.is_concurrent FROM {schema}.views v
 WHERE v.build = $1 AND v.refresh = 'batch' ORDER BY v.name";

const FIND: &str = "
SELECT v.name, v.is_concurrent FROM {schema}.views v WHERE v.build = $1 AND v.name = $2";

/// Claims the views whose interval is over: of several processes, one gets each.
const CLAIM: &str = "
UPDATE {schema}.views v SET refreshed_at = now() FROM {schema}.read_models m
 WHERE m.build = v.build AND m.stage = 'live' AND v.refresh = 'interval'
   AND v.refreshed_at + v.every_micros * interval '1 microsecond' <= now()
RETURNING v.name, v.is_concurrent, m.build, m.projection";

/// Microseconds until the next interval is over.
const NEXT: &str = "
SELECT (extract(epoch FROM min(v.refreshed_at + v.every_micros * interval '1 microsecond')
                           - clock_timestamp()) * 1000000)::bigint
  FROM {schema}.views v JOIN {schema}.read_models m ON m.build = v.build
 WHERE m.stage = 'live' AND v.refresh = 'interval'";

/// The time of a view's refresh.
///
/// ```
/// use gesta_postgres::Refresh;
///
/// assert_ne!(Refresh::AfterEachBatch, Refresh::OnDemand);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refresh {
    /// In the transaction that applies events, before its commit.
    AfterEachBatch,
    /// After this time, while the read model is live; at least 100 ms.
    Every(Duration),
    /// By [`PostgresReadModels::refresh_view`](super::PostgresReadModels::refresh_view) only.
    OnDemand,
}

/// A materialized view of a read model.
///
/// Created by [`Tx::create_view`](super::Tx::create_view).
///
/// ```
/// use std::time::Duration;
/// use gesta_postgres::{Refresh, View};
///
/// let query = "select customer, sum(total) as total from orders group by customer";
/// let totals = View::new("totals", query, Refresh::Every(Duration::from_secs(60)));
/// let totals = totals.unique_by(["customer"]);
/// assert_eq!(totals.name(), "totals");
/// ```
#[derive(Clone, Debug)]
pub struct View {
    name: String,
    query: String,
    refresh: Refresh,
    unique_by: Vec<String>,
}

impl View {
    /// Describes a view of a query.
    pub fn new(name: impl Into<String>, query: impl Into<String>, refresh: Refresh) -> Self {
        Self { name: name.into(), query: query.into(), refresh, unique_by: Vec::new() }
    }

    /// Names the columns that identify a row of the view. It gets a unique index on them, and a
    /// refresh compares rows instead of replacing them (`CONCURRENTLY`): it holds up no query.
    #[must_use]
    pub fn unique_by<C: Into<String>>(self, columns: impl IntoIterator<Item = C>) -> Self {
        Self { unique_by: columns.into_iter().map(Into::into).collect(), ..self }
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    fn statements(&self) -> String {
        let (name, query) = (quoted(&self.name), &self.query);
        let mut statements = format!("CREATE MATERIALIZED VIEW {name} AS {query};");
        if !self.unique_by.is_empty() {
            let columns: Vec<_> = self.unique_by.iter().map(|column| quoted(column)).collect();
            statements
                .push_str(&format!("CREATE UNIQUE INDEX ON {name} ({});", columns.join(", ")));
        }
        statements
    }
}

fn stored_view(row: &tokio_postgres::Row) -> Result<StoredView, DatabaseError> {
    Ok(StoredView { name: column(row, 0)?, is_concurrent: column(row, 1)? })
}

async fn refresh_stored(session: &mut Session, view: &StoredView) -> Result<(), DatabaseError> {
    let concurrently = if view.is_concurrent { "CONCURRENTLY " } else { "" };
    let (schema, name) = (&session.schema, quoted(&view.name));
    let refresh = format!("REFRESH MATERIALIZED VIEW {concurrently}{schema}.{name}");
    session.query_own(&refresh, &[]).await.map(drop)
}

/// Creates a view in a transaction.
pub(super) async fn create(session: &mut Session, view: &View) -> Result<(), DatabaseError> {
    let (refresh, every) = match view.refresh {
        Refresh::AfterEachBatch => ("batch", None),
        Refresh::OnDemand => ("demand", None),
        Refresh::Every(every) if every < EVERY_MIN => {
            return Err(DatabaseError::rejected(format!(
                "the interval of view {} must be at least {} ms; got {} ms",
                view.name,
                EVERY_MIN.as_millis(),
                every.as_millis()
            )));
        }
        Refresh::Every(every) => {
            ("interval", Some(i64::try_from(every.as_micros()).unwrap_or(i64::MAX)))
        }
    };
    session.batch_execute(&view.statements()).await?;
    let (build, is_concurrent) = (to_sql(session.read_model.build), !view.unique_by.is_empty());
    let text = session.core.names.fill(CREATE);
    let values: [(Parameter<'_>, Type); 5] = [
        (&build, Type::INT8),
        (&view.name, Type::TEXT),
        (&refresh, Type::TEXT),
        (&every, Type::INT8),
        (&is_concurrent, Type::BOOL),
    ];
    session.query_own(&text, &values).await?;
    session.core.forget_views(session.read_model.build);
    Ok(())
}

/// Returns whether a read model has views that are refreshed after each batch. A refresh reads all
/// rows, so it needs a transaction that runs alone.
pub(super) async fn are_of_batch(
    core: &ReadModelsCore,
    number: u64,
) -> Result<bool, DatabaseError> {
    if let Some(views) = core.known_views(number) {
        return Ok(!views.is_empty());
    }
    let build = to_sql(number);
    let rows = core.query(OF_BATCH, &[(&build, Type::INT8)]).await?;
    let views: Arc<[_]> = rows.iter().map(stored_view).collect::<Result<_, _>>()?;
    core.keep_views(number, Arc::clone(&views));
    Ok(!views.is_empty())
}

/// Refreshes the views of a batch, in its transaction.
pub(super) async fn refresh_after_batch(
    session: &mut Session,
    are_new: bool,
) -> Result<(), DatabaseError> {
    let number = session.read_model.build;
    let known = if are_new { None } else { session.core.known_views(number) };
    let views = match known {
        Some(views) => views,
        None => {
            let build = to_sql(number);
            let text = session.core.names.fill(OF_BATCH);
            let values: [(Parameter<'_>, Type); 1] = [(&build, Type::INT8)];
            let rows = session.query_own(&text, &values).await?;
            let views: Result<Arc<[_]>, _> = rows.iter().map(stored_view).collect();
            let views = views?;
            // Views of this transaction may be rolled back.
            if !are_new {
                session.core.keep_views(number, Arc::clone(&views));
            }
            views
        }
    };
    for view in &*views {
        refresh_stored(session, view).await?;
    }
    Ok(())
}

/// Refreshes one view in a transaction of its own.
pub(super) async fn refresh(
    core: Arc<ReadModelsCore>,
    id: ReadModelId,
    name: String,
) -> Result<(), DatabaseError> {
    let mut session = Session::begin(core, id, Purpose::Maintain).await?;
    let build = to_sql(session.read_model.build);
    let text = session.core.names.fill(FIND);
    let values: [(Parameter<'_>, Type); 2] = [(&build, Type::INT8), (&name, Type::TEXT)];
    let rows = session.query_own(&text, &values).await?;
    let Some(row) = rows.first() else {
        let id = &session.read_model;
        return Err(DatabaseError::rejected(format!("read model {id} has no view {name}")));
    };
    let view = stored_view(row)?;
    refresh_stored(&mut session, &view).await?;
    session.commit().await
}

/// Refreshes the views of intervals until the store is closed.
pub(super) async fn refresh_at_intervals(core: Weak<ReadModelsCore>) {
    loop {
        // Not held during the pause, so that it does not keep a store that was dropped.
        let Some(strong) = core.upgrade() else { return };
        if strong.keeper().is_err() {
            return;
        }
        let pause = match refresh_due(&strong).await {
            Ok(pause) => pause,
            Err(error) => {
                tracing::warn!(store = %strong.url, %error, "materialized views stay as they are");
                LOOK_INTERVAL
            }
        };
        drop(strong);
        sleep(pause).await;
    }
}

/// Refreshes what is due, and returns the time until the next view is.
async fn refresh_due(core: &Arc<ReadModelsCore>) -> Result<Duration, DatabaseError> {
    for row in core.query(CLAIM, &[]).await? {
        let (view, build): (_, i64) = (stored_view(&row)?, column(&row, 2)?);
        let id = ReadModelId { projection: column(&row, 3)?, build: from_sql(build) };
        let refreshed = async {
            let mut session = Session::begin(Arc::clone(core), id, Purpose::Maintain).await?;
            refresh_stored(&mut session, &view).await?;
            session.commit().await
        };
        // The next interval tries again. Other views are not at fault.
        if let Err(error) = refreshed.await {
            let view = &view.name;
            tracing::warn!(store = %core.url, view, %error, "a materialized view stays as it is");
        }
    }
    let rows = core.query(NEXT, &[]).await?;
    let next: Option<i64> = rows.first().map_or(Ok(None), |row| column(row, 0))?;
    Ok(next.map_or(LOOK_INTERVAL, |micros| {
        Duration::from_micros(from_sql(micros)).clamp(Duration::from_millis(1), LOOK_INTERVAL)
    }))
}
