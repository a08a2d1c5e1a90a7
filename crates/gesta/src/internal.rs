//! The streams of the framework itself.
//!
//! Owns: [`is_internal`]. Not here: the names of these streams, which are with what writes to them.

use gesta_store::StreamName;

use crate::{audit, process, reactor, tenancy};

/// Returns whether a stream is one of the framework: of a process manager or its instances, of a
/// reactor, of the audit, of the tenant that owns the store, or of the store (`$…`).
///
/// Its events are no facts of the domain, so a feed for others leaves them out.
///
/// ```
/// use gesta::{is_internal, store::StreamName};
///
/// assert!(is_internal(&StreamName::new("process:fulfilment-7")?));
/// assert!(is_internal(&gesta::audit::stream()));
/// assert!(!is_internal(&StreamName::new("order-7")?));
/// # Ok::<(), gesta::InvalidName>(())
/// ```
#[must_use]
pub fn is_internal(stream: &StreamName) -> bool {
    let name = stream.as_str();
    let category = name.split_once('-').map_or(name, |(category, _)| category);
    name.starts_with('$')
        || name == audit::STREAM
        || name == tenancy::STREAM
        || process::is_of_processes(category)
        || reactor::is_of_reactors(category)
}
