//! The encryption of connections.
//!
//! Invariant: a connection of a listener with a certificate carries no byte of HTTP before its
//! handshake is done. Not here: certificates (`gesta-tls`), and the time that a handshake may take
//! ([`connections`](super::connections)).

use std::{
    convert::Infallible,
    fmt,
    future::pending,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
#[cfg(feature = "tls")]
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::listener::HttpListener;

/// The protocol over TLS (ALPN). A client that offers others alone is refused.
#[cfg(feature = "tls")]
const PROTOCOLS: [&[u8]; 1] = [b"http/1.1"];

/// The encryption of a listener's connections, or none.
#[derive(Clone)]
pub(crate) struct Encryption {
    #[cfg(feature = "tls")]
    tls: Option<(gesta_tls::Tls, TlsAcceptor)>,
}

/// The bytes of HTTP of a connection.
pub(crate) enum ServedStream<S> {
    Plain(S),
    /// In a box: the state of TLS takes a kilobyte.
    #[cfg(feature = "tls")]
    Encrypted(Box<TlsStream<S>>),
}

#[cfg(feature = "tls")]
impl Encryption {
    pub(crate) fn of(listener: &HttpListener) -> Self {
        let acceptor = |tls: gesta_tls::Tls| {
            let config = tls.server_config(&PROTOCOLS);
            (tls, TlsAcceptor::from(config))
        };
        Self { tls: listener.tls.clone().map(acceptor) }
    }

    /// Takes up certificates that replace the one before. Never returns.
    pub(crate) async fn follow_certificate(&self) -> Infallible {
        match &self.tls {
            Some((tls, _)) => tls.follow_files().await,
            None => pending().await,
        }
    }

    /// Returns the stream that HTTP is spoken on, after the handshake if there is one.
    ///
    /// # Errors
    /// The error of a handshake that failed.
    pub(crate) async fn shake_hands<S>(&self, stream: S) -> io::Result<ServedStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        match &self.tls {
            None => Ok(ServedStream::Plain(stream)),
            Some((_, acceptor)) => {
                let encrypted = acceptor.accept(stream).await?;
                Ok(ServedStream::Encrypted(Box::new(encrypted)))
            }
        }
    }
}

#[cfg(not(feature = "tls"))]
impl Encryption {
    pub(crate) const fn of(_: &HttpListener) -> Self {
        Self {}
    }

    /// Never returns.
    pub(crate) async fn follow_certificate(&self) -> Infallible {
        pending().await
    }

    /// Returns the stream that HTTP is spoken on.
    pub(crate) async fn shake_hands<S>(&self, stream: S) -> io::Result<ServedStream<S>> {
        Ok(ServedStream::Plain(stream))
    }
}

impl fmt::Debug for Encryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encryption").finish_non_exhaustive()
    }
}

impl<S> ServedStream<S> {
    /// Returns the stream below the encryption.
    pub(crate) fn transport(&self) -> &S {
        match self {
            Self::Plain(stream) => stream,
            #[cfg(feature = "tls")]
            Self::Encrypted(stream) => stream.get_ref().0,
        }
    }
}

/// Calls a method of the stream that is there.
macro_rules! either {
    ($stream:expr, $method:ident($($argument:expr),*)) => {
        match $stream.get_mut() {
            ServedStream::Plain(stream) => Pin::new(stream).$method($($argument),*),
            #[cfg(feature = "tls")]
            ServedStream::Encrypted(stream) => Pin::new(stream.as_mut()).$method($($argument),*),
        }
    };
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for ServedStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self, poll_read(cx, buffer))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ServedStream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(self, poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, poll_write_vectored(cx, pieces))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            #[cfg(feature = "tls")]
            Self::Encrypted(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, poll_shutdown(cx))
    }
}
