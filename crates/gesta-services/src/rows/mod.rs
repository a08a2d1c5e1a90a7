//! The services, one file each.

mod pgbouncer;
mod postgres;
mod postgres_15;
mod postgres_18;
mod postgres_replica;

pub(crate) use self::{
    pgbouncer::Pgbouncer, postgres_15::POSTGRES_15, postgres_18::POSTGRES_18,
    postgres_replica::POSTGRES_REPLICA,
};
