//! One connection to a node, over which calls are multiplexed.
//!
//! Owns: the connection's HTTP/2 and TLS, the headers of every call, and [`LinkError`], which says
//! whether a call can have reached the node. Invariants: a peer that is gone is noticed by pings;
//! a call whose answer is not read holds up no other call. Not here: the choice of the node, and
//! the number of connections ([`cluster`](crate::cluster)).

use std::{future::Future, pin::Pin, sync::Arc, task::Poll, time::Duration};

use base64::Engine as _;
use hyper::{
    Request, Response, StatusCode, Uri,
    body::Incoming,
    client::conn::http2::{self, SendRequest},
    header::{AUTHORIZATION, HeaderName, HeaderValue},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::{ClientConfig, pki_types::ServerName};
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

/// A connection. Clones share it.
#[derive(Clone)]
pub(crate) struct Link {
    sender: SendRequest<Body>,
    headers: Arc<CallHeaders>,
    origin: Uri,
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
    #[error("{0} is no name that a certificate can have")]
    Name(Host),
    #[error("{0} does not speak HTTP/2")]
    Http(Host, #[source] hyper::Error),
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
                let stream = stream.map_err(|error| ConnectError::Tls(host.clone(), error))?;
                self.shake_hands(host, stream).await?
            }
        };
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let origin = format!("{scheme}://{host}").parse();
        let origin = origin.map_err(|_| ConnectError::Name(host.clone()))?;
        Ok(Link { sender, headers: Arc::clone(&self.headers), origin })
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

    pub(crate) fn origin(&self) -> Uri {
        self.origin.clone()
    }
}

impl tower::Service<Request<Body>> for Link {
    type Response = Response<Incoming>;
    type Error = LinkError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Incoming>, LinkError>> + Send>>;

    fn poll_ready(&mut self, context: &mut std::task::Context<'_>) -> Poll<Result<(), LinkError>> {
        self.sender.poll_ready(context).map_err(LinkError::NotSent)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        for (name, value) in &self.headers.0 {
            request.headers_mut().insert(name.clone(), value.clone());
        }
        let answer = self.sender.try_send_request(request);
        Box::pin(async move {
            let answer = answer.await.map_err(|mut error| match error.take_message() {
                Some(_) => LinkError::NotSent(error.into_error()),
                None => LinkError::Broken(error.into_error()),
            })?;
            // The status of a call is in its trailers; HTTP's is another server's.
            match answer.status() {
                StatusCode::OK => Ok(answer),
                status => Err(LinkError::NotGrpc(status)),
            }
        })
    }
}
