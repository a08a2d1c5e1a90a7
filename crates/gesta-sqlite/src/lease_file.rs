//! The file of leases, `leases.db`, which the processes of one machine share.
//!
//! Invariants: a lease is read, changed and written in one write transaction, which survives a loss
//! of power. A lease of an earlier start of the machine is over. Tokens also grow if the file is
//! removed or replaced by an earlier one: each is at least the wall clock's milliseconds.

use std::{path::Path, time::Duration};

use gesta_store::{
    AcquireLease, DatabaseError, Lease, LeaseError, LeaseInForce, LeaseName, LeaseRecord, NodeName,
};
use rusqlite::{Connection, params};

use crate::{
    connection::{self, Durability},
    error::{classify, unreadable},
    machine_clock::{MachineTime, wall_clock},
    query::{find, query},
};

/// `expires_at` is in microseconds since the start of the machine that `boot` names.
const TABLES: &str = "
    create table if not exists leases (
        name text primary key,
        token integer not null,
        node text,
        boot text not null,
        expires_at integer not null
    ) strict, without rowid;
";

pub(crate) struct LeaseFile {
    connection: Connection,
}

impl LeaseFile {
    pub(crate) fn open(path: &Path) -> Result<Self, DatabaseError> {
        let connection = connection::open(path, Durability::PowerLoss)?;
        connection.execute_batch(TABLES).map_err(classify)?;
        Ok(Self { connection })
    }

    pub(crate) fn acquire(&self, acquire: &AcquireLease) -> Result<Lease, LeaseError> {
        self.change(&acquire.name, |record, now| {
            let wall_clock = u64::try_from(wall_clock().as_millis()).unwrap_or(u64::MAX);
            record.token = record.token.max(wall_clock);
            record.acquire(acquire, now)
        })
    }

    pub(crate) fn renew(&self, lease: &Lease) -> Result<(), LeaseError> {
        self.change(&lease.name, |record, now| record.renew(lease, now))
    }

    pub(crate) fn release(&self, lease: &Lease) -> Result<(), LeaseError> {
        self.change(&lease.name, |record, _| {
            record.release(lease);
            Ok(())
        })
    }

    pub(crate) fn list(&self) -> Result<Vec<LeaseInForce>, LeaseError> {
        let now = MachineTime::now();
        // Texts compare by bytes, as names do.
        let sql = "select token, node, boot, expires_at, name from leases order by name";
        let rows = query(&self.connection, sql, [], |row| {
            Ok((LeaseRow::read(row)?, row.get::<_, String>(4)?))
        })?;
        let mut in_force = Vec::new();
        for (row, name) in rows {
            let name = LeaseName::stored(name).map_err(|error| unreadable("lease name", error))?;
            in_force.extend(row.record(&now)?.in_force(&name, now.since_boot));
        }
        Ok(in_force)
    }

    /// Changes a record in one transaction, which is rolled back on an error.
    fn change<T>(
        &self,
        name: &LeaseName,
        change: impl FnOnce(&mut LeaseRecord, Duration) -> Result<T, LeaseError>,
    ) -> Result<T, LeaseError> {
        connection::begin(&self.connection)?;
        let changed = self.change_in_transaction(name, change);
        let end = if changed.is_ok() { "commit" } else { "rollback" };
        let ended = self.connection.execute_batch(end).map_err(classify);
        if ended.is_err() && !self.connection.is_autocommit() {
            // The commit failed: the next call begins a transaction of its own.
            self.connection.execute_batch("rollback").map_err(classify)?;
        }
        let value = changed?;
        ended?;
        Ok(value)
    }

    fn change_in_transaction<T>(
        &self,
        name: &LeaseName,
        change: impl FnOnce(&mut LeaseRecord, Duration) -> Result<T, LeaseError>,
    ) -> Result<T, LeaseError> {
        // After the lock was taken, so that changes are made in the order of their times.
        let now = MachineTime::now();
        let sql = "select token, node, boot, expires_at from leases where name = ?1";
        let row = find(&self.connection, sql, [name.as_str()], LeaseRow::read)?;
        let mut record = row.map_or_else(|| Ok(LeaseRecord::default()), |row| row.record(&now))?;
        let value = change(&mut record, now.since_boot)?;
        let sql = "insert into leases values (?1, ?2, ?3, ?4, ?5) on conflict (name) do update
                   set token = excluded.token, node = excluded.node, boot = excluded.boot,
                       expires_at = excluded.expires_at";
        let expires_at = i64::try_from(record.expires_at.as_micros()).unwrap_or(i64::MAX);
        let node = record.node.as_ref().map(NodeName::as_str);
        let values = params![name.as_str(), record.token, node, now.boot, expires_at];
        let mut statement = self.connection.prepare_cached(sql).map_err(classify)?;
        statement.execute(values).map_err(classify)?;
        Ok(value)
    }
}

/// Adds the path and a remedy to errors of the file.
pub(crate) fn with_remedy(error: LeaseError, path: &Path) -> LeaseError {
    let place = path.display();
    match error {
        LeaseError::Unreadable { reason, source } => LeaseError::Unreadable {
            reason: format!(
                "{place}: {reason}; stop the programs that use it, move it away, and start them \
                 again: a new file is created, and its tokens go on growing"
            ),
            source,
        },
        LeaseError::Unavailable { reason, source } => {
            LeaseError::Unavailable { reason: format!("{place}: {reason}"), source }
        }
        other => other,
    }
}

/// The columns of a lease except its name.
struct LeaseRow {
    token: u64,
    node: Option<String>,
    boot: String,
    expires_at: i64,
}

impl LeaseRow {
    fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            token: row.get(0)?,
            node: row.get(1)?,
            boot: row.get(2)?,
            expires_at: row.get(3)?,
        })
    }

    /// The record as of this time: without a node if the machine has started since.
    fn record(self, now: &MachineTime) -> Result<LeaseRecord, DatabaseError> {
        let node = self.node.filter(|_| self.boot == now.boot).map(NodeName::stored);
        let node = node.transpose().map_err(|error| unreadable("node name", error))?;
        let expires_at = Duration::from_micros(self.expires_at.try_into().unwrap_or(0));
        Ok(LeaseRecord { token: self.token, node, expires_at })
    }
}
