//! Tests of the simulation: many seeds, each kind of fault, and mutations that it must catch.

mod disk;
#[cfg(gesta_planted)]
mod planted;
mod seeds;
mod sweep;
