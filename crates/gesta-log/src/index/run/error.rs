//! Errors of the index's files.

use std::io;

use crate::format::Malformed;

/// The reason why a run or the manifest could not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// The system reported an error. Try again, or give up.
    #[error("cannot read or write {file}")]
    Io {
        file: String,
        #[source]
        source: io::Error,
    },
    /// The file is not as it was written. It can be rebuilt from the log.
    #[error("{file} is damaged at byte {offset}: {what}")]
    Damaged { file: String, offset: u64, what: Malformed },
    /// The file uses features of a newer version. Leave it alone.
    #[error("{file} was written by a newer version")]
    Newer { file: String },
    /// A callback stopped the operation. No live file was changed.
    #[error("stopped before completion")]
    Stopped,
}

impl RunError {
    pub(super) fn io(file: &str, source: io::Error) -> Self {
        Self::Io { file: file.to_owned(), source }
    }

    pub(super) fn malformed(file: &str, offset: u64, what: Malformed) -> Self {
        let file = file.to_owned();
        match what {
            Malformed::OtherVersion => Self::Newer { file },
            Malformed::Short | Malformed::Magic | Malformed::Checksum(_) | Malformed::Field(_) => {
                Self::Damaged { file, offset, what }
            }
        }
    }
}
