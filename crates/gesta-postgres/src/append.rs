//! Appends: group commit.
//!
//! A task takes the appends that wait, sends them to the server as one batch, and answers each by
//! its own verdict; the appends of the meantime are the next batch. The function `append` of the
//! schema judges and records a batch in one transaction.
//!
//! - [`batch`]: which appends can be judged together.
//! - [`columns`]: a batch as arguments of the function.
//! - [`repeat`]: comparison with an earlier append.
//! - [`verdicts`]: the answer of the server.
//! - [`committer`]: the task, and what happens when the connection breaks.
//! - [`consumers`]: those who take part in batches.
//! - [`inline`]: batches in whose transaction consumers take part.

mod batch;
mod columns;
mod committer;
mod consumers;
mod inline;
mod queue;
mod repeat;
mod verdicts;

pub(crate) use self::{
    committer::Committer,
    consumers::InlineConsumers,
    queue::{AppendQueue, Queued},
    repeat::{find_append, past_append},
};
