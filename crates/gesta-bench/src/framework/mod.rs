//! Loads on the framework, each with what it is compared with.
//!
//! Owns: the loads ([`execute`], [`load`], [`project`], [`react`]), their domain ([`accounts`]),
//! and medians over rounds ([`rounds`]). Invariants: everything that is compared runs in one
//! process, in turns, with the same events; a turn that appends has a new store; a figure is a
//! median over the rounds, and a ratio is the median of each round's. Not here: output, and bars
//! that a figure must reach.

pub mod accounts;
pub mod appends;
pub mod execute;
pub mod fresh;
pub mod load;
pub mod project;
#[cfg(feature = "postgres")]
mod project_postgres;
pub mod react;
pub mod rounds;
