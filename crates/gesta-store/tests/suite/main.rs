//! Whether the memory store keeps the contract, and whether the suite would notice if not.

mod broken;
mod limited;
mod memory;
mod values;
