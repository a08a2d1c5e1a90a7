//! Clients that send too slowly, too much or nothing, against the shop as a process.
//!
//! Each test holds that the memory of the process stays bounded and that another client is served
//! meanwhile ([`bystander`]). `GESTA_E2E=full` selects the numbers of a real attack and a release
//! build.

mod bodies;
mod bystander;
mod connections;
mod heads;
mod readers;
mod served;

use gesta_services::e2e::is_full;

/// Returns the value for this form of the test.
fn short_or_full<T>(short: T, full: T) -> T {
    if is_full() { full } else { short }
}
