//! Projections in JavaScript, in KurrentDB's projection language.
//!
//! Owns: the language (`fromAll`, `when`, `emit`, …) and the engine that runs it. [`Script`] is a
//! pure machine: a script, an event and a state in; the new state, the result and the emitted
//! events out. [`ScriptThread`] runs one on a thread of its own.
//!
//! Invariants:
//! - A script reaches nothing outside: no file, network, timer, clock, thread or randomness.
//! - The same script, state and events give the same states and outputs, or the error of a limit.
//! - A script that exceeds [`ScriptLimits`] fails by itself, harms no other, and cannot catch it.
//!
//! Not here: stores, subscriptions, checkpoints, and where emitted events go.

mod definition;
mod error;
mod event;
mod limits;
mod meter;
mod script;
mod thread;

pub use self::{
    definition::{Definition, Partitions, Selection},
    error::ScriptError,
    event::{Emitted, Outputs, ScriptEvent},
    limits::ScriptLimits,
    script::{Script, StreamDeletion},
    thread::ScriptThread,
};

// The example of the README is compiled, and run if it needs no server.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
