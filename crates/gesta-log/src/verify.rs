//! Looking at a whole store without changing it.
//!
//! Always holds: every checksum, the chain, the places of events in their streams and the links
//! between segments are checked, past the cache, on the bytes that the device has. Takes no lock, so
//! a store in use can be verified; what is being written is not looked at.

use std::{path::Path, sync::Arc};

use crate::{
    clock::SystemRng,
    disk::{Access, Cache, Disk, FileDisk},
    options::{OpenError, OpenReport},
    recovery::{Look, Progress, recover},
};

/// Checks everything in a directory; tells of progress after each segment.
///
/// ```
/// use gesta_log::{LogStore, Options, verify};
/// # use gesta_store::{
/// #     Append, EventId, EventStore, EventType, ExpectedRevision, NewEvent, StreamName,
/// #     conformance::block_on,
/// # };
///
/// # let directory = tempfile::tempdir()?;
/// let store = LogStore::open(directory.path(), Options::default())?;
/// # let event = NewEvent::json(EventId::random(), EventType::new("order-placed")?, "{}");
/// # let append = Append::to(StreamName::new("order-1")?, ExpectedRevision::NoStream, [event]);
/// block_on(store.append(append))?;
/// drop(store);
///
/// let report = verify(directory.path(), &mut |_| {})?;
/// assert_eq!((report.events, report.damage), (1, vec![]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`OpenError`] when the directory cannot be read at all. Damage is no error but in the report.
pub fn verify(
    directory: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<OpenReport, OpenError> {
    let disk: Arc<dyn Disk> = Arc::new(FileDisk::open(directory, Access::ReadOnly)?);
    let look = Look {
        access: Access::ReadOnly,
        older_segments: Cache::Bypass,
        index_files: None,
        checked_bytes_max: u64::MAX,
    };
    let recovered = recover(&disk, &mut SystemRng, &look, progress)?;
    Ok(recovered.report)
}
