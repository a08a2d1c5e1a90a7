//! Errors of opening a store.

use gesta_store::StoreError;

use crate::url::InvalidUrl;

/// The reason why a store was not opened.
///
/// ```
/// use gesta_kurrentdb::{KurrentStore, OpenError};
///
/// # gesta_store::conformance::block_on(async {
/// let error = KurrentStore::connect("kurrentdb://").await.expect_err("names no server");
/// assert!(matches!(error, OpenError::Url(_)), "{error}");
/// # });
/// ```
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL cannot be read. Correct it.
    #[error(transparent)]
    Url(#[from] InvalidUrl),
    /// Certificates or a key cannot be used. Correct the files that the URL names.
    #[error("TLS cannot be used: {reason}")]
    Tls {
        /// The file, and what is wrong with it.
        reason: String,
    },
    /// The system refuses a thread.
    #[error("the thread of the store cannot be started")]
    Thread(#[source] std::io::Error),
    /// The server does not answer, or refuses the user.
    #[error("the server {url} cannot be used")]
    Server {
        /// The URL, without its password.
        url: String,
        /// The failure.
        #[source]
        error: StoreError,
    },
}
