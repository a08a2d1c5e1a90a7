//! The file that a restore or an import leaves in a directory: it names the store's new
//! incarnation.
//!
//! Invariants:
//! - Starting with its first opening, a restored store has the incarnation of the file, which no
//!   consumer of the lost store has seen.
//! - Once a segment has that incarnation, the file has no effect, and the next writer removes it.
//! - The file's name marks an unfinished restore or import, and such a directory is not opened.
//!
//! Elsewhere: restoring ([`backup`](crate::maintenance::backup)), importing
//! ([`transfer`](crate::maintenance::transfer)).

use std::io;

use bytes::Bytes;
use gesta_store::Incarnation;
use uuid::Uuid;

use crate::{
    disk::{Access, Cache, Disk, Operation},
    options::OpenError,
};

/// The file's name once the store is complete.
const RESTORED: &str = "RESTORED";
/// The file's names while the store is being created.
const RESTORING: &str = "RESTORING";
const IMPORTING: &str = "IMPORTING";
const INCARNATION_BYTES: usize = 16;

/// The operation that creates a store from existing events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreCreation {
    Restore,
    Import,
}

impl StoreCreation {
    pub(crate) const fn file(self) -> &'static str {
        match self {
            Self::Restore => RESTORING,
            Self::Import => IMPORTING,
        }
    }
}

/// Creates the file durably, before any segment.
pub(crate) fn begin(
    disk: &dyn Disk,
    creation: StoreCreation,
    incarnation: Incarnation,
) -> io::Result<()> {
    let mut bytes = incarnation.as_uuid().as_bytes().to_vec();
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    let file = || creation.file().to_owned();
    disk.run(Operation::Create { file: file() })?;
    disk.run(Operation::Write { file: file(), offset: 0, bytes: Bytes::from(bytes) })?;
    disk.run(Operation::Sync { file: file() })?;
    // The name as well, before the first segment is written: segments without this file would pass
    // for a whole store.
    disk.run(Operation::SyncDirectory)
}

/// Renames the file durably. All segments and their names must be durable already.
pub(crate) fn end(disk: &dyn Disk, creation: StoreCreation) -> io::Result<()> {
    disk.run(Operation::Rename { from: creation.file().to_owned(), to: RESTORED.to_owned() })?;
    disk.run(Operation::SyncDirectory)
}

/// Returns the incarnation of an unfinished import, or `None` if its file is incomplete.
pub(crate) fn importing(disk: &dyn Disk) -> io::Result<Option<Incarnation>> {
    let bytes = disk.read(IMPORTING, 0, INCARNATION_BYTES + 4, Cache::Bypass)?;
    Ok(decode(&bytes))
}

/// Returns the incarnation of a restored store to which nothing has been appended since.
/// `incarnations` are those of the log's segments.
pub(crate) fn incarnation(
    disk: &dyn Disk,
    access: Access,
    mut incarnations: impl Iterator<Item = Incarnation>,
) -> Result<Option<Incarnation>, OpenError> {
    let failed = |source| OpenError::Io { doing: format!("read {RESTORED}"), source };
    // An unfinished restore or import is not a store, however complete it looks.
    let names = disk.list().map_err(failed)?;
    if names.iter().any(|name| name == RESTORING) {
        return Err(OpenError::Restoring);
    }
    if names.iter().any(|name| name == IMPORTING) {
        return Err(OpenError::Importing);
    }
    if !names.iter().any(|name| name == RESTORED) {
        return Ok(None);
    }
    let bytes = disk.read(RESTORED, 0, INCARNATION_BYTES + 4, Cache::Bypass).map_err(failed)?;
    // Never ignored: the store would continue in the incarnation of the lost one, and consumers
    // that have seen later events would not be rejected.
    let Some(incarnation) = decode(&bytes) else {
        return Err(failed(io::Error::new(io::ErrorKind::InvalidData, "the file is damaged")));
    };
    if !incarnations.any(|known| known == incarnation) {
        return Ok(Some(incarnation));
    }
    if access == Access::ReadWrite {
        // If this fails or a crash undoes it, the file stays without effect.
        drop(disk.run(Operation::Remove { file: RESTORED.to_owned() }));
    }
    Ok(None)
}

fn decode(bytes: &[u8]) -> Option<Incarnation> {
    let (id, checksum) = bytes.split_first_chunk::<INCARNATION_BYTES>()?;
    let sound = *checksum == crc32c::crc32c(id).to_le_bytes();
    sound.then(|| Incarnation::new(Uuid::from_bytes(*id)))
}
