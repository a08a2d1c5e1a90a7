//! TLS of connections, by rustls.
//!
//! Owns: what a connection checks of the server's certificate. `prefer` and `require` encrypt and
//! check nothing, as those of libpq do: they protect from listeners, not from another server.
//! `verify-ca` wants a certificate of the given authorities, `verify-full` one that also has the
//! name of the host. Not here: whether a server without TLS is accepted, which the driver decides.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::{
    Socket,
    tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream},
};
use tokio_rustls::TlsConnector;

use crate::url::{InvalidUrl, Verification};

/// Makes the TLS sessions of connections.
#[derive(Clone)]
pub(crate) struct Tls {
    config: Arc<ClientConfig>,
}

impl Tls {
    /// # Errors
    ///
    /// [`InvalidUrl::RootCertificates`] if the file of authorities cannot be read.
    pub(crate) fn new(verification: &Verification) -> Result<Self, InvalidUrl> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = verifier(verification, &provider)?;
        let versions = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| InvalidUrl::RootCertificates { reason: error.to_string() })?;
        let mut config =
            versions.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
        // Wanted by servers if TLS begins at once (`sslnegotiation=direct`).
        config.alpn_protocols = vec![b"postgresql".to_vec()];
        Ok(Self { config: Arc::new(config) })
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

/// Returns the reason why the certificate of a server was refused, if that is among the causes of
/// an error.
pub(crate) fn refused_certificate(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        // An I/O error shows the causes of its content as its own.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let rustls = match inner {
            Some(inner) => inner.downcast_ref::<Error>(),
            None => error.downcast_ref::<Error>(),
        };
        if let Some(Error::InvalidCertificate(reason)) = rustls {
            return Some(reason.to_string());
        }
        cause = error.source();
    }
    None
}

fn verifier(
    verification: &Verification,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, InvalidUrl> {
    let (file, checks_name) = match verification {
        Verification::None => {
            let provider = Arc::clone(provider);
            return Ok(Arc::new(AnyName { provider, authorities: None }));
        }
        Verification::Authority { file } => (file, false),
        Verification::AuthorityAndName { file } => (file, true),
    };
    let unread = |reason: String| InvalidUrl::RootCertificates { reason };
    let mut authorities = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(file)
        .map_err(|error| unread(format!("{} cannot be read: {error}", file.display())))?;
    for certificate in certificates {
        let certificate = certificate
            .map_err(|error| unread(format!("{} is no PEM file: {error}", file.display())))?;
        authorities
            .add(certificate)
            .map_err(|error| unread(format!("{}: {error}", file.display())))?;
    }
    if authorities.is_empty() {
        return Err(unread(format!("{} has no certificate", file.display())));
    }
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(authorities), Arc::clone(provider))
            .build()
            .map_err(|error| unread(error.to_string()))?;
    if checks_name {
        return Ok(verifier);
    }
    Ok(Arc::new(AnyName { provider: Arc::clone(provider), authorities: Some(verifier) }))
}

/// Accepts certificates for whichever host. Their owner still has to prove that it has the key.
#[derive(Debug)]
struct AnyName {
    provider: Arc<CryptoProvider>,
    /// Checks everything but the name. `None` accepts every certificate.
    authorities: Option<Arc<WebPkiServerVerifier>>,
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(authorities) = &self.authorities else {
            return Ok(ServerCertVerified::assertion());
        };
        // The name is compared last, when everything else has been checked.
        match authorities.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl MakeTlsConnect<Socket> for Tls {
    type Stream = Encrypted;
    type TlsConnect = Handshake;
    type Error = rustls::pki_types::InvalidDnsNameError;

    fn make_tls_connect(&mut self, host: &str) -> Result<Handshake, Self::Error> {
        let name = ServerName::try_from(host.to_owned())?;
        Ok(Handshake { connector: TlsConnector::from(Arc::clone(&self.config)), name })
    }
}

/// The handshake with one server.
pub(crate) struct Handshake {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl TlsConnect<Socket> for Handshake {
    type Stream = Encrypted;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Encrypted>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        Box::pin(async move {
            let stream = self.connector.connect(self.name, socket).await?;
            Ok(Encrypted(Box::new(stream)))
        })
    }
}

/// An encrypted connection.
pub(crate) struct Encrypted(Box<tokio_rustls::client::TlsStream<Socket>>);

impl TlsStream for Encrypted {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Encrypted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_shutdown(context)
    }
}
