//! TLS of the listener, by rustls.
//!
//! Owns: [`Tls`]. Invariants: TLS 1.2 and 1.3 only; HTTP/2 and HTTP/1.1 are chosen by ALPN on one
//! port; a client certificate is optional, and one that its authority did not sign ends the
//! handshake. Not here: reading files, and whom a client certificate stands for
//! ([`access`](crate::access)).

use std::sync::Arc;

use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};

/// A certificate with its key, and the authority of client certificates.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ServerConfig>,
}

/// A text that TLS cannot be served with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidTls {
    /// The certificate file has no certificate.
    #[error("there is no certificate; write it in PEM, followed by those of its authorities")]
    NoCertificate,
    /// The key file has no private key.
    #[error("there is no private key; write it in PEM, unencrypted")]
    NoKey,
    /// The key is not of the certificate, or of an unknown kind.
    #[error("the certificate cannot be used with this key")]
    KeyMismatch(#[source] rustls::Error),
    /// The authority file has no certificate.
    #[error("there is no certificate of an authority for client certificates")]
    NoAuthority,
    /// The certificates of the authority are unusable.
    #[error("the certificate of an authority cannot be used: {reason}")]
    InvalidAuthority {
        /// The reason.
        reason: String,
    },
}

impl Tls {
    /// Serves with a chain of certificates and its private key, both in PEM.
    ///
    /// # Errors
    ///
    /// [`InvalidTls`] if one of them is missing or they do not belong together.
    pub fn new(certificates: &[u8], key: &[u8]) -> Result<Self, InvalidTls> {
        Self::of(certificates, key, None)
    }

    /// Serves as [`new`](Self::new) does, and accepts client certificates that one of the
    /// authorities has signed. The common name of such a certificate is a login.
    ///
    /// # Errors
    ///
    /// [`InvalidTls`] if one of the texts is unusable.
    pub fn with_client_certificates(
        certificates: &[u8],
        key: &[u8],
        authorities: &[u8],
    ) -> Result<Self, InvalidTls> {
        Self::of(certificates, key, Some(authorities))
    }

    fn of(certificates: &[u8], key: &[u8], authorities: Option<&[u8]>) -> Result<Self, InvalidTls> {
        let chain = certificates_of(certificates).ok_or(InvalidTls::NoCertificate)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| InvalidTls::NoKey)?;
        let provider = Arc::new(default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(InvalidTls::KeyMismatch)?;
        let builder = match authorities {
            None => builder.with_no_client_auth(),
            Some(authorities) => {
                let invalid = |reason: String| InvalidTls::InvalidAuthority { reason };
                let mut roots = RootCertStore::empty();
                for authority in certificates_of(authorities).ok_or(InvalidTls::NoAuthority)? {
                    roots.add(authority).map_err(|error| invalid(error.to_string()))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider)
                    .allow_unauthenticated()
                    .build()
                    .map_err(|error| invalid(error.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_single_cert(chain, key).map_err(InvalidTls::KeyMismatch)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config) })
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }
}

/// Returns the certificates of a PEM text, or `None` if it has none or is damaged.
fn certificates_of(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().ok()?;
    (!certificates.is_empty()).then_some(certificates)
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn pair() -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (parameters.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    #[test]
    fn files_that_do_not_belong_together_are_refused_with_the_reason() {
        let ((certificate, key), (_, other)) = (pair(), pair());
        assert!(Tls::new(certificate.as_bytes(), key.as_bytes()).is_ok());
        for (certificate, key, reason) in [
            ("", key.as_str(), "there is no certificate"),
            (certificate.as_str(), "", "there is no private key"),
            (certificate.as_str(), other.as_str(), "cannot be used with this key"),
        ] {
            let refused = Tls::new(certificate.as_bytes(), key.as_bytes()).unwrap_err();
            assert!(refused.to_string().contains(reason), "{refused}");
        }
        let without =
            Tls::with_client_certificates(certificate.as_bytes(), key.as_bytes(), b"nothing");
        assert!(matches!(without, Err(InvalidTls::NoAuthority)));
    }
}
