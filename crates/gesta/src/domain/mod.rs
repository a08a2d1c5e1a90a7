//! The traits of domain code: aggregates, commands and the boundaries that they decide on.
//!
//! Invariant: no I/O, clock, randomness or store. Not here: events ([`event`](crate::event)), the
//! execution of commands ([`pipeline`](crate::pipeline)).

mod aggregate;
mod boundary;
mod command;
mod reads;

pub(crate) use aggregate::is_category;
pub use aggregate::{Aggregate, stream_of};
pub use boundary::{Boundary, BoundaryRead, Ref};
pub use command::{Command, Decide, Decision, Existence, InvalidField, State};
pub use reads::{Reads, Selection};
