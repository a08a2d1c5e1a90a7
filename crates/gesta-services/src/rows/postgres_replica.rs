//! `postgres-replica`: a hot standby of `postgres-15`, by streaming replication.

use std::{path::Path, process::Command};

use anyhow::Result;

use super::{postgres::PostgresServer, postgres_15};
use crate::{cache::run, service::Place};

const PRIMARY: &str = "postgres-15";

/// A replica that answers queries and can be promoted.
pub(crate) const POSTGRES_REPLICA: PostgresServer = PostgresServer {
    name: "postgres-replica",
    about: "streaming replica of postgres-15",
    needs: &[PRIMARY],
    programs: postgres_15::programs,
    prepare: copy_primary,
};

fn copy_primary(programs: &Path, place: &Place) -> Result<()> {
    let primary = place.port_of(PRIMARY)?.to_string();
    let mut copy = Command::new(programs.join("pg_basebackup"));
    copy.args(["--host", "127.0.0.1", "--port", &primary, "--username", "postgres"]);
    // Also writes the settings of a standby.
    copy.args(["--write-recovery-conf", "--checkpoint", "fast", "--wal-method", "stream"]);
    copy.args(["--no-sync", "--no-password", "--pgdata"]).arg(place.data());
    run(&mut copy).map(drop)
}
