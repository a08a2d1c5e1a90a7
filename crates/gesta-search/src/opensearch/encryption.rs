//! Encrypted connections to a server, by rustls.
//!
//! Invariant: the certificate of a server is checked, with its name. Not here: HTTP.

use hyper_util::client::legacy::connect::HttpConnector;

use crate::{InvalidSearchUrl, url::Protection};

#[cfg(not(feature = "tls"))]
pub(super) use hyper_util::client::legacy::connect::HttpConnector as Connector;

/// The connector of the client, for plain and encrypted connections.
#[cfg(feature = "tls")]
pub(super) type Connector = hyper_rustls::HttpsConnector<HttpConnector>;

#[cfg(feature = "tls")]
pub(super) fn connector(
    mut plain: HttpConnector,
    protection: &Protection,
) -> Result<Connector, InvalidSearchUrl> {
    use std::sync::Arc;

    use rustls::{ClientConfig, RootCertStore, crypto::ring::default_provider};

    let authorities = match protection {
        // Nothing is encrypted, so nothing is checked.
        Protection::None => RootCertStore::empty(),
        Protection::Tls { authorities: Some(file) } => authorities_in(file)?,
        Protection::Tls { authorities: None } => {
            let mut authorities = RootCertStore::empty();
            // Systems have some that are no longer valid; the others count.
            authorities.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            authorities
        }
    };
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has the default versions")
        .with_root_certificates(authorities)
        .with_no_client_auth();
    plain.enforce_http(false);
    let builder = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(config);
    Ok(builder.https_or_http().enable_http1().wrap_connector(plain))
}

#[cfg(feature = "tls")]
fn authorities_in(file: &std::path::Path) -> Result<rustls::RootCertStore, InvalidSearchUrl> {
    use rustls::pki_types::{CertificateDer, pem::PemObject as _};

    let wrong = |reason: &dyn std::fmt::Display| {
        let file = file.display();
        crate::url::invalid(&format!("names a file of authorities, {file}: {reason}"))
    };
    let mut authorities = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| wrong(&error))? {
        let certificate = certificate.map_err(|error| wrong(&error))?;
        authorities.add(certificate).map_err(|error| wrong(&error))?;
    }
    if authorities.is_empty() {
        return Err(wrong(&"it has no certificate in PEM"));
    }
    Ok(authorities)
}

#[cfg(not(feature = "tls"))]
#[expect(clippy::unnecessary_wraps, reason = "with encryption, a file may be missing")]
pub(super) fn connector(
    plain: HttpConnector,
    _: &Protection,
) -> Result<Connector, InvalidSearchUrl> {
    Ok(plain)
}
