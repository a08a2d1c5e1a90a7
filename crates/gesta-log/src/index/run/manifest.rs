//! The manifest: the list of live runs, in the file `INDEX`.
//!
//! The file is replaced atomically. A run is live only while it is listed, so any other file that
//! is named like a run can be removed.

use std::io;

use bytes::Bytes;

use super::{RunError, layout::RunName};
use crate::{
    disk::{Cache, Disk, Operation},
    format::{Fields, Malformed},
    options::IndexedIds,
};

const FILE: &str = "INDEX";
const NEW_FILE: &str = "INDEX.new";
const MAGIC: [u8; 8] = *b"GESTAIDX";
const VERSION_MAJOR: u16 = 1;
const VERSION_MINOR: u16 = 0;
const RUN_BYTES: usize = 32;

/// A live run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ManifestEntry {
    pub(crate) name: RunName,
    /// Distinguishes files that have the same name at different times.
    pub(crate) salt: [u8; 16],
}

/// See the [module](self).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IndexManifest {
    /// The store's id.
    pub(crate) store: [u8; 16],
    /// The ids that the store's index has: the default when it is opened again.
    pub(crate) ids: IndexedIds,
    /// In the order of positions.
    pub(crate) runs: Vec<ManifestEntry>,
}

impl IndexManifest {
    /// Reads the manifest. `None` if there is none yet.
    ///
    /// # Errors
    /// [`RunError::Damaged`]: rebuild the index. [`RunError::Newer`]: leave it alone.
    pub(crate) fn read(disk: &dyn Disk) -> Result<Option<Self>, RunError> {
        let length = match disk.length(FILE) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            length => length.map_err(|source| RunError::io(FILE, source))?,
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let bytes =
            disk.read(FILE, 0, length, Cache::Use).map_err(|source| RunError::io(FILE, source))?;
        Self::decode(&bytes).map(Some).map_err(|what| RunError::malformed(FILE, 0, what))
    }

    /// Replaces the manifest atomically and durably.
    pub(crate) fn write(&self, disk: &dyn Disk) -> Result<(), RunError> {
        let file = || NEW_FILE.to_owned();
        // The old manifest stays in place until the new one is durable; the rename is atomic.
        let operations = [
            Operation::Create { file: file() },
            Operation::Write { file: file(), offset: 0, bytes: self.encode() },
            Operation::Sync { file: file() },
            Operation::Rename { from: file(), to: FILE.to_owned() },
            Operation::SyncDirectory,
        ];
        for operation in operations {
            disk.run(operation).map_err(|source| RunError::io(NEW_FILE, source))?;
        }
        Ok(())
    }

    /// The index files among `files` that are not live. The caller may remove them while no other
    /// thread writes runs.
    pub(crate) fn orphans<'a>(&'a self, files: &'a [String]) -> impl Iterator<Item = &'a String> {
        files.iter().filter(|file| {
            // Only a finished run gets its final name, so the others are of attempts that failed.
            let being_written = file.strip_suffix(".new").and_then(RunName::of).is_some();
            let run = RunName::of(file);
            let counts = run.is_some_and(|name| self.runs.iter().any(|run| run.name == name));
            *file == NEW_FILE || being_written || (run.is_some() && !counts)
        })
    }

    fn encode(&self) -> Bytes {
        debug_assert!(self.runs.is_sorted_by(|one, next| one.name.last < next.name.first));
        let mut bytes = Vec::with_capacity(64 + self.runs.len() * RUN_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION_MAJOR.to_le_bytes());
        bytes.extend_from_slice(&VERSION_MINOR.to_le_bytes());
        let runs = u32::try_from(self.runs.len()).expect("there are fewer runs than blocks");
        bytes.extend_from_slice(&runs.to_le_bytes());
        bytes.extend_from_slice(&0_u64.to_le_bytes()); // incompatible features
        bytes.extend_from_slice(&self.ids.bits().to_le_bytes()); // compatible features
        bytes.extend_from_slice(&self.store);
        for run in &self.runs {
            bytes.extend_from_slice(&run.name.first.to_le_bytes());
            bytes.extend_from_slice(&run.name.last.to_le_bytes());
            bytes.extend_from_slice(&run.salt);
        }
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes.into()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let content = bytes.len().checked_sub(4).ok_or(Malformed::Short)?;
        let (content, checksum) = bytes.split_at_checked(content).ok_or(Malformed::Short)?;
        let mut fields = Fields(content);
        if fields.array()? != MAGIC {
            return Err(Malformed::Magic);
        }
        // Before the version: a damaged version field is damage, not a newer file.
        if Fields(checksum).u32()? != crc32c::crc32c(content) {
            return Err(Malformed::Checksum("manifest"));
        }
        let (major, _minor, runs) = (fields.u16()?, fields.u16()?, fields.u32()?);
        let (incompatible, compatible) = (fields.u64()?, fields.u64()?);
        if major != VERSION_MAJOR || incompatible != 0 {
            return Err(Malformed::OtherVersion);
        }
        let store = fields.array()?;
        // Checked before memory is reserved for the runs.
        if fields.0.len() != runs as usize * RUN_BYTES {
            return Err(Malformed::Field("number of runs"));
        }
        let run = |_| {
            let name = RunName { first: fields.u64()?, last: fields.u64()? };
            Ok(ManifestEntry { name, salt: fields.array()? })
        };
        let runs = (0..runs).map(run).collect::<Result<Vec<ManifestEntry>, Malformed>>()?;
        let mut pairs = runs.iter().zip(runs.iter().skip(1));
        // Lookups search runs by position, so an unordered list is as bad as a damaged one.
        if pairs.all(|(one, next)| one.name.last < next.name.first) {
            Ok(Self { store, ids: IndexedIds::from_bits(compatible), runs })
        } else {
            Err(Malformed::Field("order of runs"))
        }
    }
}
