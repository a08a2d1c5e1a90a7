//! The fair driver: the same loads, drawn and measured alike, over whatever [`Engine`] is given.
//!
//! Owns: the loads ([`append`], [`read`], [`subscribe`]), how a time is taken ([`latencies`]), and what the bare device
//! takes ([`device`]). Always holds: an engine is told the same as every other, in the same order
//! for the same seed; each of a load's threads waits for its own append before it offers the next;
//! a timed run ends with the engine's clean close, and that time counts.
//! Not here: how results are shown, and the engines that are only compared with. Those are built
//! outside the workspace, in `bench/`, which takes this module in by its path; so nothing in here
//! knows the rest of the program.

pub(crate) mod append;
pub(crate) mod clock;
pub(crate) mod device;
pub(crate) mod draw;
pub(crate) mod engine;
pub(crate) mod event_store;
pub(crate) mod latencies;
pub(crate) mod read;
pub(crate) mod subscribe;
