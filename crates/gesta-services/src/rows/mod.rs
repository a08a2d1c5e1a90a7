//! The services, one file each.

mod dynamodb;
mod ferretdb;
mod kafka;
mod opensearch;
mod pgbouncer;
mod postgres;
mod postgres_15;
mod postgres_18;
mod postgres_replica;
mod prometheus;
mod redis;
mod rotel;

pub(crate) use self::{
    dynamodb::DynamoDb, ferretdb::FerretDb, kafka::Kafka, opensearch::OpenSearch,
    pgbouncer::Pgbouncer, postgres_15::POSTGRES_15, postgres_18::POSTGRES_18,
    postgres_replica::POSTGRES_REPLICA, prometheus::Prometheus, redis::Redis, rotel::Rotel,
};
