//! The faults: for each clause of the contract, at least one way to break it.
//!
//! A fault depends on its arguments and the store only, as a real one would.

mod appending;
mod conditions;
mod ending;
mod expecting;
mod hiding;
mod limits;
mod listing;
mod racing;
mod reading;
mod repeating;
mod subscribing;

use super::Fault;

pub(crate) fn all() -> Vec<Fault> {
    [
        appending::faults(),
        expecting::faults(),
        conditions::faults(),
        repeating::faults(),
        limits::faults(),
        racing::faults(),
        reading::payloads(),
        reading::streams(),
        reading::everything(),
        subscribing::faults(),
        ending::metadata(),
        ending::deletion(),
        hiding::faults(),
        listing::faults(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
