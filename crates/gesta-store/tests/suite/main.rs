//! Tests that the memory store passes the conformance suite, and that the suite notices faults.

mod broken;
mod broken_leases;
mod leases;
mod limited;
mod memory;
mod values;
mod wakers;
