//! Following a store from a position: the first one, the stored one, and the low watermark of
//! events handled concurrently.
//!
//! Owns: [`Begin`], [`Place`] and [`Flow`]. Process managers and reactors keep their positions by
//! them. Invariant: a position is trusted only within its incarnation of the store; in another one,
//! the last event before it identifies the place.
//!
//! Not here: how a place is stored, which is each follower's own, and projections, whose checkpoint
//! is in their read model.

mod begin;
mod flow;
mod place;

pub use begin::Begin;
pub(crate) use flow::Flow;
pub(crate) use place::{Place, PlaceError, first_event};
