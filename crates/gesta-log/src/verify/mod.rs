//! Looking at a whole store without changing it.
//!
//! Always holds: every checksum, the chain, the places of events in their streams and the links
//! between segments are checked, past the cache, and every block of the index's files, on the bytes that the device has. Takes no lock, so
//! a store in use can be verified; what is being written is not looked at.

use std::{ops::ControlFlow, path::Path, sync::Arc};

use crate::{
    clock::SystemRng,
    disk::{Access, Cache, Disk, FileDisk},
    index::{BlockCache, Listed, Manifest, Run, RunError},
    options::{OpenError, OpenReport},
    recovery::{Look, Progress, Recovered, recover},
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
    let Recovered { mut report, .. } = recover(&disk, &mut SystemRng, &look, progress)?;
    report.index_damage = index_damage(&*disk);
    Ok(report)
}

/// What is wrong with the index's files. The log alone is the truth, so this damages no event.
fn index_damage(disk: &dyn Disk) -> Vec<String> {
    let manifest = match Manifest::read(disk) {
        Ok(manifest) => manifest,
        Err(error) => return vec![error.to_string()],
    };
    let runs = manifest.into_iter().flat_map(|manifest| manifest.runs);
    let check = |listed: Listed| -> Result<(), RunError> {
        let run = Run::open(disk, listed.name, Arc::new(BlockCache::new(0)))?;
        run.verify(disk, &mut |_| ControlFlow::Continue(()))
    };
    runs.filter_map(|listed| check(listed).err().map(|error| error.to_string())).collect()
}
