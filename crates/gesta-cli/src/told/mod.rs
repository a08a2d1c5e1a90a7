//! Appends that are told to somebody outside, who keeps the log of them, and the reading back of a
//! store by such a log.
//!
//! Owns: what is offered ([`plan`]), how it is told ([`log`]), who offers it ([`tell`]), and what
//! must then be found ([`recount`]). Always holds: an offer is told before it is made and an
//! acknowledgement after it was got, each by one write, so that a kill loses none that was told;
//! whatever is offered follows from its id, so that every byte can be compared, acknowledged or not.
//! Not here: who kills, and how often (`cargo xtask prove`).

pub(crate) mod log;
pub(crate) mod plan;
pub(crate) mod recount;
pub(crate) mod tell;
