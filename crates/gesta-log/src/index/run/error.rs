//! What can go wrong with the index's files.

use std::io;

use crate::format::Malformed;

/// Why a run or the manifest could not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// The system said no. Try again, or give up.
    #[error("cannot use {file}")]
    Io {
        /// Which file.
        file: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file is not what was written. The log can rebuild it.
    #[error("{file} is damaged at byte {offset}: {what}")]
    Damaged {
        /// Which file.
        file: String,
        /// Where what is wrong begins.
        offset: u64,
        /// What is wrong.
        what: Malformed,
    },
    /// The file has features that this version does not know. Leave it alone.
    #[error("{file} was written by a newer version")]
    Newer {
        /// Which file.
        file: String,
    },
    /// Whoever was asked said not to go on; nothing that counts was changed.
    #[error("stopped before it was done")]
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
