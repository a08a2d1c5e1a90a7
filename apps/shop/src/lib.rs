//! The shop: a small company, written as a user of Gesta writes an application.
//!
//! Owns: four domains ([`users`], [`catalogue`], [`orders`], [`accounts`]), each with its events,
//! aggregates, commands and read models; the [`import`] of what was sold elsewhere.
//!
//! Always holds: every change is a command, every answer comes from a read model or from an
//! order's own events; the domains know no clock, no chance and no store.
//!
//! Not here: which store the events are in, and where it is; the binary decides that.

pub mod accounts;
pub mod catalogue;
pub mod checks;
pub mod http;
pub mod id;
pub mod import;
pub mod money;
pub mod orders;
pub mod paging;
pub mod processes;
pub mod quantity;
pub mod read_side;
pub mod registry;
pub mod search;
mod sql;
pub mod users;
