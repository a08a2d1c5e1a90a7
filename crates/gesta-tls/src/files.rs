//! The files of a certificate, which are read again while it is served.
//!
//! Contents are compared, not times: a certificate is often replaced by a link to another folder,
//! and the two files one after the other.
//!
//! Invariant: the certificate changes only if both files can be used together. Until then the one
//! before is served, and the log has the reason once for each content.

use std::{
    convert::Infallible,
    fs::File,
    future::pending,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::{task::spawn_blocking, time::sleep};

use crate::{InvalidTls, Tls};

/// Maximum size of a file of certificates or a key.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Time between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The files of a listener's certificate, in PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    certificates: PathBuf,
    key: PathBuf,
    client_authorities: Option<PathBuf>,
    look_every: Duration,
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
    files: TlsFiles,
    /// Also of files that could not be used: each content is tried, and reported, once.
    seen: Mutex<Option<FileTexts>>,
}

/// The certificates and the key.
#[derive(Clone, PartialEq, Eq)]
struct FileTexts {
    certificates: Vec<u8>,
    key: Vec<u8>,
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

    /// Sets the time between two looks of [`Tls::follow_files`]; the default is 5 s.
    #[must_use]
    pub fn look_every(self, time: Duration) -> Self {
        Self { look_every: time, ..self }
    }

    /// Reads the files. Blocks.
    ///
    /// # Errors
    /// [`TlsFileError`] for a file that is missing, too large, or unusable.
    pub fn read(self) -> Result<Tls, TlsFileError> {
        let texts = self.texts()?;
        let FileTexts { certificates, key } = &texts;
        let tls = match &self.client_authorities {
            Some(path) => Tls::with_client_certificates(certificates, key, &bytes(path)?),
            None => Tls::new(certificates, key),
        };
        let tls = tls.map_err(|source| self.unusable(source))?;
        let files = FollowedFiles { files: self, seen: Mutex::new(Some(texts)) };
        Ok(Tls { files: Some(files.into()), ..tls })
    }

    fn texts(&self) -> Result<FileTexts, TlsFileError> {
        Ok(FileTexts { certificates: bytes(&self.certificates)?, key: bytes(&self.key)? })
    }

    fn unusable(&self, source: InvalidTls) -> TlsFileError {
        let (certificates, key) = (self.certificates.clone(), self.key.clone());
        TlsFileError::Unusable { certificates, key, source }
    }
}

impl Tls {
    /// Looks at the files again and again, and takes up a certificate that has replaced another
    /// one. Never returns; pending for a certificate that came from no files.
    ///
    /// Files that cannot be used are in the log, and change nothing.
    pub async fn follow_files(&self) -> Infallible {
        let Some(files) = &self.files else { return pending().await };
        loop {
            sleep(files.files.look_every).await;
            let tls = self.clone();
            // A look that panics has changed nothing.
            let _ = spawn_blocking(move || tls.look_and_report()).await;
        }
    }

    fn look_and_report(&self) {
        match self.look_at_files() {
            Ok(true) => tracing::info!("took up a new certificate"),
            Ok(false) => {}
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(%error, cause, "the certificate was replaced by an unusable one");
            }
        }
    }

    /// Reads the files, and takes up their certificate if they have changed. Returns whether they
    /// had. Blocks.
    ///
    /// # Errors
    /// [`TlsFileError`] once for each content that cannot be used; the certificate before stays.
    pub fn look_at_files(&self) -> Result<bool, TlsFileError> {
        let Some(FollowedFiles { files, seen }) = self.files.as_deref() else { return Ok(false) };
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        let texts = match files.texts() {
            Ok(texts) => texts,
            // Reported once: `None` is the content of files that cannot be read.
            Err(error) => return if seen.take().is_some() { Err(error) } else { Ok(false) },
        };
        if seen.as_ref() == Some(&texts) {
            return Ok(false);
        }
        let replaced = self.replace(&texts.certificates, &texts.key);
        *seen = Some(texts);
        replaced.map(|()| true).map_err(|source| files.unusable(source))
    }
}

/// Reads a file. A device without an end is refused, too.
fn bytes(path: &Path) -> Result<Vec<u8>, TlsFileError> {
    let mut bytes = Vec::new();
    let read = File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|source| TlsFileError::Unreadable { path: path.to_owned(), source })?;
    match read as u64 > FILE_BYTES_MAX {
        true => Err(TlsFileError::TooLarge { path: path.to_owned() }),
        false => Ok(bytes),
    }
}

impl std::fmt::Debug for FileTexts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileTexts").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rcgen::{CertificateParams, KeyPair};
    use tempfile::TempDir;

    use super::*;

    fn pair() -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (parameters.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    #[test]
    fn a_certificate_is_replaced_once_both_of_its_files_are() {
        let directory = TempDir::new().unwrap();
        let [certificates, key] = ["server.pem", "server.key"].map(|it| directory.path().join(it));
        let (first, second) = (pair(), pair());
        let write = |path: &Path, text: &str| fs::write(path, text).unwrap();
        write(&certificates, &first.0);
        write(&key, &first.1);
        let tls = TlsFiles::new(&certificates, &key).read().unwrap();
        assert!(!tls.look_at_files().unwrap(), "nothing has changed");
        write(&certificates, &second.0);
        assert!(matches!(tls.look_at_files(), Err(TlsFileError::Unusable { .. })));
        assert!(!tls.look_at_files().unwrap(), "the same content is reported once");
        write(&key, &second.1);
        assert!(tls.look_at_files().unwrap());
        fs::remove_file(&key).unwrap();
        assert!(matches!(tls.look_at_files(), Err(TlsFileError::Unreadable { .. })));
        assert!(!tls.look_at_files().unwrap(), "the absence is reported once");
        write(&key, &second.1);
        assert!(tls.look_at_files().unwrap(), "it is read again");
    }

    #[test]
    fn a_file_that_is_missing_or_has_no_end_is_refused_by_its_name() {
        let missing = TlsFiles::new("/nowhere/server.pem", "/nowhere/server.key").read();
        assert_eq!(missing.unwrap_err().to_string(), "cannot read /nowhere/server.pem");
        let endless = TlsFiles::new("/dev/zero", "/dev/zero").read().unwrap_err();
        assert!(endless.to_string().contains("more than 1 MiB"), "{endless}");
    }
}
