//! The contract of search stores on each engine, projections on them, and servers in trouble.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod contract;
mod engines;
mod failures;
mod files;
mod portable;
mod projections;
mod read_models;
mod same_content;
mod secured;
