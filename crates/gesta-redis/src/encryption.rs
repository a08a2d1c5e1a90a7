//! Clients with encrypted connections, by rustls.
//!
//! Invariant: the certificate of a server is checked, with its name. Not here: connections.

use redis::Client;

use crate::invalid_url::InvalidRedisUrl;

/// Returns a client for a URL of the scheme `rediss`, which trusts the authorities in a PEM file,
/// or those of the system.
#[cfg(feature = "tls")]
pub(crate) fn client(address: &str, authorities: Option<&str>) -> Result<Client, InvalidRedisUrl> {
    use redis::TlsCertificates;
    use rustls::{
        crypto::{CryptoProvider, ring},
        pki_types::{CertificateDer, pem::PemObject as _},
    };

    // The library takes the provider of the process, and cannot choose between several that a
    // program has compiled in.
    if CryptoProvider::get_default().is_none() {
        // Another thread may have been faster, which is as good.
        drop(ring::default_provider().install_default());
    }
    let Some(file) = authorities else {
        return Client::open(address).map_err(|_| InvalidRedisUrl::Address);
    };
    let wrong = |reason: String| InvalidRedisUrl::Authorities { file: file.to_owned(), reason };
    let pem = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
    let mut certificates = CertificateDer::pem_slice_iter(&pem).peekable();
    if certificates.peek().is_none() {
        return Err(wrong("it has no certificate in PEM".to_owned()));
    }
    if let Some(Err(error)) = certificates.find(Result::is_err) {
        return Err(wrong(error.to_string()));
    }
    let certificates = TlsCertificates { client_tls: None, root_cert: Some(pem) };
    Client::build_with_tls(address, certificates).map_err(|_| InvalidRedisUrl::Address)
}

/// Refuses: the crate was compiled without encryption.
#[cfg(not(feature = "tls"))]
pub(crate) fn client(_: &str, _: Option<&str>) -> Result<Client, InvalidRedisUrl> {
    Err(InvalidRedisUrl::Encrypted)
}
