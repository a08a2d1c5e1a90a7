//! The shop: the reference application of Gesta.
//!
//! Owns: four domains ([`users`], [`catalogue`], [`orders`], [`accounts`]), each with its events,
//! aggregates, commands and read models; the [`import`] of sales from elsewhere; the [`samples`]
//! that examples name.
//!
//! Invariants: every change is a command; every answer comes from a read model, or from the events
//! of one order; the domains use no clock, no randomness and no store.
//!
//! Not here: type and location of the store; the binary chooses them.

pub mod access;
pub mod accounts;
pub mod catalogue;
pub mod checks;
pub mod http;
pub mod id;
pub mod import;
pub mod money;
pub mod orders;
pub mod outbox;
pub mod paging;
pub mod processes;
pub mod quantity;
pub mod reactors;
pub mod read_models;
pub mod read_side;
pub mod registry;
pub mod rows;
pub mod samples;
pub mod search;
pub mod snapshots;
pub mod sql;
pub mod users;
