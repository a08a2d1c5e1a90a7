//! The simulation as a test: many seeds, each kind of fault, and bugs that it must catch.

mod disk;
#[cfg(gesta_planted)]
mod planted;
mod seeds;
mod sweep;
