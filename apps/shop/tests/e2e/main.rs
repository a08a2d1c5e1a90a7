//! The shop as a program: what it promises through kills, under load, and to generated requests.
//!
//! Run one test at a time, by name, or all with `--test-threads 1`: the demo has a fixed port, and
//! a second load would disturb the times of kills. `import` and `rebuild_kills` need the data set
//! next to the repository, `schemathesis` needs Python.

mod client;
mod dead_letters;
mod demo;
mod disturbed_import;
#[cfg(feature = "dynamodb")]
mod dynamodb_import;
#[cfg(feature = "everything")]
mod everything_import;
#[cfg(target_os = "linux")]
#[expect(
    clippy::disallowed_methods,
    clippy::unused_io_amount,
    reason = "clients of a real program have real time, and need not write all of a byte or two"
)]
mod hostile;
mod import;
#[cfg(feature = "kafka")]
mod kafka_kills;
#[cfg(feature = "kurrentdb")]
mod kurrentdb_import;
mod log;
#[cfg(feature = "mongodb")]
mod mongodb_import;
mod nodes;
mod operations_kills;
mod own_writes;
mod postgres_import;
mod rebuild_kills;
mod schemathesis;
#[cfg(feature = "search")]
mod search_import;
mod serve_kills;
mod server;
#[cfg(feature = "graphql")]
mod sockets;
mod table;
mod writers;
