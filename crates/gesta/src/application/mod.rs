//! The application: its handle [`Gesta`], everything that is done through it, and its builder.
//!
//! The parts of the handle come first, then the handle, its operations, and the builder, which
//! starts all of them.

mod builder;
mod execute;
mod handle;
mod health;
mod load;
mod process_side;
mod processes;
mod projections;
mod query;
mod read_side;

pub use builder::Builder;
pub use execute::Execute;
pub use handle::Gesta;
pub use health::{Component, Health, HealthCause, Severity};
pub use load::{Load, Loaded};
pub use projections::{DeadLetterId, ParseDeadLetterIdError};
pub use query::{Answer, Ask, AskError, Query, QueryError, WAIT_MAX, Wait, WaitError};
