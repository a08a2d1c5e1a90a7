//! Leases of nodes, in the schema of the store.
//!
//! Owns: one statement for each call. Each locks and changes one row, so nodes that ask at the same
//! time are served one after the other. Terms count by the server's clock, read after the row was
//! locked. Invariant: the token of a row grows, also if the row comes from an older backup: it is
//! at least the milliseconds since 1970. A statement whose answer was lost is repeated: a node that
//! asks again gets a later lease. Not here: writes under a lease.

use std::{sync::Arc, time::Duration};

use gesta_store::{
    AcquireLease, FencingToken, Lease, LeaseError, LeaseFuture, LeaseHint, LeaseInForce, LeaseName,
    Leases, NodeName, StoreError,
};
use tokio_postgres::{Row, types::Type};

use crate::{
    PostgresStore,
    connection::Value,
    number::{from_sql, to_sql},
    read::cell,
    shared::{Core, Shared},
    subscribe::announcements::LEASE_RELEASED,
};

/// Grants the lease $1 to the node $2 for $3 microseconds, unless another node has it.
///
/// If the row exists, the server waits for its lock and looks at it again: of several nodes, the
/// second one sees the lease of the first.
const ACQUIRE: &str = "
INSERT INTO {schema}.leases AS l (name, token, node, expires_at)
VALUES ($1, (extract(epoch FROM clock_timestamp()) * 1000)::bigint, $2,
        clock_timestamp() + $3 * interval '1 microsecond')
ON CONFLICT (name) DO UPDATE SET
    token = greatest(l.token + 1, (extract(epoch FROM clock_timestamp()) * 1000)::bigint),
    node = excluded.node,
    expires_at = clock_timestamp() + $3 * interval '1 microsecond'
WHERE l.node IS NULL OR l.node = excluded.node OR l.expires_at <= clock_timestamp()
RETURNING l.token";

/// Begins the term of the lease $1 with token $2 anew, for $3 microseconds.
const RENEW: &str = "
UPDATE {schema}.leases l SET expires_at = clock_timestamp() + $3 * interval '1 microsecond'
WHERE l.name = $1 AND l.token = $2 AND l.node IS NOT NULL AND l.expires_at > clock_timestamp()
RETURNING l.token";

/// Ends the lease $1 with token $2, and notifies the nodes that wait, by the notification $4 on the
/// channel $3.
const RELEASE: &str = "
WITH released AS (
    UPDATE {schema}.leases l SET node = NULL
     WHERE l.name = $1 AND l.token = $2 AND l.node IS NOT NULL RETURNING 1
)
SELECT pg_notify($3, $4) FROM released";

/// The leases in force: all, or that of the name $1.
const IN_FORCE: &str = "
SELECT l.name, l.node, l.token,
       (extract(epoch FROM l.expires_at - clock_timestamp()) * 1000000)::bigint
FROM {schema}.leases l
WHERE l.node IS NOT NULL AND l.expires_at > clock_timestamp() AND ($1::text IS NULL OR l.name = $1)
ORDER BY l.name";

/// In the schema of the store: nodes that share a store share its leases.
impl Leases for PostgresStore {
    fn place(&self) -> String {
        self.shared().core.pool.connector().server().to_owned()
    }

    fn acquire(&self, acquire: AcquireLease) -> LeaseFuture<'_, Lease> {
        Box::pin(self.shared().lease_call(|core| grant(core, acquire)))
    }

    fn renew<'a>(&'a self, lease: &'a Lease) -> LeaseFuture<'a, ()> {
        Box::pin(self.shared().lease_call(|core| extend(core, lease.clone())))
    }

    fn release<'a>(&'a self, lease: &'a Lease) -> LeaseFuture<'a, ()> {
        Box::pin(self.shared().lease_call(|core| end(core, lease.clone())))
    }

    fn list(&self) -> LeaseFuture<'_, Vec<LeaseInForce>> {
        Box::pin(self.shared().lease_call(|core| async move { in_force(&core, None).await }))
    }

    /// By a notification. Without one, as behind a transaction pooler, the hint never comes.
    fn released(&self) -> LeaseHint<'_> {
        let mut released = self.shared().core.lease_released.subscribe();
        Box::pin(async move {
            // The sender lives as long as this store.
            drop(released.changed().await);
        })
    }
}

