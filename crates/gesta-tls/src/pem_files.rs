//! The two files of a certificate, and their contents.
//!
//! Not here: what the contents are good for ([`certificate`](crate::certificate)), and when they
//! are read again ([`files`](crate::files)).

use std::{
    fmt,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Mutex,
    time::Duration,
};

use crate::invalid::InvalidTls;

/// Maximum size of a file of certificates or a key.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Time between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The files of a listener's certificate, in PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    certificates: PathBuf,
    key: PathBuf,
    pub(crate) client_authorities: Option<PathBuf>,
    pub(crate) look_every: Duration,
}

/// An error of files that TLS cannot be served with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsFileError {
    /// A file cannot be read.
    #[error("cannot read {}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// A file is too large, or has no end.
    #[error("{} has more than 1 MiB, so it has no certificate or key", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The contents cannot be used together.
    #[error("{} and {} cannot be used", .certificates.display(), .key.display())]
    Unusable {
        /// The file of the certificate.
        certificates: PathBuf,
        /// The file of its key.
        key: PathBuf,
        /// The reason.
        #[source]
        source: InvalidTls,
    },
}

/// Files with the contents that were read last.
#[derive(Debug)]
pub(crate) struct FollowedFiles {
    pub(crate) files: TlsFiles,
    /// Also of files that could not be used: each content is tried, and reported, once.
    pub(crate) seen: Mutex<Option<FileTexts>>,
}

/// The certificates and the key.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct FileTexts {
    pub(crate) certificates: Vec<u8>,
    pub(crate) key: Vec<u8>,
}

impl TlsFiles {
    /// Names the file of the certificate, followed by those of its authorities, and the file of its
    /// private key. Nothing is read yet.
    pub fn new(certificates: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        let (certificates, key) = (certificates.into(), key.into());
        Self { certificates, key, client_authorities: None, look_every: LOOK_EVERY }
    }

    /// Names the file with the authorities of client certificates. It is read once.
    #[must_use]
    pub fn client_authorities(self, authorities: impl Into<PathBuf>) -> Self {
        Self { client_authorities: Some(authorities.into()), ..self }
    }

    /// Sets the time between two looks of [`Tls::follow_files`](crate::Tls::follow_files);
    /// the default is 5 s.
    #[must_use]
    pub fn look_every(self, time: Duration) -> Self {
        Self { look_every: time, ..self }
    }

    pub(crate) fn texts(&self) -> Result<FileTexts, TlsFileError> {
        Ok(FileTexts { certificates: bytes(&self.certificates)?, key: bytes(&self.key)? })
    }

    pub(crate) fn unusable(&self, source: InvalidTls) -> TlsFileError {
        let (certificates, key) = (self.certificates.clone(), self.key.clone());
        TlsFileError::Unusable { certificates, key, source }
    }
}

/// Reads a file. A device without an end is refused, too.
pub(crate) fn bytes(path: &Path) -> Result<Vec<u8>, TlsFileError> {
    let mut bytes = Vec::new();
    let read = File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|source| TlsFileError::Unreadable { path: path.to_owned(), source })?;
    match read as u64 > FILE_BYTES_MAX {
        true => Err(TlsFileError::TooLarge { path: path.to_owned() }),
        false => Ok(bytes),
    }
}

impl fmt::Debug for FileTexts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileTexts").finish_non_exhaustive()
    }
}
