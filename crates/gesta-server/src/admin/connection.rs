//! Connections of the client for operators.
//!
//! Owns: [`ClientTls`], and the time limit of a connection. Invariant: a server's certificate is
//! verified against the given authorities, always.

use std::{io, sync::Arc, time::Duration};

use hyper_util::rt::TokioIo;
use rustls::{
    CertificateError, ClientConfig, RootCertStore,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::{AdminClient, AdminError};
use crate::address::ServerAddress;

/// Time for a connection, with its handshake.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Time for the first byte of a server that may speak TLS.
const PROBE_MAX: Duration = Duration::from_secs(2);
/// Type of the record in which a server with TLS refuses what is no handshake (RFC 8446, section
/// 5.1).
const ALERT: u8 = 21;
/// Maximum size of an answer: the description of many groups or users.
pub(super) const ANSWER_BYTES_MAX: usize = 64 << 20;

/// The authorities that a client trusts, and its own certificate if it has one.
#[derive(Clone, Debug)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
}

impl ClientTls {
    /// Trusts the authorities in a PEM file.
    ///
    /// # Errors
    ///
    /// [`AdminError::Certificates`] if the file has no certificate of an authority.
    pub fn new(authorities: &[u8]) -> Result<Self, AdminError> {
        let builder = builder(authorities)?;
        Ok(Self::of(builder.with_no_client_auth()))
    }

    /// Trusts the authorities in a PEM file, and shows a certificate with its key.
    ///
    /// # Errors
    ///
    /// [`AdminError::Certificates`] if one of them cannot be used.
    pub fn with_certificate(
        authorities: &[u8],
        certificate: &[u8],
        key: &[u8],
    ) -> Result<Self, AdminError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate)
            .collect::<Result<_, _>>()
            .map_err(|_| unusable("the client's certificate is not in PEM"))?;
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|_| unusable("the key of the client's certificate is not in PEM"))?;
        let config = builder(authorities)?.with_client_auth_cert(chain, key);
        Ok(Self::of(config.map_err(|error| unusable(error.to_string()))?))
    }

    fn of(mut config: ClientConfig) -> Self {
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self { config: Arc::new(config) }
    }
}

fn builder(
    authorities: &[u8],
) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>, AdminError> {
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(authorities) {
        let authority = authority.map_err(|_| unusable("the authorities are not in PEM"))?;
        // A bundle of a system may have an authority that this library does not read.
        let _ = roots.add(authority);
    }
    if roots.is_empty() {
        return Err(unusable("there is no certificate of an authority"));
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_safe_default_protocol_versions();
    Ok(builder.map_err(|error| unusable(error.to_string()))?.with_root_certificates(roots))
}

fn unusable(reason: impl Into<String>) -> AdminError {
    AdminError::Certificates { reason: reason.into() }
}

/// A connection, with or without TLS.
trait Connected: AsyncRead + AsyncWrite + Send + Unpin {}

impl<Stream: AsyncRead + AsyncWrite + Send + Unpin> Connected for Stream {}

type AnyStream = Box<dyn Connected>;

impl AdminClient {
    /// Connects to the server.
    pub(super) async fn connect(&self) -> Result<Channel, AdminError> {
        let unreachable = |source: Box<dyn std::error::Error + Send + Sync>| {
            AdminError::Unreachable { address: self.address.clone(), source }
        };
        let stream = match timeout(CONNECT_MAX, open(&self.address, self.tls.as_ref())).await {
            Ok(opened) => opened.map_err(|error| not_opened(&self.address, error))?,
            Err(late) => return Err(unreachable(late.into())),
        };
        // The connection is made once; a second one would be another server's answer.
        let mut stream = Some(stream);
        let connector = service_fn(move |_| {
            let taken = stream.take().ok_or_else(|| std::io::Error::other("the connection broke"));
            async move { taken.map(TokioIo::new) }
        });
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let endpoint = Endpoint::from_shared(format!("{scheme}://{}", self.address));
        let endpoint = endpoint.map_err(|error| unreachable(error.into()))?;
        let connected = endpoint.connect_with_connector(connector).await;
        connected.map_err(|error| unreachable(error.into()))
    }

    /// Names the cause of a call without an answer, if it is a server with TLS.
    pub(super) async fn explained(&self, error: AdminError) -> AdminError {
        match error {
            AdminError::NoAnswer { .. } | AdminError::Unreachable { .. }
                if self.tls.is_none() && self.refuses_plain_text().await =>
            {
                AdminError::NeedsTls { address: self.address.clone() }
            }
            error => error,
        }
    }

    /// Returns `true` if the server answers a request in plain text by an alert of TLS.
    async fn refuses_plain_text(&self) -> bool {
        let first = async {
            let mut stream = TcpStream::connect((self.address.host(), self.address.port())).await?;
            stream.write_all(b"GET /ping HTTP/1.0\r\n\r\n").await?;
            stream.read_u8().await
        };
        matches!(timeout(PROBE_MAX, first).await, Ok(Ok(ALERT)))
    }
}

/// Sorts the failures of a handshake by what to change.
fn not_opened(address: &ServerAddress, error: io::Error) -> AdminError {
    let address = address.clone();
    let of_tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match of_tls {
        // An authority that was made anew has the same name and another key.
        Some(rustls::Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        )) => AdminError::UnknownAuthority { address, source: error.into() },
        Some(rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => AdminError::OtherName { address, source: error.into() },
        // The first bytes are no record of TLS.
        Some(rustls::Error::InvalidMessage(_)) => {
            AdminError::LacksTls { address, source: error.into() }
        }
        _ => AdminError::Unreachable { address, source: error.into() },
    }
}

async fn open(address: &ServerAddress, tls: Option<&ClientTls>) -> std::io::Result<AnyStream> {
    let stream = TcpStream::connect((address.host(), address.port())).await?;
    // Small messages must not wait for each other. Without it the connection works, too.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else { return Ok(Box::new(stream)) };
    let name = ServerName::try_from(address.host().to_owned());
    let name = name.map_err(|error| std::io::Error::other(error.to_string()))?;
    let connector = TlsConnector::from(Arc::clone(&tls.config));
    Ok(Box::new(connector.connect(name, stream).await?))
}
