//! The program `gesta serve` under load, kills and hostile input.
//!
//! Each test starts a server of its own. Run them by name, or all with `--test-threads 1`: the
//! figures of one would be disturbed by another. `GESTA_E2E=full` selects the long form, in minutes
//! and with a release build; the short one takes seconds. A failed test prints its seed, and
//! `GESTA_SEED` repeats it.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops where it fails")]

mod bystander;
mod calls;
#[allow(dead_code, unused_imports, reason = "the suite uses all of it")]
#[path = "../suite/client.rs"]
mod client;
#[allow(dead_code, unused_imports, reason = "the suite uses all of it")]
#[path = "../suite/projections/driver.rs"]
mod driver;
mod form;
mod gesta;
#[allow(dead_code, unused_imports, reason = "the suite uses all of it")]
#[path = "../suite/group_client.rs"]
mod group_client;
mod hostile;
mod kills;
mod load;
mod projections;
#[allow(dead_code, reason = "the suite uses all of it")]
#[path = "../suite/wire.rs"]
mod wire;
/// The server of the shared clients.
mod scene {
    pub(crate) use crate::gesta::Gesta as Scene;
}
