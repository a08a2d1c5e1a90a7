//! The client's side of TLS: the authorities that are trusted, and the certificate of a user.
//!
//! Owns: the configuration that all connections of a store share. Invariants: keys and certificates
//! are read once, when the store is opened; a text of an error has the name of a file and nothing
//! of its content. Not here: the handshake ([`connection`](crate::connection)).

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};

use crate::{open_error::OpenError, url::TlsRules};

/// The protocol that servers speak.
const HTTP_2: &[u8] = b"h2";

/// Makes the configuration, or returns `None` for connections without TLS.
pub(crate) fn client_config(rules: &TlsRules) -> Result<Option<Arc<ClientConfig>>, OpenError> {
    if !rules.is_used {
        return Ok(None);
    }
    // Named, because the process may have another provider for other connections.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| invalid(None, &error.to_string()))?;
    let builder = match rules.verifies {
        true => builder.with_root_certificates(authorities(rules.authorities.as_deref())?),
        false => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate { provider })),
    };
    let mut config = match (&rules.user_certificate, &rules.user_key) {
        (Some(certificate), Some(key)) => {
            let chain = certificates(certificate)?;
            let private = PrivateKeyDer::from_pem_file(key)
                .map_err(|_| invalid(Some(key), "it must be a PEM file with a private key"))?;
            builder
                .with_client_auth_cert(chain, private)
                .map_err(|_| invalid(Some(key), "it does not fit the certificate"))?
        }
        _ => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![HTTP_2.to_vec()];
    Ok(Some(Arc::new(config)))
}

/// Returns the authorities of a file, or those of the system.
fn authorities(file: Option<&Path>) -> Result<RootCertStore, OpenError> {
    let mut roots = RootCertStore::empty();
    match file {
        Some(file) => {
            for certificate in certificates(file)? {
                roots
                    .add(certificate)
                    .map_err(|_| invalid(Some(file), "a certificate is none of an authority"))?;
            }
        }
        None => {
            // The system's list may have certificates that cannot be used; others serve.
            let found = rustls_native_certs::load_native_certs().certs;
            roots.add_parsable_certificates(found);
            if roots.is_empty() {
                return Err(invalid(None, "the system has no authorities; name a `tlsCaFile`"));
            }
        }
    }
    Ok(roots)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, OpenError> {
    let expected = || invalid(Some(file), "it must be a PEM file with certificates");
    let read = CertificateDer::pem_file_iter(file).map_err(|_| expected())?;
    let chain = read.collect::<Result<Vec<_>, _>>().map_err(|_| expected())?;
    if chain.is_empty() { Err(expected()) } else { Ok(chain) }
}

fn invalid(file: Option<&Path>, reason: &str) -> OpenError {
    let file = file.map_or_else(String::new, |file| format!("{}: ", file.display()));
    OpenError::Tls { reason: format!("{file}{reason}") }
}

/// Trusts every certificate: `tlsVerifyCert=false`. Signatures are checked all the same.
#[derive(Debug)]
struct AnyCertificate {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
