//! `postgres-15`: the oldest supported version of PostgreSQL, as Debian 12 has it.

use std::path::PathBuf;

use anyhow::{Result, ensure};

use super::postgres::{PostgresServer, create_cluster};

const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";

/// PostgreSQL 15. Streams to `postgres-replica`.
pub(crate) const POSTGRES_15: PostgresServer = PostgresServer {
    name: "postgres-15",
    about: "PostgreSQL 15, Debian's",
    needs: &[],
    programs,
    prepare: create_cluster,
};

pub(super) fn programs() -> Result<PathBuf> {
    let programs = PathBuf::from(PROGRAMS);
    ensure!(
        programs.join("postgres").exists(),
        "{PROGRAMS} has no PostgreSQL; install it with `apt-get install postgresql-15`"
    );
    Ok(programs)
}
