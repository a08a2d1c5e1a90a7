//! Tests that the memory store passes the conformance suite, and that the suite notices faults.

mod broken;
mod broken_leases;
mod broken_read_models;
mod leases;
mod limited;
mod memory;
mod read_models;
mod values;
mod wakers;
