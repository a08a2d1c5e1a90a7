//! One connection to a node, over which calls are multiplexed.
//!
//! Owns: the connection's HTTP/2 and TLS, the headers of every call, and [`LinkError`], which says
//! whether a call can have reached the node. Invariants: a peer that is gone is noticed by pings;
//! a call whose answer is not read holds up no other call. Not here: the choice of the node, and
//! the number of connections ([`cluster`](crate::cluster)).

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use base64::Engine as _;
use hyper::{
    Request, Response, StatusCode, Uri,
    body::Incoming,
    client::conn::http2::{self, SendRequest},
    header::{AUTHORIZATION, HeaderName, HeaderValue},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::{CertificateError, ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use tonic::body::Body;

use crate::url::{Credentials, Host, KurrentUrl, NodePreference};

/// Bytes of one call's answer that wait for their reader.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// The same for all calls together: so many that no call uses another one's up.
const CONNECTION_WINDOW_BYTES: u32 = (1 << 31) - 1;

/// Advice about a connection without TLS.
const NEEDS_TLS: &str = "a server with TLS does so: for one, remove `tls=false` from the URL";

/// A connection. Clones share it.
#[derive(Clone)]
pub(crate) struct Link {
    sender: SendRequest<Body>,
    headers: Arc<CallHeaders>,
    origin: Uri,
    has_tls: bool,
    /// An answer has come, so the node speaks the protocol.
    is_proven: Arc<AtomicBool>,
}

/// Headers of every call.
pub(crate) struct CallHeaders(Vec<(HeaderName, HeaderValue)>);

/// The error of a call that the node has not answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// The node cannot have seen the call.
    #[error("the connection was closed before the call")]
    NotSent(#[source] hyper::Error),
    #[error("the connection broke during the call")]
    Broken(#[source] hyper::Error),
    /// The same as [`NotSent`](Self::NotSent), on a connection without TLS that never had an
    /// answer.
    #[error("the connection was closed before the call; {NEEDS_TLS}")]
    NotSentPlain(#[source] hyper::Error),
    /// The same as [`Broken`](Self::Broken), on such a connection.
    #[error("the connection was closed without an answer; {NEEDS_TLS}")]
    BrokenPlain(#[source] hyper::Error),
    /// A proxy has answered, or another server.
    #[error("the server answered with HTTP status {0}; is it a server of KurrentDB's protocol?")]
    NotGrpc(StatusCode),
}

/// The reason why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("cannot connect to {0}")]
    Network(Host, #[source] std::io::Error),
    #[error("TLS with {0} failed")]
    Tls(Host, #[source] std::io::Error),
    #[error(
        "TLS with {0} failed: its certificate is of an authority that is not trusted; name the file \
         of the authority by `tlsCaFile` in the URL"
    )]
    UnknownAuthority(Host, #[source] std::io::Error),
    #[error(
        "TLS with {0} failed: its certificate is for other names; use one of them in the URL, or \
         another certificate"
    )]
    OtherName(Host, #[source] std::io::Error),
    #[error(
        "TLS with {0} failed: it does not speak TLS; for an insecure server, add `tls=false` to \
         the URL"
    )]
    LacksTls(Host, #[source] std::io::Error),
    #[error("{0} is no name that a certificate can have")]
    Name(Host),
    #[error("{0} does not speak HTTP/2")]
    Http(Host, #[source] hyper::Error),
}

impl ConnectError {
    /// Sorts the failures of a handshake by what to change.
    fn of_tls(host: Host, error: std::io::Error) -> Self {
        let of_tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match of_tls {
            // An authority that was made anew has the same name and another key.
            Some(rustls::Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature,
            )) => Self::UnknownAuthority(host, error),
            Some(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Self::OtherName(host, error),
            // The first bytes are no record of TLS.
            Some(rustls::Error::InvalidMessage(_)) => Self::LacksTls(host, error),
            _ => Self::Tls(host, error),
        }
    }
}

impl CallHeaders {
    pub(crate) fn of(url: &KurrentUrl) -> Self {
        let mut headers = Vec::new();
        if let Some(Credentials { login, password }) = &url.user {
            let encoded =
                base64::engine::general_purpose::STANDARD.encode(format!("{login}:{password}"));
            if let Ok(mut value) = HeaderValue::try_from(format!("Basic {encoded}")) {
                value.set_sensitive(true);
                headers.push((AUTHORIZATION, value));
            }
        }
        if url.preference == NodePreference::Leader {
            let value = HeaderValue::from_static("true");
            headers.push((HeaderName::from_static("requires-leader"), value));
        }
        // A name that is no header is left out: it is for the server's log only.
        let name = url.connection_name.as_deref().and_then(|name| HeaderValue::try_from(name).ok());
        headers.extend(name.map(|name| (HeaderName::from_static("connection-name"), name)));
        Self(headers)
    }
}

/// The settings of connections.
pub(crate) struct Dialer {
    pub(crate) headers: Arc<CallHeaders>,
    pub(crate) tls: Option<Arc<ClientConfig>>,
    pub(crate) ping_interval: Duration,
    pub(crate) ping_timeout: Duration,
}

impl Dialer {
    /// Connects to a node. The caller limits the time.
    pub(crate) async fn connect(&self, host: &Host) -> Result<Link, ConnectError> {
        let address = (host.name.as_str(), host.port);
        let network = |error| ConnectError::Network(host.clone(), error);
        let stream = TcpStream::connect(address).await.map_err(network)?;
        // Small messages must not wait for each other.
        stream.set_nodelay(true).map_err(network)?;
        let sender = match &self.tls {
            None => self.shake_hands(host, stream).await?,
            Some(config) => {
                let name = ServerName::try_from(host.name.clone());
                let name = name.map_err(|_| ConnectError::Name(host.clone()))?;
                let connector = TlsConnector::from(Arc::clone(config));
                let stream = connector.connect(name, stream).await;
                let stream = stream.map_err(|error| ConnectError::of_tls(host.clone(), error))?;
                self.shake_hands(host, stream).await?
            }
        };
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let origin = format!("{scheme}://{host}").parse();
        let origin = origin.map_err(|_| ConnectError::Name(host.clone()))?;
        let headers = Arc::clone(&self.headers);
        let (has_tls, is_proven) = (self.tls.is_some(), Arc::default());
        Ok(Link { sender, headers, origin, has_tls, is_proven })
    }

    async fn shake_hands<Stream>(
        &self,
        host: &Host,
        stream: Stream,
    ) -> Result<SendRequest<Body>, ConnectError>
    where
        Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .keep_alive_interval(self.ping_interval)
            .keep_alive_timeout(self.ping_timeout);
        let shaken = builder.handshake(TokioIo::new(stream)).await;
        let (sender, connection) =
            shaken.map_err(|error| ConnectError::Http(host.clone(), error))?;
        tokio::spawn(async move {
            // Calls report how it ended.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended");
            }
        });
        Ok(sender)
    }
}

impl Link {
    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Returns `true` for a connection that the server may end for its lack of TLS.
    fn is_suspect(&self) -> bool {
        !self.has_tls && !self.is_proven.load(Ordering::Relaxed)
    }

    pub(crate) fn origin(&self) -> Uri {
        self.origin.clone()
    }
}

fn not_sent(error: hyper::Error, is_suspect: bool) -> LinkError {
    match is_suspect {
        true => LinkError::NotSentPlain(error),
        false => LinkError::NotSent(error),
    }
}

impl tower::Service<Request<Body>> for Link {
    type Response = Response<Incoming>;
    type Error = LinkError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Incoming>, LinkError>> + Send>>;

    fn poll_ready(&mut self, context: &mut std::task::Context<'_>) -> Poll<Result<(), LinkError>> {
        let is_suspect = self.is_suspect();
        self.sender.poll_ready(context).map_err(|error| not_sent(error, is_suspect))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        for (name, value) in &self.headers.0 {
            request.headers_mut().insert(name.clone(), value.clone());
        }
        let answer = self.sender.try_send_request(request);
        let link = (self.has_tls, Arc::clone(&self.is_proven));
        Box::pin(async move {
            let (has_tls, is_proven) = link;
            let answer = answer.await.map_err(|mut error| {
                let is_suspect = !has_tls && !is_proven.load(Ordering::Relaxed);
                match (error.take_message(), is_suspect) {
                    (Some(_), _) => not_sent(error.into_error(), is_suspect),
                    (None, true) => LinkError::BrokenPlain(error.into_error()),
                    (None, false) => LinkError::Broken(error.into_error()),
                }
            })?;
            is_proven.store(true, Ordering::Relaxed);
            // The status of a call is in its trailers; HTTP's is another server's.
            match answer.status() {
                StatusCode::OK => Ok(answer),
                status => Err(LinkError::NotGrpc(status)),
            }
        })
    }
}
