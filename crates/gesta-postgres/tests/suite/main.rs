//! Tests on a real server: `cargo xtask services up postgres` starts one.

mod conformance;
mod leases;
mod server;
