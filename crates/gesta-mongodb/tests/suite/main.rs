//! Tests on FerretDB, which stands in for MongoDB: the one of `cargo xtask services`, and ones of
//! single tests.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod commits;
mod cut_off;
mod documents;
mod dropped;
mod failures;
mod logins;
mod pretender;
mod proxy;
mod read_models;
mod remnants;
mod server;
mod stored_state;
mod transactions;
