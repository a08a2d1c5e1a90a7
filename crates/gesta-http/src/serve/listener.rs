//! The listener of a server: a bound address, with TLS or without.

use tokio::net::TcpListener;

/// A bound address that is served without encryption, or with a certificate.
///
/// [`serve`](fn@crate::serve) takes a `TcpListener` as one without encryption.
///
/// ```
/// use gesta_http::HttpListener;
/// use tokio::net::TcpListener;
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let listener = HttpListener::new(TcpListener::bind("127.0.0.1:0").await?);
/// # drop(listener);
/// # Ok::<(), std::io::Error>(())
/// # })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct HttpListener {
    pub(super) tcp: TcpListener,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<gesta_tls::Tls>,
}

impl HttpListener {
    /// Creates a listener without encryption.
    #[must_use]
    pub const fn new(tcp: TcpListener) -> Self {
        Self {
            tcp,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// Serves with this certificate, over TLS 1.2 and 1.3. A certificate that was read
    /// [from files](crate::TlsFiles) is read again when they are replaced.
    ///
    /// A client has [`Limits::head_wait_max`](crate::Limits) for the handshake. One that does not
    /// speak TLS is closed.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(self, tls: gesta_tls::Tls) -> Self {
        Self { tls: Some(tls), ..self }
    }
}

impl From<TcpListener> for HttpListener {
    fn from(tcp: TcpListener) -> Self {
        Self::new(tcp)
    }
}
