//! The error of texts in PEM that TLS cannot be served with.

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
