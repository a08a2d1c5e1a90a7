//! What a restore or an import leaves in a store's directory: a file that says which incarnation begins there.
//!
//! Always holds: from the first opening after a restore on, the store has the incarnation that the
//! file names, which no consumer of the lost store has ever seen; once a segment of the log bears
//! it, the file says nothing any more, and the next who may write removes it. A restore or an import
//! that did not end is told apart by the file's name, and such a directory is not opened.
//! Not here: restoring ([`backup`](crate::maintenance::backup)), importing ([`transfer`](crate::maintenance::transfer)).

use std::io;

use bytes::Bytes;
use gesta_store::Incarnation;
use uuid::Uuid;

use crate::{
    disk::{Access, Cache, Disk, Operation},
    options::OpenError,
};

/// Its name once all of the store is there.
const RESTORED: &str = "RESTORED";
/// Its name until then, for each way of making a store.
const RESTORING: &str = "RESTORING";
const IMPORTING: &str = "IMPORTING";
const INCARNATION_BYTES: usize = 16;

/// How a store is made of something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Making {
    Restore,
    Import,
}

impl Making {
    pub(crate) const fn file(self) -> &'static str {
        match self {
            Self::Restore => RESTORING,
            Self::Import => IMPORTING,
        }
    }
}

/// Says durably that files of this incarnation are about to come.
pub(crate) fn begin(disk: &dyn Disk, making: Making, incarnation: Incarnation) -> io::Result<()> {
    let mut bytes = incarnation.as_uuid().as_bytes().to_vec();
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    let file = || making.file().to_owned();
    disk.run(Operation::Create { file: file() })?;
    disk.run(Operation::Write { file: file(), offset: 0, bytes: Bytes::from(bytes) })?;
    disk.run(Operation::Sync { file: file() })?;
    disk.run(Operation::SyncDirectory)
}

/// Says durably that all files are there. They have been synced, their names included.
pub(crate) fn end(disk: &dyn Disk, making: Making) -> io::Result<()> {
    disk.run(Operation::Rename { from: making.file().to_owned(), to: RESTORED.to_owned() })?;
    disk.run(Operation::SyncDirectory)
}

/// The incarnation of the import that is under way, if it got as far as to say it.
pub(crate) fn importing(disk: &dyn Disk) -> io::Result<Option<Incarnation>> {
    let bytes = disk.read(IMPORTING, 0, INCARNATION_BYTES + 4, Cache::Bypass)?;
    Ok(decode(&bytes))
}

/// The incarnation that begins where the log ends, if the store was restored and nothing has been
/// appended since. `incarnations` are those of the log's segments.
pub(crate) fn incarnation(
    disk: &dyn Disk,
    access: Access,
    mut incarnations: impl Iterator<Item = Incarnation>,
) -> Result<Option<Incarnation>, OpenError> {
    let failed = |source| OpenError::Io { doing: format!("read {RESTORED}"), source };
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
    let Some(incarnation) = decode(&bytes) else {
        return Err(failed(io::Error::new(io::ErrorKind::InvalidData, "it is damaged")));
    };
    if !incarnations.any(|life| life == incarnation) {
        return Ok(Some(incarnation));
    }
    if access == Access::ReadWrite {
        // Should it fail, or be undone by a crash, the file goes on saying nothing.
        drop(disk.run(Operation::Remove { file: RESTORED.to_owned() }));
    }
    Ok(None)
}

fn decode(bytes: &[u8]) -> Option<Incarnation> {
    let (id, checksum) = bytes.split_first_chunk::<INCARNATION_BYTES>()?;
    let sound = *checksum == crc32c::crc32c(id).to_le_bytes();
    sound.then(|| Incarnation::new(Uuid::from_bytes(*id)))
}