impl Shared {
    /// Runs a call on the thread of the store.
    async fn lease_call<T, W>(&self, call: impl FnOnce(Arc<Core>) -> W) -> Result<T, LeaseError>
    where
        T: Send + 'static,
        W: Future<Output = Result<T, LeaseError>> + Send + 'static,
    {
        self.run(call).map_err(lease_error)?.await.map_err(lease_error)?
    }
}

async fn grant(core: Arc<Core>, acquire: AcquireLease) -> Result<Lease, LeaseError> {
    acquire.check()?;
    let AcquireLease { name, node, term, .. } = &acquire;
    let micros = micros(*term);
    let (name_text, node_text) = (name.as_str(), node.as_str());
    let values: [Value<'_>; 3] =
        [(&name_text, Type::TEXT), (&node_text, Type::TEXT), (&micros, Type::FLOAT8)];
    loop {
        let granted = core.query(ACQUIRE, &values).await.map_err(lease_error)?;
        if let Some(row) = granted.first() {
            let token: i64 = cell(row, 0).map_err(lease_error)?;
            let token = FencingToken::new(from_sql(token));
            return Ok(Lease::granted(&acquire, token));
        }
        let held = in_force(&core, Some(name)).await?;
        // It may have ended in between. Then it is free.
        if let Some(LeaseInForce { name, node, remaining, .. }) = held.into_iter().next() {
            return Err(LeaseError::Held { name, node, remaining });
        }
    }
}

async fn extend(core: Arc<Core>, lease: Lease) -> Result<(), LeaseError> {
    let (name, token) = (lease.name.as_str(), to_sql(lease.token.number()));
    let micros = micros(lease.term);
    let values: [Value<'_>; 3] =
        [(&name, Type::TEXT), (&token, Type::INT8), (&micros, Type::FLOAT8)];
    match core.query(RENEW, &values).await.map_err(lease_error)?.is_empty() {
        false => Ok(()),
        true => Err(LeaseError::Lost { name: lease.name.clone(), token: lease.token }),
    }
}

async fn end(core: Arc<Core>, lease: Lease) -> Result<(), LeaseError> {
    let (name, token) = (lease.name.as_str(), to_sql(lease.token.number()));
    let values: [Value<'_>; 4] = [
        (&name, Type::TEXT),
        (&token, Type::INT8),
        (&core.channel, Type::TEXT),
        (&LEASE_RELEASED, Type::TEXT),
    ];
    core.query(RELEASE, &values).await.map_err(lease_error)?;
    // The notification may not reach this process itself.
    core.lease_released.send_replace(());
    Ok(())
}

async fn in_force(core: &Core, name: Option<&LeaseName>) -> Result<Vec<LeaseInForce>, LeaseError> {
    let name = name.map(LeaseName::as_str);
    let rows = core.query(IN_FORCE, &[(&name, Type::TEXT)]).await.map_err(lease_error)?;
    rows.iter().map(|row| lease_of(row).map_err(lease_error)).collect()
}

fn lease_of(row: &Row) -> Result<LeaseInForce, StoreError> {
    let name = LeaseName::stored(cell::<&str>(row, 0)?)?;
    let node = NodeName::stored(cell::<&str>(row, 1)?)?;
    let (token, remaining): (i64, i64) = (cell(row, 2)?, cell(row, 3)?);
    let remaining = Duration::from_micros(from_sql(remaining));
    Ok(LeaseInForce::new(name, node, FencingToken::new(from_sql(token)), remaining))
}

fn micros(term: Duration) -> f64 {
    term.as_secs_f64() * 1e6
}

/// A call of leases may always be repeated, so most errors are the same to the caller.
fn lease_error(error: StoreError) -> LeaseError {
    let reason = error.to_string();
    match error {
        StoreError::Corrupt(_) => LeaseError::Unreadable { reason, source: Some(Arc::new(error)) },
        _ => LeaseError::Unavailable { reason, source: Some(Arc::new(error)) },
    }
}
