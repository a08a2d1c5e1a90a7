//! Projections: configured, run, stopped, reset and asked for their states.

mod crashing;
pub(crate) mod driver;
mod emitting;
mod exactly_once;
mod failing;
mod managing;
mod sharing;
mod stating;
