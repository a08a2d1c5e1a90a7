//! The files of a certificate, which are read again while it is served.
//!
//! Contents are compared, not times: a certificate is often replaced by a link to another folder,
//! and the two files one after the other.
//!
//! Invariant: the certificate changes only if both files can be used together. Until then the one
//! before is served, and the log has the reason once for each content.

use std::{
    convert::Infallible,
    future::pending,
    sync::{Mutex, PoisonError},
};

use tokio::{task::spawn_blocking, time::sleep};

use crate::{
    Tls, TlsFileError, TlsFiles,
    pem_files::{FileTexts, FollowedFiles, bytes},
};

impl TlsFiles {
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

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

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
