//! TLS of listeners, by rustls with ring.
//!
//! ```no_run
//! use gesta_tls::TlsFiles;
//!
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! let tls = TlsFiles::new("server.pem", "server.key").read()?;
//! let config = tls.server_config(&[b"http/1.1"]);
//! // The listener takes the configuration once, and has a replaced certificate by itself.
//! tokio::spawn(async move { tls.follow_files().await });
//! # drop(config);
//! # Ok::<(), gesta_tls::TlsFileError>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Owns: a certificate with its key ([`Tls`]), and the files that they come from ([`TlsFiles`]).
//!
//! Invariants:
//! - TLS 1.2 and 1.3 only.
//! - A client certificate is optional, and one that its authority did not sign ends the handshake.
//! - Files that cannot be used never replace a certificate that can.
//! - No error and no `Debug` form shows a key.
//!
//! Not here: sockets, the authorities of the other side, and whom a client certificate stands for.

mod certificate;
mod files;
mod invalid;
mod pem_files;

pub use certificate::Tls;
pub use invalid::InvalidTls;
pub use pem_files::{TlsFileError, TlsFiles};

// The example of the README is compiled, and run if it needs no server.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
