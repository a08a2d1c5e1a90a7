//! The store: the contract of `gesta-store` over the engine.
//!
//! Elsewhere: the life of an append ([`commit`](crate::commit)), reads ([`read`](crate::read)).

mod append_lane;
mod engine;
mod log_store;
mod threads;
mod url;

pub use engine::Engine;
pub use log_store::{EventPlace, LogStore};
pub use url::{InvalidUrl, directory_of_url, options_of_url};
