//! The application: its handle [`Gesta`], everything that is done through it, and its builder.
//!
//! `read_side`, `process_side` and `reactor_side` are the parts of the handle, `builder` starts
//! them. A new operation of [`Gesta`] is an `impl` block in a module of its own.
//!
//! Not here: anything that works without a handle, such as the pipeline and the tasks of
//! projections.

mod builder;
mod execute;
mod handle;
mod health;
mod lag;
mod load;
mod metrics;
mod process_side;
mod processes;
mod projections;
mod query;
mod reactor_side;
mod reactors;
mod read_side;
mod requirements;
mod watched_parts;

pub use builder::Builder;
pub use execute::Execute;
pub use handle::Gesta;
pub use health::{Component, Health, HealthCause, Severity};
pub use load::Load;
pub use metrics::{
    CommandMetrics, ComponentLag, ComponentMetrics, Metrics, ProcessMetrics, RunningMetrics,
    StoreMetrics,
};
pub use projections::{DeadLetterId, ParseDeadLetterIdError};
pub use query::{Answer, Ask, AskError, Positioned, Query, QueryError, WAIT_MAX, Wait, WaitError};
pub use reactors::ReactorStatus;
pub use watched_parts::PartStatus;
