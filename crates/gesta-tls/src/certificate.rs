//! The certificate of a listener, which can be replaced while it is served.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier},
    sign::CertifiedKey,
};

use crate::{invalid::InvalidTls, pem_files::FollowedFiles};

/// A certificate with its key, and the authority of client certificates. Clones share them.
#[derive(Clone)]
pub struct Tls {
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) current: Arc<CurrentCertificate>,
    pub(crate) files: Option<Arc<FollowedFiles>>,
}

/// The certificate that the next handshake gets.
#[derive(Debug)]
pub(crate) struct CurrentCertificate(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for CurrentCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Tls {
    /// Serves with a chain of certificates and its private key, both in PEM.
    ///
    /// # Errors
    /// [`InvalidTls`] if one of them is missing or they do not belong together.
    pub fn new(certificates: &[u8], key: &[u8]) -> Result<Self, InvalidTls> {
        Self::of(certificates, key, None)
    }

    /// Serves as [`new`](Self::new) does, and accepts client certificates that one of the
    /// authorities has signed.
    ///
    /// # Errors
    /// [`InvalidTls`] if one of the texts is unusable.
    pub fn with_client_certificates(
        certificates: &[u8],
        key: &[u8],
        authorities: &[u8],
    ) -> Result<Self, InvalidTls> {
        Self::of(certificates, key, Some(authorities))
    }

    fn of(certificates: &[u8], key: &[u8], authorities: Option<&[u8]>) -> Result<Self, InvalidTls> {
        let current = Arc::new(CurrentCertificate(RwLock::new(certified(certificates, key)?)));
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
        let resolver: Arc<dyn ResolvesServerCert> = current.clone();
        let config = Arc::new(builder.with_cert_resolver(resolver));
        Ok(Self { config, current, files: None })
    }

    /// Returns the configuration of a listener with these protocols (ALPN), the preferred one
    /// first. A later [`replace`](Self::replace) holds for it, too.
    #[must_use]
    pub fn server_config(&self, protocols: &[&[u8]]) -> Arc<ServerConfig> {
        let mut config = ServerConfig::clone(&self.config);
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Arc::new(config)
    }

    /// Replaces the certificate and its key. Handshakes from here on have the new one; open
    /// connections stay.
    ///
    /// # Errors
    /// [`InvalidTls`] if one of the texts is unusable. The certificate before stays.
    pub fn replace(&self, certificates: &[u8], key: &[u8]) -> Result<(), InvalidTls> {
        let certified = certified(certificates, key)?;
        *self.current.0.write().unwrap_or_else(PoisonError::into_inner) = certified;
        Ok(())
    }
}

fn certified(certificates: &[u8], key: &[u8]) -> Result<Arc<CertifiedKey>, InvalidTls> {
    let chain = certificates_of(certificates).ok_or(InvalidTls::NoCertificate)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| InvalidTls::NoKey)?;
    let certified = CertifiedKey::from_der(chain, key, &default_provider());
    certified.map(Arc::new).map_err(InvalidTls::KeyMismatch)
}

/// Returns the certificates of a PEM text, or `None` if it has none or is damaged.
fn certificates_of(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().ok()?;
    (!certificates.is_empty()).then_some(certificates)
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
        let tls = Tls::new(certificate.as_bytes(), key.as_bytes()).unwrap();
        for (certificate, key, reason) in [
            ("", key.as_str(), "there is no certificate"),
            (certificate.as_str(), "", "there is no private key"),
            (certificate.as_str(), other.as_str(), "cannot be used with this key"),
        ] {
            let refused = Tls::new(certificate.as_bytes(), key.as_bytes()).unwrap_err();
            assert!(refused.to_string().contains(reason), "{refused}");
            let refused = tls.replace(certificate.as_bytes(), key.as_bytes()).unwrap_err();
            assert!(refused.to_string().contains(reason), "{refused}");
        }
        let without =
            Tls::with_client_certificates(certificate.as_bytes(), key.as_bytes(), b"nothing");
        assert!(matches!(without, Err(InvalidTls::NoAuthority)));
    }
}
