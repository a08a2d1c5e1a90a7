//! Reads of streams and of the whole store.
//!
//! Owns: the requests, the pages, and short looks at the end of a stream. Invariants: a read that a
//! broken connection interrupts continues where it was, in the same store; a page is read when it
//! is asked for. Not here: reads that stay live ([`subscribe`](crate::subscribe)).

mod call;
mod filter;
mod last_event;
mod look;
mod page_reader;
mod request;

pub(crate) use self::{
    call::{Batch, Messages},
    last_event::LastEvent,
    look::{Tail, change_answer, event_at, event_in, has_match, last_event, last_position, tail},
    page_reader::{PageReader, selected},
    request::{Place, ReadTarget, subscription},
};
