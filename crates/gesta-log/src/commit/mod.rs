//! Group commit: from appends in a queue to durable, visible and acknowledged ones.
//!
//! One append, in order:
//! 1. The caller's thread prechecks it against the index and enqueues it ([`queue`]). If no thread
//!    leads, the caller becomes the leader; otherwise it follows and waits ([`completion`]).
//! 2. The leader ([`leader`]) polls the commit loop ([`commit_loop`]), which moves appends from the
//!    queue into the state machine ([`committer`]).
//! 3. The state machine admits each append ([`admission`]): validates it ([`validation`]) against
//!    the index and the groups that are not visible yet ([`overlay`]), and encodes it into the open
//!    group ([`group`]).
//! 4. One synced write carries the whole group. Concurrently the index worker
//!    ([`index_worker`]) inserts its postings into the memtable, hidden.
//! 5. Once the write is durable the group becomes visible, then its appends are answered.
//!
//! Invariants:
//! - At most one group is in flight; the next one is filled concurrently.
//! - An answer that depends on a group not yet visible waits for that group.
//! - A failure is definite only before the group's first byte was submitted.
//! - After a failed sync, nothing more is written.
//!
//! Elsewhere: bytes of frames ([`format`](crate::format)), the visible state
//! ([`published`](crate::published)), the threads and their life ([`store`](crate::store)).

mod action;
mod admission;
mod batching;
mod commit_loop;
mod committer;
mod completion;
mod group;
mod index_worker;
mod leader;
#[cfg(gesta_planted)]
mod mutants;
mod overlay;
mod preallocation;
mod queue;
mod shortage;
mod validation;

pub(crate) use commit_loop::CommitLoop;
pub use commit_loop::EnginePoll;
pub(crate) use completion::{AppendResult, Completions, Responder};
pub(crate) use index_worker::IndexWorker;
pub(crate) use leader::CommitLeader;
pub(crate) use queue::{Enqueued, QueuedAppend, SubmitQueue};
pub(crate) use validation::{appended, definite_error};
